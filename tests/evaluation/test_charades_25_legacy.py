import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.charades_25_legacy import Charades25Legacy
from ssdet_cli.evaluation.interface import VideoScores


def decoded(frames, rate=24.0):
    return VideoScores("a", np.zeros(1), np.zeros((1, 2), np.float32), frames / rate, rate, frames)


@given(frames=st.integers(26, 2000), duration=st.floats(1, 200))
def test_the_frames_are_those_of_the_repositories(frames, duration):
    times = Charades25Legacy().frame_seconds(VideoRecord("a", duration_seconds=duration), decoded(frames))
    of_frames = np.arange(frames) / (frames / duration)
    np.testing.assert_allclose(times, of_frames[1 :: int(frames / 25)][:25], rtol=1e-12)
    assert len(times) == 25


def test_without_a_duration_the_frame_rate_tells_the_times_and_short_videos_have_none():
    assert Charades25Legacy().frame_seconds(VideoRecord("a"), decoded(50, 10.0))[:3].tolist() == [0.1, 0.3, 0.5]
    assert Charades25Legacy().frame_seconds(VideoRecord("a"), decoded(25)).tolist() == []
    with pytest.raises(ValueError, match="charades-25-legacy takes its times from the decoded video"):
        Charades25Legacy().frame_seconds(VideoRecord("a"))


def apmeter(scores, targets):
    """What the repositories call APMeter, written down slowly: classes without a positive count as 0."""
    found = []
    for label in range(targets.shape[1]):
        ranking = sorted(range(len(scores)), key=lambda row: -scores[row, label])
        hits = np.array([targets[row, label] for row in ranking], dtype=float)
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        found.append((precision * hits).sum() / max(hits.sum(), 1))
    return found


def test_ends_are_excluded_and_a_class_without_positives_is_zero(tmp_path):
    record = VideoRecord("a", duration_seconds=25.0, segments=(Segment(0, 1.0, 9.0),))
    short = VideoRecord("b", duration_seconds=1.0, segments=(Segment(1, 0.0, 1.0),))
    videos = VideoSet("made up", ("sit", "run"), (record, short, VideoRecord("c")), tmp_path / "x.json")
    protocol = Charades25Legacy()
    times = protocol.frame_seconds(record, decoded(25 * 24))  # a frame of each second, the first 1/24 s late
    times[:10] = np.round(times[:10])
    scores = np.random.default_rng(0).normal(size=(25, 2))
    result = protocol.score(videos, {"a": scores, "b": np.zeros((0, 2))}, {"a": times, "b": np.empty(0)})
    targets = np.stack([(1.0 < times) & (times < 9.0), np.zeros(25, bool)], axis=1)
    assert targets[:, 0].sum() == result.positives[0] == 7
    assert result.per_class_AP == pytest.approx(apmeter(scores, targets)) and result.per_class_AP[1] == 0
    assert result.mAP == pytest.approx(result.per_class_AP[0] / 2) and result.wAP == pytest.approx(result.mAP * 2)
    assert (result.frames, result.missing_videos) == (25, ("c",))
    assert result.notes == (
        "The score is over 2 of 3 videos; the others have no rows in it.",
        "1 videos of 25 frames or fewer have no rows in the score.",
    )
    assert PROTOCOLS.get("charades-25-legacy") is Charades25Legacy
