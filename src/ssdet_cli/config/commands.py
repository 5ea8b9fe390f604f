"""One configuration model per command; `config.yaml` of a run is one of these, complete."""

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ssdet_cli.config.sections import (
    AugmentConfig,
    ClipConfig,
    DataConfig,
    InferenceConfig,
    LoopConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    Section,
)


class TrainingConfig(Section):
    """What `pretrain` and `finetune` share."""

    command: ClassVar[str]
    run: RunConfig = RunConfig()
    data: DataConfig = DataConfig()
    clip: ClipConfig = ClipConfig()
    model: ModelConfig = ModelConfig()
    optim: OptimConfig = OptimConfig()
    loop: LoopConfig = LoopConfig()

    @model_validator(mode="after")
    def _warmup_fits(self) -> "TrainingConfig":
        if self.optim.warmup_steps >= self.loop.steps:
            raise ValueError(
                f"optim.warmup_steps ({self.optim.warmup_steps}) must be smaller than loop.steps ({self.loop.steps})."
            )
        return self

    @model_validator(mode="after")
    def _splits_fit(self) -> "TrainingConfig":
        if self.loop.batch_size % self.model.norm_splits:
            raise ValueError(
                f"loop.batch_size ({self.loop.batch_size}) must be a multiple of model.norm_splits "
                f"({self.model.norm_splits})."
            )
        return self


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


class EvaluateConfig(Section):
    """Score checkpoints or prediction files."""

    command: ClassVar[str] = "evaluate"
    protocol: str = Field("charades-localize", description="Name of a protocol, or module:attribute.")
    checkpoints: tuple[Path, ...] = Field((), description="Run folders or checkpoint files; several are averaged.")
    predictions: tuple[Path, ...] = Field((), description="Submission files; several are averaged.")
    split: Literal["train", "val", "test"] = Field("test", description="Split to score.")
    allow_missing: bool = Field(False, description="Score although videos cannot be read.")
    data: FrameLabelledData | None = Field(None, description="Default: as the checkpoint was trained.")
    inference: InferenceConfig = InferenceConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _one_source(self) -> "EvaluateConfig":
        if self.checkpoints and self.predictions:
            raise ValueError("checkpoints and predictions cannot be scored together; give one of them.")
        if self.predictions and (self.run.nproc > 1 or self.run.nnodes > 1 or self.run.gpus):
            raise ValueError("predictions are scored by one process; leave out --nproc, --nnodes and --gpus.")
        return self


COMMANDS: dict[str, type[Section]] = {
    config.command: config for config in (PretrainConfig, FinetuneConfig, EvaluateConfig)
}
