"""Depthwise 3-D convolution on stacks of frames, quick to train on a CPU.

The forward pass of `F.conv3d` on channels-last clips is fast; its backward pass costs 15 to 25 times as much. The one
here takes about two to four forward passes, by exact identities:

- the gradient of the input is a depthwise convolution of the output's gradient with the kernel turned around; behind a
  stride of 2, pixels of odd and of even rows and columns saw different taps, so that each of the four kinds has its own
  small convolution, at the size of the output;
- the gradient of the weight is, for every temporal tap, that of a 2-D convolution between frames so many steps apart;
- a kernel that sees time only is a 2-D convolution on images of T × (H·W) pixels.

Measured on two CPU cores; on other devices, and where torch compiles or exports, `F.conv3d` does all of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ssdet_cli.models.layers.eager import learns_eagerly_on_cpu
from ssdet_cli.models.layers.frames import to_clips, to_frames


def depthwise_conv3d(
    frames: Tensor,
    weight: Tensor,
    num_frames: int,
    stride: int = 1,
    bias: Tensor | None = None,
    *,
    relu: bool = False,
) -> Tensor:
    """Convolve every channel by itself over time and space, zeros around.

    Args:
        frames: (B·T, C, H, W), channels-last.
        weight: (C, 1, kT, kH, kW), odd sizes.
        num_frames: T.
        stride: In space; time keeps its length.
        bias: (C,).
        relu: Overwrite `frames` by their ReLU first. Its gradient then needs no memory of its own.

    Returns:
        (B·T, C, ⌈H / stride⌉, ⌈W / stride⌉), channels-last.
    """
    if frames.shape[2:] == (1, 1):
        # One pixel among zeros meets the kernel's middle only. Besides, the strides of such maps tell no layout: what
        # is traced of a 3-D convolution's gradient would have another one than what runs.
        weight, stride = weight[..., weight.shape[3] // 2, weight.shape[4] // 2, None, None], 1
    learns = learns_eagerly_on_cpu(frames, weight)
    time_only = weight.shape[3:] == (1, 1) and stride == 1
    if time_only or not learns:
        frames = frames.relu_() if relu else frames
        if time_only:
            return _convolve_time(frames, weight, num_frames, bias)
        return _convolve(frames, weight, num_frames, stride, bias)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        frames, weight = frames.to(dtype), weight.to(dtype)
    output = _DepthwiseConv3d.apply(frames, weight, num_frames, stride, relu)
    return output if bias is None else output + bias[:, None, None]


def _convolve_time(frames: Tensor, weight: Tensor, num_frames: int, bias: Tensor | None) -> Tensor:
    """Convolve over time only: pixels in a row are the width of an image whose height is time."""
    # Written channels last before it is taken apart: the strides of a lone clip then still tell its layout.
    rows = frames.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (-1, num_frames))
    image = rows.permute(0, 3, 1, 2)
    padding = (weight.shape[2] // 2, 0)
    output = F.conv2d(image, weight[..., 0], bias, 1, padding, 1, weight.shape[0])
    return to_frames(output.unflatten(3, frames.shape[2:]))


def _convolve(frames: Tensor, weight: Tensor, num_frames: int, stride: int, bias: Tensor | None = None) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    clips = to_clips(frames, num_frames)
    return to_frames(F.conv3d(clips, weight, bias, (1, stride, stride), padding, 1, weight.shape[0]))


class _DepthwiseConv3d(torch.autograd.Function):
    """`_convolve` with the backward pass described at the top."""

    @staticmethod
    def forward(frames: Tensor, weight: Tensor, num_frames: int, stride: int, relu: bool) -> Tensor:
        # Through a detached view, which shares the version counter: whoever saved the frames as they were finds out.
        frames = frames.detach().relu_() if relu else frames
        return _convolve(frames, weight, num_frames, stride)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, int, int, bool], output: Tensor) -> None:
        frames, weight, ctx.num_frames, ctx.stride, ctx.relu = inputs
        ctx.save_for_backward(frames, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        frames, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_frames = of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(gradient, frames, weight, ctx.num_frames, ctx.stride)
        if ctx.needs_input_grad[0]:
            of_frames = _input_gradient(gradient, frames, weight, ctx.num_frames, ctx.stride)
            if ctx.relu:
                torch.ops.aten.threshold_backward.grad_input(of_frames, frames, 0, grad_input=of_frames)
        return of_frames, of_weight, None, None, None


def _input_gradient(gradient: Tensor, frames: Tensor, weight: Tensor, num_frames: int, stride: int) -> Tensor:
    kernel = weight.flip(2, 3, 4)
    if stride == 1:
        return _convolve(gradient, kernel, num_frames, 1)
    result = torch.empty_like(frames)
    clips = to_clips(gradient, num_frames)
    for row in range(stride):
        rows = _Taps.of(row, weight.shape[3], stride)
        for column in range(stride):
            columns = _Taps.of(column, weight.shape[4], stride)
            target = result[:, :, row::stride, column::stride]
            taps = kernel[:, :, :, rows.taps, columns.taps]
            if not taps.numel():
                target.zero_()
                continue
            padding = (weight.shape[2] // 2, rows.padding, columns.padding)
            if taps.shape[3:] == (1, 1) and padding[1:] == (0, 0):  # conv3d would go without oneDNN here, slowly
                part = _convolve_time(gradient, taps, num_frames, None)
            else:
                part = F.conv3d(clips, taps, None, 1, padding, 1, len(weight)).transpose(1, 2).flatten(0, 1)
            part = part[:, :, rows.first :, columns.first :]
            target.copy_(part[:, :, : target.shape[2], : target.shape[3]])
    return result


@dataclass(frozen=True)
class _Taps:
    """Which taps of a strided convolution, along one axis, met the pixels at `residue` modulo the stride.

    Output o of a kernel of size k met pixel stride · o + tap - k // 2 with each tap; the pixels at one residue are a
    convolution of the outputs with every stride-th tap, in falling order.

    Attributes:
        taps: Into the kernel turned around.
        padding: Of that convolution.
        first: Where in its result the first of the pixels is.
    """

    taps: slice
    padding: int
    first: int

    @classmethod
    def of(cls, residue: int, size: int, stride: int) -> "_Taps":
        half = size // 2
        falling = [tap for tap in reversed(range(size)) if (residue + half - tap) % stride == 0]
        if not falling:
            return cls(slice(0), 0, 0)
        offsets = [(residue + half - tap) // stride for tap in falling]
        padding = max(-offsets[0], offsets[-1], 0)
        return cls(slice(size - 1 - falling[0], None, stride), padding, padding + offsets[0])


def _weight_gradient(gradient: Tensor, frames: Tensor, weight: Tensor, num_frames: int, stride: int) -> Tensor:
    result = torch.zeros_like(weight)
    for tap in range(weight.shape[2]):
        shift = tap - weight.shape[2] // 2
        if abs(shift) < num_frames:
            result[:, :, tap] = _tap_gradient(*_pairs(gradient, frames, num_frames, shift), weight, stride)
    return result


def _tap_gradient(outputs: Tensor, inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Return the gradient (C, 1, kH, kW) of one temporal tap of `weight`, a 2-D convolution of paired frames."""
    padding = [size // 2 for size in weight.shape[3:]]
    arguments = (None, [stride, stride], padding, [1, 1], False, [0, 0], len(weight), [False, True, False])
    return torch.ops.aten.convolution_backward(outputs, inputs, weight[:, :, 0], *arguments)[1]


def _pairs(gradient: Tensor, frames: Tensor, num_frames: int, shift: int) -> tuple[Tensor, Tensor]:
    """Return gradients and the frames `shift` steps after them.

    Where a clip ends and another begins the pair belongs to two clips; a gradient of zero there keeps it from counting,
    so that one call serves the whole stack. A lone clip needs none.
    """
    if shift == 0:
        return gradient, frames
    if len(gradient) > num_frames:
        gradient = gradient.clone()
        by_clip = gradient.unflatten(0, (-1, num_frames))
        (by_clip[:, num_frames - shift :] if shift > 0 else by_clip[:, :-shift]).zero_()
    return (gradient[:-shift], frames[shift:]) if shift > 0 else (gradient[-shift:], frames[:shift])
