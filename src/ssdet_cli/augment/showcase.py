"""One clip and its partner under one method, with a draw worth looking at: what a preview shows and tells."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssdet_cli.augment.volume_cutmix import cutmix_boundary, volume_cutmix
from ssdet_cli.augment.volume_freeze import draw_freeze, volume_freeze
from ssdet_cli.augment.volume_mixup import volume_mixup
from ssdet_cli.augment.windows import draw_windows, resolve_windows

CANDIDATES = 64
"""Draws of training among which a preview looks for one that shows every stage."""

_BAND = 64

Draw = dict[str, Any]
"""start and length as the method takes them, in plain numbers; for the mixing methods also the resolved windows."""


@dataclass(frozen=True)
class Showcase:
    """One method applied to a clip.

    Attributes:
        method: "freeze", "mixup" or "cutmix".
        frames: (T, h, w, 3) uint8.
        weights: (3, T) float32 label weights of background, item and partner.
        frozen: (T,) bool, frames that stand still.
        draw: How it came about.
        source: Of item and partner: (T,) int64, the frame that is shown, -1 where none is.
        seam: (T,) in [0, 1] of the width, where CutMix has its seam; None for the others.
        area_deviation: How far pixel means are from label weights, for a clip of zeros mixed with one of ones.
    """

    method: str
    frames: np.ndarray
    weights: np.ndarray
    frozen: np.ndarray
    draw: Draw
    source: tuple[np.ndarray, np.ndarray]
    seam: np.ndarray | None
    area_deviation: float


def showcase_draw(method: str, frames: int, generator: torch.Generator) -> Draw:
    """Draw as training does, many times, and take the first draw that shows the whole story within the clip.

    Nice is a freeze with motion before and after it, and windows that overlap in part with both clips alone at one
    end. Very short clips may have no such draw: then any partial overlap does, and failing that the first draw.

    Args:
        method: "freeze", "mixup" or "cutmix".
        frames: Frames T, at least 2.
        generator: On the CPU.
    """
    if method == "freeze":
        start, length = draw_freeze(CANDIDATES, frames, generator)
        nice = (start >= 0.12 * frames) & (start + length <= 0.85 * frames) & (length >= 0.25 * frames)
        pick = int(nice.int().argmax())
        return {"start": int(start[pick]), "length": int(length[pick])}
    start, length = draw_windows(CANDIDATES, frames, generator)
    begin, end = resolve_windows(start, length, frames)
    latest, earliest = begin.amax(0), end.amin(0)
    partial = (begin[0] - begin[1]) * (end[0] - end[1]) > 0
    nice = partial & (latest >= 0.15 * frames) & (earliest <= 0.85 * frames) & (earliest - latest >= 0.3 * frames)
    pick = int((nice.int() * 2 + (partial & (earliest > latest)).int()).argmax())
    resolved = torch.stack([begin[:, pick], end[:, pick]], dim=1)
    return {"start": start[:, pick].tolist(), "length": length[:, pick].tolist(), "windows": resolved.tolist()}


def showcase(method: str, clips: Tensor, draw: Draw) -> Showcase:
    """Apply the augmentation of training to an item and its partner.

    Args:
        method: "freeze", "mixup" or "cutmix".
        clips: (2, 3, T, h, w) uint8, item and partner.
        draw: From `showcase_draw`, for this method and T.
    """
    labels = torch.zeros(2, 3, clips.shape[2])
    labels[0, 1] = labels[1, 2] = 1
    operation = _operation(method, draw)
    frames = torch.empty_like(clips[0].permute(1, 2, 3, 0))
    # Rows of pixels do not meet in any of the augmentations: bands give the same result in a fraction of the memory.
    for band, shown in zip(clips.split(_BAND, dim=3), frames.split(_BAND, dim=1), strict=True):
        mixed, soft = operation(band.contiguous(), labels)
        shown.copy_(mixed[0].permute(1, 2, 3, 0))
    weights = soft[0].numpy()
    time = np.arange(weights.shape[1])
    if method == "freeze":
        own, other, frozen, area = _delayed(operation, labels), np.full_like(time, -1), weights[0] > 0.5, 0.0
    else:
        own, other = (np.where(row > 0, time, -1) for row in weights[1:])
        frozen, area = np.zeros(len(time), dtype=bool), _area_deviation(operation, labels, clips.shape[4])
    return Showcase(method, frames.numpy(), weights, frozen, draw, (own, other), _seam(method, draw, len(time)), area)


def _operation(method: str, draw: Draw) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the augmentation of training with this draw, for a batch of the item and its partner."""
    if method == "freeze":
        start, length = (torch.tensor([draw[key]] * 2) for key in ("start", "length"))
        return lambda clips, labels: volume_freeze(clips, labels, start, length)
    # The partner's result is not shown; given the same windows it costs no thought.
    start, length = (torch.tensor([[own, own] for own in draw[key]]) for key in ("start", "length"))
    mix = volume_mixup if method == "mixup" else volume_cutmix
    return lambda clips, labels: mix(clips, labels, start, length, torch.tensor([1, 0]))


def _seam(method: str, draw: Draw, frames: int) -> np.ndarray | None:
    """Return where CutMix has its seam in every frame: (T,) in [0, 1] of the width; None for the others."""
    if method != "cutmix":
        return None
    start, length = (torch.tensor(draw[key])[:, None] for key in ("start", "length"))
    return cutmix_boundary(start, length, frames, width=1)[0].numpy()


def _delayed(operation: Callable, labels: Tensor) -> np.ndarray:
    """Return which frame each output frame comes from, by freezing a clip whose pixels are frame numbers."""
    frames = labels.shape[2]
    numbers = torch.arange(frames, dtype=torch.float32).view(1, 1, frames, 1, 1).repeat(2, 1, 1, 1, 1)
    return operation(numbers, labels)[0][0].flatten().long().numpy()


def _area_deviation(operation: Callable, labels: Tensor, width: int) -> float:
    """Mix a clip of zeros with one of ones and return how far pixel means are from the partner's label weights."""
    clips = torch.zeros(2, 1, labels.shape[2], 1, width)
    clips[1] = 1
    mixed, soft = operation(clips, labels)
    return float((mixed[0].mean(dim=(0, 2, 3)) - soft[0, 2]).abs().max())
