"""What the engine asks of a task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ssdet_cli.batch import VideoBatch


@dataclass(frozen=True)
class StepResult:
    """What one forward pass amounts to.

    Attributes:
        loss: Scalar to differentiate.
        totals: Metric name -> (2,) tensor of sum and count, detached, so that metrics add up over steps and ranks
            without a copy to the host.
    """

    loss: Tensor
    totals: Mapping[str, Tensor]


class Task(Protocol):
    """Prepares batches and turns logits into a loss; knows no network and no loop."""

    def prepare(self, batch: VideoBatch, generator: torch.Generator | None) -> VideoBatch:
        """Normalise and augment on the batch's device; without a generator with the fixed draws of validation."""
        ...

    def loss(self, logits: Tensor, batch: VideoBatch) -> StepResult:
        """Compare logits (B, K, T') with the batch's labels."""
        ...


def total(value: Tensor, count: Tensor | float) -> Tensor:
    """(2,) float64 tensor of sum and count, detached."""
    value = value.detach().double()
    return torch.stack([value, torch.as_tensor(count, dtype=torch.float64, device=value.device)])
