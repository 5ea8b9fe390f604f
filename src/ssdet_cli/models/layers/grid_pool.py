"""Grid Pool and Grid Unpool: learned down-sampling in time, and its inverse for the logits (Kahatapitiya and Ryoo,
"Coarse-Fine Networks for Temporal Activity Detection in Videos", CVPR 2021, section 3.2).

A small network says how confident it is of every temporal region. Confident regions last shorter on the grid, so that
samples lie denser there; the grid is the cumulative sum of the durations, from 0 at the first frame to 1 at the last.

Shapes: B clips, T frames, N = ⌈⌈T/2⌉/2⌉ regions, K = N + 1 samples, C channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.models.layers.frames import to_clips

#: Least share of the clip's length that one region keeps: the grid increases strictly in single precision too.
MIN_SHARE = 1e-6


def at_least_float32(values: Tensor) -> Tensor:
    """Return `values` in single precision, or in double where they have it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def grid_positions(confidence: Tensor) -> Tensor:
    """Return where to sample: the cumulative durations of the regions.

    Args:
        confidence: (B, N), any real number; the sigmoid of half of it is the confidence c, and 1 - c the duration.

    Returns:
        (B, N + 1), strictly increasing from 0 to 1, at least single precision.
    """
    # softmax of log(1 - c) is (1 - c) / Σ (1 - c), also where every c rounds to 1.
    shares = F.logsigmoid(-at_least_float32(confidence) / 2).softmax(1).clamp(min=MIN_SHARE)
    ends = shares.cumsum(1)
    return F.pad(ends / ends[:, -1:], (1, 0))


def sample_frames(frames: Tensor, positions: Tensor, num_frames: int) -> Tensor:
    """Return frames at fractional times, linear between neighbours.

    Args:
        frames: (B·T, C, H, W), channels-last.
        positions: (B, K) in [0, 1]; 0 is the first frame of a clip, 1 the last.
        num_frames: T.

    Returns:
        (B·K, C, H, W), channels-last.
    """
    times = positions * (num_frames - 1)
    lower = times.detach().long()
    upper = (lower + 1).clamp(max=num_frames - 1)
    first = torch.arange(positions.shape[0], device=positions.device)[:, None] * num_frames
    share = (times - lower).flatten()[:, None, None, None]
    # With the channels last in the shape too, what is gathered keeps the layout.
    stack = frames.permute(0, 2, 3, 1)
    below, above = (stack.index_select(0, (first + index).flatten()) for index in (lower, upper))
    return ((1 - share) * below + share * above).to(frames.dtype).permute(0, 3, 1, 2)


def grid_unpool(values: Tensor, positions: Tensor, num_steps: int) -> Tensor:
    """Put what was sampled at `positions` back on a uniform grid: the inverse of sampling, linear between samples.

    Args:
        values: (B, C, K), at `positions`.
        positions: (B, K), strictly increasing from 0 to 1.
        num_steps: L, uniform times from 0 to 1.

    Returns:
        (B, C, L), at least single precision.
    """
    times = torch.linspace(0, 1, num_steps, device=positions.device, dtype=positions.dtype).expand(
        positions.shape[0], -1
    )
    left = torch.searchsorted(positions.detach().contiguous(), times.contiguous(), right=True) - 1
    left = left.clamp(0, positions.shape[1] - 2)
    start, end = positions.gather(1, left), positions.gather(1, left + 1)
    share = ((times - start) / (end - start)).clamp(0, 1)[:, None]
    index = left[:, None].expand(-1, values.shape[1], -1)
    return (1 - share) * values.gather(2, index) + share * values.gather(2, index + 1)


class GridPool(nn.Module):
    """Sample K = ⌈⌈T/2⌉/2⌉ + 1 of T frames where a small network finds it worth while.

    The network: two 3×3×3 convolutions of stride 2 in time and space with batch norm and ReLU, one 1×3×3 convolution
    to a single channel, mean over space. Gradients reach it through the positions.

    Args:
        channels: C.
        norm_momentum: Of the two batch norms.
    """

    def __init__(self, channels: int, *, norm_momentum: float = 0.1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, stride=2, padding=1)
        self.norm1 = nn.BatchNorm3d(channels, momentum=norm_momentum)
        self.conv2 = nn.Conv3d(channels, channels, 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm3d(channels, momentum=norm_momentum)
        self.conv3 = nn.Conv3d(channels, 1, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def confidence(self, frames: Tensor, num_frames: int) -> Tensor:
        """Return the confidences (B, N), before the sigmoid, of frames (B·T, C, H, W)."""
        hidden = F.relu(self.norm1(self.conv1(to_clips(frames, num_frames))))
        hidden = F.relu(self.norm2(self.conv2(hidden)))
        return at_least_float32(self.conv3(hidden)).mean((1, 3, 4))

    def forward(self, frames: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
        """Return sampled frames (B·K, C, H, W) and their positions (B, K) of frames (B·T, C, H, W)."""
        positions = grid_positions(self.confidence(frames, num_frames))
        return sample_frames(frames, positions, num_frames), positions
