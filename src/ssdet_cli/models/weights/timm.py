"""The layout of timm's image models: its own names, which our backbone keeps under `image`.

Their names tell timm's models from each other only where the network to be filled is known.
"""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights.layout import Converted

NAME = "timm"
_PREFIX = "backbone.image."


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by most names of the image model that is to be filled."""
    image = {name.removeprefix(_PREFIX) for name in wanted if name.startswith(_PREFIX)}
    return bool(image) and 2 * len(image & state.keys()) > len(image)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names; how the input is normalised, our backbone knows by its name."""
    return Converted({f"{_PREFIX}{name}": tensor for name, tensor in state.items()})
