"""Runs that take a second or two on the tiny generated set of the `data` fixture."""

import sys
from pathlib import Path
from typing import Any

from ssdet_cli.config.load import load_config

SMALL = [
    "loop.steps=4",
    "loop.batch_size=4",
    "loop.validate_every=2",
    "optim.warmup_steps=1",
    "clip.size=32",
    "clip.frames=8",
    "data.workers=0",
    "run.device=cpu",
]


def configured(kind: type, videos: Path, output: Path, *words: str) -> Any:
    """The shipped `generated` configuration of a command, made small; `words` win."""
    given = {word.partition("=")[0] for word in words}
    small = [word for word in SMALL if word.partition("=")[0] not in given]
    return load_config(kind, "generated", [*small, *words], {"data.videos": videos, "run.output": output})


def ssdet(*words: object) -> list[str]:
    """The command line of a new process."""
    return [sys.executable, "-m", "ssdet_cli", *map(str, words)]
