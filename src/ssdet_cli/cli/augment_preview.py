"""`ssdet augment-preview`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import checks, completion
from ssdet_cli.cli.console import say
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.files import refuse_unwritable

app = new_app()


@app.command()
def augment_preview(
    clips: Annotated[
        list[Path],
        typer.Argument(
            metavar="CLIP [PARTNER]", help="Video, and a second one to mix with; default another part of it."
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            metavar="freeze|mixup|cutmix|all",
            help="Augmentation to show; several with commas.",
            autocompletion=completion.methods,
        ),
    ] = "all",
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder to write to; default previews/<name of the clip>.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the draws.")] = 0,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="X", help="Longest part of the clip to use; default what fits the screen and memory."),
    ] = None,
    height: Annotated[int, typer.Option(metavar="N", help="Height of the picture, pixels.")] = 240,
    frame_rate: Annotated[
        float | None, typer.Option(metavar="X", help="Frames per second of clips that are folders of JPEG frames.")
    ] = None,
) -> None:
    """Show what the volume augmentations do to a clip: videos with label tracks, a contact sheet, the draws as JSON."""
    if len(clips) > 2:
        raise ConfigError(f"One clip or two are mixed; {len(clips)} are given.")
    for clip in clips:
        checks.must_exist(clip, "clip", DataError)
        if clip.is_dir() and frame_rate is None:
            raise ConfigError(f"{clip} is a folder of frames; say how many there are per second with --frame-rate X.")
    names = checks.METHODS if method == "all" else tuple(part.strip() for part in method.split(","))
    checks.check_methods(names, (*checks.METHODS, "all"))
    folder = output or Path("previews") / clips[0].stem
    refuse_unwritable(folder, "--output")
    from ssdet_cli.recipes import augment_preview as recipe  # torch starts here

    with interruptible():
        made = recipe.run(clips, names, folder, seed, seconds, height, frame_rate=frame_rate)
    for note in made.notes:
        say(note)
    for path in (*made.videos.values(), made.contact_sheet, made.sidecar):
        typer.echo(path)
