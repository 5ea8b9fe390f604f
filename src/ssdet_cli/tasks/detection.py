"""Per-frame multi-label detection from frame labels."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ssdet_cli.batch import VideoBatch
from ssdet_cli.tasks.interface import StepResult, total
from ssdet_cli.tasks.losses import clip_max_bce, frame_bce, interpolate_in_time, resize_time


class FrameDetection:
    """Binary cross-entropy per class: on frames, and on the clip-level maximum over time.

    Source: fine-tuning of SSDet and Coarse-Fine Networks (both halves weigh 1/2 there).

    Args:
        normalize: uint8 (B, 3, T, H, W) -> float frames.
        clip_weight: Part of the clip-level term.
    """

    def __init__(self, normalize: Callable[[Tensor], Tensor], clip_weight: float = 0.5) -> None:
        self.normalize = normalize
        self.clip_weight = clip_weight

    def prepare(self, batch: VideoBatch, generator: torch.Generator | None) -> VideoBatch:
        """Return the batch with normalised frames; nothing is drawn."""
        return replace(batch, frames=self.normalize(batch.frames))

    def loss(self, logits: Tensor, batch: VideoBatch) -> StepResult:
        """Interpolate (B, K, T') logits to the label times and compare, padding left out."""
        logits = resize_time(logits, batch.frames.shape[2]).float()
        if batch.label_seconds is not None:
            logits = interpolate_in_time(logits, batch.frame_seconds, batch.label_seconds)
        valid = batch.valid
        if valid is None:
            valid = torch.ones_like(batch.labels[:, 0], dtype=torch.bool)
        on_frames = frame_bce(logits, batch.labels, valid)
        on_clip = clip_max_bce(logits, batch.labels, valid)
        loss = (1 - self.clip_weight) * on_frames + self.clip_weight * on_clip
        return StepResult(
            loss, {"loss": total(loss, 1), "frame_loss": total(on_frames, 1), "clip_loss": total(on_clip, 1)}
        )
