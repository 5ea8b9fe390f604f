"""Time windows of the two mixing augmentations: drawing them, covering every frame, weighing the partner.

Source: "Weakly-guided Self-supervised Pretraining for Temporal Activity Detection" (AAAI 2023), detection pretraining.
Row 0 of every (2, B) tensor is the batch item itself, row 1 its partner.
"""

import random

import torch
from torch import Tensor

from ssdet_cli.augment.frames import check_frames
from ssdet_cli.errors import ConfigError


def uniform_below(bound: Tensor, generator: torch.Generator) -> Tensor:
    """Draw integers uniformly from {0, ..., bound - 1}, elementwise, on the generator's device."""
    # float64: the bias of scaling is far below what any number of draws could show, and the product stays below bound.
    fraction = torch.rand(bound.shape, generator=generator, device=generator.device, dtype=torch.float64)
    return torch.minimum((fraction * bound).long(), bound - 1)


def send(value: Tensor, device: torch.device | str) -> Tensor:
    """Move a draw to a device without waiting, unless it comes from one: the host would read it before it is there."""
    return value.to(device, non_blocking=value.device.type == "cpu")


def draw_switches(generator: torch.Generator, count: int) -> list[float]:
    """Draw numbers uniformly from [0, 1) that the host knows without waiting for a device.

    Seed and offset of a device's generator are kept on the host. They are only read here: the draws on the device that
    follow move the offset on, so every step has its own numbers, and a generator set back to an earlier state repeats
    them.
    """
    if generator.device.type == "cpu":
        return torch.rand(count, generator=generator).tolist()
    source = random.Random(f"{generator.initial_seed()} {generator.get_offset()}")
    return [source.random() for _ in range(count)]


def draw_windows(
    batch: int, frames: int, generator: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Draw two time windows per clip: length from {ceil(T/2), ..., T}, then start from {0, ..., T - length}.

    Args:
        batch: Clips B.
        frames: Frames T, at least 2.
        generator: Source of the draw; a CPU generator gives the same draw for every device.
        device: Where the result goes; the host waits only for what comes to it from another device.

    Returns:
        start, length: (2, B) int64 in frames, not yet covering every frame.

    Raises:
        ConfigError: T below 2.
    """
    check_frames(frames)
    shortest = (frames + 1) // 2
    length = torch.randint(shortest, frames + 1, (2, batch), generator=generator, device=generator.device)
    start = uniform_below(frames - length + 1, generator)
    return send(start, device), send(length, device)


def draw_partner(batch: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
    """Draw a random permutation of the batch: (B,) int64, the clip that each item is mixed with.

    Raises:
        ConfigError: B below 1.
    """
    if batch < 1:
        raise ConfigError(f"A batch must hold at least 1 clip, got {batch}.")
    return send(torch.randperm(batch, generator=generator, device=generator.device), device)


def fixed_mix_draw(batch: int, frames: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    """Give the windows and partners of validation, the same at every epoch.

    The item has [0, 3T/4), the partner [T/4, T); the partner is the batch rolled by half its size plus one.

    Returns:
        start, length: (2, B) int64 in frames; partner: (B,) int64.

    Raises:
        ConfigError: T below 2.
    """
    check_frames(frames)
    columns = torch.zeros(batch, dtype=torch.int64, device=device)
    start = torch.stack([columns, columns + frames // 4])
    length = torch.stack([columns + 3 * frames // 4, columns + frames - frames // 4])
    partner = torch.arange(batch, device=device).roll(batch // 2 + 1)
    return start, length, partner


def resolve_windows(start: Tensor, length: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Move drawn windows so that every frame is covered.

    The clip that starts first starts at 0 and keeps its length; then the clip that ends last ends at T. The item wins
    ties. Lengths of at least T/2 leave no gap.

    Args:
        start: (2, B) int64 in frames, as drawn.
        length: (2, B) int64 in frames, as drawn.
        frames: Frames T.

    Returns:
        start, end: (2, B) int64, end excluded.
    """
    item = torch.arange(2, device=start.device)[:, None]
    starts_first = (start[1] < start[0]).long()
    start = torch.where(item == starts_first, 0, start)
    end = start + length
    ends_last = (end[1] > end[0]).long()
    return start, torch.where(item == ends_last, frames, end)


def overlap(start: Tensor, end: Tensor, frames: int) -> Tensor:
    """Mark the frames that both resolved windows cover: (B, T) bool."""
    time = torch.arange(frames, device=start.device)
    return (time >= start.amax(0)[:, None]) & (time < end.amin(0)[:, None])


def resolved_weight(start: Tensor, end: Tensor, frames: int) -> Tensor:
    """Weigh the partner in every frame of resolved windows (see `partner_weight`): (B, T) float32."""
    time = torch.arange(frames, device=start.device)
    latest, earliest = start.amax(0), end.amin(0)
    whole = (earliest - latest).clamp_min(0)[:, None] + 1
    ramp = time - latest[:, None] + 1
    valley = (2 * ramp - whole).abs()
    partner_inside = (start[1] >= start[0]) & (end[1] < end[0])
    item_inside = (start[0] >= start[1]) & (end[0] < end[1])
    partner_later = start[1] > start[0]
    rising = torch.where(partner_later[:, None], ramp, whole - ramp)
    share = torch.where(item_inside[:, None], valley, rising)
    share = torch.where(partner_inside[:, None], whole - valley, share)
    alone = (time >= start[1][:, None]) & (time < end[1][:, None])
    # All of this is in whole numbers, so one rounding remains: that of this division.
    return torch.where(overlap(start, end, frames), share, whole * alone).float() / whole


def partner_weight(start: Tensor, length: Tensor, frames: int) -> Tensor:
    """Weigh the partner in every frame; the item has one minus that.

    With an overlap of n frames and k = 1, ..., n within it:

    - partial overlap: the clip that starts later has k/(n+1);
    - one clip inside the other (starts later or with it, ends before it): the outer has |2k - (n+1)|/(n+1);
    - the same start and end: the item has k/(n+1).

    Outside the overlap the clip that covers the frame has weight 1, which continues the ramps at k = 0 and k = n + 1.

    Args:
        start: (2, B) int64 in frames, as drawn.
        length: (2, B) int64 in frames, as drawn.
        frames: Frames T.

    Returns:
        (B, T) float32 in [0, 1].
    """
    return resolved_weight(*resolve_windows(start, length, frames), frames)
