"""`ssdet demo`: the whole path on generated video, and what detection pretraining is worth there.

Generate; classify first, as the paper starts from classification weights; go on from there twice with one budget
(volume augmentations, plain classification); fine-tune both on a small dense training set; evaluate both; show the
gain. The steps are the commands' own recipes with the shipped configurations.
"""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ssdet_cli.config.commands import EvaluateConfig, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data.generated import GenerateSettings
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError
from ssdet_cli.files import write_atomically
from ssdet_cli.recipes import augment_preview, evaluate, finetune, pretrain
from ssdet_cli.recipes.training import generate_with_progress

#: Name of an arm -> what differs from the shipped pretraining configuration.
ARMS = {"detection": (), "classification": ("augment.methods=none",)}
_TINY = GenerateSettings(
    size=32, classes=4, novel_classes=1, weak_videos=16, weak_val_videos=4, dense_train=4, dense_test=4
)


@dataclass(frozen=True)
class ArmResult:
    """Scores of one arm, in percent.

    Attributes:
        arm: Kind of pretraining.
        seed: Of the run.
        frame_map: mAP over every frame.
        localize: mAP at 25 times per video.
    """

    arm: str
    seed: int
    frame_map: float
    localize: float


def run(output: Path, *, seed: int = 0, seeds: int = 1, device: str = "auto", tiny: bool = False) -> list[ArmResult]:
    """Run the demo.

    Args:
        output: New folder for everything.
        seed: First seed of pretraining and fine-tuning; the generated data stays the same.
        seeds: Number of seeds.
        device: auto, cpu, cuda or cuda:N.
        tiny: A few steps on a few videos: shows that everything works, the scores mean nothing.

    Raises:
        ConfigError: `output` holds a finished or a begun demo.
    """
    began = time.perf_counter()
    if (output / "demo.json").exists() or any(output.glob("seed*")):
        raise ConfigError(f"{output} already holds a demo; give another --output.")
    console = Console(stderr=True)
    settings = _TINY if tiny else GenerateSettings()
    data = generate_with_progress(output / "data", settings, RunLog(None, console))
    results = []
    for number in range(seed, seed + seeds):
        place = output / f"seed{number}"
        console.rule(f"seed {number}: classification, where both start")
        first = _words(number, device, tiny, ["augment.methods=none", "loop.steps=500"])
        pretrain.run(_config(PretrainConfig, "generated", data / "weak", place / "start", first))
        for arm in ARMS:
            console.rule(f"seed {number}: {arm} pretraining goes on")
            results.append(_arm(arm, place, data, number, device, tiny))
    console.rule("preview of the augmentations")
    clip = next(iter(sorted((data / "weak" / "val").rglob("*.mp4"))))
    augment_preview.run([clip], ("freeze", "mixup", "cutmix"), output / "preview")
    plain = {"seconds": round(time.perf_counter() - began, 1), "results": [asdict(result) for result in results]}
    write_atomically(output / "demo.json", json.dumps(plain, indent=2) + "\n")
    _show(results, output, seed, plain["seconds"], tiny)
    return results


def _words(seed: int, device: str, tiny: bool, words: Sequence[str]) -> list[str]:
    """Overrides of one training."""
    small = ["loop.steps=4", "loop.batch_size=4", "optim.warmup_steps=0", "clip.size=32"] if tiny else []
    kept = [word for word in words if not (tiny and word.startswith("loop.steps="))]
    return [f"run.seed={seed}", f"run.device={device}", *small, *kept]


def _arm(arm: str, place: Path, data: Path, seed: int, device: str, tiny: bool) -> ArmResult:
    """Pretrain from the common start, fine-tune and evaluate one arm."""
    folder = place / arm
    pretrained, tuned = folder / "pretrain", folder / "finetune"
    words = _words(seed, device, tiny, [f"model.init={place / 'start'}", *ARMS[arm]])
    pretrain.run(_config(PretrainConfig, "generated_volume", data / "weak", pretrained, words))
    words = _words(seed, device, tiny, [f"model.init={pretrained}"])
    finetune.run(_config(FinetuneConfig, "generated", data / "dense", tuned, words))
    scores = {}
    for protocol in ("frame-map", "charades-localize"):
        cfg = load_config(
            EvaluateConfig,
            flags={
                "protocol": protocol,
                "checkpoints": (tuned,),
                "run.device": device,
                "run.output": folder / f"evaluate-{protocol}",
            },
        )
        scores[protocol] = 100 * evaluate.run(cfg).mAP
    return ArmResult(arm, seed, scores["frame-map"], scores["charades-localize"])


def _config(kind: type, name: str, data: Path, folder: Path, words: Sequence[str]) -> Any:
    return load_config(kind, name, words, {"data.videos": data, "run.output": folder})


def free_folder() -> Path:
    """The first of ssdet-demo, ssdet-demo-2, ... that does not exist."""
    names = itertools.chain(["ssdet-demo"], (f"ssdet-demo-{number}" for number in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def _show(results: list[ArmResult], output: Path, seed: int, seconds: float, tiny: bool) -> None:
    """The table, where everything is, and what to try next."""
    console = Console()
    table = Table(title="What detection pretraining is worth after the same fine-tuning (mAP, %)")
    for name in ("pretraining", "every frame", "25 times per video"):
        table.add_column(name, justify="left" if name == "pretraining" else "right")
    means = {
        arm: [mean([getattr(r, score) for r in results if r.arm == arm]) for score in ("frame_map", "localize")]
        for arm in ARMS
    }
    for arm, scores in means.items():
        table.add_row(arm, *(f"{score:.1f}" for score in scores))
    gains = [a - b for a, b in zip(means["detection"], means["classification"], strict=True)]
    table.add_row("gain", *(f"{gain:+.1f}" for gain in gains), style="bold")
    console.print(table)
    if tiny:
        console.print("A few steps on a few videos: the path works, these scores mean nothing.")
    run = output / f"seed{seed}" / "detection"
    console.print(
        f"Done in {seconds:.0f} s. Everything is in {output}:\n"
        f"  data/                          generated videos and annotations\n"
        f"  seed{seed}/detection/pretrain     run folder: report.html, curves.png, checkpoints\n"
        f"  seed{seed}/detection/finetune     the detector\n"
        f"  seed{seed}/detection/evaluate-*   metrics.json, submission.txt, report.html\n"
        f"  preview/                       augmented videos and a contact sheet\n"
        f"Try next:\n"
        f"  ssdet augment-preview YOUR_CLIP.mp4\n"
        f"  ssdet evaluate --protocol frame-map --checkpoint {run / 'finetune'}\n"
        f"  ssdet pretrain --data YOUR_FOLDER_OF_CLASS_FOLDERS --backbone x3d_s",
        highlight=False,
    )
