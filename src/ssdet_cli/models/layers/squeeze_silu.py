"""Squeeze-and-excitation and the swish behind it, with a backward pass that keeps little and passes over memory seldom.

Written out, autograd keeps the frames, the scaled frames and their swish, and its backward pass makes five tensors of
their size. The one here keeps the frames only, scales them again, and makes two.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ssdet_cli.models.layers.eager import learns_eagerly_on_cpu
from ssdet_cli.models.layers.frames import to_clips, to_frames


def squeeze_silu(
    frames: Tensor,
    num_frames: int,
    reduce_weight: Tensor,
    reduce_bias: Tensor,
    expand_weight: Tensor,
    expand_bias: Tensor,
) -> Tensor:
    """Scale every channel by what the whole clip says of all channels (Hu et al., 2018), then x · sigmoid(x).

    Args:
        frames: (B·T, C, H, W), channels-last.
        num_frames: T.
        reduce_weight: (R, C), with reduce_bias (R,) and a ReLU behind.
        reduce_bias: (R,).
        expand_weight: (C, R), with expand_bias (C,) and a sigmoid behind.
        expand_bias: (C,).

    Returns:
        (B·T, C, H, W).
    """
    gate = (reduce_weight, reduce_bias, expand_weight, expand_bias)
    if learns_eagerly_on_cpu(frames, *gate) and not torch.is_autocast_enabled("cpu"):
        return _SqueezeSilu.apply(frames, num_frames, *gate)
    clips = to_clips(frames, num_frames)
    hidden = F.relu(F.linear(clips.mean((2, 3, 4)), reduce_weight, reduce_bias))
    scaled = clips * torch.sigmoid(F.linear(hidden, expand_weight, expand_bias))[:, :, None, None, None]
    # In place where no backward pass needs it: on a CPU new memory costs more than the arithmetic.
    return F.silu(to_frames(scaled), inplace=not torch.is_grad_enabled())


class _SqueezeSilu(torch.autograd.Function):
    """`squeeze_silu` with the backward pass described at the top."""

    @staticmethod
    def forward(ctx, frames: Tensor, num_frames: int, *gate: Tensor) -> Tensor:
        reduce_weight, reduce_bias, expand_weight, expand_bias = gate
        clips = to_clips(frames, num_frames)
        pooled = clips.mean((2, 3, 4))
        hidden = F.relu(F.linear(pooled, reduce_weight, reduce_bias))
        scale = torch.sigmoid(F.linear(hidden, expand_weight, expand_bias))
        ctx.num_frames = num_frames
        ctx.save_for_backward(frames, reduce_weight, expand_weight, pooled, hidden, scale)
        return to_frames(F.silu(clips * scale[:, :, None, None, None], inplace=True))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        frames, reduce_weight, expand_weight, pooled, hidden, scale = ctx.saved_tensors
        clips, outer = to_clips(frames, ctx.num_frames), to_clips(gradient, ctx.num_frames)
        broad = scale[:, :, None, None, None]
        of_clips = clips * broad
        torch.ops.aten.silu_backward.grad_input(outer, of_clips, grad_input=of_clips)
        of_logit = (of_clips * clips).sum((2, 3, 4)) * scale * (1 - scale)
        of_hidden = (of_logit @ expand_weight) * (hidden > 0)
        of_mean = of_hidden @ reduce_weight / clips[0, 0].numel()
        torch.addcmul(of_mean[:, :, None, None, None], of_clips, broad, out=of_clips)
        of_reduce, of_expand = of_hidden.T @ pooled, of_logit.T @ hidden
        return to_frames(of_clips), None, of_reduce, of_hidden.sum(0), of_expand, of_logit.sum(0)
