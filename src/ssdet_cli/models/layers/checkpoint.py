"""Activation checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016).

A block keeps its input only and runs once more in the backward pass.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def recompute(block: nn.Module, *inputs: Tensor | int) -> Tensor:
    """Return `block(*inputs)`, to be run again when its gradient is asked for.

    Output, gradients and the running statistics of batch norms are those of one plain call.
    """
    if not torch.is_grad_enabled():
        return block(*inputs)
    if torch.compiler.is_compiling():  # the compiler repeats values and not their side effects
        return checkpoint(block, *inputs, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _scratch_buffers(block)

    return checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _scratch_buffers(block: nn.Module) -> Iterator[None]:
    """Let a second run update copies of the buffers, so that no norm counts the same batch twice."""
    owners = [(module, dict(module.named_buffers(recurse=False))) for module in block.modules()]
    try:
        for module, buffers in owners:
            for name, buffer in buffers.items():
                setattr(module, name, buffer.clone())
        yield
    finally:
        for module, buffers in owners:
            for name, buffer in buffers.items():
                setattr(module, name, buffer)
