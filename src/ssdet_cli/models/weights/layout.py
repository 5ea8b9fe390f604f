"""What every layout gives, and what layouts share.

A layout is one module here with

- `NAME`: for people;
- `recognises(state, wanted)`: whether a state dict has its names; `wanted` are the names of the network to be filled,
  empty where there is none yet;
- `convert(state, meta)`: the same tensors under our names, as `Converted`. A name that it does not know stays.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Normalization = tuple[tuple[float, float, float], tuple[float, float, float]]
#: Mean and standard deviation of SlowFast's and pytorchvideo's inputs.
SLOWFAST_INPUT: Normalization = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))

#: Entries of a batch norm, and their values where it does nothing: eps, 1e-5, makes up for the variance.
IDENTITY_NORM = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0 - 1e-5}


@dataclass(frozen=True)
class Converted:
    """Tensors under our names.

    Attributes:
        state: By name.
        adapted: What was done to them, one phrase each.
        normalization: Mean and standard deviation that the weights expect of RGB in [0, 1]; None where that is not
            known.
        splits: Parts of a batch that the batch norms were trained with.
    """

    state: dict[str, Tensor]
    adapted: tuple[str, ...] = ()
    normalization: Normalization | None = None
    splits: int = 1


def rename(state: Mapping[str, Tensor], module_of: Callable[[str], str | None]) -> dict[str, Tensor]:
    """Rename tensors by the module they belong to.

    Args:
        state: Tensors by `module.entry`.
        module_of: From their module to ours; None where there is none, which leaves the name as it is.
    """
    renamed = {}
    for name, tensor in state.items():
        module, _, entry = name.rpartition(".")
        ours = module_of(module)
        renamed[name if ours is None else f"{ours}.{entry}"] = tensor
    return renamed


def add_identity_norm(state: dict[str, Tensor], convolution: str) -> bool:
    """Give our `convolution` a batch norm that does nothing, where the file has the convolution and no norm after it.

    Returns:
        Whether it was needed.
    """
    weight = state.get(f"{convolution}.weight")
    if weight is None or f"{convolution}.norm.weight" in state:
        return False
    for entry, value in IDENTITY_NORM.items():
        state[f"{convolution}.norm.{entry}"] = torch.full(weight.shape[:1], value, dtype=weight.dtype)
    return True
