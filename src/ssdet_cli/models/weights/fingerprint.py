"""Telling weights apart by what they are, not by the file that they came in."""

import hashlib

import torch
from torch import nn

from ssdet_cli.models.layers.sub_batchnorm import SPLIT_ENTRIES

#: What an evaluated network does not depend on: the statistics of all splits together are entries of their own.
_OF_TRAINING = ("num_batches_tracked", *SPLIT_ENTRIES)


def fingerprint(module: nn.Module) -> str:
    """SHA-256 over names, shapes and values of a module's parameters and statistics, as 64 hexadecimal digits.

    The same for a checkpoint of ours, the run it is part of and a converted file, however batch norms were split while
    it was trained; another after a single step.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if name.rpartition(".")[2] in _OF_TRAINING:
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
