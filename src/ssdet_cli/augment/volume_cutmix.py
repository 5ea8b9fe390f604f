"""Volume CutMix: two clips share the frame side by side, and the seam sweeps across it.

Source: "Weakly-guided Self-supervised Pretraining for Temporal Activity Detection" (AAAI 2023), detection pretraining;
the panning style follows the authors' repository.
"""

import torch
from torch import Tensor

from ssdet_cli.augment.frames import as_index, check_clips
from ssdet_cli.augment.volume_mixup import blend, interpolate, mix_labels
from ssdet_cli.augment.windows import overlap, partner_weight, resolve_windows, resolved_weight
from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError

STYLES = ("sweep", "pan")


def check_style(style: str) -> None:
    """Refuse a style that does not exist.

    Raises:
        ConfigError: Neither "sweep" nor "pan".
    """
    if style not in STYLES:
        raise ConfigError(f"Unknown CutMix style '{style}'.{nearest(style, STYLES)} Known: {', '.join(STYLES)}.")


def cutmix_boundary(start: Tensor, length: Tensor, frames: int, width: int) -> Tensor:
    """Give the seam's place in every frame: the item is left of it, the partner right of it.

    Args:
        start: (2, B) int64 in frames, as drawn.
        length: (2, B) int64 in frames, as drawn.
        frames: Frames T.
        width: Pixels W of a row.

    Returns:
        (B, T) float32 in pixels from the left edge; 0 or W where one clip has the frame alone.
    """
    return width * (1 - partner_weight(start, length, frames))


def cutmix_alpha(start: Tensor, length: Tensor, frames: int, width: int) -> Tensor:
    """Weigh the item in every column of every frame; the partner has one minus that.

    The seam is linear over W // 16 pixels on either side of the boundary; below 16 pixels it is a hard edge, and a
    column belongs to the item where its centre lies left of the boundary.

    Args:
        start: (2, B) int64 in frames, as drawn.
        length: (2, B) int64 in frames, as drawn.
        frames: Frames T.
        width: Pixels W of a row.

    Returns:
        (B, T, W) float32 in [0, 1].
    """
    start, end = resolve_windows(start, length, frames)
    weight = (1 - resolved_weight(start, end, frames))[:, :, None]
    distance = width * weight - _centres(width, start.device)
    half = width // 16
    shared = ((distance + half) / (2 * half)).clamp(0, 1) if half else (distance > 0).float()
    return torch.where(overlap(start, end, frames)[:, :, None], shared, weight)


def volume_cutmix(
    clips: Tensor, labels: Tensor, start: Tensor, length: Tensor, partner: Tensor, style: str = "sweep"
) -> tuple[Tensor, Tensor]:
    """Show every clip beside its partner, and weigh their labels by the area that each really occupies.

    "sweep": in the overlap of the time windows the item has the left, the partner the right, and the boundary moves
    with the temporal weight. "pan": in all frames the item has the left 9/16 and the partner the right 9/16, and their
    contents move outwards by whole pixels; the time windows play no part.

    Args:
        clips: (B, C, T, H, W), floating or uint8; not changed.
        labels: (B, K, T); not changed.
        start: (2, B) int, windows' first frames as drawn (they are made to cover every frame here).
        length: (2, B) int, windows' lengths as drawn.
        partner: (B,) int, the clip that each item is mixed with.
        style: "sweep" or "pan".

    Returns:
        clips of the same shape and type; labels (B, K, T) float32, or float64 as they came.

    Raises:
        ConfigError: A shape or type does not fit, or the style does not exist.
    """
    check_clips(clips, labels)
    check_style(style)
    batch, frames = clips.shape[0], clips.shape[2]
    start = as_index("start", start, (2, batch), clips.device)
    length = as_index("length", length, (2, batch), clips.device)
    partner = as_index("partner", partner, (batch,), clips.device)
    if style == "pan":
        return _pan(clips, labels, partner)
    alpha = cutmix_alpha(start, length, frames, clips.shape[4])
    item_only, partner_only = (alpha == 1).all(dim=2), (alpha == 0).all(dim=2)
    mixed = blend(clips, partner, alpha[:, None, :, None, :], item_only, partner_only)
    return mixed, mix_labels(labels, partner, alpha.mean(dim=2))


def _pan(clips: Tensor, labels: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    frames, width = clips.shape[2], clips.shape[4]
    alpha = pan_alpha(width, clips.device)
    # Whole pixels (rounded down), so that panning never blurs. The shift stays below 7/16 of the width and 9/16 are
    # shown: what the circular shift carries around the edge is never seen, so both parts are plain slices of rows.
    shift = 7 * width * torch.arange(frames, device=clips.device) // (16 * frames)
    begin = 7 * width // 16
    reach = width - begin
    slices, columns = clips.unfold(4, reach, 1), slice(begin, reach)
    own_at = _slice_index(clips, torch.arange(clips.shape[0], device=clips.device), shift)
    other_at = _slice_index(clips, partner, begin - shift)
    mixed = torch.empty_like(clips)
    if torch.compiler.is_compiling() or clips.requires_grad:
        own, other = torch.ops.aten.index(slices, own_at), torch.ops.aten.index(slices, other_at)
        mixed[..., :begin], mixed[..., reach:] = own[..., :begin], other[..., reach - begin :]
        own, other = own[..., begin:], other[..., : reach - begin]
    else:
        # Gathering into place saves the two copies that a compiler fuses away; `torch.cat` along rows is slower still.
        gather = torch.ops.aten.index.Tensor_out
        gather(slices, own_at, out=mixed[..., :reach])
        own = mixed[..., columns].clone()
        gather(slices, other_at, out=mixed[..., begin:])
        other = mixed[..., columns].clone()
    mixed[..., columns] = interpolate(other, own, alpha[columns])
    area = alpha.mean().expand(clips.shape[0], frames)
    return mixed, mix_labels(labels, partner, area)


def pan_alpha(width: int, device: torch.device | str = "cpu") -> Tensor:
    """Weigh the item in every column of the panning style: 1 up to 7/16 of the width, 0 from 9/16; (W,) float32."""
    return ((9 * width / 16 - _centres(width, device)) / (width / 8)).clamp(0, 1)


def _slice_index(clips: Tensor, item: Tensor, first: Tensor) -> list[Tensor | None]:
    """Index rows unfolded into slices: [b, :, t] is item[b]'s frame t, its columns from first[t] on."""
    channel = torch.arange(clips.shape[1], device=clips.device)[None, :, None]
    frame = torch.arange(clips.shape[2], device=clips.device)
    return [item[:, None, None], channel, frame, None, first]


def _centres(width: int, device: torch.device | str) -> Tensor:
    return torch.arange(width, device=device, dtype=torch.float32) + 0.5
