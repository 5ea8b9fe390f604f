"""What a protocol is, what it takes and what it returns.

Shape letters: T sampled frames of a video, L times that a protocol scores, K classes. The annotation types are
described by what is read from them, so that this package knows no dataset.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.bootstrap import Intervals
from ssdet_cli.evaluation.facts import Facts

#: Video id -> an array of that video.
ByVideo = Mapping[str, np.ndarray]


class SegmentLike(Protocol):
    """An action: class index from 0, seconds."""

    @property
    def label(self) -> int:
        """Class index from 0."""

    @property
    def start(self) -> float:
        """Seconds."""

    @property
    def end(self) -> float:
        """Seconds."""


class RecordLike(Protocol):
    """A video and its actions."""

    @property
    def video_id(self) -> str:
        """Unique name."""

    @property
    def duration_seconds(self) -> float | None:
        """As the annotation says."""

    @property
    def segments(self) -> Sequence[SegmentLike]:
        """In any order; may be empty."""


class VideoSetLike(Protocol):
    """An annotated split."""

    @property
    def classes(self) -> Sequence[str]:
        """K names."""

    @property
    def records(self) -> Sequence[RecordLike]:
        """In annotation order, which decides about ties."""

    @property
    def source(self) -> Path:
        """Annotation file."""

    @property
    def sha256(self) -> str:
        """Of the annotation file; may be empty."""


@dataclass(frozen=True)
class VideoScores:
    """What a network says about a whole video.

    Attributes:
        video_id: Name of the video.
        seconds: (T,) float64, rising times of the scores.
        logits: (T, K) float32.
        duration_seconds: Length of the decoded video.
        frame_rate: Frames per second of the file.
        num_frames: Frames in the file.
        backend: Which video reader read it; empty where that is not known.
        raw_seconds: (num_frames,) when each frame of the file appears; None is `number / frame_rate`.
    """

    video_id: str
    seconds: np.ndarray
    logits: np.ndarray
    duration_seconds: float
    frame_rate: float
    num_frames: int
    backend: str = ""
    raw_seconds: np.ndarray | None = None


@dataclass(frozen=True)
class Submission:
    """A prediction file.

    Attributes:
        predictions: Video id -> (L, K) float64; -inf in rows that the file does not hold. Absent videos are absent.
        seconds: Video id -> (L,) where the file says the times, else None.
        notes: One sentence per oddity of the file (unknown videos ignored, ...).
        absent: Video id -> rows that the times of a file say are missing; videos that lack none are absent.
        absent_notes: Sentences on those.
    """

    predictions: dict[str, np.ndarray]
    seconds: dict[str, np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    absent: Mapping[str, int] = field(default_factory=dict)
    absent_notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class EvaluationResult:
    """A score and everything that is needed to say what it is a score of.

    Attributes:
        protocol: Name of the protocol.
        mAP: Mean AP over the classes that have a positive, 0 to 1; NaN if none has.
        wAP: AP weighted by the number of positives.
        per_class_AP: In class order; None where a class has no positive.
        positives: Positive rows of each class.
        classes: Names in index order.
        videos: Annotated videos.
        frames: Rows that were ranked.
        missing: Annotated videos without any score.
        missing_videos: Their ids.
        missing_frames: Rows without a score: ranked ones at -inf, those of missing videos included where they are
            ranked, and `absent_frames`.
        annotations: Annotation file.
        annotations_sha256: Of that file; empty where it is a folder.
        conventions: What the protocol does at borders, ties and gaps.
        notes: Oddities met on the way.
        videos_read_by: Video reader -> videos that it read; None where no video was read.
        measures: What else the protocol says, name -> number from 0 to 1; NaN where it is undefined.
        intervals: By resampling of the videos; None where nobody asked for them.
        scores_from: Networks and files behind the scores, what each counts for and how they were averaged; None where
            nobody said.
        absent_frames: Of `missing_frames`, those that a file of lines leaves out and that are in no ranking.
    """

    protocol: str
    mAP: float
    wAP: float
    per_class_AP: tuple[float | None, ...]
    positives: tuple[int, ...]
    classes: tuple[str, ...]
    videos: int
    frames: int
    missing: int
    missing_videos: tuple[str, ...]
    missing_frames: int
    annotations: str
    annotations_sha256: str
    conventions: str
    notes: tuple[str, ...] = field(default=())
    videos_read_by: Mapping[str, int] | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    intervals: Intervals | None = None
    scores_from: Facts | None = None
    absent_frames: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return lists, numbers and text for JSON; NaN becomes None.

        With what can be counted besides, `videos_scored` and `classes_with_positives`; what `scores_from` says stands
        among the rest, as `members`, `average` and `smooth`.
        """
        plain = asdict(self)
        plain.update(plain.pop("scores_from") or {})
        plain["videos_scored"] = self.videos - self.missing
        plain["classes_with_positives"] = sum(count > 0 for count in self.positives)
        for place in (plain, plain["measures"]):
            undefined = [name for name, value in place.items() if isinstance(value, float) and np.isnan(value)]
            place.update(dict.fromkeys(undefined))
        return plain


class EvaluationProtocol(Protocol):
    """Which times are scored, against which labels, in which file format.

    One whose score is the AP of rows offers them too, `rows(video_set, predictions, seconds) -> rows.Rows`, and the
    report looks at them. Else `rows` is absent or None, and the report looks at `frame_rows`, of the same form, if such
    there are. One that has confidence intervals offers `resampling`, with the same arguments, which returns a
    `bootstrap.Resampling`.
    """

    name: str
    conventions: str

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None) -> np.ndarray:
        """(L,) times at which this video is scored."""

    def score(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> EvaluationResult:
        """Score (L, K) predictions made at `frame_seconds`; videos without a prediction are counted and listed."""

    def submission_text(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> bytes:
        """Content of a prediction file in this protocol's format."""

    def read_submission(self, path: Path, video_set: VideoSetLike) -> Submission:
        """Read such a file; raises DataError naming file and line."""


def interpolate(scores_at: np.ndarray, seconds: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Scores at other times: linear between neighbours, the first or last score outside.

    Args:
        scores_at: (T, K) scores.
        seconds: (T,) their times, rising.
        times: (L,) wanted times.

    Returns:
        (L, K) in the type of `scores_at`.
    """
    if len(seconds) == 0 or len(seconds) != len(scores_at):
        raise ValueError(f"{len(scores_at)} scores cannot stand at {len(seconds)} times.")
    seconds, times = np.asarray(seconds, dtype=np.float64), np.asarray(times, dtype=np.float64)
    position = np.interp(times, seconds, np.arange(len(seconds)))
    left = position.astype(np.int64)
    right = np.minimum(left + 1, len(seconds) - 1)
    weight = (position - left).astype(scores_at.dtype)[:, None]
    return scores_at[left] * (1 - weight) + scores_at[right] * weight


def missing_videos(video_set: VideoSetLike, predictions: ByVideo) -> tuple[str, ...]:
    """Return the annotated videos without a prediction; a caller that must not miss one refuses by this list."""
    return tuple(record.video_id for record in video_set.records if record.video_id not in predictions)


def predicted(video_set: VideoSetLike, predictions: ByVideo) -> list[RecordLike]:
    """Return the annotated videos that have a prediction, in annotation order."""
    return [record for record in video_set.records if record.video_id in predictions]


def check_predictions(video_set: VideoSetLike, predictions: ByVideo) -> None:
    """Refuse predictions that do not belong to these annotations.

    Raises:
        DataError: A video is not annotated, or a prediction is not (L, K) or holds NaN.
    """
    known = {record.video_id for record in video_set.records}
    for video_id, scores in predictions.items():
        if video_id not in known:
            hint = nearest(video_id, known)
            raise DataError(f"Predictions name the video '{video_id}', which {video_set.source} does not hold.{hint}")
        if scores.ndim != 2 or scores.shape[1] != len(video_set.classes):
            wanted = f"(times, {len(video_set.classes)})"
            raise DataError(f"Predictions of '{video_id}' have the shape {scores.shape} where {wanted} is needed.")
        if np.isnan(scores).any():
            raise DataError(f"Predictions of '{video_id}' contain NaN, which cannot be ranked.")
