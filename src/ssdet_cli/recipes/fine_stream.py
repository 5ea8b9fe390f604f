"""The fine stream of Coarse-Fine networks: where it comes from, and that it is what the coarse one was trained with."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssdet_cli.config.commands import ExtractFeaturesConfig, TrainCoarseFineConfig
from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.config.sections import FineSource, InferenceConfig, ModelConfig
from ssdet_cli.data.clips import spacing_of
from ssdet_cli.data.feature_files import Origin
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.fine_context import LENGTHS, FineContext
from ssdet_cli.engine.coarse_fine import with_fine_stream, with_stored_features
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.predict import Apply
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.models import create_model, load_weights
from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.detectors.coarse_fine import FINE_POINTS, CoarseFine, CoarseStream
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.models.weights.fingerprint import fingerprint
from ssdet_cli.models.weights.guess import same_shapes
from ssdet_cli.recipes import frozen
from ssdet_cli.recipes.scoring import trained_spacing
from ssdet_cli.recipes.training import Run, load_init, options_of
from ssdet_cli.video.sampling import Spacing

#: Network, `normalize`, `device`, `autocast` -> what is computed of windows.
ApplyOf = Callable[..., Apply]


@dataclass(frozen=True)
class FineStream:
    """How a network that is trained gets its fine features.

    Attributes:
        context: Reads stored features; None where the fine stream runs on the clips.
        apply_of: Whole videos through the network.
        meta: What a checkpoint says of it.
    """

    context: FineContext | None
    apply_of: ApplyOf
    meta: dict[str, Any]


def build_network(cfg: TrainCoarseFineConfig, classes: tuple[str, ...], run: Run) -> CoarseStream | CoarseFine:
    """Build what is trained, the coarse stream or both, and load what they start from.

    Raises:
        ConfigError: The fine stream is to run frozen and has no weights.
        CheckpointError: Weights cannot be read or do not fit.
    """
    torch.manual_seed(cfg.run.seed)
    model = create_model(
        cfg.network,
        len(classes),
        head=cfg.model.head,
        checkpoint_activations=cfg.model.checkpoint_activations,
        **options_of(cfg.model),
    )
    load_init(cfg, model.coarse, classes, run)
    if not cfg.fine.in_graph:
        return model.coarse
    source = cfg.fine.weights or cfg.model.init
    if source is None and not cfg.fine.train:
        raise ConfigError("fine.joint needs weights of the fine stream: --fine RUN|FILE (fine.weights), or --init.")
    if source is not None and run.state is None:
        report = load_weights(model.fine, checkpoint_file(source), class_names=classes)
        run.log.say(f"Fine stream: {report.summary()}")
    model.fine.requires_grad_(False)
    model.fine.backbone.requires_grad_(cfg.fine.train)
    return model


def fine_stream(
    cfg: TrainCoarseFineConfig, network: CoarseStream | CoarseFine, video_ids: Iterable[str], run: Run
) -> FineStream:
    """Open the stored features and find every fault of them before anything is trained; or run the stream itself.

    Raises:
        ConfigError: Videos are to be scored at another sampling than the clips have, or exactly.
        DataError: A fault of the features.
    """
    _refuse_other_sampling(cfg.inference, spacing_of(cfg.clip), cfg.clip.size)
    _refuse_exact(cfg.inference)
    longest = _longest(cfg.inference, joint=cfg.fine.in_graph)
    if cfg.fine.in_graph:
        meta = {"joint": True, "weights": _text(cfg.fine.weights), "features": None, "origin": None}
        apply_of = partial(with_fine_stream, longest=longest, batch_size=cfg.inference.batch_size)
        return FineStream(None, apply_of, meta)
    store = FeatureStore(cfg.fine.features)
    sha256 = None
    if cfg.fine.weights is not None and run.state is None:  # a run that goes on knows what it was trained with
        sha256 = _frozen(cfg.fine.weights, cfg.model.backbone, run.session, run.log).origin.weights_sha256
    stages = network.fine_channels
    _check(
        store, video_ids, stages, spacing=spacing_of(cfg.clip), size=cfg.clip.size, weights_sha256=sha256, training=True
    )
    if run.state is not None:
        _refuse_other_origin(store, run.state["meta"]["fine"]["origin"])
    run.log.say(f"Fine features: {len(store)} videos in {store.folder}, of {store.origin.checkpoint}.")
    context = FineContext(store, tuple(stages), longest)
    meta = {
        "joint": False,
        "weights": _text(cfg.fine.weights) or store.origin.checkpoint,
        "features": str(store.folder),
        "origin": asdict(store.origin),
    }
    apply_of = partial(with_stored_features, context=context, batch_size=cfg.inference.batch_size)
    return FineStream(context, apply_of, meta)


def restore(
    state: dict[str, Any],
    given: FineSource,
    inference: InferenceConfig,
    video_ids: Iterable[str],
    here: Session,
    log: RunLog,
) -> tuple[nn.Module, ApplyOf]:
    """The network of a Coarse-Fine checkpoint, ready to predict, and how it gets its fine features.

    From stored features where they are given; else from the fine stream's weights: those given, those inside, or
    those that the coarse stream was trained with, where they still are; else from the stored features of training.

    Raises:
        ConfigError: Another sampling than in training is asked for, or exactness, or windows of any length, or weights
            beside those inside.
        CheckpointError: There is no fine stream, or other weights.
        DataError: A fault of the features.
    """
    meta = state["meta"]
    fine, clip = meta["fine"], meta["clip"]
    _refuse_other_sampling(inference, trained_spacing(clip), clip["size"])
    _refuse_exact(inference)
    if inference.window == "auto":
        raise ConfigError(
            "inference.window=auto: what steers a Coarse-Fine network is counted in windows, so its scores would "
            "depend on the memory that is free; give a number of input frames, 512 unless it was trained with another."
        )
    model = create_model(f"coarse_fine_{meta['backbone']}", meta["num_classes"], **meta["options"])
    (model if fine["joint"] else model.coarse).load_state_dict(state["model"])
    model.backbone.normalization = tuple(tuple(meta["normalization"][name]) for name in ("mean", "std"))
    longest = _longest(inference, joint=fine["joint"])
    features, weights = _source(fine, given)
    if features is not None:
        store, stages = FeatureStore(features), model.coarse.fine_channels
        sha256 = fine["origin"]["weights_sha256"] if fine["origin"] else None
        if fine["joint"] and store.origin.weights_sha256 != fingerprint(model.fine.backbone):
            raise DataError(
                f"{features} holds features of {store.origin.checkpoint}, and the checkpoint was trained with a fine "
                "stream of other weights, which is inside: leave out --features."
            )
        _check(store, video_ids, stages, spacing=trained_spacing(clip), size=clip["size"], weights_sha256=sha256)
        log.say(f"Fine stream: features in {features}.")
        context = FineContext(store, tuple(stages), longest)
        apply_of = partial(with_stored_features, context=context, batch_size=inference.batch_size)
        return model.coarse.to(here.device).eval(), apply_of
    if weights is not None:
        model.fine.backbone = _same_backbone(weights, meta, here, log)
    log.say(f"Fine stream: computed from {weights or 'the checkpoint itself'}.")
    then = fine["origin"]["window"] if fine["origin"] else None
    if then is not None and then != inference.window:
        log.say(
            f"The features of training were computed in windows of {then} frames, here they are in windows of "
            f"{inference.window}: of longer videos they differ (inference.window={then}, or --features DIR)."
        )
    apply_of = partial(with_fine_stream, longest=longest, batch_size=inference.batch_size)
    return model.to(here.device).eval(), apply_of


def _source(fine: dict[str, Any], given: FineSource) -> tuple[Path | None, Path | None]:
    """Features, or weights, that the fine stream of a checkpoint is taken from; neither where it is inside.

    Raises:
        ConfigError: Weights are given for a checkpoint that has them inside, or nothing for one that names none.
        CheckpointError: Nothing is given, and what it was trained with is gone.
    """
    if fine["joint"] and given.weights is not None:
        raise ConfigError(
            f"--fine {given.weights}: the checkpoint was trained with --joint and has its own fine stream."
        )
    if fine["joint"] or given.features is not None or given.weights is not None:
        return given.features, given.weights
    if fine["origin"] is None:
        raise ConfigError("Weights of a coarse stream alone need the fine one's: --features DIR or --fine RUN|FILE.")
    weights, features = (fine[key] and Path(fine[key]) for key in ("weights", "features"))
    if weights and weights.exists():
        return None, weights
    if features and features.exists():
        return features, None
    raise CheckpointError(
        f"This Coarse-Fine checkpoint needs its fine stream, and {weights or fine['origin']['checkpoint']} is not "
        "there any more; give --features DIR or --fine RUN|FILE."
    )


def _same_backbone(weights: Path, meta: dict[str, Any], here: Session, log: RunLog) -> nn.Module:
    """The fine backbone of a run or a file.

    Raises:
        CheckpointError: It is not the one that the checkpoint was trained with, or where that is not known, another
            network.
    """
    found, origin = _frozen(weights, meta["backbone"], here, log), meta["fine"]["origin"]
    if origin is None and not same_shapes(
        *(BACKBONES.canonical(one) for one in (found.origin.backbone, meta["backbone"]))
    ):
        raise CheckpointError(f"{weights} holds {found.origin.backbone}; this coarse stream needs {meta['backbone']}.")
    if origin is not None and found.origin.weights_sha256 != origin["weights_sha256"]:
        raise CheckpointError(
            f"{weights} is not the fine stream of this checkpoint, which was trained with features of "
            f"{origin['checkpoint']} (weights {origin['weights_sha256'][:12]}...)."
        )
    found.backbone.normalization = tuple(map(tuple, found.origin.normalization))
    return found.backbone


def _frozen(source: Path, backbone: str, here: Session, log: RunLog) -> frozen.Frozen:
    """The backbone that `extract-features` would take from a run or a file."""
    if "command" in read_weights(checkpoint_file(source)).meta:
        return frozen.restore(ExtractFeaturesConfig(checkpoint=source), here, log)
    model = ModelConfig(backbone=backbone, init=checkpoint_file(source))
    return frozen.restore(ExtractFeaturesConfig(model=model), here, log)


def _check(
    store: FeatureStore,
    video_ids: Iterable[str],
    stages: dict[str, int],
    *,
    spacing: Spacing,
    size: int,
    weights_sha256: str | None,
    training: bool = False,
) -> None:
    origin = store.origin
    for name, channels in stages.items():
        found = origin.stages.get(name)
        if found is not None and (found, origin.stage_strides[name]) != (channels, 1):
            raise DataError(
                f"{store.folder} holds features of {origin.backbone}, with {found} channels in '{name}'; "
                f"this network needs {channels} (model.backbone)."
            )
    store.check(
        video_ids,
        spacing=spacing,
        size=size,
        weights_sha256=weights_sha256,
        stages=tuple(stages),
        pool=FINE_POINTS,
        training=training,
    )


def _longest(inference: InferenceConfig, *, joint: bool) -> int:
    """Most fine frames that a window is steered by; trained on clips alone, its own."""
    return inference.window if joint else LENGTHS * inference.window


def _refuse_exact(inference: InferenceConfig) -> None:
    if inference.exact:
        raise ConfigError("inference.exact: a Coarse-Fine network looks at all of a window; leave it out.")


def _refuse_other_sampling(inference: InferenceConfig, spacing: Spacing, size: int) -> None:
    apart = ("stride", spacing.stride) if spacing.seconds is None else ("seconds_between_frames", spacing.seconds)
    trained = dict([apart, ("size", size)])
    for name in ("stride", "seconds_between_frames", "size"):
        value = getattr(inference, name)
        if value not in (None, trained.get(name)):
            key, wanted = (name, trained[name]) if name in trained else apart
            raise ConfigError(
                f"inference.{name}={value}: a Coarse-Fine network is scored as it is trained, clip.{key}={wanted}."
            )


def _refuse_other_origin(store: FeatureStore, then: dict[str, Any]) -> None:
    other = Origin.of(then).difference(store.origin)
    if other is not None:
        raise DataError(f"{store.folder} holds other features than this run began with: {other}.")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
