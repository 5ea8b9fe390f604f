"""The layout of pytorchvideo's model zoo: X3D and SlowFast R50."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights.layout import SLOWFAST_INPUT, Converted, add_identity_norm, rename

NAME = "pytorchvideo"

_STEM = ("blocks.0.conv.conv_t", "blocks.0.conv.conv_xy")
_X3D = {
    "blocks.0.norm": "backbone.stem_time.norm",
    "blocks.5.pool.pre_conv": "backbone.conv5",
    "blocks.5.pool.pre_norm": "backbone.conv5.norm",
    "blocks.5.pool.post_conv": "head.fc1",
    "blocks.5.proj": "head.fc2",
}
_X3D_PARTS = {
    "branch2.conv_a": "conv_a",
    "branch2.norm_a": "conv_a.norm",
    "branch2.conv_b": "conv_b",
    "branch2.norm_b.0": "conv_b.norm",
    "branch2.norm_b.1.block.0": "squeeze.reduce",
    "branch2.norm_b.1.block.2": "squeeze.expand",
    "branch2.conv_c": "conv_c",
    "branch2.norm_c": "conv_c.norm",
    "branch1_conv": "shortcut",
    "branch1_norm": "shortcut.norm",
}
_X3D_BLOCK = re.compile(r"blocks\.([1-4])\.res_blocks\.(\d+)\.(.+)")
_PARTS = {
    **{f"branch2.conv_{letter}": f"{letter}.conv" for letter in "abc"},
    **{f"branch2.norm_{letter}": f"{letter}.norm" for letter in "abc"},
    "branch1_conv": "shortcut.conv",
    "branch1_norm": "shortcut.norm",
}
_PATHWAY = re.compile(r"blocks\.([0-4])\.multipathway_blocks\.([01])\.(?:res_blocks\.(\d+)\.)?(.+)")
_LATERAL = re.compile(r"blocks\.([0-3])\.multipathway_fusion\.(conv_fast_to_slow|norm)")


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the stem."""
    return not {f"{_STEM[0]}.weight", "blocks.0.multipathway_blocks.0.conv.weight"}.isdisjoint(state)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names.

    pytorchvideo calls X3D's two stem convolutions the wrong way round; the shape of the kernel tells which is which.
    Its first stage has no norm behind the shortcut's convolution; ours gets one that does nothing.
    """
    if f"{_STEM[0]}.weight" not in state:
        return Converted(rename(state, _slowfast_module), normalization=SLOWFAST_INPUT)
    renamed = rename(state, _x3d_module)
    for stem in _STEM:
        weight = renamed.pop(f"{stem}.weight", None)
        if weight is not None:
            renamed["backbone.stem_time.weight" if weight.shape[2] > 1 else "backbone.stem_space.weight"] = weight
    added = add_identity_norm(renamed, "backbone.layer1.0.shortcut")
    adapted = ("norm behind the first stage's shortcut set to do nothing, pytorchvideo has none",) if added else ()
    return Converted(renamed, adapted, SLOWFAST_INPUT)


def _x3d_module(name: str) -> str | None:
    if match := _X3D_BLOCK.fullmatch(name):
        stage, block, part = match.groups()
        return f"backbone.layer{stage}.{block}.{_X3D_PARTS[part]}" if part in _X3D_PARTS else None
    return _X3D.get(name)


def _slowfast_module(name: str) -> str | None:
    if match := _PATHWAY.fullmatch(name):
        index, pathway, block, part = match.groups()
        where = f"backbone.{('slow', 'fast')[int(pathway)]}"
        if block is None:
            return f"{where}.stem.{part}" if index == "0" and part in ("conv", "norm") else None
        return f"{where}.res{int(index) + 1}.{block}.{_PARTS[part]}" if part in _PARTS else None
    if match := _LATERAL.fullmatch(name):
        return f"backbone.laterals.{match[1]}.{'norm' if match[2] == 'norm' else 'conv'}"
    return {"blocks.6.proj": "head.fc2"}.get(name)
