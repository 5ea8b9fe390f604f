"""What travels between loader, augmentation, model, task and engine.

Shape letters used throughout: B clips, C channels, T input frames, H, W pixels, K classes, L label times.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class VideoBatch:
    """A batch of clips with what is known about them.

    Attributes:
        frames: (B, 3, T, H, W), uint8 as decoded or float normalised.
        labels: (B, K, L) float, or None where nothing is known. L = T for pretraining (channel 0 is background).
        valid: (B, L) bool, False at label times that are padding; None means all real.
        lengths: (B,) int64, input frames that are real; the rest repeat the last one. None means all.
        frame_seconds: (B, T) float64, time of every input frame in its video; None where time does not matter.
        label_seconds: (B, L) float64, time of every label; None means the labels are at the input frames.
        features: Stored features of the fine stream, stage name -> (B, C, F, h, w); None for frame detectors.
        feature_mask: (B, F) bool, False at fine frames that are padding; None means all are real.
        feature_start: (B,) float32, first input frame of every clip, counted in fine frames; None means 0.
        video_ids: B names.
        backends: Which video reader read each clip.
        failures: `(path, reason)` of files that could not be read and were replaced by another clip.
    """

    frames: Tensor
    labels: Tensor | None = None
    valid: Tensor | None = None
    lengths: Tensor | None = None
    frame_seconds: Tensor | None = None
    label_seconds: Tensor | None = None
    features: dict[str, Tensor] | None = None
    feature_mask: Tensor | None = None
    feature_start: Tensor | None = None
    video_ids: tuple[str, ...] = ()
    backends: tuple[str, ...] = field(default=(), repr=False)
    failures: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.frames.ndim != 5:
            raise ValueError(f"frames must be (B, C, T, H, W), got {tuple(self.frames.shape)}.")
        batch, _, frames = self.frames.shape[:3]
        if self.labels is not None and (self.labels.ndim != 3 or self.labels.shape[0] != batch):
            raise ValueError(f"labels must be ({batch}, K, L), got {tuple(self.labels.shape)}.")
        times = frames if self.labels is None else self.labels.shape[2]
        for name, length in (("valid", times), ("frame_seconds", frames), ("label_seconds", times)):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (batch, length):
                raise ValueError(f"{name} must be ({batch}, {length}), got {tuple(value.shape)}.")
        for name in ("lengths", "feature_start"):
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != (batch,):
                raise ValueError(f"{name} must be ({batch},), got {tuple(value.shape)}.")
        if self.video_ids and len(self.video_ids) != batch:
            raise ValueError(f"video_ids must name {batch} clips, got {len(self.video_ids)}.")

    def __len__(self) -> int:
        return self.frames.shape[0]

    def network_inputs(self) -> dict[str, Any]:
        """Return what the network takes beside the frames, by keyword; only what is known."""
        inputs = {
            "lengths": self.lengths,
            "fine_features": self.features,
            "fine_mask": self.feature_mask,
            "fine_start": self.feature_start,
        }
        return {name: value for name, value in inputs.items() if value is not None}

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "VideoBatch":
        """Return the batch with every tensor on `device`."""
        return self._with_each(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "VideoBatch":
        """Return the batch in page-locked memory (called by the loader's pinning thread)."""
        return self._with_each(lambda value: value.pin_memory())

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> "VideoBatch":
        changed = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Tensor):
                changed[each.name] = change(value)
            elif isinstance(value, dict):
                changed[each.name] = {name: change(tensor) for name, tensor in value.items()}
        return replace(self, **changed)
