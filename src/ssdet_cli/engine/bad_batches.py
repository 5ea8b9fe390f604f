"""Losses that are not finite, and the videos that they came from."""

import json
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from ssdet_cli.files import write_atomically

#: File of a run folder that lists them.
FILE = "bad_batches.json"


@dataclass(frozen=True)
class BadBatch:
    """One of them.

    Attributes:
        step: Optimiser step, from 1.
        rank: Process that had it.
        loss: As text: NaN, infinity, or finite where the gradient is at fault.
        video_ids: Its videos.
    """

    step: int
    rank: int
    loss: str
    video_ids: tuple[str, ...]


class LossWatch:
    """Losses since they were last looked at; they stay on the device, so that no step waits for them."""

    def __init__(self) -> None:
        self._noted: list[tuple[int, Tensor, tuple[str, ...]]] = []
        self._norms: dict[int, Tensor] = {}

    def note(self, step: int, loss: Tensor, video_ids: tuple[str, ...]) -> None:
        """Keep the loss of a batch."""
        self._noted.append((step, loss, video_ids))

    def note_gradient(self, step: int, norm: Tensor) -> None:
        """Keep the norm of a step's gradient."""
        self._norms[step] = norm

    def is_finite(self, step: int) -> bool:
        """Whether all losses of a step and its gradient are finite; waits for the device."""
        values = [loss for noted, loss, _ in self._noted if noted == step]
        values += [self._norms[step]] if step in self._norms else []
        return all(map(isfinite, _on_host(values)))

    def look(self, rank: int) -> list[BadBatch]:
        """All batches of the bad steps since the last look; waits for the device, and forgets the rest."""
        noted, norms = self._noted, self._norms
        self._noted, self._norms = [], {}
        losses = _on_host([loss for _, loss, _ in noted])
        spoilt = {step for step, norm in zip(norms, _on_host([*norms.values()]), strict=True) if not isfinite(norm)}
        return [
            BadBatch(step, rank, str(loss), ids)
            for (step, _, ids), loss in zip(noted, losses, strict=True)
            if step in spoilt or not isfinite(loss)
        ]


def _on_host(values: list[Tensor]) -> list[float]:
    return torch.stack([value.float() for value in values]).tolist() if values else []


def the_guilty(found: list[BadBatch]) -> list[BadBatch]:
    """Of every step the batches whose loss is not finite; all of them where only the gradient is at fault."""
    known = {bad.step for bad in found if not isfinite(float(bad.loss))}
    return [bad for bad in found if bad.step not in known or not isfinite(float(bad.loss))]


def list_in(folder: Path, found: list[BadBatch]) -> Path:
    """Add to a run folder's list; a step that is repeated after a resume stands there once."""
    file = folder / FILE
    listed = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    again = {(bad.step, bad.rank) for bad in found}
    kept = [bad for bad in listed if (bad["step"], bad["rank"]) not in again]
    write_atomically(file, json.dumps([*kept, *map(asdict, found)], indent=2) + "\n")
    return file
