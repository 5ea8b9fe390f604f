"""The layout of our own checkpoints: names of the state dict of the model itself."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.models.layers.sub_batchnorm import SPLIT_ENTRIES
from ssdet_cli.models.weights.layout import Converted, Normalization

NAME = "ssdet"
#: A backbone and a head; what the coarse stream has besides; both streams.
PARTS = {"backbone", "head", "pool", "fusion", "fine", "coarse", "_extra_state"}


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the names whether a state dict is ours: all of it is parts of our detectors, or belongs to `wanted`."""
    return {name.partition(".")[0] for name in state} <= PARTS or state.keys() <= set(wanted)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors as they are, and what `meta` says of their input."""
    splits = next((tensor.shape[0] for name, tensor in state.items() if name.endswith(SPLIT_ENTRIES)), 1)
    return Converted(dict(state), normalization=_normalization(meta.get("normalization")), splits=splits)


def _normalization(value: Any) -> Normalization | None:
    """Read {"mean": three numbers, "std": three numbers}."""
    if not isinstance(value, Mapping) or not {"mean", "std"} <= value.keys():
        return None
    return tuple(value["mean"]), tuple(value["std"])
