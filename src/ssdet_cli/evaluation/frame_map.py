"""Per-frame mAP: every frame of every video is a row.

This is how the per-frame literature scores Charades ("dense") and MultiTHUMOS (Yeung et al., IJCV 2018): an action is
present strictly between its start and its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
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
from ssdet_cli.evaluation.row_times import (
    AbsentRows,
    absent_rows,
    median_step,
    rare_rates,
    refuse_frame_numbers,
    rows_beyond,
    thinned,
)
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.evaluation.submission import read_timed, timed_text
from ssdet_cli.evaluation.summary import RankedProtocol


class FrameMap(RankedProtocol):
    """`frame-map`: AP over all frames of all videos.

    Protocols that differ from it in the times they look at, or in what they make of the rows, derive from it.
    """

    name = "frame-map"
    #: AP of a class without a positive row.
    absent = float("nan")
    conventions = (
        "Every frame i of every video at i / frame rate; an action is present strictly between its start and end; "
        "rows in annotation order, equal scores keep it; missing videos have no rows and are listed; AP without "
        "interpolation, mAP is the mean over classes that have a positive."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(L,) times of the frames of the decoded video.

        Raises:
            ValueError: `scores` is None; only the decoded video knows its frames.
        """
        video = self.decoded(scores)
        return np.arange(video.num_frames) / video.frame_rate if video.raw_seconds is None else video.raw_seconds

    def decoded(self, scores: VideoScores | None) -> VideoScores:
        """The decoded video, which knows its frames; see `frame_seconds`."""
        if scores is None:
            raise ValueError(f"{self.name} takes its times from the decoded video: give the VideoScores.")
        return scores

    def notes(self, video_set: VideoSetLike, predictions: ByVideo) -> tuple[str, ...]:
        """Sentences on what the score is not over."""
        total, scored = len(video_set.records), len(predictions)
        if scored == total:
            return ()
        return (f"The score is over {scored:,} of {total:,} videos; the others have no rows in it.",)

    def gather(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo) -> Rows:
        """The rows of all videos that have a prediction, with the labels at their times."""
        scored = predicted(video_set, predictions)
        lengths = [len(seconds[record.video_id]) for record in scored]
        kind = np.result_type(*{predictions[record.video_id].dtype for record in scored})
        scores = np.empty((sum(lengths), len(video_set.classes)), dtype=kind)
        targets = np.zeros(scores.shape, dtype=bool)
        first = 0
        for record in scored:
            part = slice(first, first + len(seconds[record.video_id]))
            scores[part] = predictions[record.video_id]
            mark_inside(targets[part], record, seconds[record.video_id])
            first = part.stop
        ids = tuple(record.video_id for record in scored)
        moments = np.concatenate([np.asarray(seconds[video_id], np.float64) for video_id in ids])
        return Rows(scores, targets, np.repeat(np.arange(len(scored)), lengths), self.absent, ids, moments)

    def check(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None) -> None:
        """See that times, which are required here, and predictions fit each other and the annotations.

        Raises:
            DataError: No video has a prediction, one belongs to no annotated video, or a shape does not fit.
            ValueError: There are no times.
        """
        if seconds is None:
            raise ValueError(f"{self.name} needs the seconds of every predicted row.")
        super().check(video_set, predictions, seconds)
        if not predictions:
            raise DataError(f"None of the {len(video_set.records)} videos of {video_set.source} has a prediction.")
        for video_id in predictions:
            _check_times(video_id, predictions, seconds)

    def submission_text(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> bytes:
        """Lines `id seconds s0 s1 ...`, in annotation order."""
        self.check(video_set, predictions, seconds)
        order = [record.video_id for record in predicted(video_set, predictions)]
        return timed_text({video_id: predictions[video_id] for video_id in order}, seconds)

    def read_submission(self, path: Path, video_set: VideoSetLike) -> Submission:
        """Read such a file; its `seconds` go to `score`.

        Raises:
            DataError: As `read_timed`, or see `refuse_frame_numbers` and `absent_rows`.
        """
        read = read_timed(path, [record.video_id for record in video_set.records], len(video_set.classes))
        held = [one for one in video_set.records if one.video_id in read.seconds]
        refuse_frame_numbers(path, held, read.seconds)
        absent = self.absent_rows(path, held, read.seconds)
        notes = (*read.notes, *rows_beyond(path, held, read.seconds))
        return replace(read, notes=notes, absent=absent.counts, absent_notes=absent.notes)

    def absent_rows(self, path: Path, records: Sequence[RecordLike], seconds: ByVideo) -> AbsentRows:
        """Rows that a file leaves out of the videos that it holds.

        Args:
            path: The file, for messages.
            records: Annotated videos that it holds.
            seconds: Video id -> (L,) rising times.

        Raises:
            DataError: The times are none of this protocol, where it knows them.
        """
        steps = {one.video_id: step for one in records if (step := median_step(seconds[one.video_id])) is not None}
        every = thinned(np.array([seconds[video_id][0] / step for video_id, step in steps.items()] or [0.0]))
        late = {} if every == 1 else {"late": 0.5}
        steps = {video_id: step / every for video_id, step in steps.items()}
        found = absent_rows(path, records, seconds, steps, **late)
        return replace(found, notes=(*found.notes, *self.unsure(path, steps)))

    def unsure(self, path: Path, steps: Mapping[str, float]) -> tuple[str, ...]:
        """Sentences on rows that may be missing."""
        return rare_rates(path, steps)


def mark_inside(targets: np.ndarray, record: RecordLike, seconds: np.ndarray) -> None:
    """Set (L, K) targets where start < time < end of an action of that class."""
    for segment in record.segments:
        targets[(segment.start < seconds) & (seconds < segment.end), segment.label] = True


def _check_times(video_id: str, predictions: ByVideo, seconds: ByVideo) -> None:
    times = len(seconds.get(video_id, ()))
    if times != len(predictions[video_id]):
        raise DataError(f"Predictions of '{video_id}' have {len(predictions[video_id])} rows but {times} times.")
