"""The official Charades classification score: which actions are in a video, whenever.

The rules are those of the evaluation script that is distributed with the Charades annotations (Sigurdsson et al.,
ECCV 2016).
"""

from pathlib import Path

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import (
    ByVideo,
    RecordLike,
    Submission,
    VideoScores,
    VideoSetLike,
    predicted,
)
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.evaluation.submission import classification_text, read_classification
from ssdet_cli.evaluation.summary import RankedProtocol


class CharadesClassify(RankedProtocol):
    """`charades-classify`: a row per video; its scores are the highest of its frames."""

    name = "charades-classify"
    conventions = (
        "One row per video, whose scores are the highest over its frames; a class is present if any action of it is "
        "annotated, whatever its times; rows in annotation order, equal scores keep it; missing videos rank last, and "
        "so do videos without actions, whose scores the official script never reads; AP without interpolation, mAP is "
        "the mean over classes that have a positive."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(T,) times at which the network gave scores.

        Raises:
            ValueError: `scores` is None; only they know their times.
        """
        if scores is None:
            raise ValueError("charades-classify takes its times from the scores: give the VideoScores.")
        return scores.seconds

    def notes(self, video_set: VideoSetLike, predictions: ByVideo) -> tuple[str, ...]:
        """How many videos have no action."""
        empty = sum(not record.segments for record in video_set.records)
        return (f"{empty:,} videos without actions rank last, as in the official script.",) if empty else ()

    def gather(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None) -> Rows:
        """A row of every annotated video, whatever the times of its scores.

        Raises:
            DataError: A prediction has no row.
        """
        count = len(video_set.records)
        scores = np.full((count, len(video_set.classes)), -np.inf)
        targets = np.zeros(scores.shape, dtype=bool)
        for row, present, record in zip(scores, targets, video_set.records, strict=True):
            present[[segment.label for segment in record.segments]] = True
            if record.segments and record.video_id in predictions:
                row[:] = _highest(record.video_id, predictions)
        ids = tuple(record.video_id for record in video_set.records)
        return Rows(scores, targets, np.arange(count), video_ids=ids)

    def submission_text(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> bytes:
        """Lines `id s0 s1 ...`, in annotation order."""
        order = [record.video_id for record in predicted(video_set, predictions)]
        return classification_text({video_id: _highest(video_id, predictions) for video_id in order})

    def read_submission(self, path: Path, video_set: VideoSetLike) -> Submission:
        """Read an official classification file; see `submission.read_classification`."""
        return read_classification(path, [record.video_id for record in video_set.records], len(video_set.classes))


def _highest(video_id: str, predictions: ByVideo) -> np.ndarray:
    scores = predictions[video_id]
    if not len(scores):
        raise DataError(f"Predictions of '{video_id}' have no row.")
    return scores.max(axis=0)
