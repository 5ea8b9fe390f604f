import numpy as np
import pytest

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import VideoScores, interpolate


def annotated(tmp_path, *records):
    return VideoSet("made up", ("sit", "run"), records, tmp_path / "made_up.json")


def decoded(frames, rate):
    return VideoScores("a", np.zeros(1), np.zeros((1, 2), np.float32), frames / rate, rate, frames)


def test_times_are_those_of_the_decoded_frames():
    seconds = FrameMap().frame_seconds(VideoRecord("a", duration_seconds=99.0), decoded(5, 2.5))
    assert seconds.tolist() == [0.0, 0.4, 0.8, 1.2, 1.6]
    with pytest.raises(ValueError, match="decoded video"):
        FrameMap().frame_seconds(VideoRecord("a"), None)


def test_both_ends_are_excluded(tmp_path):
    record = VideoRecord("a", segments=(Segment(0, 1.0, 3.0), Segment(1, 2.0, 2.0)))
    scores = np.zeros((5, 2), np.float32)
    result = FrameMap().score(annotated(tmp_path, record), {"a": scores}, {"a": np.arange(5.0)})
    assert result.positives == (1, 0)
    assert result.per_class_AP == (pytest.approx(1 / 3), None)


def test_rows_of_all_videos_are_ranked_together_and_missing_ones_have_none(tmp_path):
    first = VideoRecord("a", segments=(Segment(0, -1.0, 1.5),))
    second = VideoRecord("b", segments=(Segment(0, -1.0, 0.5),))
    videos = annotated(tmp_path, first, second, VideoRecord("c"))
    predictions = {
        "b": np.array([[0.9, 0], [0.8, 0]], np.float32),
        "a": np.array([[0.7, 0], [0.95, 0], [0.1, 0]], np.float32),
    }
    seconds = {"a": np.arange(3.0), "b": np.arange(2.0)}
    result = FrameMap().score(videos, predictions, seconds)
    assert result.per_class_AP[0] == pytest.approx((1 / 1 + 2 / 2 + 3 / 4) / 3)
    assert (result.frames, result.videos, result.missing_videos, result.missing_frames) == (5, 3, ("c",), 0)
    assert result.notes == ("The score is over 2 of 3 videos; the others have no rows in it.",)


def test_rows_and_times_must_agree(tmp_path):
    videos = annotated(tmp_path, VideoRecord("a"))
    with pytest.raises(DataError, match="'a' have 3 rows but 2 times"):
        FrameMap().score(videos, {"a": np.zeros((3, 2))}, {"a": np.zeros(2)})
    with pytest.raises(DataError, match="None of the 1 videos"):
        FrameMap().score(videos, {}, {})
    with pytest.raises(ValueError, match="seconds"):
        FrameMap().score(videos, {"a": np.zeros((3, 2))})


def test_prediction_files_carry_their_times(tmp_path):
    videos = annotated(tmp_path, VideoRecord("a", segments=(Segment(1, 0.05, 0.25),)), VideoRecord("my video"))
    rng = np.random.default_rng(0)
    predictions = {key: rng.normal(size=(3, 2)).astype(np.float32) for key in ("my video", "a")}
    seconds = {"a": np.arange(3) / 30, "my video": np.arange(3) / 29.97}
    path = tmp_path / "predictions.txt"
    path.write_bytes(FrameMap().submission_text(videos, predictions, seconds))
    read = FrameMap().read_submission(path, videos)
    for key in predictions:
        np.testing.assert_array_equal(read.predictions[key].astype(np.float32), predictions[key])
        np.testing.assert_array_equal(read.seconds[key], seconds[key])
    again = FrameMap().score(videos, read.predictions, read.seconds)
    assert again.per_class_AP == FrameMap().score(videos, predictions, seconds).per_class_AP


@pytest.mark.parametrize("first", [0, 1])
def test_frame_numbers_of_the_other_protocol_are_no_seconds(tmp_path, first):
    videos = annotated(tmp_path, VideoRecord("a"), VideoRecord("b"))
    path = tmp_path / "localize.txt"
    lines = [f"{video} {frame} 0.5 0.25\n" for video in "ab" for frame in range(first, first + 25)]
    path.write_text("".join(lines))
    with pytest.raises(DataError, match="localize.txt: the rows of every video are .* --protocol charades-localize"):
        FrameMap().read_submission(path, videos)
    path.write_text("".join(lines[:-1]))
    assert len(FrameMap().read_submission(path, videos).seconds["b"]) == 24


def test_interpolation_is_linear_inside_and_constant_outside():
    scores = np.array([[0.0, 10.0], [4.0, 30.0]], np.float32)
    found = interpolate(scores, np.array([1.0, 3.0]), np.array([0.0, 1.0, 1.5, 3.0, 9.0]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 10], [0, 10], [1, 15], [4, 30], [4, 30]])


def test_interpolation_of_a_single_score_repeats_it():
    np.testing.assert_array_equal(
        interpolate(np.ones((1, 2)), np.array([5.0]), np.array([0.0, 5.0, 9.0])), np.ones((3, 2))
    )
    with pytest.raises(ValueError, match="2 scores cannot stand at 1 times"):
        interpolate(np.ones((2, 2)), np.array([5.0]), np.array([0.0]))
