"""The coarse stream of the authors' Coarse-Fine Networks.

Its X3D has the names of the authors' other networks; the pooling and the fusion have names of their own, with linear
layers stored as convolutions of length 1. The file of the fine stream is an X3D like any other.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights import authors
from ssdet_cli.models.weights.layout import Converted, rename

NAME = "Coarse-Fine coarse stream"

_POOL = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2", "conv3": "conv3"}
_REWEIGHT = {
    "at1": "mean.hidden",
    "at2": "mean.score",
    "fc1": "shift.fc1",
    "fc2": "shift.fc2",
    "fc3": "scale.fc1",
    "fc4": "scale.fc2",
}
_MIX = {"conv_at": "shift", "conv_at2": "scale"}
#: Their number of a level is that of the residual stage, one more than ours; level 6 is the logits.
_LEVEL = re.compile(r"(rw|mix)([2-6])\.(.+)")


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the confidence network of the grid pooling, or a re-weighting layer."""
    return not {"pool_1.conv1.weight", "rw2.at1.weight", "mix2.conv_at.weight"}.isdisjoint(state)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names; the network was made for Charades."""
    converted = authors.convert(state, meta)
    return replace(converted, state=rename(converted.state, _module), normalization=authors.CHARADES)


def _module(name: str) -> str | None:
    start, _, part = name.partition(".")
    if start == "pool_1" and part in _POOL:
        return f"pool.{_POOL[part]}"
    if not (match := _LEVEL.fullmatch(name)):
        return None
    kind, level, part = match.groups()
    if kind == "mix":
        return f"fusion.mix.layer{int(level) - 1}.{_MIX[part]}" if part in _MIX else None
    if part not in _REWEIGHT:
        return None
    return f"fusion.{'logits' if level == '6' else f'reweight.layer{int(level) - 1}'}.{_REWEIGHT[part]}"
