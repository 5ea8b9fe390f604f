"""Telling a layout by the names in a file."""

from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights import (
    accelerator,
    authors,
    caffe2,
    coarse_fine,
    own,
    pytorchvideo,
    slowfast,
    temporal_heads,
    timm,
    torchvision,
)

#: In the order in which they are asked.
LAYOUTS: tuple[ModuleType, ...] = (
    own,
    coarse_fine,
    authors,
    slowfast,
    pytorchvideo,
    accelerator,
    caffe2,
    temporal_heads,
    torchvision,
    timm,
)


def layout_of(state: Mapping[str, Tensor], path: str | Path, wanted: Collection[str] = ()) -> ModuleType:
    """Return the layout that a state dict has (see `ssdet_cli.models.weights.layout`).

    Args:
        state: Tensors by their names in the file.
        path: The file, for the error.
        wanted: Names of the network to be filled, where there is one.

    Raises:
        CheckpointError: No layout has such names.
    """
    for layout in LAYOUTS:
        if layout.recognises(state, wanted):
            return layout
    known = ", ".join(layout.NAME for layout in LAYOUTS)
    raise CheckpointError(
        f"{path} has names of no known layout (first: '{next(iter(state))}'). Known: {known}; timm's models are known "
        "only by the backbone (timm/NAME) that they are for."
    )
