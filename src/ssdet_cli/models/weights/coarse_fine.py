"""The coarse stream of Coarse-Fine Networks: known by its names, and not for the networks here."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights.layout import Converted

NAME = "Coarse-Fine coarse stream"
REFUSAL = (
    "This is a Coarse-Fine coarse network (grid pooling and fusion layers beside its X3D), which no per-frame detector "
    "can hold; give the fine stream's weights."
)


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the confidence network of the grid pooling, or a re-weighting layer."""
    return not {"pool_1.conv1.weight", "rw2.at1.weight", "mix2.conv_at.weight"}.isdisjoint(state)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Refuse.

    Raises:
        CheckpointError: Always.
    """
    raise CheckpointError(REFUSAL)
