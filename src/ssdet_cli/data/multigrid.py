"""The plan of a multigrid training: which step has batches of what shape. Pure numbers, the same on every rank and in
every session of a run.

Source: Wu et al., "A Multigrid Method for Efficiently Training Video Models" (CVPR 2020), and X3D's multigrid training.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ssdet_cli.config.multigrid import MultigridConfig
from ssdet_cli.errors import ConfigError


class ClipShape(NamedTuple):
    """What a loader's worker makes.

    Attributes:
        frames: Input frames T.
        stretch: The stride of the full clip is multiplied by a whole number drawn from 1 to this, clip by clip, so that
            a short clip spans up to as much time as a full one.
        size: Side of the square, pixels.
    """

    frames: int
    stretch: int
    size: int


class Turn(NamedTuple):
    """What one step looks like.

    Attributes:
        clips: Per process and forward pass.
        shape: Of each of them.
        norm_splits: Parts of the batch that every batch norm sees by itself.
        lr: Factor on the learning rate.
    """

    clips: int
    shape: ClipShape
    norm_splits: int
    lr: float

    @property
    def pixels(self) -> int:
        """Of all frames of the batch: what memory and time go with."""
        return self.clips * self.shape.frames * self.shape.size**2


@dataclass(frozen=True)
class Leg:
    """Successive steps of one shape of the long cycle.

    Attributes:
        phase: From 1; one more than the number of long cycles behind.
        first: Step that it begins with, from 0.
        end: Step that the next one begins with.
        turns: Short cycle; step `first` has the first one.
    """

    phase: int
    first: int
    end: int
    turns: tuple[Turn, ...]

    def clips_before(self, step: int) -> int:
        """Clips of a process in the leg's steps before `step`, of one forward pass each."""
        rounds, rest = divmod(step - self.first, len(self.turns))
        clips = [turn.clips for turn in self.turns]
        return rounds * sum(clips) + sum(clips[:rest])


@dataclass(frozen=True)
class Plan:
    """All steps of a run, as legs that follow each other from step 0."""

    legs: tuple[Leg, ...]

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.legs[-1].end

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All that are different, in the order in which they first come."""
        return tuple(dict.fromkeys(turn for leg in self.legs for turn in leg.turns))

    @property
    def most_splits(self) -> int:
        """Of the batch norms, at any step."""
        return max(turn.norm_splits for turn in self.turns)

    @property
    def largest(self) -> Turn:
        """The turn that takes most memory; of equals the one with the longest and largest clips."""
        return max(self.turns, key=lambda turn: (turn.pixels, turn.shape.frames, turn.shape.size))

    def at(self, step: int) -> Turn:
        """What a step looks like; beyond the end the last one."""
        leg = self.legs[bisect_right(self.legs, step, key=lambda leg: leg.first) - 1]
        return leg.turns[(step - leg.first) % len(leg.turns)]

    def clips_before(self, step: int) -> int:
        """Clips of a process in all steps before `step`, of one forward pass each: the place in the data."""
        return sum(leg.clips_before(min(step, leg.end)) for leg in self.legs if leg.first < step)

    def share(self, start: int = 0) -> dict[Turn, float]:
        """How often each turn comes from a step on, as a part of those steps."""
        found = dict.fromkeys(self.turns, 0.0)
        for leg in self.legs:
            behind = min(max(start, leg.first), leg.end)
            for number, turn in enumerate(leg.turns):
                first, apart = leg.first + number, len(leg.turns)
                comes = len(range(first, leg.end, apart)) - len(range(first, behind, apart))
                found[turn] += comes / (self.steps - start)
        return found

    def only(self, turn: Turn) -> "Plan":
        """As many steps that all look like one of this plan."""
        return Plan((Leg(1, 0, self.steps, (turn,)),))


def build_plan(
    multigrid: MultigridConfig, *, clips: int, frames: int, size: int, steps: int, norm_splits: int = 1
) -> Plan:
    """Lay a run out.

    A phase goes through the whole long cycle, each shape for as many steps; after the last phase the last shape stays.
    As in X3D's training the step at a phase's boundary still belongs to it: phases of 206,160 steps that end at 0.4 and
    0.65 begin at steps 0, 82,465 and 134,005.

    Args:
        multigrid: Cycles and phases.
        clips: Of the full shape, per process and forward pass.
        frames: Of the full shape.
        size: Of the full shape, pixels.
        steps: Optimiser steps of the run.
        norm_splits: At every shape, where they do not follow it.

    Raises:
        ConfigError: A batch cannot be cut into `norm_splits`.
    """
    cycles = multigrid.cycles
    short = cycles.short_cycle * (len(cycles.long_cycle) if len(cycles.short_cycle) == 1 else 1)
    shapes = [
        _turns(multigrid, factors, turns, (clips, frames, size), norm_splits)
        for factors, turns in zip(cycles.long_cycle, short, strict=True)
    ]
    legs: list[Leg] = []
    first = 0
    for phase, part in enumerate(cycles.phases, start=1):
        last = max(int(part * steps + 1e-6), first - 1)  # before its first step where the run is too short for it
        starts = [first + number * max(0, last - first) // len(shapes) for number in range(len(shapes))]
        legs += map(Leg, [phase] * len(shapes), starts, [*starts[1:], last + 1], shapes)
        first = last + 1
    legs.append(Leg(len(cycles.phases) + 1, first, steps, shapes[-1]))
    cut = (Leg(leg.phase, leg.first, min(leg.end, steps), leg.turns) for leg in legs)
    return Plan(tuple(leg for leg in cut if leg.first < leg.end))  # a very short run has less than all


def _turns(
    multigrid: MultigridConfig,
    factors: tuple[float, float, float],
    short: Sequence[tuple[float, float]],
    full: tuple[int, int, int],
    norm_splits: int,
) -> tuple[Turn, ...]:
    """One shape of the long cycle, with its short cycle."""
    of_clips, of_frames, of_size = factors
    frames, size = max(1, round(full[1] * of_frames)), _side(full[2], of_size)
    clips = [max(1, round(full[0] * of_clips * factor)) for factor, _ in short]
    splits = norm_splits
    if multigrid.clips_per_statistic is not None:
        splits = _splits(clips, multigrid.clips_per_statistic)
    elif any(number % norm_splits for number in clips):
        raise ConfigError(
            f"multigrid has batches of {', '.join(map(str, clips))} clips, which cannot be cut into {norm_splits} "
            "splits (model.norm_splits); take a loop.batch_size that is a multiple of it at every shape."
        )
    stretch = max(1, full[1] // frames)
    rate = of_clips if multigrid.scale_lr else 1.0
    return tuple(
        Turn(number, ClipShape(frames, stretch, _side(size, factor)), splits, rate)
        for number, (_, factor) in zip(clips, short, strict=True)
    )


def _side(size: int, factor: float) -> int:
    return max(1, int(size * factor + 1e-9))


def _splits(clips: Sequence[int], least: int) -> int:
    """Most splits that divide every batch of a shape and leave at least `least` clips in each part; else 1."""
    common, most = math.gcd(*clips), min(clips) // least
    return max((splits for splits in range(1, most + 1) if common % splits == 0), default=1)
