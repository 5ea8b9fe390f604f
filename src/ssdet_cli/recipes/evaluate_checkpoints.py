"""`ssdet evaluate --checkpoint`: whole videos through one or several networks, then the protocol."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import EvaluateConfig, FrameLabelledData
from ssdet_cli.config.sections import InferenceConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.class_names import class_difference
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult, VideoScores
from ssdet_cli.models import create_model
from ssdet_cli.recipes import fine_stream
from ssdet_cli.recipes.foreign import checkpoint_of
from ssdet_cli.recipes.results import annotated, average, finish
from ssdet_cli.recipes.scoring import at_protocol_times, whole_video_scores
from ssdet_cli.recipes.training import prepared_data
from ssdet_cli.video.decode import import_decord
from ssdet_cli.video.transforms import Normalize


def run(cfg: EvaluateConfig) -> EvaluationResult:
    """Score every video of the split; several checkpoints are averaged as probabilities.

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
    with session(cfg.run.device, deterministic=cfg.run.deterministic) as here:
        log = RunLog(None, Console(stderr=True) if here.is_main else None)
        states = [checkpoint_of(path, cfg.inference, log) for path in cfg.checkpoints]
        _refuse_useless(cfg, states)
        data = prepared_data(data_of(cfg, cfg.checkpoints[0], states[0]["meta"]), "dense", here, log)
        videos = annotated(data, cfg.split)
        log.say(f"{videos.name}: {len(videos)} videos, {len(videos.classes)} classes, on {here.device}.")
        named = zip(cfg.checkpoints, states, strict=True)
        members = [_member(cfg, path, state, videos, data, here, log) for path, state in named]
        videos = with_lengths(videos, members[0])
        readers = readers_of(score for member in members for score in member)
        if data.backend == "auto" and readers.get("pyav") and import_decord() is not None:
            taken = f"PyAV read {readers['pyav']} of {sum(readers.values())} videos"
            log.say(f"{taken}, which decord cannot read or not at this size.")
        return [
            _scored(one, protocol, videos, members, readers, here)
            for one, protocol in zip(cfgs, protocols, strict=True)
        ]


def _without_protocol(cfg: EvaluateConfig) -> EvaluateConfig:
    return rundir.with_output(cfg, None).model_copy(update={"protocol": ""})


def _scored(
    cfg: EvaluateConfig,
    protocol: EvaluationProtocol,
    videos: VideoSet,
    members: list[list[VideoScores]],
    readers: dict[str, int],
    here: Session,
) -> EvaluationResult:
    """Score what the networks said under one protocol, and leave its table and files."""
    scores = [at_protocol_times(protocol, videos, member) for member in members]
    predictions, seconds = average([member for member, _ in scores]), scores[0][1]
    result = protocol.score(videos, predictions, seconds)
    result = replace(result, notes=(*videos.notes, *result.notes), videos_read_by=readers)
    if here.is_main:
        finish(cfg, result, lambda: protocol.submission_text(videos, predictions, seconds))
    return result


def with_lengths(videos: VideoSet, scores: Iterable[VideoScores]) -> VideoSet:
    """Fill in the lengths of the files where the annotations tell none, and note it."""
    lengths = {score.video_id: score.duration_seconds for score in scores}
    silent = {record.video_id for record in videos.records if record.duration_seconds is None} & lengths.keys()
    if not silent:
        return videos
    records = tuple(
        replace(record, duration_seconds=lengths[record.video_id]) if record.video_id in silent else record
        for record in videos.records
    )
    told = f"{len(silent)} videos have no annotated duration: that of their files is taken."
    return replace(videos, records=records, notes=(*videos.notes, told))


def readers_of(scores: Iterable[VideoScores]) -> dict[str, int]:
    """Video reader -> videos that it read; members of an ensemble read the same ones."""
    return dict(Counter(backend for _, backend in sorted({(score.video_id, score.backend) for score in scores})))


def data_of(cfg: EvaluateConfig, path: Path, meta: dict[str, Any]) -> FrameLabelledData:
    """The checkpoint's own data with what was given for this evaluation over it.

    Raises:
        CheckpointError: The checkpoint was not trained on frame labels.
        ConfigError: It does not say what data it is for, and no data are given.
    """
    if meta["command"] not in ("finetune", "train-coarse-fine"):
        raise CheckpointError(
            f"{path} is a checkpoint of `{meta['command']}` and detects no frame labels yet; "
            f"run `ssdet finetune --init {path}`."
        )
    given = cfg.data.model_dump(exclude_unset=True) if cfg.data is not None else {}
    known = meta.get("config", {}).get("data", {})
    if not known and given.keys().isdisjoint(("dataset", "annotations", "videos")):
        raise ConfigError(
            f"{path} does not say what data to score it on; give --dataset NAME --annotations FILE --videos DIR."
        )
    return FrameLabelledData.model_validate({**known, **given})


def _refuse_useless(cfg: EvaluateConfig, states: list[dict[str, Any]]) -> None:
    """See that a fine stream is given to a network that has one.

    Raises:
        ConfigError: None of the checkpoints is of a Coarse-Fine network.
    """
    given = cfg.fine.features or cfg.fine.weights
    if given is not None and all(state["meta"]["command"] != "train-coarse-fine" for state in states):
        name = "--features" if cfg.fine.features is not None else "--fine"
        raise ConfigError(f"{name} {given} is for Coarse-Fine checkpoints, and none of these is one.")


def restore(state: dict[str, Any], here: Session) -> nn.Module:
    """The network of a checkpoint, ready to predict."""
    meta = state["meta"]
    model = create_model(meta["backbone"], meta["num_classes"], head=meta["head"], **meta.get("options", {}))
    model.load_state_dict(state["model"])
    return model.to(here.device).eval()


def inference_of(cfg: InferenceConfig, meta: dict[str, Any]) -> InferenceConfig:
    """Stride and size as trained where they are not given."""
    clip = meta["clip"]
    return cfg.model_copy(update={"stride": cfg.stride or clip["stride"], "size": cfg.size or clip["size"]})


def _member(
    cfg: EvaluateConfig,
    path: Path,
    state: dict[str, Any],
    videos: VideoSet,
    data: FrameLabelledData,
    here: Session,
    log: RunLog,
) -> list[VideoScores]:
    meta = state["meta"]
    _refuse_other_classes(path, meta, videos)
    inference = inference_of(cfg.inference, meta)
    if meta["command"] == "train-coarse-fine":
        ids = [record.video_id for record in videos.records if record.path is not None]
        network, apply_of = fine_stream.restore(state, cfg.fine, inference, ids, here, log)
    else:
        network, apply_of = restore(state, here), None
    scores, failures = whole_video_scores(
        network,
        videos,
        data,
        stride=inference.stride,
        size=inference.size,
        window=inference.window,
        batch_size=inference.batch_size,
        exact=inference.exact,
        apply_of=apply_of,
        normalize=Normalize(**meta["normalization"]).to(here.device),
        here=here,
        autocast=precision("auto", here.device),
        log=log,
    )
    _refuse_or_tell(failures, cfg.allow_missing, log)
    return scores


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


def _refuse_or_tell(failures: dict[str, str], allow: bool, log: RunLog) -> None:
    if failures and not allow:
        first = next(iter(failures.values()))
        raise DataError(
            f"{len(failures)} video(s) cannot be scored, the first: {first} Use --allow-missing to score the rest."
        )
    for reason in failures.values():
        log.say(f"Not scored: {reason}")
