"""Configuration of `ssdet predict`."""

import re
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from ssdet_cli.config.sections import FineSource, Names, RunConfig, Section, WindowLength, refuse_two_spacings

_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)")


def _seconds(value: object) -> object:
    """Read `90`, `1:30` and `00:01:30.5`."""
    match = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    hours, minutes, seconds = match.groups()
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds)


Seconds = Annotated[float, BeforeValidator(_seconds)]
#: One name alone is a list of one; commas may stand in file names.
Places = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class PredictData(Section):
    """What is looked at."""

    model_config = ConfigDict(allow_inf_nan=False)

    videos: Places = Field(
        (), description="Video files, folders of videos, folders of JPEG frames, cameras and addresses of streams."
    )
    frame_rate: float | None = Field(None, gt=0, description="Frames per second of folders of JPEG frames.")


class PredictInference(Section):
    """How a video goes through the network."""

    stride: int | None = Field(
        None, ge=1, description="Raw frames between input frames; default: the time between them in training."
    )
    seconds_between_frames: float | None = Field(
        None, gt=0, description="Seconds between input frames; default: the time between them in training."
    )
    size: int | None = Field(None, ge=16, description="Side of the centre crop, pixels; default: as trained.")
    window: WindowLength | None = Field(
        None,
        description="Input frames in one pass, longer videos go in overlapping windows; auto is as many as memory "
        "allows; default: 512. Where a video has no end, auto and the default are as many as a training clip has.",
    )
    exact: bool = Field(
        False,
        description="Of a longer video, what one pass would give, also where the network looks at all of it; memory "
        "grows with the video, which must have an end.",
    )

    @model_validator(mode="after")
    def _one_spacing(self) -> "PredictInference":
        refuse_two_spacings(self.stride, self.seconds_between_frames)
        return self


class PredictConfig(Section):
    """Find what happens in videos."""

    model_config = ConfigDict(allow_inf_nan=False)

    command: ClassVar[str] = "predict"
    checkpoint: Path | None = Field(None, description="Run folder or checkpoint; default: the newest run that fits.")
    data: PredictData = PredictData()
    threshold: float | None = Field(
        None, ge=0, le=1, description="Score from which on a class is present; default: its best in validation, or 0.5."
    )
    classes: Names = Field((), description="Classes to look for; none is all of them.")
    top_k: int | None = Field(
        None, ge=1, description="Only so many classes of a video, those with the highest scores; default: all."
    )
    start: Seconds = Field(0.0, ge=0, description="Begin here, seconds or hh:mm:ss.")
    end: Seconds | None = Field(None, gt=0, description="Stop here, seconds or hh:mm:ss; default: at the end.")
    min_length: float = Field(0.0, ge=0, description="Leave out shorter segments, seconds.")
    smooth: float = Field(
        0.0, ge=0, description="Find segments in scores that are averaged over so many seconds; stored ones are not."
    )
    no_overlay: bool = Field(False, description="Write no overlay video.")
    no_pictures: bool = Field(False, description="Write no timeline, overlay video or page.")
    fine: FineSource = FineSource()
    inference: PredictInference = PredictInference()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _in_order(self) -> "PredictConfig":
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end ({self.end:g} s) must be after start ({self.start:g} s).")
        if self.fine.features is not None and self.fine.weights is not None:
            raise ValueError("fine.features and fine.weights are two sources of one fine stream; give one of them.")
        return self
