"""The layout of pytorchvideo's accelerator build of X3D (`EfficientX3d`)."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights.layout import SLOWFAST_INPUT, Converted, rename

NAME = "pytorchvideo accelerator"

_MODULES = {
    "s1.pathway0_stem_conv_xy.kernel.conv": "backbone.stem_space",
    "s1.pathway0_stem_conv.kernel.conv": "backbone.stem_time",
    "s1.pathway0_stem_conv.kernel.bn": "backbone.stem_time.norm",
    "head.conv_5.kernel.conv": "backbone.conv5",
    "head.conv_5.kernel.bn": "backbone.conv5.norm",
    "head.lin_5.kernel.conv": "head.fc1",
    "projection.model": "head.fc2",
}
_PARTS = {
    "layers.conv_0.kernel.conv": "conv_a",
    "layers.conv_0.kernel.bn": "conv_a.norm",
    "layers.conv_1.kernel.conv": "conv_b",
    "layers.conv_1.kernel.bn": "conv_b.norm",
    "layers.se.se.block.0": "squeeze.reduce",
    "layers.se.se.block.2": "squeeze.expand",
    "layers.conv_2.kernel.conv": "conv_c",
    "layers.conv_2.kernel.bn": "conv_c.norm",
    "_res_proj.kernel.conv": "shortcut",
    "_res_proj.kernel.bn": "shortcut.norm",
}
_BLOCK = re.compile(r"s([2-5])\.pathway0_res(\d+)\.(.+)")


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the stem."""
    return "s1.pathway0_stem_conv_xy.kernel.conv.weight" in state


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names."""
    return Converted(rename(state, _module), normalization=SLOWFAST_INPUT)


def _module(name: str) -> str | None:
    if match := _BLOCK.fullmatch(name):
        stage, block, part = match.groups()
        return f"backbone.layer{int(stage) - 1}.{block}.{_PARTS[part]}" if part in _PARTS else None
    return _MODULES.get(name)
