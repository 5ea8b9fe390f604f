"""What protocols have in common: the result from what is ranked."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from ssdet_cli.evaluation.average_precision import average_precision, mean_ap, weighted_ap
from ssdet_cli.evaluation.bootstrap import Resampling, RowResampling
from ssdet_cli.evaluation.interface import (
    ByVideo,
    EvaluationProtocol,
    EvaluationResult,
    VideoSetLike,
    check_predictions,
    missing_videos,
)
from ssdet_cli.evaluation.rows import Rows


class RankedProtocol(ABC):
    """A protocol whose score is the AP of rows.

    What derives from it gives `gather`, and what `interface.EvaluationProtocol` asks for beside `score`.
    """

    def score(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> EvaluationResult:
        """Score (L, K) predictions per video at its (L,) `seconds`, where the protocol looks at them.

        Raises:
            DataError: A prediction does not fit, see `check` and `gather`.
        """
        rows, missing = self.rows(video_set, predictions, seconds), missing_videos(video_set, predictions)
        notes, measures = self.notes(video_set, predictions), self.measures(rows)
        return summarize(self, video_set, rows, missing, notes=notes, measures=measures)

    def rows(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> Rows:
        """What is ranked; see `score`."""
        self.check(video_set, predictions, seconds)
        return self.gather(video_set, predictions, seconds)

    def resampling(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> Resampling:
        """What confidence intervals are drawn from; see `score`."""
        return RowResampling(self.rows(video_set, predictions, seconds))

    def check(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None) -> None:
        """Refuse what does not fit the annotations; see `interface.check_predictions`."""
        check_predictions(video_set, predictions)

    @abstractmethod
    def gather(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None) -> Rows:
        """The rows of predictions that are checked."""

    def notes(self, video_set: VideoSetLike, predictions: ByVideo) -> tuple[str, ...]:
        """Sentences on what the score is of."""
        return ()

    def measures(self, rows: Rows) -> Mapping[str, float]:
        """What the protocol says of the rows beside AP; see `EvaluationResult.measures`."""
        return {}


def summarize(
    protocol: EvaluationProtocol,
    video_set: VideoSetLike,
    rows: Rows,
    missing: tuple[str, ...],
    *,
    notes: tuple[str, ...],
    measures: Mapping[str, float],
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
        measures=measures,
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
