"""Average precision as a `torchmetrics.Metric`, for other people's training loops."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ssdet_cli.evaluation.average_precision import Ties, average_precision, mean_ap, weighted_ap


class FrameAveragePrecision(Metric):
    """Average precision over all frames that were given to it, on all processes.

        metric = FrameAveragePrecision(num_classes=157)
        metric.update(logits, labels, valid)    # (B, K, T), (B, K, T), (B, T); or rows, (N, K) and (N, K)
        metric.compute()

    What it keeps grows with the frames: scores in float32 (see `set_dtype`) and labels as bytes. Equal scores keep the
    order in which they came, those of process 0 first; with `ties="together"` their order makes no difference.

    Args:
        num_classes: K.
        average: `macro` is the mean over the classes that have a positive, `weighted` weighs them by their positives,
            `none` is the (K,) AP of each, NaN where it has no positive.
        ties: See `average_precision`.
        **kwargs: Of `torchmetrics.Metric`.

    Raises:
        ValueError: `num_classes` is not positive, or `average` or `ties` is none of these.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    scores: list[Tensor]
    targets: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        average: Literal["macro", "weighted", "none"] = "macro",
        ties: Ties = "order",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ValueError(f"num_classes must be positive, got {num_classes}.")
        if average not in ("macro", "weighted", "none"):
            raise ValueError(f"average must be macro, weighted or none, got {average!r}.")
        if ties not in ("order", "together"):
            raise ValueError(f"ties must be order or together, got {ties!r}.")
        self.num_classes, self.average, self.ties = num_classes, average, ties
        self.add_state("scores", [], dist_reduce_fx="cat")
        self.add_state("targets", [], dist_reduce_fx="cat")

    def update(self, scores: Tensor, targets: Tensor, valid: Tensor | None = None) -> None:
        """Add frames.

        Args:
            scores: (N, K) or (B, K, T), logits or probabilities.
            targets: Alike; positive where above 0.
            valid: (N,) or (B, T) bool, frames that count; None is all.

        Raises:
            ValueError: The shapes do not fit each other or `num_classes`.
        """
        if scores.shape != targets.shape or scores.ndim not in (2, 3) or scores.shape[1] != self.num_classes:
            raise ValueError(
                f"scores and targets must both be (N, {self.num_classes}) or (B, {self.num_classes}, T), got "
                f"{tuple(scores.shape)} and {tuple(targets.shape)}."
            )
        frames = scores.shape[:1] + scores.shape[2:]
        if valid is not None and valid.shape != frames:
            raise ValueError(f"valid must be {tuple(frames)}, got {tuple(valid.shape)}.")
        self.scores.append(self._rows(scores.detach().to(self.dtype), valid))
        self.targets.append(self._rows(targets > 0, valid))

    def _rows(self, values: Tensor, valid: Tensor | None) -> Tensor:
        rows = values.movedim(1, -1)
        return rows.reshape(-1, self.num_classes) if valid is None else rows[valid.bool()]

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """See `Metric`; a process that saw no frame takes part too."""
        if not self.scores:
            self.scores.append(torch.empty(0, self.num_classes, dtype=self.dtype, device=self.device))
            self.targets.append(torch.empty(0, self.num_classes, dtype=torch.bool, device=self.device))
        super().sync(*args, **kwargs)

    def compute(self) -> Tensor:
        """0 to 1, float64 on the CPU; NaN where nothing has a positive.

        Raises:
            ValueError: A score is NaN.
        """
        if not len(self.scores):
            return torch.full((self.num_classes,) if self.average == "none" else (), torch.nan, dtype=torch.float64)
        scores, targets = dim_zero_cat(self.scores), dim_zero_cat(self.targets)
        ap = average_precision(scores, targets, ties=self.ties)
        if self.average == "none":
            return torch.from_numpy(ap)
        positives = targets.sum(dim=0).cpu().numpy().astype(np.float64)
        return torch.tensor(mean_ap(ap) if self.average == "macro" else weighted_ap(ap, positives), dtype=torch.float64)
