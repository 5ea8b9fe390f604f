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


def regions(num_frames: Tensor) -> Tensor:
    """Return N, the regions of clips of `num_frames` frames."""
    return ((num_frames + 1) // 2 + 1) // 2


def grid_positions(confidence: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return where to sample: the cumulative durations of the regions.

    Args:
        confidence: (B, N), any real number; the sigmoid of half of it is the confidence c, and 1 - c the duration.
        lengths: (B,) regions of each clip that are real; None is all.

    Returns:
        (B, N + 1), strictly increasing from 0 to 1 and 1 from there on, at least single precision.
    """
    # softmax of log(1 - c) is (1 - c) / Σ (1 - c), also where every c rounds to 1.
    durations = F.logsigmoid(-at_least_float32(confidence) / 2)
    if lengths is None:
        shares = durations.softmax(1).clamp(min=MIN_SHARE)
    else:
        real = torch.arange(durations.shape[1], device=durations.device) < lengths[:, None]
        shares = durations.masked_fill(~real, -torch.inf).softmax(1).clamp(min=MIN_SHARE) * real
    ends = shares.cumsum(1)
    return F.pad(ends / ends[:, -1:], (1, 0))


def last_frames(num_frames: int, lengths: Tensor | None) -> int | Tensor:
    """Return the number of the last real frame: of all clips alike, or (B, 1) of each."""
    return num_frames - 1 if lengths is None else lengths.clamp(1, num_frames)[:, None] - 1


def sample_frames(frames: Tensor, positions: Tensor, num_frames: int, lengths: Tensor | None = None) -> Tensor:
    """Return frames at fractional times, linear between neighbours.

    Args:
        frames: (B·T, C, H, W), channels-last.
        positions: (B, K) in [0, 1]; 0 is the first frame of a clip, 1 the last.
        num_frames: T.
        lengths: (B,) frames of each clip that are real; None is all.

    Returns:
        (B·K, C, H, W), channels-last.
    """
    last = last_frames(num_frames, lengths)
    times = positions * last
    end = torch.as_tensor(last, device=times.device)
    # A position that is not a number is no place in the clip; it makes the samples NaN, which the loss then tells.
    lower = torch.minimum(times.detach().long().clamp(min=0), end)
    upper = torch.minimum(lower + 1, end)
    first = torch.arange(positions.shape[0], device=positions.device)[:, None] * num_frames
    share = (times - lower).flatten()[:, None, None, None]
    # With the channels last in the shape too, what is gathered keeps the layout.
    stack = frames.permute(0, 2, 3, 1)
    below, above = (stack.index_select(0, (first + index).flatten()) for index in (lower, upper))
    return ((1 - share) * below + share * above).to(frames.dtype).permute(0, 3, 1, 2)


def grid_unpool(values: Tensor, positions: Tensor, num_steps: int, lengths: Tensor | None = None) -> Tensor:
    """Put what was sampled at `positions` back on a uniform grid: the inverse of sampling, linear between samples.

    Args:
        values: (B, C, K), at `positions`.
        positions: (B, K), strictly increasing from 0 to 1.
        num_steps: L, uniform times from 0 to 1.
        lengths: (B,) samples of each clip that are real, at least 2; None is all. The uniform times of a clip are
            then as many, and what lies beyond repeats the last.

    Returns:
        (B, C, L), at least single precision.
    """
    batch, samples = positions.shape
    if lengths is None:
        times = torch.linspace(0, 1, num_steps, device=positions.device, dtype=positions.dtype).expand(batch, -1)
    else:
        steps = torch.arange(num_steps, device=positions.device, dtype=positions.dtype)
        times = (steps / (lengths[:, None] - 1)).clamp(max=1)
    left = _num_at_most(positions.detach(), times) - 1
    last = samples - 2 if lengths is None else lengths[:, None] - 2
    left = torch.minimum(left.clamp(min=0), torch.as_tensor(last, device=left.device))
    start, end = positions.gather(1, left), positions.gather(1, left + 1)
    share = ((times - start) / (end - start)).clamp(0, 1)[:, None]
    index = left[:, None].expand(-1, values.shape[1], -1)
    return (1 - share) * values.gather(2, index) + share * values.gather(2, index + 1)


def spread(values: Tensor, num_frames: int, steps: Tensor, lengths: Tensor) -> Tensor:
    """Bring uniform steps of clips of different lengths to their frames, linear, the last frame on the last step.

    Args:
        values: (B, C, K).
        num_frames: T.
        steps: (B,) steps of each clip that are real, at least 2.
        lengths: (B,) frames of each clip that are real; what lies beyond repeats the last.

    Returns:
        (B, C, T).
    """
    frames = torch.arange(num_frames, device=values.device, dtype=values.dtype)
    last = lengths[:, None] - 1
    at = torch.minimum(frames, last) / last.clamp(min=1) * (steps[:, None] - 1)
    left = torch.minimum(at.long(), steps[:, None] - 2)
    index = left[:, None].expand(-1, values.shape[1], -1)
    return torch.lerp(values.gather(2, index), values.gather(2, index + 1), (at - left)[:, None])


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

    def forward(self, frames: Tensor, num_frames: int, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return sampled frames (B·K, C, H, W) and their positions (B, K) of frames (B·T, C, H, W).

        Of a clip of which only `lengths` (B,) frames are real, no frame beyond them is sampled; the samples that it
        would not have on its own are its last frame.
        """
        confidence = self.confidence(frames, num_frames)
        positions = grid_positions(confidence, None if lengths is None else regions(lengths.clamp(1, num_frames)))
        return sample_frames(frames, positions, num_frames, lengths), positions


def _num_at_most(positions: Tensor, times: Tensor) -> Tensor:
    """How many of (B, K) rising positions are at most each of (B, L) times."""
    if torch.compiler.is_exporting():  # ONNX has no searchsorted
        return (positions[:, None] <= times[:, :, None]).sum(dim=-1)
    return torch.searchsorted(positions.contiguous(), times.contiguous(), right=True)
