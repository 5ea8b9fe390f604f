"""Depthwise 3-D convolution on stacks of frames."""

from torch import Tensor
from torch.nn import functional as F

from ssdet_cli.models.layers.frames import to_clips, to_frames


def depthwise_conv3d(frames: Tensor, weight: Tensor, num_frames: int, stride: int = 1) -> Tensor:
    """Convolve every channel by itself over time and space, zeros around.

    Args:
        frames: (B·T, C, H, W), channels-last.
        weight: (C, 1, kT, kH, kW), odd sizes.
        num_frames: T.
        stride: In space; time keeps its length.

    Returns:
        (B·T, C, ⌈H / stride⌉, ⌈W / stride⌉), channels-last.
    """
    padding = tuple(size // 2 for size in weight.shape[2:])
    clips = to_clips(frames, num_frames)
    return to_frames(F.conv3d(clips, weight, None, (1, stride, stride), padding, 1, weight.shape[0]))
