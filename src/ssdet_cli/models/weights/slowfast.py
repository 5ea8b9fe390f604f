"""The layout of the SlowFast repository (`.pyth`): X3D and SlowFast R50."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights.layout import SLOWFAST_INPUT, Converted, rename

NAME = "SlowFast"

_X3D = {
    "s1.pathway0_stem.conv_xy": "backbone.stem_space",
    "s1.pathway0_stem.conv": "backbone.stem_time",
    "s1.pathway0_stem.bn": "backbone.stem_time.norm",
    "head.conv_5": "backbone.conv5",
    "head.conv_5_bn": "backbone.conv5.norm",
    "head.lin_5": "head.fc1",
    "head.projection": "head.fc2",
}
_X3D_PARTS = {
    "branch2.a": "conv_a",
    "branch2.a_bn": "conv_a.norm",
    "branch2.b": "conv_b",
    "branch2.b_bn": "conv_b.norm",
    "branch2.se.fc1": "squeeze.reduce",
    "branch2.se.fc2": "squeeze.expand",
    "branch2.c": "conv_c",
    "branch2.c_bn": "conv_c.norm",
    "branch1": "shortcut",
    "branch1_bn": "shortcut.norm",
}
_PARTS = {
    "branch2.a": "a.conv",
    "branch2.a_bn": "a.norm",
    "branch2.b": "b.conv",
    "branch2.b_bn": "b.norm",
    "branch2.c": "c.conv",
    "branch2.c_bn": "c.norm",
    "branch1": "shortcut.conv",
    "branch1_bn": "shortcut.norm",
}
_STEM = re.compile(r"s1\.pathway([01])_stem\.(conv|bn)")
_LATERAL = re.compile(r"s([1-4])_fuse\.(conv_f2s|bn)")
_BLOCK = re.compile(r"s([2-5])\.pathway([01])_res(\d+)\.(.+)")
PATHWAYS = ("slow", "fast")
CONV_OR_NORM = {"conv": "conv", "conv_f2s": "conv", "bn": "norm"}


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the stem."""
    return "s1.pathway0_stem.conv.weight" in state


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names: an X3D where there is one pathway, a SlowFast where there are two."""
    module = _slowfast_module if "s1.pathway1_stem.conv.weight" in state else _x3d_module
    return Converted(rename(state, module), normalization=SLOWFAST_INPUT)


def _x3d_module(name: str) -> str | None:
    if match := _BLOCK.fullmatch(name):
        stage, _, block, part = match.groups()
        return f"backbone.layer{int(stage) - 1}.{block}.{_X3D_PARTS[part]}" if part in _X3D_PARTS else None
    return _X3D.get(name)


def _slowfast_module(name: str) -> str | None:
    if match := _BLOCK.fullmatch(name):
        stage, pathway, block, part = match.groups()
        return f"backbone.{PATHWAYS[int(pathway)]}.res{stage}.{block}.{_PARTS[part]}" if part in _PARTS else None
    if match := _STEM.fullmatch(name):
        return f"backbone.{PATHWAYS[int(match[1])]}.stem.{CONV_OR_NORM[match[2]]}"
    if match := _LATERAL.fullmatch(name):
        return f"backbone.laterals.{int(match[1]) - 1}.{CONV_OR_NORM[match[2]]}"
    return {"head.projection": "head.fc2"}.get(name)
