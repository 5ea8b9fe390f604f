"""Volume Freeze: background segments without any annotation.

Source: "Weakly-guided Self-supervised Pretraining for Temporal Activity Detection" (AAAI 2023), detection pretraining.
"""

import torch
from torch import Tensor

from ssdet_cli.augment.frames import as_index, as_soft, check_clips, check_frames, gather_frames
from ssdet_cli.augment.windows import send, uniform_below


def draw_freeze(
    batch: int, frames: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Draw a frozen segment per clip: length from {1, ..., T//2 - 1} or 1, then start from {0, ..., T - length}.

    Args:
        batch: Clips B.
        frames: Frames T, at least 2.
        generator: Source of the draw; a CPU generator gives the same draw for every device.
        device: Where the result goes; the host waits only for what comes to it from another device.

    Returns:
        start, length: (B,) int64 in frames.

    Raises:
        ConfigError: T below 2.
    """
    check_frames(frames)
    longest = max(frames // 2 - 1, 1)
    length = torch.randint(1, longest + 1, (batch,), generator=generator, device=generator.device)
    start = uniform_below(frames - length + 1, generator)
    return send(start, device), send(length, device)


def fixed_freeze_draw(batch: int, frames: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """Give the frozen segments of validation: T//4 frames (at least 1) at T//8 in even items, at 5T//8 in odd ones.

    Returns:
        start, length: (B,) int64 in frames.

    Raises:
        ConfigError: T below 2.
    """
    check_frames(frames)
    odd = torch.arange(batch, device=device) % 2 == 1
    start = torch.where(odd, 5 * frames // 8, frames // 8)
    return start, torch.full_like(start, max(frames // 4, 1))


def volume_freeze(
    clips: Tensor, labels: Tensor, start: Tensor, length: Tensor, background: bool = True
) -> tuple[Tensor, Tensor]:
    """Insert one frame `length` times: motion stops, what followed is delayed, the clip's tail falls off.

    The frozen segment, its first frame included, holds no motion, hence no action: its label is background.

    Args:
        clips: (B, C, T, H, W), floating or uint8; not changed.
        labels: (B, K, T), channel 0 is background; not changed.
        start: (B,) int, the frame that freezes.
        length: (B,) int, for how many frames; a clip of which 0 frames freeze stays as it is.
        background: False where no channel stands for background: frozen frames then get an all-zero column.

    Returns:
        clips of the same shape and type; labels (B, K, T) float32, or float64 as they came.

    Raises:
        ConfigError: A shape or type does not fit.
    """
    check_clips(clips, labels)
    batch, frames = clips.shape[0], clips.shape[2]
    start = as_index("start", start, (batch,), clips.device)[:, None]
    length = as_index("length", length, (batch,), clips.device)[:, None]
    time = torch.arange(frames, device=clips.device)[None]
    frozen = (time >= start) & (time < start + length)
    source = torch.where(time < start, time, torch.maximum(time - (length - 1).clamp_min(0), start))
    item = torch.arange(batch, device=clips.device)[:, None]
    return gather_frames(clips, item, source), _freeze_labels(labels, source, frozen, background)


def _freeze_labels(labels: Tensor, source: Tensor, frozen: Tensor, background: bool) -> Tensor:
    classes = labels.shape[1]
    delayed = as_soft(labels).gather(2, source[:, None].expand(-1, classes, -1))
    channel = torch.arange(classes, device=labels.device)[None, :, None]
    still = (channel == 0).to(delayed.dtype) if background else torch.zeros((), device=labels.device)
    return torch.where(frozen[:, None], still, delayed)
