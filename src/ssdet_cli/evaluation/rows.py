"""What a protocol ranks, and the result that follows from it.

Shape letters: N ranked rows, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ssdet_cli.evaluation.average_precision import average_precision, mean_ap, weighted_ap
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult, VideoSetLike


@dataclass(frozen=True)
class Rows:
    """Rows in annotation order.

    Attributes:
        scores: (N, K); -inf where there is none.
        targets: (N, K) bool.
        videos: (N,) int64, number of the video that each row is of, from 0 and rising.
        absent: AP of a class without a positive row; NaN leaves it out of the mean.
    """

    scores: np.ndarray
    targets: np.ndarray
    videos: np.ndarray
    absent: float = float("nan")


def summarize(
    protocol: EvaluationProtocol,
    video_set: VideoSetLike,
    rows: Rows,
    missing: tuple[str, ...],
    *,
    notes: tuple[str, ...] = (),
    measures: Mapping[str, float] | None = None,
) -> EvaluationResult:
    """Rank rows and write down what was ranked."""
    found = average_precision(rows.scores, rows.targets)
    ap, positives = np.where(np.isnan(found), rows.absent, found), rows.targets.sum(axis=0)
    return described(
        protocol,
        video_set,
        missing,
        ap=ap,
        mAP=mean_ap(ap),
        wAP=weighted_ap(found, positives),
        positives=positives,
        frames=len(rows.scores),
        missing_frames=int(np.isneginf(rows.scores).all(axis=1).sum()),
        notes=notes,
        measures=measures or {},
    )


def described(
    protocol: EvaluationProtocol,
    video_set: VideoSetLike,
    missing: tuple[str, ...],
    *,
    ap: np.ndarray,
    positives: np.ndarray,
    **known: object,
) -> EvaluationResult:
    """The result of (K,) average precisions, with what it is a score of."""
    return EvaluationResult(
        protocol=protocol.name,
        per_class_AP=tuple(None if np.isnan(value) else float(value) for value in ap),
        positives=tuple(positives.tolist()),
        classes=tuple(video_set.classes),
        videos=len(video_set.records),
        missing=len(missing),
        missing_videos=missing,
        annotations=str(video_set.source),
        annotations_sha256=video_set.sha256,
        conventions=protocol.conventions,
        **known,
    )
