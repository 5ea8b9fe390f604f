"""One configuration model per command; `config.yaml` of a run is one of these, complete."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ssdet_cli.config.multigrid import MultigridConfig
from ssdet_cli.config.predict import PredictConfig
from ssdet_cli.config.sections import (
    AugmentConfig,
    ClipConfig,
    DataConfig,
    FineSource,
    InferenceConfig,
    LoopConfig,
    ModelConfig,
    Names,
    OptimConfig,
    RunConfig,
    Section,
    Weights,
    WindowLength,
)
from ssdet_cli.errors import ConfigError


class TrainingRun(RunConfig):
    """Where a training run lives, and who is told of it."""

    wandb: str | None = Field(
        None, min_length=1, description="Project on Weights & Biases to log to as well; needs ssdet[log]."
    )


class TrainingConfig(Section):
    """What the training commands share."""

    command: ClassVar[str]
    run: TrainingRun = TrainingRun()
    data: DataConfig = DataConfig()
    clip: ClipConfig = ClipConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    loop: LoopConfig = LoopConfig()
    multigrid: MultigridConfig = MultigridConfig()

    @model_validator(mode="after")
    def _warmup_fits(self) -> "TrainingConfig":
        if self.optim.warmup_steps >= self.loop.steps:
            raise ValueError(
                f"optim.warmup_steps ({self.optim.warmup_steps}) must be smaller than loop.steps ({self.loop.steps})."
            )
        return self

    @model_validator(mode="after")
    def _one_norm(self) -> "TrainingConfig":
        if self.model.sync_bn and self.model.norm_splits > 1:
            raise ValueError(
                f"model.sync_bn takes statistics over all processes and model.norm_splits={self.model.norm_splits} "
                "over parts of one batch; give one of them."
            )
        if self.model.sync_bn and self.multigrid.on and self.multigrid.clips_per_statistic is not None:
            raise ValueError(
                "model.sync_bn takes statistics over all processes and multigrid.clips_per_statistic="
                f"{self.multigrid.clips_per_statistic} over parts of one batch; set the latter to null."
            )
        return self

    @model_validator(mode="after")
    def _splits_fit(self) -> "TrainingConfig":
        if self.loop.batch_size != "auto" and self.loop.batch_size % self.model.norm_splits:
            raise ValueError(
                f"loop.batch_size ({self.loop.batch_size}) must be a multiple of model.norm_splits "
                f"({self.model.norm_splits})."
            )
        return self

    @model_validator(mode="after")
    def _one_rule_for_splits(self) -> "TrainingConfig":
        if self.multigrid.on and self.multigrid.clips_per_statistic is not None and self.model.norm_splits > 1:
            raise ValueError(
                f"model.norm_splits ({self.model.norm_splits}) and multigrid.clips_per_statistic "
                f"({self.multigrid.clips_per_statistic}) both split batch norms; leave model.norm_splits at 1, or set "
                "multigrid.clips_per_statistic=null."
            )
        return self

    @property
    def network(self) -> str:
        """The name that `create_model` knows."""
        return self.model.backbone


class PretrainLossConfig(Section):
    """Soft cross-entropy over the classes and background."""

    level: Literal["auto", "frame", "clip"] = Field(
        "auto", description="Label every frame, or the clip's time average; auto is clip where nothing augments."
    )


class PretrainConfig(TrainingConfig):
    """Learn to detect from clips that have one label each."""

    command: ClassVar[str] = "pretrain"
    augment: AugmentConfig = AugmentConfig()
    loss: PretrainLossConfig = PretrainLossConfig()


class FrameLabelledData(DataConfig):
    """Data with labels in seconds."""

    dataset: str = Field("charades", description="Name from `ssdet data list`, or module:attribute.")


class FrameLabelledClip(ClipConfig):
    """Clips of long videos: the stride is the command's own choice, not the backbone's."""

    of_backbone: ClassVar[tuple[str, ...]] = ("frames", "size")
    stride: int = Field(10, ge=1, description="Raw frames from one input frame to the next; 10 as in SSDet's Charades.")
    sampling: Literal["random", "windows"] = Field(
        "random", description="Training clips lie anywhere, or pass after pass side by side in their video (windows)."
    )


class DetectionLossConfig(Section):
    """Per-class binary cross-entropy."""

    clip_weight: float = Field(0.5, ge=0, le=1, description="Part of the clip-level maximum; the rest is on frames.")


class FinetuneConfig(TrainingConfig):
    """Learn from frame labels."""

    command: ClassVar[str] = "finetune"
    data: FrameLabelledData = FrameLabelledData()
    clip: FrameLabelledClip = FrameLabelledClip()
    loss: DetectionLossConfig = DetectionLossConfig()
    protocol: str = Field("frame-map", description="Protocol of the score that picks the best checkpoint.")
    inference: InferenceConfig = InferenceConfig()

    @model_validator(mode="after")
    def _same_validation(self) -> "FinetuneConfig":
        if self.inference.window == "auto":
            raise ValueError(
                "inference.window=auto depends on the memory that is free, and every validation of a run must be "
                "alike; give a number of input frames."
            )
        return self


class CoarseClip(FrameLabelledClip):
    """Clips of the coarse stream: as many frames as in the paper, whatever the backbone's own clip is."""

    of_backbone: ClassVar[tuple[str, ...]] = ("size",)
    frames: int = Field(64, ge=1, description="Input frames T; 64 as in Coarse-Fine Networks.")


class FineStreamConfig(FineSource):
    """The fine stream while the coarse one is trained."""

    joint: bool = Field(False, description="Run the fine stream on the clips, in the same graph; no stored features.")
    train: bool = Field(False, description="Train the fine stream too, where it runs in the same graph.")

    @property
    def in_graph(self) -> bool:
        """Whether the fine stream runs on the clips."""
        return self.joint or (self.features is None and self.weights is not None)

    @model_validator(mode="after")
    def _one_way(self) -> "FineStreamConfig":
        if self.features is not None and (self.joint or self.train):
            other = "joint" if self.joint else "train"
            raise ValueError(f"fine.features and fine.{other} exclude each other: stored features cannot be trained.")
        return self

    def refuse_nothing(self) -> None:
        """See that there is a fine stream at all.

        Raises:
            ConfigError: Neither features nor weights nor `joint` are given.
        """
        if self.features is None and not self.in_graph:
            raise ConfigError(
                "train-coarse-fine needs the fine stream: --features DIR (from ssdet extract-features), or "
                "--joint or --fine RUN|FILE to run it on the clips."
            )


class TrainCoarseFineConfig(FinetuneConfig):
    """Learn where to look in a video that a fine stream has seen."""

    command: ClassVar[str] = "train-coarse-fine"
    clip: CoarseClip = CoarseClip()
    fine: FineStreamConfig = FineStreamConfig()

    @model_validator(mode="after")
    def _one_shape(self) -> "TrainCoarseFineConfig":
        if self.multigrid.on:
            raise ValueError(
                "multigrid is for pretrain and finetune: the fine stream's features have one stride. Leave out "
                "multigrid.preset, multigrid.long_cycle and multigrid.short_cycle."
            )
        return self

    @property
    def network(self) -> str:
        """The name that `create_model` knows."""
        return f"coarse_fine_{self.model.backbone}"


class EvaluateInference(InferenceConfig):
    """Passing whole videos through detectors."""

    crops: Literal[1, 3] = Field(
        1, description="Squares along the longer side of every frame whose scores are averaged: the centre, or 3."
    )
    shifts: int = Field(
        1,
        ge=1,
        description="Passes whose frames begin later each time, by an equal part of the way from one input frame to "
        "the next; their scores are averaged.",
    )


#: Draws of the videos: what they take grows with them.
MOST_DRAWS = 100_000


class EvaluateConfig(Section):
    """Score checkpoints or prediction files."""

    command: ClassVar[str] = "evaluate"
    protocol: str = Field("charades-localize", description="Name of a protocol, or module:attribute.")
    checkpoints: tuple[Path, ...] = Field((), description="Run folders or checkpoint files; several are averaged.")
    predictions: tuple[Path, ...] = Field(
        (), description="Submission files, and files of --save-predictions; several are averaged."
    )
    compare: tuple[Path, ...] = Field((), description="Folders of two evaluations to put side by side; none is scored.")
    weights: Weights = Field(
        (), description="What each member of an ensemble counts for, checkpoints first: 2,1; default: all alike."
    )
    average: Literal["probabilities", "logits"] = Field("probabilities", description="What an ensemble averages.")
    smooth: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Average the scores over so many seconds before they are scored."
    )
    save_predictions: Path | None = Field(
        None, description="File for what the networks said, to be scored again with --predictions."
    )
    split: Literal["train", "val", "test"] = Field("test", description="Split to score.")
    allow_missing: bool = Field(False, description="Score although videos cannot be read.")
    bootstrap: int = Field(
        0,
        ge=0,
        le=MOST_DRAWS,
        description="Times to draw the videos anew for confidence intervals of the AP, as in 1000; 0 is none, and 1000 "
        "with compare; 100000 at most.",
    )
    data: FrameLabelledData | None = Field(None, description="Default: as the checkpoint was trained.")
    fine: FineSource = FineSource()
    inference: EvaluateInference = EvaluateInference()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _one_source(self) -> "EvaluateConfig":
        if self.compare:
            self._refuse_beside_compare()
        if 0 < self.bootstrap < 100:
            raise ValueError(f"bootstrap={self.bootstrap} are too few draws for an interval; give 1000, at least 100.")
        several = self.run.nproc > 1 or self.run.nnodes > 1 or self.run.gpus
        if self.predictions and not self.checkpoints and several:
            raise ValueError("predictions are scored by one process; leave out --nproc, --nnodes and --gpus.")
        if self.fine.features is not None and self.fine.weights is not None:
            raise ValueError("fine.features and fine.weights are two sources of one fine stream; give one of them.")
        if self.predictions and not self.checkpoints:
            self._refuse_without_network("only predictions are scored, and no network is run")
        return self

    def _refuse_without_network(self, why: str) -> None:
        usual = EvaluateInference()
        for name in ("crops", "shifts"):
            if (given := getattr(self.inference, name)) != getattr(usual, name):
                raise ValueError(f"inference.{name}={given} would do nothing: {why}; leave it out.")

    def _refuse_beside_compare(self) -> None:
        if len(self.compare) != 2:
            raise ValueError(f"compare takes the folders of two evaluations, got {len(self.compare)}.")
        if self.checkpoints or self.predictions:
            raise ValueError(
                "compare reads two finished evaluations and scores nothing; leave out --checkpoint and --predictions."
            )
        if self.data is not None:
            raise ValueError("compare reads two finished evaluations, and the annotations are theirs; leave out data.")
        for name in ("weights", "average", "smooth", "save_predictions"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"compare reads two finished evaluations and scores nothing; leave out {name}.")
        self._refuse_without_network("two finished evaluations are compared")
        if self.run.nproc > 1 or self.run.nnodes > 1 or self.run.gpus:
            raise ValueError("two evaluations are compared by one process; leave out --nproc, --nnodes and --gpus.")


class ExtractData(DataConfig):
    """Videos, with or without annotations."""

    dataset: str | None = Field(
        None, description="Name from `ssdet data list`, or module:attribute; default: every video in data.videos."
    )


class ExtractInference(InferenceConfig):
    """Passing whole videos through a backbone."""

    stride: int | None = Field(
        None, ge=1, description="Raw frames between input frames; default: as trained, or the backbone's own."
    )
    size: int | None = Field(
        None, ge=16, description="Side of the centre crop, pixels; default: as trained, or the backbone's own."
    )
    window: WindowLength = Field(
        "auto",
        description="Input frames in one pass, longer videos go in overlapping windows; auto is as many as memory "
        "allows, and in a folder that is continued as many as before.",
    )
    batch_size: int = Field(2, ge=1, description="Windows of equal length in one pass.")
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = Field(
        "auto", description="auto is bf16 where the device has it; tf32 is fp32 with faster products on a GPU."
    )


class ExtractFeaturesConfig(Section):
    """Store a backbone's features of whole videos."""

    command: ClassVar[str] = "extract-features"
    checkpoint: Path | None = Field(None, description="Run folder or checkpoint whose backbone is used.")
    model: ModelConfig = ModelConfig()
    split: Literal["train", "val", "test", "all"] = Field("all", description="Split of the dataset.")
    stages: Names = Field((), description="Stages to store, by the backbone's names; none is all of them.")
    pool: int = Field(7, ge=1, description="Height and width that every stage is averaged to.")
    format: Literal["safetensors", "npy"] = Field(
        "safetensors", description="npy is one (T, C) float32 array per video, the last stage's mean over space."
    )
    dtype: Literal["float16", "bfloat16", "float32"] = Field("float16", description="Of the stored numbers.")
    allow_missing: bool = Field(False, description="Succeed although videos cannot be read.")
    data: ExtractData = ExtractData()
    inference: ExtractInference = ExtractInference()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _one_source(self) -> "ExtractFeaturesConfig":
        if self.checkpoint is not None and self.model.init is not None:
            raise ValueError("checkpoint and model.init are two networks; give one of them.")
        if self.data.annotations is not None and self.data.dataset is None:
            raise ValueError("data.annotations needs data.dataset (--dataset NAME): what kind of annotations they are.")
        if self.data.dataset is None and self.split != "all":
            raise ValueError(
                f"split={self.split} needs data.dataset (--dataset NAME): a folder of videos has no splits."
            )
        if self.format == "npy" and len(self.stages) > 1:
            raise ValueError(f"format=npy stores one stage and stages={','.join(self.stages)} are several; give one.")
        return self


COMMANDS: dict[str, type[Section]] = {
    config.command: config
    for config in (
        PretrainConfig,
        FinetuneConfig,
        TrainCoarseFineConfig,
        EvaluateConfig,
        ExtractFeaturesConfig,
        PredictConfig,
    )
}
