"""Configuration of `ssdet data check`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ssdet_cli.config.load import merge, nest, parse_overrides, read_yaml, validate
from ssdet_cli.config.locate import locate
from ssdet_cli.config.sections import ClipConfig, DataConfig, Names, Section
from ssdet_cli.errors import ConfigError


class CheckedData(DataConfig):
    """Data whose kind must be said: every set is read in its own way."""

    dataset: str | None = Field(None, description="Name from `ssdet data list`, or module:attribute.")


class DataCheckConfig(Section):
    """Find what is wrong with a dataset before a training does."""

    command: ClassVar[str] = "data-check"
    data: CheckedData = CheckedData()
    clip: ClipConfig | None = Field(None, description="Clips that videos must be long enough for: frames and stride.")
    split: Literal["train", "val", "test", "all"] = Field("all", description="Split of the dataset.")
    decode: Literal["headers", "ends", "all"] = Field(
        "ends", description="headers only; the first, middle and last frame and all timestamps; or all frames."
    )
    annotations_only: bool = Field(False, description="Look at no video.")
    min_frames: int | None = Field(None, ge=1, description="Raw frames that a video must have; default: those of clip.")
    min_seconds: float = Field(0.0, ge=0, description="Seconds that a video must have.")
    leave_out: Names = Field((), description="Codes of warnings and notes whose videos leave the clean list as well.")
    output: Path | None = Field(None, description="Folder for the report, the index and the clean list.")
    workers: int = Field(0, ge=0, description="Processes that read videos; 0 is one per core.")
    timeout: float = Field(60.0, gt=0, description="Seconds that one file may take; all its frames ten times as many.")
    memory: float = Field(4.0, gt=0, description="GB that one file may take.")
    statistics_rate: float = Field(24.0, gt=0, description="Frames per second on which labels per frame are counted.")

    @property
    def fewest_frames(self) -> int:
        """Raw frames under which a video is too short; 0 where nothing says so."""
        if self.min_frames is not None:
            return self.min_frames
        told = self.clip is not None and {"frames", "stride"} <= self.clip.model_fields_set
        return self.clip.frames * self.clip.stride if told else 0

    @model_validator(mode="after")
    def _something_to_read(self) -> "DataCheckConfig":
        data = self.data
        if data.dataset is None:
            raise ValueError(
                "data.dataset: name the kind of dataset with --dataset (`ssdet data list` shows them), as in "
                "--dataset charades --annotations FILE --videos DIR, or --dataset folder --data DIR."
            )
        if data.videos is None and not self.annotations_only:
            raise ValueError(
                "data.videos: give the videos with --videos DIR, or leave them out with --annotations-only."
            )
        return self


def load_check_config(name: str | None, overrides: Iterable[str], flags: Mapping[str, Any]) -> DataCheckConfig:
    """Build the configuration; of a training's file only its data and its clip are taken.

    Raises:
        ConfigError: Any mistake, or a key is given twice.
    """
    words = parse_overrides(overrides)
    for key, value in flags.items():
        if key in words:
            raise ConfigError(f"{key} is given as a flag and as {key}=...; give one of them.")
        words[key] = value
    values: dict[str, Any] = {}
    if name is not None:
        values = read_yaml(locate(name, "finetune"))
        values = {key: values[key] for key in ("data", "clip") if values.get(key) is not None}
    for key, value in words.items():
        values = merge(values, nest(key, value))
    return validate(DataCheckConfig, values, str(name or "command line"), words)
