"""Volume MixUp: frames that hold two actions, whose weights ramp over time.

Source: "Weakly-guided Self-supervised Pretraining for Temporal Activity Detection" (AAAI 2023), detection pretraining.
"""

import torch
from torch import Tensor

from ssdet_cli.augment.frames import as_index, as_soft, check_clips, gather_frames
from ssdet_cli.augment.windows import partner_weight


def blend(clips: Tensor, partner: Tensor, weight: Tensor, item_only: Tensor, partner_only: Tensor) -> Tensor:
    """Mix every clip with its partner in one pass.

    Frames of which one clip has all are fetched from that clip twice: a compiled kernel then finds the second read in
    its cache, so memory is read twice only where two clips really meet.

    Args:
        clips: (B, C, T, H, W), floating or uint8.
        partner: (B,) int64.
        weight: Of the item, float32, broadcasting to clips.
        item_only: (B, T) bool, frames where the partner has no weight.
        partner_only: (B, T) bool, frames where the item has no weight.

    Returns:
        (B, C, T, H, W) of the clips' type; uint8 is rounded to the nearest.
    """
    itself = torch.arange(clips.shape[0], device=clips.device)[:, None]
    time = torch.arange(clips.shape[2], device=clips.device)[None]
    other = gather_frames(clips, torch.where(item_only, itself, partner[:, None]), time)
    own = clips
    if torch.compiler.is_compiling():
        own = gather_frames(clips, torch.where(partner_only, partner[:, None], itself), time)
    return interpolate(other, own, weight)


def interpolate(other: Tensor, own: Tensor, weight: Tensor) -> Tensor:
    """Return other + weight * (own - other) in at least float32, exact at weights 0 and 1; `other` may be reused."""
    if other.dtype in (torch.float32, torch.float64):
        return other.lerp_(own, weight.to(other.dtype))
    mixed = other.float().lerp_(own.float(), weight)
    return mixed.round_().to(other.dtype) if other.dtype == torch.uint8 else mixed.to(other.dtype)


def mix_labels(labels: Tensor, partner: Tensor, weight: Tensor) -> Tensor:
    """Mix (B, K, T) labels with those of the partners; `weight` (B, T) float32 is the item's; see `as_soft`."""
    labels = as_soft(labels)
    return labels[partner].lerp_(labels, weight[:, None].to(labels.dtype))


def volume_mixup(
    clips: Tensor, labels: Tensor, start: Tensor, length: Tensor, partner: Tensor
) -> tuple[Tensor, Tensor]:
    """Blend every clip into its partner where their time windows overlap, and their labels with the same weights.

    Args:
        clips: (B, C, T, H, W), floating or uint8; not changed.
        labels: (B, K, T); not changed.
        start: (2, B) int, windows' first frames as drawn (they are made to cover every frame here).
        length: (2, B) int, windows' lengths as drawn.
        partner: (B,) int, the clip that each item is mixed with.

    Returns:
        clips of the same shape and type; labels (B, K, T) float32, or float64 as they came.

    Raises:
        ConfigError: A shape or type does not fit.
    """
    check_clips(clips, labels)
    batch, frames = clips.shape[0], clips.shape[2]
    start = as_index("start", start, (2, batch), clips.device)
    length = as_index("length", length, (2, batch), clips.device)
    partner = as_index("partner", partner, (batch,), clips.device)
    weight = 1 - partner_weight(start, length, frames)
    mixed = blend(clips, partner, weight[:, None, :, None, None], weight == 1, weight == 0)
    return mixed, mix_labels(labels, partner, weight)
