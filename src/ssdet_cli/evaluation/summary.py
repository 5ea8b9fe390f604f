"""The result of a protocol from what it ranks."""

from collections.abc import Mapping

import numpy as np

from ssdet_cli.evaluation.average_precision import average_precision, mean_ap, weighted_ap
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult, VideoSetLike
from ssdet_cli.evaluation.rows import Rows


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
