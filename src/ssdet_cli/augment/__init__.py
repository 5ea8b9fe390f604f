"""Volume augmentations: a clip with one label becomes a clip whose every frame has known soft labels."""

from ssdet_cli.augment.compose import METHODS, FreezeDraw, MixDraw, VolumeAugment, VolumeDraws
from ssdet_cli.augment.volume_cutmix import cutmix_alpha, cutmix_boundary, volume_cutmix
from ssdet_cli.augment.volume_freeze import draw_freeze, fixed_freeze_draw, volume_freeze
from ssdet_cli.augment.volume_mixup import volume_mixup
from ssdet_cli.augment.windows import draw_partner, draw_windows, fixed_mix_draw, partner_weight, resolve_windows

__all__ = [
    "METHODS",
    "FreezeDraw",
    "MixDraw",
    "VolumeAugment",
    "VolumeDraws",
    "cutmix_alpha",
    "cutmix_boundary",
    "draw_freeze",
    "draw_partner",
    "draw_windows",
    "fixed_freeze_draw",
    "fixed_mix_draw",
    "partner_weight",
    "resolve_windows",
    "volume_cutmix",
    "volume_freeze",
    "volume_mixup",
]
