"""Which network weights are for, told by the shapes of the tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.weights.load import match_shapes

#: Names of networks whose tensors are alike; the first stands for all where a file does not tell.
_ALIKE = (("x3d_m", "x3d_s", "x3d_xs"),)
#: A tensor that every network of a family has, and the family's names.
_FAMILIES = {
    "backbone.stem_space.weight": ("x3d_m", "x3d_l", "x3d_xl", "x3d_tiny"),
    "backbone.laterals.0.conv.weight": ("slowfast_r50_8x8", "slowfast_r50_4x16"),
    "backbone.video.stem.0.weight": ("torchvision/r3d_18", "torchvision/mc3_18", "torchvision/r2plus1d_18"),
    "backbone.video.features.0.0.0.weight": ("torchvision/s3d",),
    "backbone.video.conv_proj.weight": ("torchvision/mvit_v1_b", "torchvision/mvit_v2_s"),
    "backbone.video.patch_embed.proj.weight": (
        "torchvision/swin3d_t",
        "torchvision/swin3d_s",
        "torchvision/swin3d_b",
    ),
}


def alike(name: str) -> tuple[str, ...]:
    """Return the other networks whose weights have the same names and shapes."""
    return next((tuple(other for other in names if other != name) for names in _ALIKE if name in names), ())


def same_shapes(one: str, other: str) -> bool:
    """Whether two backbones can hold the same weights."""
    return one == other or other in alike(one)


def on_meta(name: str) -> nn.Module:
    """Build a backbone without memory for its weights."""
    with torch.device("meta"):
        return BACKBONES.get(name)()


def guess_backbone(state: Mapping[str, Tensor]) -> str | None:
    """Return the network of the catalogue whose backbone `state`, under our names, fills; the deepest of several.

    None where there is no such network, as for timm's: their names tell too little.
    """
    for mark, names in _FAMILIES.items():
        if mark in state:
            fitting = {name: held for name in names if (held := _fits(state, on_meta(name)))}
            return max(fitting, key=fitting.get, default=None)
    return None


def _fits(state: Mapping[str, Tensor], backbone: nn.Module) -> int:
    """Number of the backbone's parameters, 0 where `state` does not have them all."""
    ours = {f"backbone.{name}": tensor for name, tensor in backbone.named_parameters()}
    theirs, _ = match_shapes({name: tensor for name, tensor in state.items() if name in ours}, ours)
    fits = theirs.keys() == ours.keys() and all(theirs[name].shape == ours[name].shape for name in ours)
    return len(ours) if fits else 0
