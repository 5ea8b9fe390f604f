"""From a network and a set of videos to a protocol's score."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssdet_cli.config.commands import FinetuneConfig
from ssdet_cli.config.sections import DataConfig, InferenceConfig
from ssdet_cli.data.annotations import VideoSet, rasterize
from ssdet_cli.data.clips import VideoWindows, spacing_of
from ssdet_cli.data.lengths import with_decoded_lengths
from ssdet_cli.data.loader import build_stream
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.exact import logits_in_chunks, windows_of
from ssdet_cli.engine.fit import Validate
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.predict import LOGITS, Apply, ScoreJoin, in_batches, predict
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.ensemble import Member, averaged, sigmoid
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.thresholds import best_f1_thresholds
from ssdet_cli.tasks.losses import clip_max_bce, frame_bce
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.viz.run_report import CLASS_SCORES


def learned(videos: VideoSet, scores: list[VideoScores], spacing: Spacing) -> dict[str, Any]:
    """What validation videos tell about prediction: `thresholds`, the best of each class by F1 over their frames, and
    `frame_seconds`, the time from one input frame to the next in most of them.
    """
    segments = {record.video_id: record.segments for record in videos.records}
    targets = [rasterize(segments[score.video_id], score.seconds, len(videos.classes)).T for score in scores]
    predictions = np.concatenate([sigmoid(score.logits) for score in scores])
    thresholds = best_f1_thresholds(predictions, np.concatenate(targets))
    rate = float(np.median([score.frame_rate for score in scores]))
    apart = spacing.stride / rate if spacing.seconds is None else spacing.seconds
    return {"thresholds": thresholds.round(6).tolist(), "frame_seconds": apart}


def validation_loss(videos: VideoSet, scores: list[VideoScores], clip_weight: float) -> float:
    """The loss of `tasks.detection`, over whole videos: on all their input frames, and on the maximum of each."""
    found = {score.video_id: score for score in scores}
    on_frames = on_clips = frames = 0.0
    for record in videos.records:  # one order, however many processes there are: sums are the same to the last digit
        if (score := found.get(record.video_id)) is None:
            continue
        labels = torch.from_numpy(rasterize(record.segments, score.seconds, len(videos.classes)))[None]
        logits, valid = torch.from_numpy(score.logits.T)[None], torch.ones(1, len(score.seconds), dtype=torch.bool)
        on_frames += len(score.seconds) * float(frame_bce(logits, labels, valid))
        on_clips += float(clip_max_bce(logits, labels, valid))
        frames += len(score.seconds)
    return (1 - clip_weight) * on_frames / frames + clip_weight * on_clips / len(scores)


def asked_spacing(inference: InferenceConfig, trained: Spacing) -> Spacing:
    """How far the frames of whole videos lie apart: as asked for, by number or by time, else as trained."""
    if inference.stride is not None:
        return Spacing(inference.stride)
    if inference.seconds_between_frames is not None:
        return Spacing(trained.stride, inference.seconds_between_frames)
    return trained


def trained_spacing(clip: Mapping[str, Any]) -> Spacing:
    """How far the frames of the clips lay apart that a checkpoint was trained on, from what it says of them."""
    return Spacing(clip["stride"], clip.get("seconds_between_frames"))


def whole_video_scores(
    network: nn.Module,
    videos: VideoSet,
    data: DataConfig,
    *,
    spacing: Spacing,
    size: int,
    window: int,
    batch_size: int,
    normalize: Callable[[Tensor], Tensor],
    here: Session,
    autocast: Callable[[], AbstractContextManager],
    exact: bool = False,
    most_frames: int | None = None,
    crops: int = 1,
    shifts: int = 1,
    apply_of: Callable[..., Apply] | None = None,
    log: RunLog | None = None,
) -> tuple[list[VideoScores], dict[str, str]]:
    """Run a network over every video of a set, each on one rank; every rank gets all scores and all failures.

    `apply_of` makes of the network what is computed of windows, where that takes more than their frames.

    Raises:
        ConfigError: `exact`, and the network cannot go through a long video exactly; or several crops or shifts where
            windows of one video must follow one another; or more shifts than there are frames to shift by.
    """
    windows = windows_of(network, window, exact=exact)
    records = videos.records[here.rank :: here.world_size]
    refuse_passes(spacing, exact=exact, crops=crops, shifts=shifts, steered=apply_of is not None)
    dataset = VideoWindows(records, data, spacing=spacing, size=size, windows=windows, crops=crops, shifts=shifts)
    in_chunks = exact and getattr(network, "temporal_reach", None) is None
    how = {"normalize": normalize, "device": here.device, "autocast": autocast}
    if apply_of is not None:
        apply = apply_of(network, **how)
    elif in_chunks:
        apply = logits_in_chunks(network, **how)
    else:
        apply = in_batches(
            lambda frames: {LOGITS: network(frames)}, batch_size=batch_size, most_frames=most_frames, **how
        )
    if log is not None:
        log.start("videos", 0, len(records))
    try:
        return predict(
            build_stream(dataset, data, most_workers=1 if in_chunks else None),
            apply=apply,
            join=ScoreJoin,
            session=here,
            advance=(lambda done: log.advance(done, "")) if log is not None else lambda done: None,
        )
    finally:
        if log is not None:
            log.stop()


def refuse_passes(spacing: Spacing, *, exact: bool, crops: int, shifts: int, steered: bool) -> None:
    """See that several crops or shifts go with a network and its frames; `steered` is a Coarse-Fine one.

    Raises:
        ConfigError: See `whole_video_scores`.
    """
    for name, count in (("crops", crops), ("shifts", shifts)):
        if count > 1 and (exact or steered):
            what = "exact (inference.exact)" if exact else "a Coarse-Fine network"
            raise ConfigError(f"inference.{name}={count} does not go with {what}; leave it out.")
    stride = spacing.stride
    if spacing.seconds is None and shifts > stride:
        right = f"give inference.shifts={stride} at most, or leave it out"
        if stride == 1:
            right = f"leave inference.shifts out, or give inference.stride={shifts} or more"
        raise ConfigError(
            f"inference.shifts={shifts}: with one frame in {stride} there are no more than {stride} different "
            f"ones; {right}."
        )


def score_while_training(
    cfg: FinetuneConfig,
    data: DataConfig,
    videos: VideoSet,
    normalize: Callable[[Tensor], Tensor],
    here: Session,
    log: RunLog,
    *,
    meta: dict[str, Any],
    apply_of: Callable[..., Apply] | None = None,
) -> Validate:
    """Whole videos under the configured protocol; unreadable videos are named and left out.

    What prediction takes from a validation goes into `meta`, and so into the checkpoints saved after it: see `learned`.
    `apply_of`: see `whole_video_scores`.
    """
    protocol = PROTOCOLS.get(cfg.protocol)()

    def validate(network: nn.Module) -> dict[str, float]:
        scores, failures = whole_video_scores(
            network,
            videos,
            data,
            spacing=asked_spacing(cfg.inference, spacing_of(cfg.clip)),
            size=cfg.inference.size or cfg.clip.size,
            window=cfg.inference.window,
            batch_size=cfg.inference.batch_size,
            exact=cfg.inference.exact,
            apply_of=apply_of,
            normalize=normalize,
            here=here,
            autocast=precision(cfg.loop.precision, here.device),
        )
        for reason in failures.values():
            log.say(f"Left out of validation: {reason}")
        loss = {}
        if scores:
            meta["validated"] = learned(videos, scores, spacing_of(cfg.clip))
            loss = {"loss": validation_loss(videos, scores, cfg.loss.clip_weight)}
        known, _ = with_decoded_lengths(videos, {score.video_id: score.duration_seconds for score in scores})
        found = averaged(protocol, known, [Member.of_network("validation", scores)])
        result = protocol.score(known, found.predictions, found.seconds)
        log.write_json(CLASS_SCORES, {"classes": result.classes, "AP": result.per_class_AP})
        of_all = {"mAP": 100 * result.mAP, "wAP": 100 * result.wAP, **loss}
        return {**of_all, "videos": result.videos - result.missing}

    return validate
