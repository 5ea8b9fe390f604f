import numpy as np
import pytest

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.multithumos_papers import MultiThumosPapers


def decoded(frames, rate):
    return VideoScores("a", np.zeros(1), np.zeros((1, 2), np.float32), frames / rate, rate, frames)


@pytest.mark.parametrize(("frames", "rows"), [(1, 1), (8, 1), (16, 1), (17, 2), (743, 92), (528, 65), (864, 107)])
def test_features_of_eight_frames_are_spread_over_the_annotated_length(frames, rows):
    """The last three are videos of 30.96, 22 and 36 s at 24 frames per second in the authors' lists."""
    times = MultiThumosPapers().frame_seconds(VideoRecord("a", duration_seconds=10.0), decoded(frames, 24.0))
    assert len(times) == rows
    np.testing.assert_allclose(times, 10 * np.arange(rows) / rows, rtol=1e-12)
    own = MultiThumosPapers().frame_seconds(VideoRecord("a"), decoded(frames, 30.0))
    np.testing.assert_allclose(own, frames / 30 * np.arange(rows) / rows, rtol=1e-12)


def test_without_the_decoded_video_there_are_no_times():
    with pytest.raises(ValueError, match="multithumos-papers takes its times from the decoded video"):
        MultiThumosPapers().frame_seconds(VideoRecord("a"))


def test_an_absent_class_counts_as_zero_and_both_ends_are_excluded(tmp_path):
    record = VideoRecord("a", duration_seconds=4.0, segments=(Segment(0, 1.0, 3.0),))
    videos = VideoSet("made up", ("sit", "run"), (record,), tmp_path / "made_up.json")
    times = MultiThumosPapers().frame_seconds(record, decoded(33, 8.0))
    assert times.tolist() == [0.0, 1.0, 2.0, 3.0]
    scores = np.array([[0.9, 0.1], [0.1, 0.1], [0.5, 0.1], [0.2, 0.1]])
    result = MultiThumosPapers().score(videos, {"a": scores}, {"a": times})
    assert result.per_class_AP == (0.5, 0.0) and result.mAP == 0.25 and result.positives == (1, 0)
    assert PROTOCOLS.get("multithumos-papers") is MultiThumosPapers
