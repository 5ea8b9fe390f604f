"""Spatial transforms, drawn once per clip and applied to all of its frames, and normalisation on the device.

The random crop and its list of scales follow the X3D training scripts that SSDet uses: a square of side
floor(min(W, H) * s), s drawn from a list, at a uniformly random place, resized to the input size of the network.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

#: Channel means and deviations (RGB in [0, 1]) of Kinetics-400 as used with X3D.
KINETICS = (
    (110.63666788 / 255, 103.16065604 / 255, 96.29023126 / 255),
    (38.7568578 / 255, 37.88248729 / 255, 40.02898126 / 255),
)
#: Of Charades; the deviations are those of frame means, hence small.
CHARADES = ((0.413, 0.368, 0.338), (0.131, 0.125, 0.132))
#: Of the SlowFast and pytorchvideo model zoos.
SLOWFAST = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


class Box(NamedTuple):
    """A square of `side` pixels whose upper left corner is at row `top`, column `left`."""

    top: int
    left: int
    side: int


def random_crop_box(height: int, width: int, scales: Sequence[float], rng: np.random.Generator) -> Box:
    """Draw a square crop: side floor(min(height, width) * s), s uniform from `scales`, place uniform.

    Args:
        height: Of the frames, pixels.
        width: Of the frames, pixels.
        scales: Sides relative to the short side of the frame, each in (0, 1].
        rng: Source of the draws: the scale, the row, the column.

    Raises:
        ValueError: The frame is empty, or `scales` is, or a scale is outside (0, 1].
    """
    _check_size(height, width)
    if not len(scales) or not all(0 < scale <= 1 for scale in scales):
        raise ValueError(f"scales must be numbers in (0, 1], got {list(scales)}.")
    scale = float(scales[int(rng.integers(len(scales)))])
    # 180 * (160 / 180) may come out just below 160; the floor must not lose a pixel to that.
    side = max(1, int(min(height, width) * scale + 1e-9))
    top = int(rng.integers(height - side + 1))
    return Box(top, int(rng.integers(width - side + 1)), side)


def centre_crop_box(height: int, width: int) -> Box:
    """Return the centred square over the full short side of a frame.

    Raises:
        ValueError: The frame is empty.
    """
    _check_size(height, width)
    side = min(height, width)
    return Box((height - side) // 2, (width - side) // 2, side)


def crop_boxes(height: int, width: int, count: int) -> tuple[Box, ...]:
    """Return squares over the full short side, evenly from one end of the long side to the other; one is the centre.

    Raises:
        ValueError: The frame is empty.
    """
    centre = centre_crop_box(height, width)
    if count == 1:
        return (centre,)
    down, along = height - centre.side, width - centre.side
    places = [number / (count - 1) for number in range(count)]
    return tuple(Box(round(down * place), round(along * place), centre.side) for place in places)


def crop_resize(frames: np.ndarray | Tensor, box: Box, size: int) -> Tensor:
    """Cut a square out of every frame and resize it, bilinear with antialiasing.

    Args:
        frames: (T, H, W, 3) uint8.
        box: What to cut, inside the frame.
        size: Side of the result S, pixels. No resizing takes place where the box has this side already.

    Returns:
        (3, T, S, S) uint8, contiguous.

    Raises:
        ValueError: `frames` has another shape or type, `box` leaves the frame, or `size` is smaller than 1.
    """
    frames = torch.as_tensor(frames)
    _check_crop(frames, box, size)
    cut = frames[:, box.top : box.top + box.side, box.left : box.left + box.side].permute(0, 3, 1, 2)
    if box.side != size:
        # Importing torchvision takes a second, which readers of the constants above need not pay.
        from torchvision.transforms.v2 import InterpolationMode, functional

        cut = functional.resize(cut, [size, size], interpolation=InterpolationMode.BILINEAR, antialias=True)
    return cut.permute(1, 0, 2, 3).contiguous()


def flip(clip: Tensor) -> Tensor:
    """Mirror a clip (..., H, W) left to right."""
    return clip.flip(-1)


class Colours(NamedTuple):
    """A change of colours: (name of a function, factor) in the order in which they are applied."""

    steps: tuple[tuple[str, float], ...]


def draw_colours(strengths: Sequence[float], rng: np.random.Generator) -> Colours:
    """Draw how a clip's colours change.

    Args:
        strengths: Of brightness, contrast and saturation, factors from 1 - s to 1 + s; and of the hue, turned by -s to
            s of the circle.
        rng: Source of the draws: four factors and an order, whatever the strengths.

    Raises:
        ValueError: There are not four strengths.
    """
    if len(strengths) != 4:
        raise ValueError(f"strengths must be four numbers, got {list(strengths)}.")
    drawn = rng.uniform(-1, 1, 4) * np.asarray(strengths)
    factors = {f"adjust_{name}": 1 + drawn[at] for at, name in enumerate(("brightness", "contrast", "saturation"))}
    steps = [*factors.items(), ("adjust_hue", drawn[3])]
    return Colours(tuple((steps[at][0], float(steps[at][1])) for at in rng.permutation(4) if strengths[at] > 0))


def change_colours(clip: Tensor, colours: Colours) -> Tensor:
    """Change the colours of (3, T, S, S) uint8 frames, of all in the same way, with torchvision's functions."""
    if not colours.steps:
        return clip
    from torchvision.transforms.v2 import functional

    frames = clip.transpose(0, 1)
    for name, factor in colours.steps:
        frames = getattr(functional, name)(frames, factor)
    return frames.transpose(0, 1).contiguous()


class Normalize(nn.Module):
    """Pixels in [0, 255] -> (pixels / 255 - mean) / std, per channel, on the device the clip is on.

    Args:
        mean: Channel means of RGB in [0, 1].
        std: Channel deviations, above 0.
        dtype: Type of the result (float32, or bfloat16 to halve the traffic of a bf16 network).

    Raises:
        ValueError: The two have different lengths or a deviation is not above 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        mean: Sequence[float] = KINETICS[0],
        std: Sequence[float] = KINETICS[1],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(f"mean and std need equal lengths and std above 0, got {tuple(mean)} and {tuple(std)}.")
        self.dtype = dtype
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(-1, 1, 1, 1), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalise.

        Args:
            clips: (B, C, T, H, W) or (C, T, H, W), uint8 or float, values in [0, 255].

        Returns:
            The same shape in `dtype`; computed in float32.
        """
        # One multiplication and one addition per pixel: x / (255 std) - mean / std.
        return torch.addcmul(-self.mean / self.std, clips.float(), 1 / (255 * self.std)).to(self.dtype)

    def denormalize(self, clips: Tensor) -> Tensor:
        """Undo `forward`: floats -> uint8 pixels, rounded and clamped to [0, 255]."""
        pixels = (clips.float() * self.std + self.mean) * 255
        return pixels.round().clamp(0, 255).to(torch.uint8)

    def extra_repr(self) -> str:
        """Show the statistics."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}, dtype={self.dtype}"


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"a frame must have at least one pixel, got {height} x {width}.")


def _check_crop(frames: Tensor, box: Box, size: int) -> None:
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != torch.uint8:
        raise ValueError(f"frames must be (T, H, W, 3) uint8, got {tuple(frames.shape)} {frames.dtype}.")
    top, left, side = box
    height, width = frames.shape[1:3]
    if size < 1 or side < 1 or top < 0 or left < 0 or top + side > height or left + side > width:
        raise ValueError(f"{box} must lie inside the {height} x {width} frame and size ({size}) be at least 1.")
