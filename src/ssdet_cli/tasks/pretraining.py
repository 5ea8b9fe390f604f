"""Detection pretraining from weak labels, and plain classification on the same path."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ssdet_cli.batch import VideoBatch
from ssdet_cli.tasks.interface import StepResult, total
from ssdet_cli.tasks.losses import resize_time, soft_cross_entropy

BACKGROUND = "background"


class VolumePretraining:
    """Soft per-frame cross-entropy on clips that volume augmentations have made into a detection task.

    Source: "Weakly-guided Self-supervised Pretraining for Temporal Activity Detection" (AAAI 2023).

    Args:
        normalize: uint8 (B, 3, T, H, W) -> float frames; None where `augment` does that as well.
        augment: (clips, labels, generator) -> (clips, labels), with `fixed(clips, labels)` for validation; None
            leaves the clips as they are.
        level: "frame" labels every frame; "clip" compares the time averages of logits and labels, which is plain
            classification where nothing augments.
    """

    def __init__(self, normalize: Callable[[Tensor], Tensor] | None, augment: Callable | None, level: str) -> None:
        self.normalize = normalize
        self.augment = augment
        self.level = level

    def prepare(self, batch: VideoBatch, generator: torch.Generator | None) -> VideoBatch:
        """Return the batch normalised and augmented; labels (B, K, T) with background as channel 0."""
        frames, labels = batch.frames, batch.labels
        if self.normalize is not None:
            frames = self.normalize(frames)
        if self.augment is not None:
            draw = self.augment.fixed if generator is None else self.augment
            frames, labels = draw(frames, labels) if generator is None else draw(frames, labels, generator)
        return replace(batch, frames=frames, labels=labels)

    def loss(self, logits: Tensor, batch: VideoBatch) -> StepResult:
        """Loss and per-frame accuracy (most likely class against the heaviest label) of (B, K, T') logits."""
        labels = batch.labels
        logits = resize_time(logits, labels.shape[2])
        hits = (logits.argmax(dim=1) == labels.argmax(dim=1)).sum()
        frames = labels.shape[0] * labels.shape[2]
        if self.level == "clip":
            per_item = soft_cross_entropy(logits.float().mean(2, keepdim=True), labels.mean(2, keepdim=True))
        else:
            per_item = soft_cross_entropy(logits, labels)
        loss = per_item.mean()
        return StepResult(loss, {"loss": total(per_item.sum(), per_item.numel()), "accuracy": total(hits, frames)})
