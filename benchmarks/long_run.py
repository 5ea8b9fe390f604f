"""Memory and open files of a training run with loader workers, over some hundred steps.

    python benchmarks/long_run.py
    python benchmarks/long_run.py --steps 5000 --workers 4 --device cuda

Trains on the generated data with everything that a real run does: augmentation, averaged weights, the log, checkpoints.
A process that grows after the first fifth of the steps, when all buffers have found their size, leaks: the exit code is
then 1.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import nn

from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data.clips import WeakClips
from ssdet_cli.data.generated import GenerateSettings, generate
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.fit import Monitor, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.recipes.pretrain import build_task
from ssdet_cli.recipes.training import Run, build_detector, load_split, meta_of, training_loader

#: Growth that is no leak: allocators round.
ALLOWED = 0.03
_DATA = GenerateSettings(
    size=40, classes=4, novel_classes=1, weak_videos=40, weak_val_videos=4, dense_train=1, dense_test=1, dense_val=1
)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Samples:
    """Memory of the training process and of its workers together, bytes, and open files, as training goes on."""

    steps: list[int] = field(default_factory=list)
    trainer: list[int] = field(default_factory=list)
    workers: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def take(self, step: int) -> None:
        """Add what is so now."""
        workers = [child.pid for child in multiprocessing.active_children()]
        self.steps.append(step)
        self.trainer.append(resident(os.getpid()))
        self.workers.append(sum(map(resident, workers)))
        self.files.append(sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), *workers)))

    def growth(self, name: str) -> float:
        """Of the last sample over the largest of the first fifth."""
        values = getattr(self, name)
        return values[-1] / max(values[: max(1, len(values) // 5)]) - 1


def measure(folder: Path, steps: int, workers: int, device: str) -> Samples:
    """Train, and look every fiftieth of the way."""
    data = generate(folder / "data", _DATA).weak
    words = [f"loop.steps={steps}", f"data.workers={workers}", f"run.device={device}", "loop.ema=0.9"]
    words += ["loop.batch_size=4", "clip.size=32", "clip.frames=8", f"loop.validate_every={max(1, steps // 50)}"]
    cfg = load_config(PretrainConfig, "generated", words, {"data.videos": data})
    samples = Samples()
    with session(cfg.run.device) as here:
        log = RunLog(folder / "run", Console(stderr=True, quiet=True))
        run = Run(here, log)
        videos = load_split(cfg.data, "train", log)
        model = build_detector(cfg, len(videos.classes) + 1, videos.classes, run)
        trainer = Trainer(
            model,
            build_task(cfg, model, here, log),
            optim=cfg.optim,
            loop=cfg.loop,
            session=here,
            seed=0,
            meta=meta_of(cfg, model, videos.classes, background=True),
        )
        dataset = WeakClips(videos, cfg.data, cfg.clip, seed=0, training=True)
        loader, per_epoch = training_loader(cfg, dataset, here, 0)

        def look(network: nn.Module) -> dict[str, float]:
            samples.take(trainer.progress.step)
            return {"loss": 1.0 / trainer.progress.step}  # always better: best.pt is written too

        monitor = Monitor("loss", higher_is_better=False)
        fit(trainer, loader, steps_per_epoch=per_epoch, validate=look, monitor=monitor, log=log, title="long run")
        log.close()
    return samples


def main() -> int:
    """Measure, show and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ssdet-long-run-") as folder:
        samples = measure(Path(folder), asked.steps, asked.workers, asked.device)
    table = Table("step", "training process, MiB", f"{asked.workers} workers, MiB", "open files")
    shown = range(0, len(samples.steps), max(1, len(samples.steps) // 10))
    for number in [*shown, len(samples.steps) - 1]:
        table.add_row(
            str(samples.steps[number]),
            f"{samples.trainer[number] / 2**20:.1f}",
            f"{samples.workers[number] / 2**20:.1f}",
            str(samples.files[number]),
        )
    Console().print(table)
    grown = {name: samples.growth(name) for name in ("trainer", "workers", "files")}
    print(", ".join(f"{name} {100 * growth:+.1f} %" for name, growth in grown.items()), "since the first fifth")
    return int(any(growth > ALLOWED for growth in grown.values()))


if __name__ == "__main__":
    sys.exit(main())
