"""Multigrid training: which shapes of a batch come when (Wu et al., "A Multigrid Method for Efficiently Training Video
Models", CVPR 2020).

A long cycle goes from many short, small clips to few full ones; a short cycle changes size and number from step to
step. Everything is a factor of the full shape, so that one set of cycles serves every network.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from ssdet_cli.config.sections import Numbers, Section

Positive = Annotated[float, Field(gt=0)]
Part = Annotated[float, Field(gt=0, le=1)]
#: Clips, frames, size.
Shape = tuple[Positive, Part, Part]
#: Clips, size; of the long cycle's shape.
Turn = tuple[Positive, Part]


class Cycles(NamedTuple):
    """What a preset stands for; the fields are those of `MultigridConfig`."""

    long_cycle: tuple[Shape, ...]
    short_cycle: tuple[tuple[Turn, ...], ...]
    phases: tuple[float, ...]


_LONG = ((8.0, 0.25, 0.7071), (4.0, 0.5, 0.7071), (2.0, 0.5, 1.0), (1.0, 1.0, 1.0))
_FULL = ((4.0, 0.5), (2.0, 0.7071), (1.0, 1.0))
#: X3D's has two turns at the smaller size, 158 and 111 of 224 pixels. Wu et al. keep three: 112, 158, and 158 again.
_OF_X3D = ((2.0, 0.7071), (1.0, 1.0))
_OF_SLOWFAST = ((2.0, 0.709), (1.0, 1.0), (1.0, 1.0))
#: Phases of SlowFast are the steps of its Kinetics schedule: 94, 154 and 196 of 239 passes.
PRESETS = {
    "x3d": Cycles(_LONG, (_OF_X3D, _OF_X3D, _FULL, _FULL), (0.4, 0.65, 0.85)),
    "slowfast": Cycles(_LONG, (_OF_SLOWFAST, _OF_SLOWFAST, _FULL, _FULL), (94 / 239, 154 / 239, 196 / 239)),
}


class MultigridConfig(Section):
    """Batches whose number of clips, frames and pixels change on schedule."""

    preset: Literal["none", "x3d", "slowfast"] = Field(
        "none", description="Cycles by name: x3d as X3D's authors have them, slowfast as Wu et al. do; none is off."
    )
    long_cycle: tuple[Shape, ...] | None = Field(
        None,
        description="Shapes [clips, frames, size], each a factor of loop.batch_size, clip.frames, clip.size; "
        "default: the preset's.",
    )
    short_cycle: tuple[tuple[Turn, ...], ...] | None = Field(
        None,
        description="Steps [clips, size], factors of the shape's own, in turn: a list for every shape of the long "
        "cycle, or one for all; [] is none; default: the preset's.",
    )
    phases: Numbers | None = Field(
        None,
        description="Parts of the run at which a long cycle has ended; after the last of them the last shape stays; "
        "default: the preset's.",
    )
    scale_lr: bool = Field(True, description="The learning rate follows the clips of the long cycle's shape.")
    clips_per_statistic: int | None = Field(
        8,
        ge=1,
        description="Least clips that a batch norm takes statistics of; where there are more it is split (X3D). null: "
        "model.norm_splits at every shape.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "MultigridConfig":
        if self.phases is not None and not self.on:
            raise ValueError("multigrid.phases has no effect without multigrid.preset or multigrid.long_cycle.")
        if self.long_cycle == ():
            raise ValueError("multigrid.long_cycle is empty; leave it out, or give shapes [clips, frames, size].")
        if any(not turns for turns in self.short_cycle or ()):
            raise ValueError("multigrid.short_cycle has an empty list; a shape without a short cycle is [[1, 1]].")
        if self.on and len(self.cycles.short_cycle) not in (1, len(self.cycles.long_cycle)):
            raise ValueError(
                f"multigrid.short_cycle has {len(self.cycles.short_cycle)} lists and the long cycle "
                f"{len(self.cycles.long_cycle)} shapes; give one list for every shape, or one for all."
            )
        parts = list(self.phases or ())
        if parts != sorted(set(parts)) or any(not 0 < part < 1 for part in parts):
            raise ValueError(f"multigrid.phases={parts} must rise and lie between 0 and 1.")
        if self.on and len(self.cycles.long_cycle) > 1 and not self.cycles.phases:
            raise ValueError("multigrid.long_cycle needs multigrid.phases, the parts of the run at which it has ended.")
        return self

    @property
    def on(self) -> bool:
        """Whether shapes change at all."""
        return self.preset != "none" or self.long_cycle is not None or self.short_cycle is not None

    @property
    def cycles(self) -> Cycles:
        """The preset with what is given put over it."""
        preset = PRESETS.get(self.preset, Cycles(((1.0, 1.0, 1.0),), (((1.0, 1.0),),), ()))
        long_cycle = self.long_cycle if self.long_cycle is not None else preset.long_cycle
        short_cycle = preset.short_cycle if self.short_cycle is None else self.short_cycle or (((1.0, 1.0),),)
        return Cycles(long_cycle, short_cycle, self.phases if self.phases is not None else preset.phases)
