"""Per-frame mAP as the papers on MultiTHUMOS compute it, of features in place of frames, to compare with their numbers.

Piergiovanni and Ryoo (super-events, CVPR 2018; TGM, ICML 2019), on whose code PDAN and MS-TCT build, score features of
an I3D network, one every eight frames: n features of a video are spread evenly over its annotated length, feature i is
at i / n of it, and a class without a positive counts as 0. I3D ends in a pooling that takes one step of time away, so
that V frames give floor((V - 1) / 8) features, as the authors' lists of Charades have them. MLAD (Tirupattur et al.,
CVPR 2021) does otherwise at three points: both ends of an action belong to it, equal scores are taken together, and a
class without a positive is left out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import ByVideo, RecordLike, VideoScores
from ssdet_cli.evaluation.row_times import AbsentRows, absent_rows, grid_step, thinned_ends

#: Frames of a feature.
STEP = 8
#: Rows of eight frames that would be of videos of more frames per second are none.
_MOST_RATE = 150.0
#: Rows that may be of videos of fewer frames per second leave it open whether some are missing.
_RARE_RATE = 20.0


class MultiThumosPapers(FrameMap):
    """`multithumos-papers`: AP over features of eight frames each."""

    name = "multithumos-papers"
    absent = 0.0
    conventions = (
        "A row for every 8 frames: n = floor((V - 1) / 8) rows of a video of V frames, at least one, row i at i / n of "
        "the annotated length (of the file's, where annotated actions go beyond that one); an action is present "
        "strictly between its start and end; rows in annotation order, equal scores keep it; missing videos have no "
        "rows and are listed; AP without interpolation, a class without a positive counts as 0 in the mean."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(n,) times.

        Raises:
            ValueError: `scores` is None; only the decoded video knows its frames.
        """
        video = self.decoded(scores)
        count = max(1, (video.num_frames - 1) // STEP)
        length = record.duration_seconds or video.num_frames / video.frame_rate
        return np.arange(count) / (count / length)

    def absent_rows(self, path: Path, records: Sequence[RecordLike], seconds: ByVideo) -> AbsentRows:
        """Rows that a file leaves out of the n places that are spread over a video's annotated length.

        Raises:
            DataError: Most videos have no such n, or rows too near to each other to be of eight frames.
        """
        steps = {one.video_id: step for one in records if (step := grid_step(seconds[one.video_id])) is not None}
        if not steps:
            return absent_rows(path, records, seconds, steps, late=0.5)
        usual, first = float(np.median(list(steps.values()))), min(steps, key=steps.__getitem__)
        lengths = {
            one.video_id: one.duration_seconds / steps[one.video_id]
            for one in records
            if one.video_id in steps and one.duration_seconds
        }
        every = thinned_ends(np.array(list(lengths.values()))) if lengths else 1
        frames = STEP * (every or 1)
        if frames / usual > _MOST_RATE:
            raise DataError(
                f"{path}: rows of '{first}' are {steps[first]:.3g} s apart, and those of {self.name} are of {STEP} "
                f"frames each: {frames / steps[first]:.3g} frames per second; give a file of this protocol."
            )
        if every is None:
            odd = max(lengths, key=lambda video_id: abs(lengths[video_id] - round(lengths[video_id])))
            raise DataError(
                f"{path}: rows of '{odd}' are {steps[odd]:.3g} s apart, {lengths[odd]:.2f} of which make its annotated "
                f"length, and those of {self.name} are a whole number spread over it; give a file of this protocol."
            )
        steps = {video_id: step / every for video_id, step in steps.items()}
        # n rows are of 8n + 1 to 8n + 8 frames, so that a single one may be nearly two of many; lengths are rounded.
        found = absent_rows(path, records, seconds, steps, late=0.5, end_seconds=0.0, single=2.25)
        rate = float(np.median([STEP * (1 + 1 / len(seconds[one])) / step for one, step in steps.items()]))
        if rate >= _RARE_RATE:
            return found
        told = (
            f"{path.name}: rows are {usual / every:.3g} s apart, which are all of videos of {rate:.3g} frames per "
            "second at most; if theirs have more, rows are missing, which the file does not tell.",
        )
        return AbsentRows(found.counts, (*found.notes, *told))
