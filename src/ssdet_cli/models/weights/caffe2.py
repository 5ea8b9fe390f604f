"""The layout of SlowFast's Caffe2 model zoo (`.pkl`): X3D and SlowFast R50, trained on BGR pictures."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from ssdet_cli.models.weights import slowfast
from ssdet_cli.models.weights.layout import Converted

NAME = "Caffe2"

_ENTRIES = {"w": "weight", "b": "bias", "s": "weight", "rm": "running_mean", "riv": "running_var"}
#: The last component of a name is its entry, one of the above; the rest becomes a module of SlowFast's.
_MODULES = tuple(
    (re.compile(pattern), module)
    for pattern, module in (
        (r"conv1_xy", r"s1.pathway0_stem.conv_xy"),
        (r"conv1", r"s1.pathway0_stem.conv"),
        (r"t_conv1", r"s1.pathway1_stem.conv"),
        (r"res_conv1_bn", r"s1.pathway0_stem.bn"),
        (r"t_res_conv1_bn", r"s1.pathway1_stem.bn"),
        (r"t_pool1_subsample", r"s1_fuse.conv_f2s"),
        (r"t_pool1_subsample_bn", r"s1_fuse.bn"),
        (r"t_res(\d)_\d+_branch2c_bn_subsample", r"s\1_fuse.conv_f2s"),
        (r"t_res(\d)_\d+_branch2c_bn_subsample_bn", r"s\1_fuse.bn"),
        (r"res(\d)_(\d+)_branch2([abc](?:_bn)?)", r"s\1.pathway0_res\2.branch2.\3"),
        (r"t_res(\d)_(\d+)_branch2([abc](?:_bn)?)", r"s\1.pathway1_res\2.branch2.\3"),
        (r"res(\d)_(\d+)_branch2b_bn_fc([12])", r"s\1.pathway0_res\2.branch2.se.fc\3"),
        (r"res(\d)_(\d+)_branch1((?:_bn)?)", r"s\1.pathway0_res\2.branch1\3"),
        (r"t_res(\d)_(\d+)_branch1((?:_bn)?)", r"s\1.pathway1_res\2.branch1\3"),
        (r"(conv_5|conv_5_bn|lin_5)", r"head.\1"),
        (r"pred", r"head.projection"),
    )
)
_STEMS = {f"s1.pathway{stem}.weight" for stem in ("0_stem.conv", "0_stem.conv_xy", "1_stem.conv")}
_TRAINING = re.compile(r".*_momentum|lr|model_iter")


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the stem and its norm."""
    return {"conv1_w", "res_conv1_bn_s"} <= state.keys()


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names, for RGB: the input channels of the first convolutions are reversed."""
    renamed = {_name(name): tensor for name, tensor in state.items() if not _TRAINING.fullmatch(name)}
    for stem in _STEMS & renamed.keys():
        if renamed[stem].shape[1] == len("BGR"):
            renamed[stem] = renamed[stem].flip(1)
    found = slowfast.convert(renamed, meta)
    return replace(found, adapted=(*found.adapted, "input channels of the stem reversed, from BGR to RGB"))


def _name(name: str) -> str:
    module, _, entry = name.rpartition("_")
    for pattern, ours in _MODULES:
        if entry in _ENTRIES and (match := pattern.fullmatch(module)):
            return f"{match.expand(ours)}.{_ENTRIES[entry]}"
    return name
