"""`ssdet evaluate --checkpoint`: whole videos through one or several networks, then the protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FrameLabelledData
from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.config.sections import InferenceConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.class_names import class_difference
from ssdet_cli.data.copies import note_on_copies
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.predict import LOGITS
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult
from ssdet_cli.evaluation.score_files import NetworkScores
from ssdet_cli.models import create_model
from ssdet_cli.recipes import fine_stream, members
from ssdet_cli.recipes.analysis import training_split
from ssdet_cli.recipes.foreign import checkpoint_of
from ssdet_cli.recipes.results import annotated, finish, refuse_bootstrap
from ssdet_cli.recipes.scoring import asked_spacing, refuse_passes, trained_spacing, whole_video_scores
from ssdet_cli.recipes.training import prepared_data
from ssdet_cli.recipes.video_lengths import lengths_of
from ssdet_cli.recipes.window_length import PassSize, measured
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.transforms import Normalize


def run(cfg: EvaluateConfig) -> EvaluationResult:
    """Score every video of the split; several checkpoints, and prediction files, are averaged.

    Raises:
        DataError: A video cannot be read and `allow_missing` is not set.
        SsdetError: Anything else that a user can mend.
    """
    return run_protocols([cfg])[0]


def run_protocols(cfgs: Sequence[EvaluateConfig]) -> list[EvaluationResult]:
    """Score the same checkpoints under several protocols: every video goes through a network once.

    Args:
        cfgs: Alike but for `protocol` and `run.output`.

    Raises:
        ValueError: They differ elsewhere.
        SsdetError: As `run`.
    """
    cfg = cfgs[0]
    if any(_without_protocol(other) != _without_protocol(cfg) for other in cfgs[1:]):
        raise ValueError("Evaluations that share a pass differ in their protocol and output only.")
    protocols = [PROTOCOLS.get(one.protocol)() for one in cfgs]
    for one, protocol in zip(cfgs, protocols, strict=True):
        refuse_bootstrap(one, protocol)
    with session(cfg.run.device, deterministic=cfg.run.deterministic) as here:
        log = RunLog(None, Console(stderr=True) if here.is_main else None)
        states = [checkpoint_of(path, cfg.inference, log) for path in cfg.checkpoints]
        digests = [members.sha256_of(checkpoint_file(path)) for path in cfg.checkpoints]
        _refuse_useless(cfg, states)
        data = prepared_data(data_of(cfg, cfg.checkpoints[0], states[0]["meta"]), "dense", here, log)
        given = cfg.data is not None and "annotations" in cfg.data.model_fields_set
        videos = annotated(data, cfg.split, named=given)
        trained = training_split(data) if here.is_main else None  # here, and not while a process group waits
        log.say(f"{videos.name}: {len(videos)} videos, {len(videos.classes)} classes, on {here.device}.")
        if (copies := note_on_copies(data.cache, videos)) is not None:
            log.say(copies)
        files = members.read_files(cfg.predictions, videos)
        members.check_before_passing(cfg, protocols, videos, files)
        for path, state in zip(cfg.checkpoints, states, strict=True):
            _check_before_passing(cfg, path, state["meta"], videos)
        _refuse_absent(cfg, videos, data)
        sources: list[members.Source] = []
        for path, digest, state in zip(cfg.checkpoints, digests, states, strict=True):
            network, failures = _network(cfg, path, digest, state, videos, data, here, log)
            sources.append(members.from_checkpoint(path, network))
            _refuse_or_tell(cfg, failures, videos, sources, here, log)
        _keep(cfg, videos, [*sources, *files], here)
        readers = members.all_readers(sources)
        sources += files
        videos = members.with_lengths(videos, sources)
        return [
            _scored(one, protocol, videos, trained, sources, readers, here)
            for one, protocol in zip(cfgs, protocols, strict=True)
        ]


def _without_protocol(cfg: EvaluateConfig) -> EvaluateConfig:
    return rundir.with_output(cfg, None).model_copy(update={"protocol": ""})


def _scored(
    cfg: EvaluateConfig,
    protocol: EvaluationProtocol,
    videos: VideoSet,
    trained: VideoSet | None,
    sources: list[members.Source],
    readers: dict[str, int],
    here: Session,
) -> EvaluationResult:
    """Score what the networks said under one protocol; rank 0 leaves its table and files."""
    found = members.gathered(cfg, protocol, videos, sources)
    if here.is_main:
        return finish(cfg, protocol, videos, found, trained=trained, readers=readers)
    return protocol.score(videos, found.averaged.predictions, found.averaged.seconds)


def data_of(cfg: EvaluateConfig, path: Path, meta: dict[str, Any]) -> FrameLabelledData:
    """The checkpoint's own data with what was given for this evaluation over it.

    Raises:
        CheckpointError: The checkpoint was not trained on frame labels.
        ConfigError: It does not say what data it is for, and no data are given.
    """
    _refuse_undetecting(path, meta)
    given = cfg.data.model_dump(exclude_unset=True) if cfg.data is not None else {}
    known = meta.get("config", {}).get("data", {})
    if not known and given.keys().isdisjoint(("dataset", "annotations", "videos")):
        raise ConfigError(
            f"{path} does not say what data to score it on; give --dataset NAME --annotations FILE --videos DIR."
        )
    merged = FrameLabelledData.model_validate({**known, **given})
    # Copies from training that are gone by now are no reason to refuse.
    gone = "cache" not in given and merged.cache is not None and not merged.cache.is_dir()
    return merged.model_copy(update={"cache": None}) if gone else merged


def _refuse_useless(cfg: EvaluateConfig, states: list[dict[str, Any]]) -> None:
    """See that a fine stream is given to a network that has one.

    Raises:
        ConfigError: None of the checkpoints is of a Coarse-Fine network.
    """
    given = cfg.fine.features or cfg.fine.weights
    if given is not None and all(state["meta"]["command"] != "train-coarse-fine" for state in states):
        name = "--features" if cfg.fine.features is not None else "--fine"
        raise ConfigError(f"{name} {given} is for Coarse-Fine checkpoints, and none of these is one.")


def _refuse_undetecting(path: Path, meta: dict[str, Any]) -> None:
    if meta["command"] not in ("finetune", "train-coarse-fine"):
        raise CheckpointError(
            f"{path} is a checkpoint of `{meta['command']}` and detects no frame labels yet; "
            f"run `ssdet finetune --init {path}`."
        )


def _check_before_passing(cfg: EvaluateConfig, path: Path, meta: dict[str, Any], videos: VideoSet) -> None:
    """See what a checkpoint could be refused for before the videos go through the one before it.

    Raises:
        CheckpointError: It was not trained on frame labels.
        ConfigError: Its classes are others, or crops or shifts do not go with it.
    """
    _refuse_undetecting(path, meta)
    _refuse_other_classes(path, meta, videos)
    inference = cfg.inference
    refuse_passes(
        asked_spacing(inference, trained_spacing(meta["clip"])),
        exact=inference.exact,
        crops=inference.crops,
        shifts=inference.shifts,
        steered=meta["command"] == "train-coarse-fine",
    )


def _refuse_absent(cfg: EvaluateConfig, videos: VideoSet, data: FrameLabelledData) -> None:
    """See that every video has a file, before the others are passed through a network.

    Raises:
        DataError: One has none, and `allow_missing` is not set.
    """
    # A resized copy stands in for a file that is gone.
    gone = [
        record
        for record in videos.records
        if record.path is None or (data.cache is None and not Path(record.path).exists())
    ]
    if gone and not cfg.allow_missing:
        first = gone[0]
        where = f"no video file under {data.videos}" if first.path is None else f"there is no {first.path}"
        raise DataError(
            f"{len(gone):,} video(s) of {len(videos):,} cannot be scored, the first: {first.video_id}: {where}. "
            "Use --allow-missing to score the rest."
        )


def restore(state: dict[str, Any], here: Session) -> nn.Module:
    """The network of a checkpoint, ready to predict."""
    meta = state["meta"]
    model = create_model(meta["backbone"], meta["num_classes"], head=meta["head"], **meta.get("options", {}))
    model.load_state_dict(state["model"])
    return model.to(here.device).eval()


def inference_of(cfg: InferenceConfig, meta: dict[str, Any]) -> InferenceConfig:
    """The size as trained where it is not given."""
    return cfg.model_copy(update={"size": cfg.size or meta["clip"]["size"]})


def _network(
    cfg: EvaluateConfig,
    path: Path,
    digest: str,
    state: dict[str, Any],
    videos: VideoSet,
    data: FrameLabelledData,
    here: Session,
    log: RunLog,
) -> tuple[NetworkScores, dict[str, str]]:
    """What a checkpoint says of all videos, and why of some it says nothing."""
    meta = state["meta"]
    inference = inference_of(cfg.inference, meta)
    if meta["command"] == "train-coarse-fine":
        ids = [record.video_id for record in videos.records if record.path is not None]
        network, apply_of = fine_stream.restore(state, cfg.fine, inference, ids, here, log)
    else:
        network, apply_of = restore(state, here), None
    spacing = asked_spacing(inference, trained_spacing(meta["clip"]))
    how = {
        "normalize": Normalize(**meta["normalization"]).to(here.device),
        "autocast": precision("auto", here.device),
        "here": here,
    }
    if inference.window == "auto":
        passes = _measured(network, inference, spacing, videos, data, how)
        log.say(f"inference.window=auto: windows of up to {passes.window} input frames fit on {here.device}.")
    else:
        passes = PassSize(inference.window)
    scores, failures = whole_video_scores(
        network,
        videos,
        data,
        spacing=spacing,
        size=inference.size,
        window=passes.window,
        most_frames=passes.most_frames,
        batch_size=inference.batch_size,
        exact=inference.exact,
        crops=inference.crops,
        shifts=inference.shifts,
        apply_of=apply_of,
        log=log,
        **how,
    )
    sampling = {
        "stride": spacing.stride if spacing.seconds is None else None,
        "seconds_between_frames": spacing.seconds,
        "size": inference.size,
        "window": passes.window,
        "exact": inference.exact,
        "crops": inference.crops,
        "shifts": inference.shifts,
    }
    if apply_of is not None:
        given = cfg.fine.features or cfg.fine.weights
        sampling["fine"] = None if given is None else str(given)
    return NetworkScores(str(checkpoint_file(path)), digest, sampling, tuple(scores)), failures


def _measured(
    network: nn.Module,
    inference: InferenceConfig,
    spacing: Spacing,
    videos: VideoSet,
    data: FrameLabelledData,
    how: dict[str, Any],
) -> PassSize:
    """The window of `inference.window=auto`."""
    here = how["here"]
    records = [record for record in videos.records if record.path is not None]
    lengths = lengths_of(records, data, spacing, here).frames
    return measured(
        network,
        lambda frames: {LOGITS: network(frames)},
        size=inference.size,
        batch_size=inference.batch_size,
        longest=max(lengths.values(), default=0),
        data=data,
        device=here.device,
        **how,
    )


def _refuse_other_classes(path: Path, meta: dict[str, Any], videos: VideoSet) -> None:
    """See that a network's classes are those of the annotations; where it names none, that they are as many."""
    if meta["classes"]:
        other = class_difference(meta["classes"], videos.classes)
    else:
        alike = meta["num_classes"] == len(videos.classes)
        other = "" if alike else f"{meta['num_classes']} classes and {len(videos.classes)}"
    if other:
        raise ConfigError(
            f"{path} knows other classes than {videos.source} holds ({other}); give the annotations it was trained for."
        )


def _keep(
    cfg: EvaluateConfig, videos: VideoSet, sources: Sequence[members.Source], here: Session, path: Path | None = None
) -> None:
    """Save what networks said, see `members.save`; a rank that went on, and failed, would end the one that writes."""
    if here.is_main:
        members.save(cfg, videos, sources, path)
    here.broadcast(None)


def _refuse_or_tell(
    cfg: EvaluateConfig,
    failures: dict[str, str],
    videos: VideoSet,
    sources: list[members.Source],
    here: Session,
    log: RunLog,
) -> None:
    """Tell what cannot be scored; without `allow_missing` refuse it, and keep what was computed if that is asked for.

    Raises:
        DataError: A video cannot be scored.
    """
    if failures and not cfg.allow_missing:
        kept = ""
        if cfg.save_predictions is not None:
            path = here.broadcast(members.beside_earlier(cfg.save_predictions))
            kept = f" What could be is in {path}."
            _keep(cfg, videos, sources, here, path)
        first = next(iter(failures.values()))
        raise DataError(
            f"{len(failures)} video(s) cannot be scored, the first: {first} "
            f"Use --allow-missing to score the rest.{kept}"
        )
    for reason in failures.values():
        log.say(f"Not scored: {reason}")
