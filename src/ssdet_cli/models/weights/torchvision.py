"""The layout of torchvision's video networks: its own names, which our backbone keeps under `video`."""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights.layout import Converted

NAME = "torchvision"

#: Names of the trunk that tell the families, and the family's classifier, which a file may lack; MViT's sees another
#: feature than ours.
_FAMILIES = (
    ({"stem.0.weight", "layer1.0.conv1.0.weight"}, "fc"),
    ({"features.0.0.0.weight", "features.0.1.0.weight"}, "classifier.1"),
    ({"conv_proj.weight", "pos_encoding.class_token"}, None),
    ({"patch_embed.proj.weight", "features.0.0.attn.relative_position_bias_table"}, "head"),
)
_MVIT_CLASSIFIER = "head.1."
#: Where they are in a detector of ours.
BACKBONE, CLASSIFIER = "backbone.", "head.fc2."


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the first modules of the four families."""
    return any(names <= state.keys() for names, _ in _FAMILIES)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names; how the input is normalised, our backbone knows by its name."""
    classifier = next(classifier for names, classifier in _FAMILIES if names <= state.keys())
    if classifier is None:
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(_MVIT_CLASSIFIER)}
        adapted = ("classifier left out, torchvision's reads the class token",)
        return Converted({f"{BACKBONE}video.{name}": tensor for name, tensor in kept.items()}, adapted)
    return Converted({_name(name, classifier): tensor for name, tensor in state.items()})


def _name(name: str, classifier: str) -> str:
    module, _, entry = name.rpartition(".")
    return f"{CLASSIFIER}{entry}" if module == classifier else f"{BACKBONE}video.{name}"
