"""The run folder and the progress line: everything a run says, in one place."""

import json
import math
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ssdet_cli.engine.phases import Phases
from ssdet_cli.engine.wandb_run import WandbRun
from ssdet_cli.errors import LAUNCHED
from ssdet_cli.files import write_atomically
from ssdet_cli.viz.run_curves import PLACE, read_metrics

ENV = "env.json"
_PACKAGES = ("ssdet", "torch", "torchvision", "numpy", "av", "decord", "timm", "torchmetrics")


def environment(device: torch.device, world_size: int, continued: Path | None = None) -> dict[str, Any]:
    """Versions and hardware, for env.json.

    Args:
        device: Of this process.
        world_size: Number of processes.
        continued: The env.json of a run that goes on, whose command line is kept: ours is `resumed_with` then.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    words = json.loads(os.environ[LAUNCHED]) if LAUNCHED in os.environ else sys.argv
    first = _command_in(continued) if continued is not None else None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "device": str(device),
        "gpu": gpu,
        "world_size": world_size,
        "threads": torch.get_num_threads(),
        **({"command": words} if first is None else {"command": first, "resumed_with": words}),
    }


def _command_in(path: Path) -> list[str] | None:
    try:
        return json.loads(path.read_bytes())["command"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


class RunLog:
    """Writes metrics.jsonl, env.json and TensorBoard events, and draws the progress line; only rank 0's acts.

    Args:
        folder: Run folder, or None to keep nothing (a dry run, and every rank but 0).
        console: Where to draw and say; None is silent.
        resume_step: What metrics.jsonl and TensorBoard hold beyond this step is dropped first.
    """

    def __init__(self, folder: Path | None, console: Console | None, resume_step: int | None = None) -> None:
        self.folder = folder
        self.console = console
        self._progress: Progress | None = None
        self._bar: Any = None
        self._writer: Any = None
        self._wandb: Any = None
        self._resume_step: int | None = None
        self.phases = Phases()
        self._title, self._total, self._first = "", 0, 0
        self._began = self._last_plain = 0.0
        if folder is not None:
            self.keep_in(folder, resume_step)

    def keep_in(self, folder: Path, resume_step: int | None = None, *, validated: bool = True) -> None:
        """From here on write into a folder; what it holds beyond `resume_step` is dropped.

        So is the validation of that step unless it is `validated`: it will be done again.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.metrics, self._resume_step = folder, folder / "metrics.jsonl", resume_step
        if resume_step is not None:
            self.phases.continue_from(folder)
        if resume_step is not None and self.metrics.exists():
            self._drop_lines_after(resume_step, validated)

    def _drop_lines_after(self, step: int, validated: bool) -> None:
        behind = [line for line in read_metrics(self.metrics) if line["step"] <= step]
        kept = [line for line in behind if validated or line["step"] < step or line["split"] != "val"]
        write_atomically(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def last_scores(self) -> dict[str, float]:
        """Metrics of the last validation in metrics.jsonl; empty where there is none."""
        if self.folder is None or not self.metrics.exists():
            return {}
        lines = [line for line in read_metrics(self.metrics) if line["split"] == "val"]
        return {name: value for name, value in lines[-1].items() if name not in (*PLACE, "lr")} if lines else {}

    def say(self, text: str) -> None:
        """Print one line (rank 0)."""
        if self.console is not None:
            self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file into the run folder."""
        if self.folder is not None:
            write_atomically(self.folder / name, json.dumps(content, indent=2) + "\n")

    def record(self, *, step: int, epoch: float, split: str, **values: float) -> None:
        """Append one line to metrics.jsonl, to TensorBoard, and to Weights & Biases where it was asked for."""
        if self.folder is None:
            return
        line = {"step": step, "epoch": round(epoch, 4), "split": split, "time": round(time.time(), 3), **values}
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        writer = self._tensorboard()
        for name, value in values.items():
            if isinstance(value, int | float):
                writer.add_scalar(f"{split}/{name}", value, step)
        if self._wandb is not None:
            self._wandb.record(step, epoch, split, values)

    def also_to_wandb(self, project: str, config: dict[str, Any]) -> None:
        """From here on log to a project on Weights & Biases too.

        Raises:
            SsdetError: Weights & Biases refuses.
        """
        if self.folder is not None:
            self._wandb = WandbRun(project, self.folder, config)

    def _tensorboard(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = None if self._resume_step is None else self._resume_step + 1
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
        return self._writer

    def start(self, title: str, done: int, total: int) -> None:
        """Show the progress line of a loop of `total` steps, `done` of which lie behind."""
        if self.console is None:
            return
        self._title, self._total, self._first, self._began = title, total, done, time.monotonic()
        if not self.console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            refresh_per_second=4,
        )
        self._bar = self._progress.add_task(title, total=total, completed=done, note="")
        self._progress.start()

    def advance(self, step: int, note: str) -> None:
        """Move the progress line; where the output is no terminal, a line of text every ten seconds."""
        if self._progress is not None:
            self._progress.update(self._bar, completed=step, note=note)
        elif self.console is not None and time.monotonic() - self._last_plain > 10:
            self._last_plain = time.monotonic()
            parts = (f"{self._title}: {step}/{self._total}", note, self._time_left(step))
            self.say("  ".join(part for part in parts if part))

    def _time_left(self, step: int) -> str:
        done, ahead = step - self._first, self._total - step
        if done <= 0 or ahead <= 0:
            return ""
        seconds = (time.monotonic() - self._began) / done * ahead
        return f"{seconds / 60:.1f} min left" if seconds >= 60 else f"{math.ceil(seconds)} s left"

    def stop(self) -> None:
        """Take the progress line away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def write_timing(self) -> None:
        """Write down where the time went so far."""
        if self.folder is not None:
            self.phases.write(self.folder)

    def close(self, *, failed: bool = False) -> None:
        """End progress, TensorBoard and Weights & Biases, which is told whether the run failed."""
        self.stop()
        if self._wandb is not None:
            self._wandb.finish(failed=failed)
            self._wandb = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
