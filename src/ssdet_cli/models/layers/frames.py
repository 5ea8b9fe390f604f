"""Clips as a stack of frames, the layout in which the CPU is fastest.

A clip (B, C, T, H, W) whose memory is channels-last and a stack of frames (B·T, C, H, W) whose memory is channels-last
hold the same bytes in the same order. Layers that do not look across time work on the stack; the two functions here
change the view without copying.
"""

import torch
from torch import Tensor


def to_frames(clips: Tensor) -> Tensor:
    """View (B, C, T, H, W) as channels-last frames (B·T, C, H, W); copies only what is not channels-last yet."""
    return clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def to_clips(frames: Tensor, num_frames: int) -> Tensor:
    """View frames (B·T, C, H, W) as clips (B, C, T, H, W) of `num_frames` frames each."""
    return frames.unflatten(0, (-1, num_frames)).transpose(1, 2)
