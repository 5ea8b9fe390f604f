"""Telling weights apart by what they are, not by the file that they came in."""

import hashlib

import torch
from torch import nn

_COUNTER = "num_batches_tracked"


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a module's parameters and statistics, as 64 hexadecimal digits.

    The same for a checkpoint of ours, the run it is part of and a converted file; another after a single step.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.rpartition(".")[2] == _COUNTER:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
