"""Whole networks, frames to logits.

Coarse-Fine networks have names of their own, `coarse_fine_<backbone>`, for every X3D of the backbones' catalogue.
"""

from ssdet_cli.models.backbones import BACKBONES

COARSE_FINE = "coarse_fine_"


def coarse_fine_names() -> list[str]:
    """Names of the Coarse-Fine networks, sorted, without aliases."""
    return [COARSE_FINE + name for name in BACKBONES.names() if name.startswith("x3d_")]
