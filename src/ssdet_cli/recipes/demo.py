"""`ssdet demo`: the whole path on generated video, and what detection pretraining is worth there.

Generate; classify first, as the paper starts from classification weights; go on from there twice with one budget
(volume augmentations, plain classification); fine-tune both on a small dense training set; evaluate both; show the
gain. Where asked, a Coarse-Fine network goes on from features of the first of the two. The steps are the commands'
own recipes with the shipped configurations.
"""

import itertools
import json
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import (
    EvaluateConfig,
    ExtractFeaturesConfig,
    FinetuneConfig,
    PretrainConfig,
    TrainCoarseFineConfig,
    TrainingConfig,
)
from ssdet_cli.config.load import load_config
from ssdet_cli.data.generated import GenerateSettings
from ssdet_cli.engine.distributed import pick_device
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.stop import Interrupted
from ssdet_cli.errors import INTERRUPTED, ConfigError
from ssdet_cli.files import write_atomically
from ssdet_cli.recipes import (
    augment_preview,
    evaluate_checkpoints,
    extract_features,
    finetune,
    pretrain,
    train_coarse_fine,
)
from ssdet_cli.recipes.training import generate_with_progress

#: Name of an arm -> what differs from the shipped pretraining configuration.
ARMS = {"detection": (), "classification": ("augment.methods=none",)}
#: The common start: classification, validated when it is over.
START = ("augment.methods=none", "loop.steps=400", "loop.validate_every=400")
#: Name of the arm that goes on from the first one's detector.
COARSE_FINE = "coarse-fine"
PROTOCOLS = ("frame-map", "charades-localize")
_TINY = GenerateSettings(
    size=32, classes=4, novel_classes=1, weak_videos=16, weak_val_videos=4, dense_train=4, dense_test=4, dense_val=2
)


@dataclass(frozen=True)
class Demo:
    """What was asked for.

    Attributes:
        output: Folder for everything.
        seed: First seed of pretraining and fine-tuning; the generated data stays the same.
        seeds: Number of seeds.
        device: auto, cpu, cuda or cuda:N.
        tiny: A few steps on a few videos: shows that everything works, the scores mean nothing.
        coarse_fine: Go on with a Coarse-Fine network.
    """

    output: Path
    seed: int = 0
    seeds: int = 1
    device: str = "auto"
    tiny: bool = False
    coarse_fine: bool = False

    def command(self) -> str:
        """The command line that starts or continues it."""
        words = ["ssdet", "demo", "--output", str(self.output), *["--tiny"] * self.tiny]
        words += ["--coarse-fine"] * self.coarse_fine
        for name, default in (("seed", 0), ("seeds", 1), ("device", "auto")):
            if (value := getattr(self, name)) != default:
                words += [f"--{name}", str(value)]
        return shlex.join(words)

    def check(self) -> None:
        """Refuse what cannot work before anything is made.

        Raises:
            ConfigError: `output` is a file or holds a finished demo, or there is no such device.
        """
        if self.output.exists() and not self.output.is_dir():
            raise ConfigError(f"--output: {self.output} is a file; give a folder.")
        if (self.output / "demo.json").exists():
            raise ConfigError(f"{self.output} holds a finished demo; give another --output.")
        if self.seed < 0 or self.seeds < 1:
            raise ConfigError(f"seed ({self.seed}) must be at least 0 and seeds ({self.seeds}) at least 1.")
        pick_device(self.device)


@dataclass(frozen=True)
class ArmResult:
    """Scores of one arm, in percent.

    Attributes:
        arm: Kind of pretraining, or `COARSE_FINE`.
        seed: Of the run.
        frame_map: mAP over every frame.
        localize: mAP at 25 times per video.
    """

    arm: str
    seed: int
    frame_map: float
    localize: float


def run(
    output: Path,
    *,
    seed: int = 0,
    seeds: int = 1,
    device: str = "auto",
    tiny: bool = False,
    coarse_fine: bool = False,
) -> list[ArmResult]:
    """Run the demo, or go on with one that was begun in `output`: finished parts are kept, a begun training resumes.

    Arguments are those of `Demo`.

    Raises:
        ConfigError: An argument is wrong; nothing was made.
        Interrupted: Ctrl-C or a scheduler; the message says how to go on.
    """
    asked = Demo(output, seed, seeds, device, tiny, coarse_fine)
    asked.check()
    try:
        return _walk(asked)
    except (Interrupted, KeyboardInterrupt) as error:
        said = f"Interrupted; what is done is kept. Go on with: {asked.command()}"
        raise Interrupted(said, getattr(error, "exit_code", INTERRUPTED)) from error


def _walk(asked: Demo) -> list[ArmResult]:
    began, output = time.perf_counter(), asked.output
    console = Console(stderr=True)
    log = RunLog(None, console)
    if continued := (output / "data").exists():
        log.say(f"Going on with the demo in {output}.")
    data = generate_with_progress(output / "data", _TINY if asked.tiny else GenerateSettings(), log)
    results = []
    for number in range(asked.seed, asked.seed + asked.seeds):
        place = output / f"seed{number}"
        console.rule(f"seed {number}: classification, where both start")
        words = _words(asked, number, *START)
        _train(pretrain, _config(PretrainConfig, "generated", data / "weak", place / "start", words), log)
        for arm in ARMS:
            console.rule(f"seed {number}: {arm} pretraining goes on")
            results.append(_arm(asked, arm, number, data, log))
        if asked.coarse_fine:
            console.rule(f"seed {number}: Coarse-Fine network on features of the {next(iter(ARMS))} arm")
            results.append(_coarse_fine(asked, number, data, log))
    console.rule("preview of the augmentations")
    clip = next(iter(sorted((data / "weak" / "val").rglob("*.mp4"))))
    augment_preview.run([clip], ("freeze", "mixup", "cutmix"), output / "preview")
    plain = {"seconds": round(time.perf_counter() - began, 1), "results": [asdict(result) for result in results]}
    write_atomically(output / "demo.json", json.dumps(plain, indent=2) + "\n")
    _show(asked, results, plain["seconds"], continued)
    return results


def _words(asked: Demo, seed: int, *words: str) -> list[str]:
    """Overrides of one training."""
    small = ["loop.steps=4", "loop.batch_size=4", "optim.warmup_steps=0", "clip.size=32"] if asked.tiny else []
    kept = [word for word in words if not (asked.tiny and word.startswith("loop.steps="))]
    return [f"run.seed={seed}", f"run.device={asked.device}", *small, *kept]


def _train(recipe: ModuleType, cfg: TrainingConfig, log: RunLog) -> None:
    """Carry out one training, or what is left of it."""
    folder = cfg.run.output
    if rundir.is_finished(folder):
        rundir.refuse_other_config(cfg, folder)
        log.say(f"{folder} is finished already.")
        return
    recipe.run(cfg, resume=rundir.is_begun(folder))


def _arm(asked: Demo, arm: str, seed: int, data: Path, log: RunLog) -> ArmResult:
    """Pretrain from the common start, fine-tune and evaluate one arm."""
    place = asked.output / f"seed{seed}"
    pretrained, tuned = place / arm / "pretrain", place / arm / "finetune"
    words = _words(asked, seed, f"model.init={place / 'start'}", *ARMS[arm])
    _train(pretrain, _config(PretrainConfig, "generated_volume", data / "weak", pretrained, words), log)
    words = _words(asked, seed, f"model.init={pretrained}")
    _train(finetune, _config(FinetuneConfig, "generated", data / "dense", tuned, words), log)
    frame_map, localize = _evaluate(asked, tuned, place / arm)
    return ArmResult(arm, seed, frame_map, localize)


def _coarse_fine(asked: Demo, seed: int, data: Path, log: RunLog) -> ArmResult:
    """Store the features of the first arm's detector, train a coarse stream on them and evaluate it."""
    place = asked.output / f"seed{seed}"
    fine, features = place / next(iter(ARMS)) / "finetune", place / COARSE_FINE / "features"
    flags = {"checkpoint": fine, "data.videos": data / "dense" / "videos", "run.output": features}
    extract_features.run(load_config(ExtractFeaturesConfig, None, [f"run.device={asked.device}"], flags))
    trained = place / COARSE_FINE / "train"
    words = _words(asked, seed, f"model.init={fine}", f"fine.features={features}")
    _train(train_coarse_fine, _config(TrainCoarseFineConfig, "generated", data / "dense", trained, words), log)
    frame_map, localize = _evaluate(asked, trained, place / COARSE_FINE, {"fine.features": features})
    return ArmResult(COARSE_FINE, seed, frame_map, localize)


def _evaluate(asked: Demo, tuned: Path, place: Path, flags: Mapping[str, Any] | None = None) -> list[float]:
    """mAP in percent under each of `PROTOCOLS`, from one pass over the videos."""
    folders = {protocol: place / f"evaluate-{protocol}" for protocol in PROTOCOLS}
    # The submission is what an evaluation writes last.
    if not all((folder / "submission.txt").is_file() for folder in folders.values()):
        evaluate_checkpoints.run_protocols(
            [
                load_config(
                    EvaluateConfig,
                    flags={
                        "protocol": protocol,
                        "checkpoints": (tuned,),
                        "run.device": asked.device,
                        "run.output": folder,
                        **(flags or {}),
                    },
                )
                for protocol, folder in folders.items()
            ]
        )
    found = [json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["mAP"] for folder in folders.values()]
    return [math.nan if score is None else 100 * score for score in found]


def _config(kind: type, name: str, data: Path, folder: Path, words: Sequence[str]) -> Any:
    return load_config(kind, name, words, {"data.videos": data, "run.output": folder})


def free_folder() -> Path:
    """The first of ssdet-demo, ssdet-demo-2, ... that does not exist."""
    names = itertools.chain(["ssdet-demo"], (f"ssdet-demo-{number}" for number in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def _show(asked: Demo, results: list[ArmResult], seconds: float, continued: bool) -> None:
    """The table, where everything is, and what to try next."""
    console = Console()
    table = Table(title="What detection pretraining is worth after the same fine-tuning (mAP, %)")
    for name in ("pretraining", "every frame", "25 times per video"):
        table.add_column(name, justify="left" if name == "pretraining" else "right")
    means = {
        arm: [mean([getattr(r, score) for r in results if r.arm == arm]) for score in ("frame_map", "localize")]
        for arm in (*ARMS, *[COARSE_FINE] * asked.coarse_fine)
    }
    for arm in ARMS:
        table.add_row(arm, *(f"{score:.1f}" for score in means[arm]))
    gains = [a - b for a, b in zip(means["detection"], means["classification"], strict=True)]
    table.add_row("gain", *(f"{gain:+.1f}" for gain in gains), style="bold")
    if asked.coarse_fine:
        name = f"{next(iter(ARMS))}, then Coarse-Fine"
        table.add_row(name, *(f"{score:.1f}" for score in means[COARSE_FINE]))
    console.print(table)
    if asked.tiny:
        console.print("A few steps on a few videos: the path works, these scores mean nothing.")
    tuned = asked.output / f"seed{asked.seed}" / "detection" / "finetune"
    # Commands stay in one piece, so that they can be copied.
    console.print(
        f"Done in {seconds:.0f} s{' since it was continued' if continued else ''}. Everything is in {asked.output}:\n"
        f"  data/                          generated videos and annotations\n"
        f"  seed{asked.seed}/detection/pretrain     run folder: report.html, curves.png, checkpoints\n"
        f"  seed{asked.seed}/detection/finetune     the detector\n"
        f"  seed{asked.seed}/detection/evaluate-*   metrics.json, submission.txt, report.html\n"
        + (f"  seed{asked.seed}/coarse-fine/           features, train, evaluate-*\n" if asked.coarse_fine else "")
        + f"  preview/                       augmented videos and a contact sheet\n"
        f"Try next:\n"
        f"  ssdet augment-preview YOUR_CLIP.mp4\n"
        f"  ssdet evaluate --protocol frame-map --checkpoint {shlex.quote(str(tuned))}\n"
        f"  ssdet pretrain --data YOUR_FOLDER_OF_CLASS_FOLDERS --backbone x3d_s",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
