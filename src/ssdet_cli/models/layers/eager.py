"""Where the hand-written backward passes of this folder serve."""

import torch
from torch import Tensor


def learns_eagerly_on_cpu(*tensors: Tensor) -> bool:
    """Whether gradients are wanted, on a CPU, and torch neither compiles nor exports.

    Everywhere else the layers are plain operations: compilers fuse those themselves, and GPUs have other kernels.
    """
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    return all(tensor.device.type == "cpu" for tensor in tensors) and any(tensor.requires_grad for tensor in tensors)
