"""Checkpoints: written whole or not at all, read without executing anything from the file."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.errors import CheckpointError
from ssdet_cli.files import write_atomically
from ssdet_cli.models.weights.files import unreadable

#: Raised when the meaning of a key changes.
FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save tensors and plain containers so that `torch.load(weights_only=True)` reads them."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getbuffer())


def keep_checkpoint(folder: Path, state: dict[str, Any], most: int | None) -> None:
    """Save `step-<N>.pt` beside last.pt and best.pt, and delete the oldest ones beyond `most`."""
    save_checkpoint(folder / f"step-{state['progress']['step']:08d}.pt", state)
    for file in _kept(folder)[: -most if most is not None else 0]:
        file.unlink(missing_ok=True)


def _kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"))


def latest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What a run continues from: the furthest of its checkpoints, or None without any.

    Raises:
        CheckpointError: One of them cannot be read; what the run would continue from without it is said.
    """
    place = folder / "checkpoints"
    files = [place / "last.pt", place / "best.pt", *_kept(place)[-1:]]
    states, damaged = {}, {}
    for file in filter(Path.exists, files):
        try:
            states[file.name] = load_checkpoint(file)
        except CheckpointError as error:
            damaged[file.name] = error
    # Of one step, the checkpoint that was written behind its validation.
    places = {name: (state["progress"]["step"], not state["progress"].get("due")) for name, state in states.items()}
    furthest = max(places, key=places.get, default=None)
    if damaged:  # not passed over: ranks that see different files would go on from different steps
        first = next(iter(damaged.values()))
        goes_on = "the run begins anew"
        if furthest is not None:
            goes_on = f"--resume goes on from {furthest}, step {states[furthest]['progress']['step']}"
        raise CheckpointError(f"{first} Without {' and '.join(damaged)}, {goes_on}: delete what is damaged.") from first
    return states.get(furthest)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read one of our checkpoints (a file, or a run folder's best) onto the CPU.

    Raises:
        CheckpointError: Missing, truncated, or not a checkpoint of ssdet.
    """
    file = checkpoint_file(path)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, LookupError) as error:
        raise unreadable(file, error, "a checkpoint") from error
    if not isinstance(state, dict) or not {"format", "model", "meta"} <= state.keys():
        raise CheckpointError(f"{file} is not a checkpoint of ssdet; weights of other origin go to --init.")
    if state["format"] > FORMAT:
        raise CheckpointError(f"{file} has format {state['format']}; this ssdet reads up to {FORMAT}. Upgrade ssdet.")
    return state
