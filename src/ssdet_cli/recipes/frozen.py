"""The backbone that features are taken from, and what they will be features of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ssdet_cli.catalog import nearest
from ssdet_cli.config.commands import ExtractFeaturesConfig
from ssdet_cli.config.sections import HUB
from ssdet_cli.data.feature_files import Origin
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.exact import windows_of
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.models import create_model, load_weights
from ssdet_cli.models.detectors.frame import stage_strides
from ssdet_cli.models.weights.fingerprint import fingerprint
from ssdet_cli.models.weights.hub import load_hub
from ssdet_cli.models.weights.load import refuse_not_finite
from ssdet_cli.models.weights.report import LoadReport
from ssdet_cli.recipes.foreign import is_ours, refuse_unknown_network
from ssdet_cli.recipes.scoring import asked_spacing, trained_spacing
from ssdet_cli.recipes.weights import describe


@dataclass(frozen=True)
class Frozen:
    """A backbone in evaluation mode on its device, and the origin of features taken from it."""

    backbone: nn.Module
    origin: Origin


def restore(cfg: ExtractFeaturesConfig, here: Session, log: RunLog) -> Frozen:
    """Build and load the backbone of a checkpoint, or one by name with weights.

    The origin of `inference.window=auto` tells no window yet, see `told_window`.

    Raises:
        ConfigError: Neither is given, or a stage is unknown.
        CheckpointError: The weights cannot be read or hold no backbone.
    """
    if cfg.checkpoint is not None and is_ours(cfg.checkpoint):
        model, told = _of_checkpoint(cfg)
    else:
        model, told = _of_weights(cfg, here, log)
    backbone = getattr(model, "backbone", None)
    if backbone is None:
        raise CheckpointError(f"{told['checkpoint']} has no backbone to take features from; give a frame detector.")
    backbone = backbone.to(here.device).eval().requires_grad_(False)
    clip = told.pop("clip", None)
    normalization = told.pop("normalization", None) or dict(zip(("mean", "std"), backbone.normalization, strict=True))
    frames_apart, size = (clip["stride"], clip["size"]) if clip else backbone.default_clip[1:]
    spacing = asked_spacing(cfg.inference, trained_spacing(clip or {"stride": frames_apart}))
    names = _stages(cfg, backbone)
    channels = dict(zip(backbone.stage_names, backbone.stage_channels, strict=True))
    strides = dict(zip(backbone.stage_names, stage_strides(backbone), strict=True))
    origin = Origin(
        weights_sha256=fingerprint(backbone),
        stride=spacing.stride,
        seconds_between_frames=spacing.seconds,
        size=cfg.inference.size or size,
        normalization=[list(normalization["mean"]), list(normalization["std"])],
        pool=1 if cfg.format == "npy" else cfg.pool,
        dtype="float32" if cfg.format == "npy" else cfg.dtype,
        stages={name: channels[name] for name in names},
        stage_strides={name: strides[name] for name in names},
        offset=float(getattr(backbone, "temporal_offset", 0.0)),
        window=None if cfg.inference.window == "auto" else told_window(cfg, backbone, cfg.inference.window),
        format=cfg.format,
        **told,
    )
    log.say(
        f"{origin.backbone} of {origin.checkpoint} on {here.device}: {origin.spacing}, "
        f"{origin.size} pixels, stages {', '.join(names)}."
    )
    return Frozen(backbone, origin)


def _stages(cfg: ExtractFeaturesConfig, backbone: nn.Module) -> tuple[str, ...]:
    """Stages to store, in the backbone's order; of npy the one."""
    known = tuple(backbone.stage_names)
    for name in cfg.stages:
        if name not in known:
            raise ConfigError(f"Unknown stage '{name}' (stages).{nearest(name, known)} Known: {', '.join(known)}.")
    chosen = cfg.stages or (known[-1:] if cfg.format == "npy" else known)
    return tuple(name for name in known if name in chosen)


def told_window(cfg: ExtractFeaturesConfig, backbone: nn.Module, length: int) -> int | None:
    """The length of windows as the origin tells it: where features of longer videos depend on it."""
    if cfg.inference.exact or getattr(backbone, "temporal_reach", None) is not None:
        return None
    return windows_of(backbone, length, exact=False).length


def _of_checkpoint(cfg: ExtractFeaturesConfig) -> tuple[nn.Module, dict[str, Any]]:
    state = load_checkpoint(cfg.checkpoint)
    meta = state["meta"]
    if meta["command"] == "train-coarse-fine":
        raise CheckpointError(
            f"{cfg.checkpoint} is a Coarse-Fine network; features are taken from its fine stream: give the run of that."
        )
    model = create_model(meta["backbone"], meta["num_classes"], head=meta["head"], **meta.get("options", {}))
    refuse_not_finite(state["model"], str(cfg.checkpoint))
    model.load_state_dict(state["model"])
    told = {
        "backbone": meta["backbone"],
        "checkpoint": str(cfg.checkpoint),
        "command": meta["command"],
        "options": meta.get("options", {}),
        "clip": meta["clip"],
        "normalization": meta["normalization"],
    }
    return model, told


def _of_weights(cfg: ExtractFeaturesConfig, here: Session, log: RunLog) -> tuple[nn.Module, dict[str, Any]]:
    source = cfg.checkpoint or cfg.model.init
    if source is None:
        raise ConfigError(
            "extract-features needs --checkpoint RUN|FILE, or --backbone NAME with its weights, --init FILE|hub."
        )
    backbone = cfg.model.backbone
    if cfg.checkpoint is not None and "backbone" not in cfg.model.model_fields_set:
        backbone = _told_backbone(cfg.checkpoint)
    model = create_model(backbone, 1, head=cfg.model.head, **cfg.model.options)
    if str(source) == HUB:
        report = _load_published(model, cfg, here)
    else:
        report = load_weights(model, source, allow_partial=cfg.model.allow_partial)
    log.say(report.summary())
    return model, {"backbone": backbone, "checkpoint": str(source), "options": dict(cfg.model.options)}


def _told_backbone(path: Path) -> str:
    """The network that weights alone are for.

    Raises:
        CheckpointError: They do not tell.
    """
    found = describe(path)
    refuse_unknown_network(found)
    return found.backbone


def _load_published(model: nn.Module, cfg: ExtractFeaturesConfig, here: Session) -> LoadReport:
    """Load what the backbone's library publishes; rank 0 fetches it, the others then find it there."""
    if not here.is_main:
        here.broadcast(None)
    report = load_hub(model, cfg.model.backbone, allow_partial=cfg.model.allow_partial)
    if here.is_main:
        here.broadcast(None)
    return report
