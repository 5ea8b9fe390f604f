"""The official Charades localisation score: 25 equally spaced times per video.

The rules are those of the evaluation script that is distributed with the Charades annotations (Sigurdsson et al.,
ECCV 2016; localisation added in 2017), down to the order of the arithmetic.
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
from ssdet_cli.evaluation.submission import localization_text, read_localization
from ssdet_cli.evaluation.summary import RankedProtocol

POINTS = 25


def official_seconds(durations: np.ndarray) -> np.ndarray:
    """Return the (V, 25) times of videos that last (V,) seconds: (j - 1) / 25 * length for j = 1 to 25.

    The division comes before the multiplication. Any other order moves some times by one unit in the last place, and
    across the ends of actions that were annotated to a hundredth of a second.
    """
    return (np.arange(POINTS) / POINTS)[None, :] * np.asarray(durations, dtype=np.float64)[:, None]


def official_targets(video_set: VideoSetLike) -> np.ndarray:
    """Return the (V * 25, K) bool labels: present where start <= time <= end, both ends included."""
    seconds = official_seconds(np.array([_duration(record) for record in video_set.records]))
    found = [
        (video, segment.label, segment.start, segment.end)
        for video, record in enumerate(video_set.records)
        for segment in record.segments
    ]
    videos, labels = np.array([row[:2] for row in found], dtype=np.int64).reshape(-1, 2).T
    starts, ends = np.array([row[2:] for row in found], dtype=np.float64).reshape(-1, 2).T
    inside = (starts[:, None] <= seconds[videos]) & (seconds[videos] <= ends[:, None])
    segment, point = np.nonzero(inside)
    targets = np.zeros((len(seconds), POINTS, len(video_set.classes)), dtype=bool)
    targets[videos[segment], point, labels[segment]] = True
    return targets.reshape(-1, len(video_set.classes))


class CharadesLocalize(RankedProtocol):
    """`charades-localize`: equal to the official script for every class."""

    name = "charades-localize"
    conventions = (
        "25 times per video at (j-1)/25 of its annotated length, both ends of an action included; rows in annotation "
        "order, equal scores keep it; missing rows rank last; videos without actions count; AP without interpolation, "
        "mAP is the mean over classes that have a positive."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(25,) times from the annotated length; `scores` is not looked at.

        Raises:
            DataError: The annotation does not say how long the video is.
        """
        return official_seconds(np.array([_duration(record)]))[0]

    def gather(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None) -> Rows:
        """25 rows of every annotated video; those of videos without a prediction stay at -inf, as in the script.

        Raises:
            DataError: A prediction has not 25 rows, or the annotation does not say how long a video is.
        """
        scores = np.full((len(video_set.records), POINTS, len(video_set.classes)), -np.inf)
        for row, record in zip(scores, video_set.records, strict=True):
            if record.video_id in predictions:
                row[:] = _points(record.video_id, predictions[record.video_id])
        videos = np.repeat(np.arange(len(scores)), POINTS)
        times = official_seconds(np.array([_duration(record) for record in video_set.records]))
        return Rows(
            scores.reshape(-1, scores.shape[2]),
            official_targets(video_set),
            videos,
            video_ids=tuple(record.video_id for record in video_set.records),
            seconds=times.reshape(-1),
        )

    def submission_text(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> bytes:
        """Lines `id frame s0 s1 ...` with frame 1 to 25, in annotation order; rows at -inf are left out."""
        order = [record.video_id for record in predicted(video_set, predictions)]
        return localization_text({video_id: _points(video_id, predictions[video_id]) for video_id in order})

    def read_submission(self, path: Path, video_set: VideoSetLike) -> Submission:
        """Read an official localisation file; see `submission.read_localization`."""
        known = [record.video_id for record in video_set.records]
        return read_localization(path, known, len(video_set.classes), POINTS)


def _duration(record: RecordLike) -> float:
    if record.duration_seconds is None:
        raise DataError(
            f"Video '{record.video_id}' has no annotated duration, from which its 25 times follow; add durations, or "
            "use --protocol frame-map."
        )
    return record.duration_seconds


def _points(video_id: str, scores: np.ndarray) -> np.ndarray:
    if len(scores) != POINTS:
        raise DataError(f"Predictions of '{video_id}' have {len(scores)} rows where {POINTS} are needed.")
    return scores
