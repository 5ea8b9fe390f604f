"""What travels between loader, augmentation, model, task and engine.

Shape letters used throughout: B clips, C channels, T input frames, H, W pixels, K classes, L label times.
"""

from dataclasses import dataclass, field, replace

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
        features: Stored fine-stream features, stage name -> tensor; None for frame detectors.
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
        if self.lengths is not None and tuple(self.lengths.shape) != (batch,):
            raise ValueError(f"lengths must be ({batch},), got {tuple(self.lengths.shape)}.")
        if self.video_ids and len(self.video_ids) != batch:
            raise ValueError(f"video_ids must name {batch} clips, got {len(self.video_ids)}.")

    def __len__(self) -> int:
        return self.frames.shape[0]

    def network_inputs(self) -> dict[str, Tensor]:
        """Return what the network takes beside the frames, by keyword; only what is known."""
        return {} if self.lengths is None else {"lengths": self.lengths}

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "VideoBatch":
        """Return the batch with every tensor on `device`."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device, non_blocking=non_blocking)

        return replace(
            self,
            frames=move(self.frames),
            labels=move(self.labels),
            valid=move(self.valid),
            lengths=move(self.lengths),
            frame_seconds=move(self.frame_seconds),
            label_seconds=move(self.label_seconds),
            features=None if self.features is None else {k: move(v) for k, v in self.features.items()},
        )

    def pin_memory(self) -> "VideoBatch":
        """Return the batch in page-locked memory (called by the loader's pinning thread)."""

        def pin(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.pin_memory()

        return replace(
            self,
            frames=pin(self.frames),
            labels=pin(self.labels),
            valid=pin(self.valid),
            lengths=pin(self.lengths),
            frame_seconds=pin(self.frame_seconds),
            label_seconds=pin(self.label_seconds),
            features=None if self.features is None else {k: pin(v) for k, v in self.features.items()},
        )
