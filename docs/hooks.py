"""Draws the pictures of the documentation before the site is built: our own preview on two generated clips."""

import tempfile
from pathlib import Path
from shutil import copyfile

PICTURES = Path(__file__).parent / "pictures"


def on_pre_build(config: object) -> None:
    """Make what is not there yet; the pictures are not kept in the repository."""
    if (PICTURES / "contact-sheet.png").exists():
        return
    from ssdet_cli.data.generated import GenerateSettings, generate
    from ssdet_cli.recipes.augment_preview import run

    with tempfile.TemporaryDirectory() as place:
        settings = GenerateSettings(
            size=192, classes=4, weak_videos=4, weak_val_videos=1, dense_train=1, dense_test=1, fps=12, seed=5
        )
        data = generate(Path(place) / "data", settings)
        clips = sorted((data.weak / "train").rglob("*.mp4"))
        # Named after their actions: the picture shows names, and those of generated files are too long for it.
        named = [copyfile(clip, Path(place) / f"{clip.parent.name}.mp4") for clip in (clips[0], clips[2])]
        result = run(named, ("freeze", "mixup", "cutmix"), Path(place) / "preview", seed=1)
        PICTURES.mkdir(exist_ok=True)
        copyfile(result.contact_sheet, PICTURES / "contact-sheet.png")
