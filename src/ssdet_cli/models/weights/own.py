"""The layout of our own checkpoints: names of the state dict of the model itself."""

from collections.abc import Iterable, Mapping

from torch import Tensor

NAME = "ssdet"


def recognises(names: Iterable[str]) -> bool:
    """Tell by the names whether a state dict is ours: all of it is backbone or head."""
    return {name.partition(".")[0] for name in names} <= {"backbone", "head"}


def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under our names."""
    return dict(state)
