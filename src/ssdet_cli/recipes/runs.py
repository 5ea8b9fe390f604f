"""`ssdet runs`: what the run folders under a folder hold, however damaged they are. No torch."""

import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ssdet_cli.catalog import nearest
from ssdet_cli.config import life
from ssdet_cli.errors import ConfigError

#: Any of these makes a folder a run folder.
_TRACES = ("config.yaml", life.METRICS, life.STATUS, life.SUMMARY, "checkpoints", "metrics.json")
#: What `predict` leaves of every video.
_SEGMENTS = "segments.json"


@dataclass(frozen=True)
class RunRecord:
    """One row of the list.

    Attributes:
        name: Of the folder.
        folder: The folder.
        state: One of `life.STATES`, or "unreadable".
        reason: A sentence on the state, or empty.
        command: As in `COMMANDS`, None where it is not known.
        model: Backbone.
        step: Optimiser steps done.
        steps: Of the whole run.
        epoch: Passes over the data.
        metric: Which metric decides about the best checkpoint.
        best: Its best value.
        best_step: Where that was.
        age: Seconds since a file of the run changed.
        troubles: What could not be read, one sentence each.
    """

    name: str
    folder: str
    state: str = "unreadable"
    reason: str = ""
    command: str | None = None
    model: str | None = None
    step: int | None = None
    steps: int | None = None
    epoch: float | None = None
    metric: str | None = None
    best: float | None = None
    best_step: int | None = None
    age: float | None = None
    troubles: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class Metrics:
    """What metrics.jsonl holds, and how many of its lines could not be read."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    damaged: int = 0


def find_runs(roots: list[Path]) -> list[Path]:
    """Run folders among and directly under some folders, each once.

    Raises:
        ConfigError: One of them is not there, or is no folder that can be read.
    """
    found: dict[Path, None] = {}
    for root in roots:
        try:
            if not root.is_dir():
                raise ConfigError(f"{root} is no folder; give a run folder or a folder of run folders.")
            inside = [] if is_run(root) else sorted(path for path in root.iterdir() if path.is_dir())
        except OSError as error:
            raise ConfigError(f"{root} cannot be read: {error.strerror}.") from error
        found |= dict.fromkeys([root] if is_run(root) else filter(is_run, inside))
    return list(found)


def is_run(folder: Path) -> bool:
    """Whether a folder looks like that of a run; one that may not be looked into does."""
    try:
        names = {path.name for path in folder.iterdir()}
    except PermissionError:
        return True
    except OSError:
        return False
    return not names.isdisjoint(_TRACES)


def find_run(name: str, root: Path) -> Path:
    """The run folder of a path, or of a name under `root`.

    Raises:
        ConfigError: There is none.
    """
    for folder in (Path(name), root / name):
        if folder.is_dir():
            if not is_run(folder):
                raise ConfigError(f"{folder} holds no run: none of {', '.join(_TRACES)} is in it.")
            return folder
    known = [folder.name for folder in find_runs([root])] if root.is_dir() else []
    raise ConfigError(f"There is no run '{name}', neither as a folder nor under {root}/.{nearest(name, known)}")


def read_run(folder: Path) -> RunRecord:
    """Everything the list says of a run; nothing that is in the folder makes this fail."""
    troubles: list[str] = []
    try:
        last_sign = max([folder.stat().st_mtime, *(path.stat().st_mtime for path in _signs(folder))])
        any(folder.iterdir())
    except OSError as error:
        return RunRecord(folder.name, str(folder), troubles=(f"cannot be read: {error.strerror}",))
    status = life.read_status(folder)
    if not status and (folder / life.STATUS).exists():
        troubles.append(f"{life.STATUS} cannot be read")
    facts = {**_facts_of_config(folder, status, troubles), **_numbers_of(folder, status, troubles)}
    state, reason = life.state_of(folder, status, last_sign)
    written_last = ("metrics.json", "compare.json")
    if any((folder / name).is_file() for name in written_last) or _index(folder).get("complete") is True:
        state, reason = "finished", ""
    if facts.get("command") == "predict" and (predicted := _predicted(folder)):
        partial = [place.parent.name for place, whole in predicted.items() if not whole]
        state = "interrupted" if partial else "finished"
        reason = f"of {partial[0]} only a part was seen" if partial else ""
    return RunRecord(
        folder.name,
        str(folder),
        state=state,
        reason=reason,
        age=round(max(0.0, time.time() - last_sign), 1),
        troubles=tuple(troubles),
        **facts,
    )


def _signs(folder: Path) -> Iterator[Path]:
    names = (
        life.STATUS,
        life.METRICS,
        life.SUMMARY,
        "metrics.json",
        "compare.json",
        "index.json",
        _SEGMENTS,
        "checkpoints",
        "timing.json",
    )
    yield from (folder / name for name in names if (folder / name).exists())


def _content(path: Path) -> dict[str, Any]:
    """A JSON mapping; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _index(folder: Path) -> dict[str, Any]:
    return _content(folder / "index.json")


def _predicted(folder: Path) -> dict[Path, bool]:
    """Segments of a prediction's one video, or of each of several -> whether its whole video was seen."""
    alone = folder / _SEGMENTS
    found = [alone] if alone.is_file() else sorted(folder.rglob(_SEGMENTS))
    return {path: _content(path).get("partial") is not True for path in found}


def _facts_of_config(folder: Path, status: dict[str, Any], troubles: list[str]) -> dict[str, Any]:
    """Command, model and length, from `status.json`, else from `config.yaml`, which takes longer to read."""
    if isinstance(status.get("command"), str):
        steps = status.get("steps")
        return {
            "command": status["command"],
            "model": _text(status.get("model")),
            "steps": steps if isinstance(steps, int) else None,
        }
    if not (folder / "config.yaml").is_file():
        troubles.append("has no config.yaml")
        return {}
    from ssdet_cli.config.load import read_yaml
    from ssdet_cli.config.rundir import command_of

    try:
        content = read_yaml(folder / "config.yaml")
    except ConfigError as error:
        troubles.append(str(error).rstrip("."))
        return {}
    if (command := command_of(folder)) is None:
        troubles.append("its config.yaml is of no command of ssdet")
    model, loop = (part if isinstance(part := content.get(name), dict) else {} for name in ("model", "loop"))
    steps = loop.get("steps")
    what = model.get("backbone", content.get("protocol") if command == "evaluate" else None)
    if command == "extract-features":
        what = _extracted_with(folder, content, what)
    return {"command": command, "model": _text(what), "steps": steps if isinstance(steps, int) else None}


def _extracted_with(folder: Path, content: dict[str, Any], configured: object) -> object:
    """The backbone of stored features; the configuration's is a default where a checkpoint decided it."""
    origin = _index(folder).get("origin")
    if isinstance(origin, dict):
        return origin.get("backbone")
    return configured if content.get("checkpoint") is None else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _numbers_of(folder: Path, status: dict[str, Any], troubles: list[str]) -> dict[str, Any]:
    """Step, epoch and best score."""
    if (folder / "metrics.json").is_file():
        return _evaluated(folder / "metrics.json", troubles)
    path = folder / life.METRICS
    if not path.exists():
        return {}
    try:
        metrics = read_metrics(path, only_validation=True)
    except OSError as error:
        troubles.append(f"{life.METRICS} cannot be read: {error.strerror}")
        return {}
    if metrics.damaged:
        troubles.append(f"{life.METRICS}: {metrics.damaged} damaged line(s) left out")
    if not metrics.lines:
        return {}
    last = metrics.lines[-1]
    name, higher = monitored(status, metrics.lines)
    scored = [line for line in metrics.lines if line["split"] == "val" and is_number(line.get(name))]
    best = (max if higher else min)(scored, key=lambda line: line[name], default=None)
    return {
        "step": last["step"],
        "epoch": last["epoch"] if is_number(last.get("epoch")) else None,
        "metric": name if best else None,
        "best": best[name] if best else None,
        "best_step": best["step"] if best else None,
    }


def _evaluated(path: Path, troubles: list[str]) -> dict[str, Any]:
    try:
        score = json.loads(path.read_bytes())["mAP"]
    except (OSError, ValueError, KeyError, TypeError):
        troubles.append("metrics.json cannot be read")
        return {}
    return {"metric": "mAP", "best": 100 * score} if is_number(score) else {}


def monitored(status: dict[str, Any], lines: list[dict[str, Any]]) -> tuple[str, bool]:
    """The metric that decides about best.pt, and whether higher is better."""
    if isinstance(status.get("metric"), str):
        return status["metric"], bool(status.get("higher_is_better"))
    return ("mAP", True) if any("mAP" in line for line in lines) else ("loss", False)


def is_number(value: object) -> bool:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_metrics(path: Path, *, only_validation: bool = False) -> Metrics:
    """Read metrics.jsonl; what is no complete line is left out and counted.

    Args:
        path: The file.
        only_validation: Of the training lines the last one is enough: reading all of them takes a while in long runs.

    Raises:
        OSError: The file cannot be read.
    """
    texts = path.read_bytes().splitlines()
    kept = Metrics()
    last = len(texts) - 1
    for number, text in enumerate(texts):
        if not text.strip() or (only_validation and number < last - 1 and b'"val"' not in text):
            continue
        try:
            line = json.loads(text)
        except ValueError:
            kept.damaged += 1
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("split"), str):
            kept.lines.append(line)
        else:
            kept.damaged += 1
    return kept
