"""Per-frame mAP as the papers on MultiTHUMOS compute it, of features in place of frames, to compare with their numbers.

Piergiovanni and Ryoo (super-events, CVPR 2018; TGM, ICML 2019), on whose code PDAN and MS-TCT build, score features of
an I3D network, one every eight frames: n features of a video are spread evenly over its annotated length, feature i is
at i / n of it, and a class without a positive counts as 0. I3D ends in a pooling that takes one step of time away, so
that V frames give floor((V - 1) / 8) features, as the authors' lists of Charades have them. MLAD (Tirupattur et al.,
CVPR 2021) does otherwise at three points: both ends of an action belong to it, equal scores are taken together, and a
class without a positive is left out.
"""

import numpy as np

from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import RecordLike, VideoScores

#: Frames of a feature.
STEP = 8


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
