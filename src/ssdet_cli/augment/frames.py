"""Frames of a batch: what may be augmented, and how frames are fetched from other clips and times."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ssdet_cli.errors import ConfigError

MIN_FRAMES = 2


def check_frames(frames: int) -> None:
    """Refuse clips too short to hold two segments.

    Raises:
        ConfigError: Fewer than two frames.
    """
    if frames < MIN_FRAMES:
        raise ConfigError(f"Volume augmentations need clips of at least {MIN_FRAMES} frames, got {frames}.")


def check_clips(clips: Tensor, labels: Tensor) -> None:
    """Refuse a batch whose clips and labels do not belong together.

    Args:
        clips: Should be (B, C, T, H, W), floating or uint8, T at least 2.
        labels: Should be (B, K, T), floating.

    Raises:
        ConfigError: A shape or type is another one.
    """
    if clips.ndim != 5:
        raise ConfigError(f"clips must be (B, C, T, H, W), got {tuple(clips.shape)}.")
    if not (clips.is_floating_point() or clips.dtype == torch.uint8):
        raise ConfigError(f"clips must be floating or uint8, got {clips.dtype}.")
    batch, _, frames = clips.shape[:3]
    check_frames(frames)
    if labels.ndim != 3 or labels.shape[0] != batch or labels.shape[2] != frames:
        raise ConfigError(f"labels must be ({batch}, K, {frames}) like the clips, got {tuple(labels.shape)}.")
    if not labels.is_floating_point():
        raise ConfigError(f"labels must be floating, got {labels.dtype}.")


def as_soft(labels: Tensor) -> Tensor:
    """Return labels in at least float32: in half precision the weights of a column would not sum to 1."""
    return labels if labels.dtype == torch.float64 else labels.float()


def as_index(name: str, value: Tensor, shape: Iterable[int], device: torch.device) -> Tensor:
    """Return a drawn tensor as int64 on `device`, without making the host wait.

    Raises:
        ConfigError: The shape is another one.
    """
    if tuple(value.shape) != tuple(shape):
        raise ConfigError(f"{name} must be {tuple(shape)}, got {tuple(value.shape)}.")
    return value.to(device=device, dtype=torch.int64, non_blocking=True)


def gather_frames(clips: Tensor, item: Tensor, frame: Tensor) -> Tensor:
    """Fetch whole frames: result[b, :, t] = clips[item[b, t], :, frame[b, t]].

    One index per (clip, channel, frame) lets the copy run over whole pictures. On the CPU that takes the time of about
    one `clone()`; `index_select` on flattened frames is tens of times slower, `gather` along time twice as slow.

    Args:
        clips: (B, C, T, H, W).
        item: (B, T) or (1, T) or (B, 1) int64.
        frame: The same.

    Returns:
        (B, C, T, H, W), a new tensor.
    """
    channel = torch.arange(clips.shape[1], device=clips.device)[None, :, None]
    return clips[item[:, None, :], channel, frame[:, None, :]]
