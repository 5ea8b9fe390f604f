"""The 25-frame mAP that repositories of this field print for Charades, to compare with their numbers.

It is not the official score (`charades-localize`): the distance between the frames is rounded down, so that they fall
behind the official times and never reach the end of a video; labels exclude both ends of an action; a class without a
positive counts as 0. Coarse-Fine takes these frames of the video (Kahatapitiya and Ryoo, CVPR 2021), which is what is
done here; MS-TCT (Dai et al., CVPR 2022) takes them of features of eight frames each, by the same rule.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import ByVideo, RecordLike, VideoScores, VideoSetLike
from ssdet_cli.evaluation.row_times import AbsentRows

POINTS = 25


class Charades25Legacy(FrameMap):
    """`charades-25-legacy`: frames 1, 1 + d, 1 + 2d, ... of V, counted from 0, with d = floor(V / 25)."""

    name = "charades-25-legacy"
    absent = 0.0
    conventions = (
        "25 frames 1, 1 + d, 1 + 2d, ... of a video of V frames, counted from 0, d = floor(V / 25); videos of 25 "
        "frames or fewer have no rows; frame i is at i / V of the annotated length; an action is present strictly "
        "between its start and end; rows in annotation order, equal scores keep it; missing videos have no rows and "
        "are listed; AP without interpolation, a class without a positive counts as 0 in the mean. Not the official "
        "score."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(25,) times, (0,) of a video of 25 frames or fewer.

        Raises:
            ValueError: `scores` is None; only the decoded video knows its frames.
        """
        video = self.decoded(scores)
        count = video.num_frames
        if count <= POINTS:
            return np.empty(0)
        rate = video.frame_rate if not record.duration_seconds else count / record.duration_seconds
        return (1 + np.arange(POINTS) * (count // POINTS)) / rate

    def absent_rows(self, path: Path, records: Sequence[RecordLike], seconds: ByVideo) -> AbsentRows:
        """None: a file holds all rows of a video.

        Raises:
            DataError: It does not.
        """
        for record in records:
            if (count := len(seconds[record.video_id])) != POINTS:
                raise DataError(
                    f"{path}: '{record.video_id}' has {count:,} rows, and {self.name} has {POINTS} of every video, or "
                    f"none of one of {POINTS} frames or fewer; give a file of this protocol."
                )
        return AbsentRows({})

    def notes(self, video_set: VideoSetLike, predictions: ByVideo) -> tuple[str, ...]:
        """See `FrameMap`; and how many videos are too short."""
        short = sum(not len(scores) for scores in predictions.values())
        said = (f"{short:,} videos of {POINTS} frames or fewer have no rows in the score.",) if short else ()
        return (*super().notes(video_set, predictions), *said)
