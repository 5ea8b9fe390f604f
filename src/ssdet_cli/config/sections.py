"""The parts that a configuration is made of.

A field here is the only home of its default, type, unit and sentence: YAML, `section.key=value`, `--help` and
`--print-config` show the same thing. Plain data only, nothing here looks at the machine.
"""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

Split = Literal["train", "val", "test"]
#: Stands for the weights that a network's own library publishes where a file of weights is asked for.
HUB = "hub"


class Section(BaseModel):
    """Frozen, and a key that does not exist is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def _split_commas(value: object) -> object:
    """Accept `freeze,mixup` and `none` for a list; an empty text is more likely a variable that was never set."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise PydanticCustomError("empty_list", "it is empty; write none where nothing is meant")
    if isinstance(value, str):
        return [] if value == "none" else [part.strip() for part in value.split(",")]
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_split_commas)]
Numbers = Annotated[tuple[float, ...], BeforeValidator(_split_commas)]


def _above_nothing(weights: tuple[float, ...]) -> tuple[float, ...]:
    for weight in weights:
        if not 0 < weight < float("inf"):
            raise PydanticCustomError("weight", "every one of the weights must be a number above 0, as in 2,1")
    return weights


#: What the members of an ensemble count for; `2` alone is a number to YAML.
Weights = Annotated[
    Numbers,
    BeforeValidator(lambda value: (value,) if isinstance(value, int | float) else value),
    AfterValidator(_above_nothing),
]
#: `0` alone is a number to YAML.
GpuList = Annotated[str | None, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]


def _scalars(options: dict[str, Any]) -> dict[str, Any]:
    for key, value in options.items():
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError(f"Option {key}={value!r} must be a number, a word, true, false or null.")
    return options


#: Keywords of a part that is chosen by name; only the part knows which there are.
Options = Annotated[dict[str, Any], AfterValidator(_scalars)]


def _positive(scales: dict[str, float]) -> dict[str, float]:
    for part, scale in scales.items():
        if part == "backbone":
            raise ValueError("optim.lr_scales.backbone is a key of its own; give optim.backbone_lr_scale.")
        if not scale > 0:
            raise ValueError(f"optim.lr_scales.{part}={scale} must be above 0.")
    return scales


#: Part of the network -> factor; only the network knows which parts there are.
Scales = Annotated[dict[str, float], AfterValidator(_positive)]


def _seconds(value: object) -> object:
    """Read a duration: 5400 or 5400s, 3h50m, 90m, 1d2h, or as SLURM writes it, D-HH:MM:SS, HH:MM:SS or MM:SS."""
    if not isinstance(value, str):
        return value
    text = value.strip().lower()
    letters = re.fullmatch(r"(?:([\d.]+)d)?(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text)
    clock = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)??(\d+)(?::(\d+))?", text) if "-" not in text else None
    days = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?::(\d+))?", text)
    parts = days or (clock if ":" in text else None) or (letters if text else None)
    try:
        numbers = [float(part or 0) for part in parts.groups()] if parts else []
    except ValueError:
        numbers = []
    if not numbers:
        raise PydanticCustomError("duration", "it is no time; write 3h50m, 90m, 5400 (seconds) or 1-02:00:00")
    return sum(number * unit for number, unit in zip(numbers, (86400, 3600, 60, 1), strict=True))


#: Seconds.
Duration = Annotated[float, BeforeValidator(_seconds)]


class RunConfig(Section):
    """Where a run lives and on what it runs."""

    output: Path | None = Field(None, description="Run folder; default runs/<command>-<model>-<time>.")
    seed: int = Field(0, ge=0, description="Seed of every draw: weights, sampling, augmentation.")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N; auto takes a GPU when there is one.")
    gpus: GpuList = Field(None, description="GPUs to use, one process each: 0,1.")
    nproc: int = Field(1, ge=1, description="Processes on this machine.")
    nnodes: int = Field(1, ge=1, description="Machines.")
    node_rank: int = Field(0, ge=0, description="Number of this machine, from 0.")
    rdzv_endpoint: str | None = Field(None, description="host:port where several machines meet.")
    deterministic: bool = Field(False, description="Ask torch for deterministic algorithms; what has none is named.")
    verbose: bool = Field(False, description="List every tensor that model.init filled, changed or left out.")

    @field_validator("device")
    @classmethod
    def _device(cls, name: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
            raise ValueError(f"run.device={name} is not a device; choose auto, cpu, cuda or cuda:N.")
        return name

    @field_validator("rdzv_endpoint")
    @classmethod
    def _endpoint(cls, place: str | None) -> str | None:
        host, _, port = (place or "").rpartition(":")
        if place is not None and not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
            raise ValueError(f"run.rdzv_endpoint={place} is no host:port; write first-machine:29500.")
        return place

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.nnodes > 1 and self.rdzv_endpoint is None:
            raise ValueError(f"run.nnodes={self.nnodes} needs run.rdzv_endpoint (host:port of the first machine).")
        if self.node_rank >= self.nnodes:
            raise ValueError(f"run.node_rank={self.node_rank} must be below run.nnodes={self.nnodes}.")
        if self.gpus is not None and self.device == "cpu":
            raise ValueError("run.gpus and run.device=cpu contradict each other; give one of them.")
        return self


class DataConfig(Section):
    """Videos, annotations and how they are read."""

    dataset: str = Field("folder", description="Name from `ssdet data list`, or module:attribute.")
    videos: Path | None = Field(None, description="Folder of videos, or the list of a weakly labelled set.")
    annotations: Path | None = Field(None, description="Annotations, as the dataset takes them: a file or a folder.")
    backend: Literal["auto", "decord", "pyav", "frames"] = Field(
        "auto",
        description="Video reader; auto is pyav for files, frames for folders; decord refuses what it reads wrongly.",
    )
    frame_rate: float | None = Field(
        None, gt=0, description="Frames per second of folders of frames; without it, frames / duration."
    )
    index: Path | None = Field(
        None, description="Index from ssdet data check; default: ssdet-index.jsonl in data.videos, where it is there."
    )
    cache: Path | None = Field(
        None, description="Folder of resized copies from `ssdet data cache`; what has none is read itself."
    )
    file_timeout: float | None = Field(
        120.0, gt=0, description="Seconds that opening a file and reading one clip or window may take; null waits."
    )
    workers: int = Field(2, ge=0, description="Loader processes per training process; 0 decodes in the training one.")
    prefetch: int = Field(4, ge=1, description="Batches every worker prepares ahead.")


class ClipConfig(Section):
    """Which frames of a video make a clip.

    On the command line the keys of `of_backbone` follow the run that is started from, or else the backbone, unless they
    are given.
    """

    of_backbone: ClassVar[tuple[str, ...]] = ("frames", "stride", "size", "seconds_between_frames")
    frames: int = Field(16, ge=1, description="Input frames T.")
    stride: int = Field(5, ge=1, description="Raw frames from one input frame to the next.")
    seconds_between_frames: float | None = Field(
        None,
        gt=0,
        description="Seconds from one input frame to the next, whatever the rate of a file; stride is then labels from "
        "one to the next.",
    )
    sampling: Literal["random", "windows", "uniform"] = Field(
        "random",
        description="Training clips lie anywhere, or pass after pass side by side (windows), or all over their video.",
    )
    size: int = Field(224, ge=16, description="Side of the square that the network sees, pixels.")
    scales: Numbers = Field((0.875,), description="Side of the random crop as a part of the short side, one is drawn.")
    flip: bool = Field(True, description="Mirror half of the training clips; off where direction is the class.")
    colour_jitter: Numbers = Field(
        (),
        description="Brightness, contrast, saturation and hue of a training clip vary up to so far: 0.4,0.4,0.4,0.1.",
    )

    @model_validator(mode="after")
    def _scales(self) -> "ClipConfig":
        if not self.scales or any(not 0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"clip.scales={list(self.scales)} must be numbers above 0 and at most 1.")
        return self

    @model_validator(mode="after")
    def _strengths(self) -> "ClipConfig":
        found = list(self.colour_jitter)
        if found and (len(found) != 4 or any(not 0 <= strength <= 1 for strength in found) or found[3] > 0.5):
            raise ValueError(
                f"clip.colour_jitter={found} must be four numbers from 0 to 1 (brightness, contrast, saturation, hue), "
                "the last at most 0.5; or none."
            )
        return self

    @model_validator(mode="after")
    def _one_spacing(self) -> "ClipConfig":
        if self.sampling == "uniform" and self.seconds_between_frames is not None:
            raise ValueError(
                "clip.sampling=uniform spreads the frames over the whole video and clip.seconds_between_frames sets "
                "them apart; give one of them."
            )
        return self


class ModelConfig(Section):
    """The network."""

    backbone: str = Field("x3d_m", description="Name from `ssdet backbones`, or module:attribute.")
    head: str = Field("linear", description="Per-frame head.")
    dropout: float | None = Field(None, ge=0, lt=1, description="Before the classifier; default: the head's own.")
    norm_splits: int = Field(
        1, ge=1, description="Parts of a batch that every batch norm sees by itself while training (X3D)."
    )
    sync_bn: bool = Field(
        False, description="Batch norm takes its training statistics over the clips of all processes."
    )
    checkpoint_activations: bool = Field(
        False, description="Run blocks again in the backward pass: a fraction of the memory, about a third more time."
    )
    compile: bool = Field(False, description="Train through torch.compile; where that does not work, without.")
    channels_last: bool = Field(
        False, description="Keep weights and clips channels-last in memory: faster on GPUs for some networks."
    )
    options: Options = Field(
        {}, description="More keywords of the backbone or the head, as in model.options.slow_sampling=linspace."
    )
    init: Path | None = Field(
        None, description="Run folder or weights file to start from, or hub: what torchvision or timm publish."
    )
    allow_partial: bool = Field(False, description="Accept weights of which less than 90 % fit.")


class FineSource(Section):
    """Where the fine stream of a Coarse-Fine network comes from."""

    features: Path | None = Field(None, description="Folder of stored features, from ssdet extract-features.")
    weights: Path | None = Field(None, description="Run folder or weights file of the fine stream.")


class AugmentConfig(Section):
    """Volume augmentations (pretraining)."""

    methods: Names = Field(
        ("freeze", "mixup", "cutmix"), description="Of freeze, mixup, cutmix; none is classification pretraining."
    )
    probability: float = Field(0.5, ge=0, le=1, description="With which each method is on, drawn once per batch.")
    cutmix_style: Literal["sweep", "pan"] = Field("sweep", description="Boundary sweeps, or both halves pan.")
    compile: bool | None = Field(
        None, description="torch.compile normalisation and augmentations; default: on GPUs only."
    )


class OptimConfig(Section):
    """Optimiser and learning-rate schedule."""

    name: Literal["adamw", "sgd"] = Field("sgd", description="Optimiser.")
    lr: float = Field(0.05, gt=0, description="Learning rate of the head, and of all where backbone_lr_scale is 1.")
    backbone_lr_scale: float = Field(1.0, gt=0, description="Backbone's learning rate as a part of lr.")
    lr_scales: Scales = Field(
        {}, description="Learning rates of other parts as a part of lr, by name: optim.lr_scales.fusion=10."
    )
    scale_lr: Literal["none", "linear"] = Field(
        "none", description="linear: lr is for base_batch clips in a step, and is scaled to the clips that there are."
    )
    base_batch: int | None = Field(None, ge=1, description="Clips in an optimiser step that lr was found for.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of SGD; AdamW's first beta.")
    beta2: float = Field(0.999, gt=0, lt=1, description="AdamW's second beta; lower for short runs.")
    nesterov: bool = Field(False, description="Nesterov momentum (SGD).")
    weight_decay: float = Field(5e-5, ge=0, description="Not applied to norms and biases.")
    schedule: Literal["cosine", "step", "constant"] = Field("cosine", description="After the warm-up.")
    warmup_steps: int = Field(0, ge=0, description="Optimiser steps of linear warm-up.")
    milestones: Numbers = Field((0.6, 0.85), description="Parts of the run at which `step` multiplies lr by gamma.")
    gamma: float = Field(0.1, gt=0, le=1, description="Factor of the step schedule.")
    clip_norm: float | None = Field(None, gt=0, description="Largest gradient norm; default: not clipped.")

    @model_validator(mode="after")
    def _milestones(self) -> "OptimConfig":
        parts = list(self.milestones)
        if parts != sorted(parts) or any(not 0 < part < 1 for part in parts):
            raise ValueError(f"optim.milestones={parts} must rise and lie between 0 and 1.")
        return self

    @model_validator(mode="after")
    def _base_batch(self) -> "OptimConfig":
        if self.scale_lr != "none" and self.base_batch is None:
            raise ValueError(
                f"optim.scale_lr={self.scale_lr} needs optim.base_batch: the clips in a step that optim.lr is for."
            )
        if self.scale_lr == "none" and self.base_batch is not None:
            raise ValueError(f"optim.base_batch={self.base_batch} is for optim.scale_lr=linear; give both or neither.")
        return self


def _clips(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    if isinstance(value, str) and value.isdecimal() and int(value) >= 1:
        return int(value)
    raise PydanticCustomError("batch_size", "it must be a number of clips, at least 1, or auto")


#: A number, or "auto" until it is found.
BatchSize = Annotated[int | Literal["auto"], BeforeValidator(_clips)]


def _window(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 2):
        return value
    if isinstance(value, str) and value.isdecimal() and int(value) >= 2:
        return int(value)
    raise PydanticCustomError("window", "it must be a number of input frames, at least 2, or auto")


#: Input frames in one pass, or "auto" until it is found.
WindowLength = Annotated[int | Literal["auto"], BeforeValidator(_window)]


class LoopConfig(Section):
    """Length of the run and what happens how often."""

    steps: int = Field(1000, ge=1, description="Optimiser steps of the whole run.")
    batch_size: BatchSize = Field(16, description="Clips per process and forward pass; auto finds what fits.")
    accumulate: int = Field(1, ge=1, description="Forward passes per optimiser step.")
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto", description="auto is bf16 where the device has it; tf32 is fp32 with faster products on a GPU."
    )
    max_time: Duration | None = Field(
        None, gt=0, description="Save and leave in time for the command to take no longer: seconds, 3h50m, 1-02:00:00."
    )
    skip_bad_batches: int = Field(
        0, ge=0, description="Batches whose loss or gradient is not finite and that are left out before the run stops."
    )
    ema: float | None = Field(None, gt=0, lt=1, description="Decay of the averaged weights that are validated.")
    validate_every: int | None = Field(None, ge=1, description="Optimiser steps; default: 5 times per run.")
    save_every: int | None = Field(
        None, ge=1, description="Optimiser steps; default: at every validation, and every 1000."
    )
    keep_every: int | None = Field(
        None, ge=1, description="Optimiser steps between checkpoints step-N.pt, beside last.pt and best.pt."
    )
    keep_most: int | None = Field(None, ge=1, description="Newest of the step-N.pt that stay; default: all.")
    log_every: int = Field(10, ge=1, description="Optimiser steps between lines of metrics.jsonl.")


class InferenceConfig(Section):
    """Scoring whole videos."""

    stride: int | None = Field(None, ge=1, description="Raw frames between input frames; default: as trained.")
    seconds_between_frames: float | None = Field(
        None, gt=0, description="Seconds between input frames, whatever the rate of a file; default: as trained."
    )
    size: int | None = Field(None, ge=16, description="Side of the centre crop, pixels; default: as trained.")
    window: WindowLength = Field(
        512,
        description="Input frames in one pass, longer videos go in overlapping windows; auto is as many as memory "
        "allows.",
    )
    exact: bool = Field(
        False, description="Of a longer video, what one pass would give, also where the network looks at all of it."
    )
    batch_size: int = Field(8, ge=1, description="Windows of equal length in one pass.")

    @model_validator(mode="after")
    def _one_spacing(self) -> "InferenceConfig":
        refuse_two_spacings(self.stride, self.seconds_between_frames)
        return self


def refuse_two_spacings(stride: int | None, seconds: float | None) -> None:
    """See that input frames are set apart in one way.

    Raises:
        ValueError: By number and by time.
    """
    if stride is not None and seconds is not None:
        raise ValueError(
            f"inference.stride={stride} and inference.seconds_between_frames={seconds:g} exclude each other; give one."
        )
