"""From a network and a set of videos to a protocol's score."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from torch import Tensor, nn

from ssdet_cli.config.commands import FinetuneConfig
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.clips import WholeVideos
from ssdet_cli.data.loader import ValidationBatches, build_loader
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.fit import Validate, precision
from ssdet_cli.engine.predict import predict
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.interface import EvaluationProtocol, VideoScores, interpolate


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities, in float64: in float32 large logits would become ties at 1."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -700, 700)))


def at_protocol_times(
    protocol: EvaluationProtocol, videos: VideoSet, scores: list[VideoScores]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Logits interpolated to the times that a protocol scores, as probabilities, and those times; by video id."""
    by_id = {score.video_id: score for score in scores}
    predictions, seconds = {}, {}
    for record in videos.records:
        if (score := by_id.get(record.video_id)) is not None:
            seconds[record.video_id] = times = protocol.frame_seconds(record, score)
            predictions[record.video_id] = sigmoid(interpolate(score.logits, score.seconds, times))
    return predictions, seconds


def whole_video_scores(
    network: nn.Module,
    videos: VideoSet,
    data: DataConfig,
    *,
    stride: int,
    size: int,
    window: int,
    batch_size: int,
    normalize: Callable[[Tensor], Tensor],
    here: Session,
    autocast: Callable[[], AbstractContextManager],
    log: RunLog | None = None,
) -> tuple[list[VideoScores], dict[str, str]]:
    """Run a network over every video of a set, each on one rank; every rank gets all scores and all failures."""
    dataset = WholeVideos(videos, data, stride=stride, size=size)
    batches = ValidationBatches(len(dataset), 1, rank=here.rank, world_size=here.world_size)
    loader = build_loader(dataset, batches, None, data, device=here.device)
    if log is not None:
        log.start("videos", 0, len(batches))
    try:
        return predict(
            network,
            loader,
            normalize=normalize,
            session=here,
            window=window,
            batch_size=batch_size,
            autocast=autocast,
            advance=(lambda done: log.advance(done, "")) if log is not None else lambda done: None,
        )
    finally:
        if log is not None:
            log.stop()


def score_while_training(
    cfg: FinetuneConfig,
    data: DataConfig,
    videos: VideoSet,
    normalize: Callable[[Tensor], Tensor],
    here: Session,
    log: RunLog,
) -> Validate:
    """Validation of `finetune`: whole videos, the configured protocol; unreadable videos are named and left out."""
    protocol = PROTOCOLS.get(cfg.protocol)()

    def validate(network: nn.Module) -> dict[str, float]:
        scores, failures = whole_video_scores(
            network,
            videos,
            data,
            stride=cfg.inference.stride or cfg.clip.stride,
            size=cfg.inference.size or cfg.clip.size,
            window=cfg.inference.window,
            batch_size=cfg.inference.batch_size,
            normalize=normalize,
            here=here,
            autocast=precision(cfg.loop.precision, here.device),
        )
        for reason in failures.values():
            log.say(f"Left out of validation: {reason}")
        predictions, seconds = at_protocol_times(protocol, videos, scores)
        result = protocol.score(videos, predictions, seconds)
        return {"mAP": 100 * result.mAP, "wAP": 100 * result.wAP, "videos": result.videos - result.missing}

    return validate
