"""Depthwise 3-D convolution on stacks of frames, quick to train on a CPU.

The forward pass of `F.conv3d` on channels-last clips is fast; its backward pass costs 15 to 25 times as much. The one
here takes about two to four forward passes, by exact identities:

- the gradient of the input is a depthwise convolution of the output's gradient with the kernel turned around, zeros
  being put between the entries where the convolution skipped some;
- the gradient of the weight is, for every temporal tap, that of a 2-D convolution between frames so many steps apart;
- a kernel that sees time only is a 2-D convolution on images of T × (H·W) pixels.

Measured on two CPU cores; on other devices, and where torch compiles or exports, `F.conv3d` does all of it.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ssdet_cli.models.layers.frames import to_clips, to_frames


def depthwise_conv3d(
    frames: Tensor, weight: Tensor, num_frames: int, stride: int = 1, bias: Tensor | None = None
) -> Tensor:
    """Convolve every channel by itself over time and space, zeros around.

    Args:
        frames: (B·T, C, H, W), channels-last.
        weight: (C, 1, kT, kH, kW), odd sizes.
        num_frames: T.
        stride: In space; time keeps its length.
        bias: (C,).

    Returns:
        (B·T, C, ⌈H / stride⌉, ⌈W / stride⌉), channels-last.
    """
    if weight.shape[3:] == (1, 1) and stride == 1:
        return _convolve_time(frames, weight, num_frames, bias)
    needs_gradient = torch.is_grad_enabled() and (frames.requires_grad or weight.requires_grad)
    if torch.compiler.is_compiling() or frames.device.type != "cpu" or not needs_gradient:
        return _convolve(frames, weight, num_frames, stride, bias)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        frames, weight = frames.to(dtype), weight.to(dtype)
    output = _DepthwiseConv3d.apply(frames, weight, num_frames, stride)
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
    def forward(frames: Tensor, weight: Tensor, num_frames: int, stride: int) -> Tensor:
        return _convolve(frames, weight, num_frames, stride)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor, int, int], output: Tensor) -> None:
        frames, weight, ctx.num_frames, ctx.stride = inputs
        ctx.save_for_backward(frames, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        frames, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        of_frames = of_weight = None
        if ctx.needs_input_grad[0]:
            spread = gradient if ctx.stride == 1 else _spread(gradient, frames, ctx.stride)
            of_frames = _convolve(spread, weight.flip(2, 3, 4), ctx.num_frames, 1)
        if ctx.needs_input_grad[1]:
            of_weight = _weight_gradient(gradient, frames, weight, ctx.num_frames, ctx.stride)
        return of_frames, of_weight, None, None


def _spread(gradient: Tensor, frames: Tensor, stride: int) -> Tensor:
    """Put the gradient of a strided convolution where its outputs were centred, zeros between."""
    spread = torch.zeros_like(frames)
    spread[:, :, ::stride, ::stride] = gradient
    return spread


def _weight_gradient(gradient: Tensor, frames: Tensor, weight: Tensor, num_frames: int, stride: int) -> Tensor:
    taps = weight.shape[2]
    padding = [size // 2 for size in weight.shape[3:]]
    result = torch.zeros_like(weight)
    for tap in range(taps):
        shift = tap - taps // 2
        if abs(shift) >= num_frames:
            continue
        outputs, inputs = _pairs(gradient, frames, num_frames, shift)
        result[:, :, tap] = torch.ops.aten.convolution_backward(
            outputs,
            inputs,
            weight[:, :, tap],
            None,
            [stride, stride],
            padding,
            [1, 1],
            False,
            [0, 0],
            weight.shape[0],
            [False, True, False],
        )[1]
    return result


def _pairs(gradient: Tensor, frames: Tensor, num_frames: int, shift: int) -> tuple[Tensor, Tensor]:
    """Return gradients and the frames `shift` steps after them.

    Where a clip ends the pair belongs to two clips; a gradient of zero there keeps it from counting, so that one call
    serves the whole stack.
    """
    if shift == 0:
        return gradient, frames
    gradient = gradient.clone()
    by_clip = gradient.unflatten(0, (-1, num_frames))
    if shift > 0:
        by_clip[:, num_frames - shift :] = 0
        return gradient[:-shift], frames[shift:]
    by_clip[:, :-shift] = 0
    return gradient[-shift:], frames[:shift]
