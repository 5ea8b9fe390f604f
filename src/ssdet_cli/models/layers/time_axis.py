"""Between the input frames and the steps of a network that strides over time."""

import torch
from torch import Tensor


def pad_frames(clips: Tensor, multiple: int) -> Tensor:
    """Repeat the last frame of (B, C, T, H, W) until T is a multiple of `multiple`."""
    missing = -clips.shape[2] % multiple
    if missing == 0:
        return clips
    return torch.cat((clips, clips[:, :, -1:].expand(-1, -1, missing, -1, -1)), dim=2)


def steps(num_frames: int, stride: int) -> int:
    """Return how many steps of `stride` frames cover `num_frames`."""
    return -(-num_frames // stride)


def hold_last(values: Tensor, lengths: Tensor) -> Tensor:
    """Give the steps of (B, K, S) values beyond `lengths` (B,) those of the last step before."""
    steps = torch.arange(values.shape[2], device=values.device)
    index = torch.minimum(steps, lengths.clamp_min(1)[:, None] - 1)
    return values.gather(2, index[:, None].expand(-1, values.shape[1], -1))


def to_input_frames(values: Tensor, num_frames: int, stride: int, offset: float) -> Tensor:
    """Bring values at steps to all input frames: linear between steps, constant before the first and after the last.

    Args:
        values: (B, K, S), step j centred at input frame j · stride + offset.
        num_frames: T, input frames.
        stride: Input frames from step to step.
        offset: Input frame at which step 0 is centred; a fraction for an even patch.

    Returns:
        (B, K, T); `values` themselves where every frame is a step.
    """
    if stride == 1 and offset == 0:
        return values
    at = (torch.arange(num_frames, device=values.device) - offset) / stride
    at = at.clamp(0, values.shape[2] - 1)
    before = at.long()
    after = (before + 1).clamp(max=values.shape[2] - 1)
    return torch.lerp(values[..., before], values[..., after], (at - before).to(values.dtype))
