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


class CountOnce:
    """Keeps the statistics of batch norms that another library's checkpointing runs again: the second run is not told.

    Every call of `network` from outside goes through `running`; a norm that runs at another time runs again.

    Args:
        network: What holds the norms.
    """

    def __init__(self, network: nn.Module) -> None:
        self._first = False
        self._held: dict[nn.Module, dict[str, Tensor]] = {}
        for norm in network.modules():
            if isinstance(norm, nn.modules.batchnorm._BatchNorm):
                norm.register_forward_pre_hook(self._before)
                norm.register_forward_hook(self._after, always_call=True)  # a second run may stop half-way

    @contextmanager
    def running(self) -> Iterator[None]:
        """Whatever runs inside runs for the first time."""
        self._first = True
        try:
            yield
        finally:
            self._first = False

    def _before(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not self._first and not torch.compiler.is_compiling():
            self._held[norm] = dict(norm.named_buffers(recurse=False))
            for name, buffer in self._held[norm].items():
                setattr(norm, name, buffer.clone())

    def _after(self, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | None) -> None:
        if not torch.compiler.is_compiling():
            for name, buffer in self._held.pop(norm, {}).items():
                setattr(norm, name, buffer)


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
