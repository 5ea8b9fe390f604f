"""When frames appear: in a reader, in labels, in whole videos and in the rows of frame-map."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet, rasterize
from ssdet_cli.data.clips import FrameLabelledClips, VideoWindows, used_range
from ssdet_cli.data.windows import Windows
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.video._pyav import PyavSource
from ssdet_cli.video.decode import open_video

#: A screen recording that slows down: 60 frames 33 ms apart, then 30 frames 200 ms apart.
MILLISECONDS = [33 * number for number in range(60)] + [1980 + 200 * number for number in range(30)]
SECONDS = np.array(MILLISECONDS) / 1000


@pytest.fixture(scope="module", params=["mp4", "mkv"])
def varying(request, tmp_path_factory, numbered_video):
    path = tmp_path_factory.mktemp("varying") / f"clip.{request.param}"
    return numbered_video(path, len(MILLISECONDS), milliseconds=MILLISECONDS)


def records(path, **more):
    segments = (Segment(0, 1.97, 3.0), Segment(1, 5.0, 7.7))
    record = VideoRecord("clip", path, segments=segments, **more)
    return VideoSet("set", ("slow", "late"), (record,), path.parent)


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_a_varying_rate_gives_the_times_of_the_file(varying, backend):
    pytest.importorskip(backend if backend == "decord" else "av")
    with open_video(varying, backend=backend) as reader:
        np.testing.assert_allclose(reader.seconds(), SECONDS, atol=1e-9)
        assert reader.seconds([60, 0]) == pytest.approx([1.98, 0])
        # The last frame is shown for as long as the writer said, one frame at 25 per second.
        assert reader.duration_seconds == pytest.approx(7.82)
        assert reader.seconds([90, 92]) == pytest.approx([7.82, 7.82 + 2 / reader.frame_rate])


@pytest.mark.parametrize("rate", [25, 30, Fraction(30000, 1001), Fraction(24000, 1001)])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi"])
def test_at_a_constant_rate_times_are_number_over_rate_to_the_bit(tmp_path, numbered_video, suffix, rate):
    with open_video(numbered_video(tmp_path / f"clip.{suffix}", 100, rate=rate), backend="pyav") as reader:
        assert reader.frame_rate == pytest.approx(float(rate), rel=1e-3)
        assert np.array_equal(reader.seconds(), np.arange(100) / reader.frame_rate)
        assert np.array_equal(reader.seconds([7, 120]), np.array([7, 120]) / reader.frame_rate)
        assert reader.duration_seconds == 100 / reader.frame_rate


def test_a_pause_in_a_constant_rate_moves_what_follows(tmp_path, numbered_video):
    milliseconds = [40 * number + (1000 if number >= 30 else 0) for number in range(60)]
    with open_video(numbered_video(tmp_path / "clip.mp4", 60, milliseconds=milliseconds), backend="pyav") as reader:
        np.testing.assert_allclose(reader.seconds(), np.array(milliseconds) / 1000, atol=1e-9)


def test_times_are_read_without_decoding(varying, monkeypatch):
    def decode(*_):
        raise AssertionError("a picture was decoded")

    monkeypatch.setattr(PyavSource, "_read", decode)
    with open_video(varying, backend="pyav") as reader:
        np.testing.assert_allclose(reader.seconds(), SECONDS, atol=1e-9)
        with pytest.raises(AssertionError, match="decoded"):
            reader.frames([0])


def test_labels_stand_at_the_times_of_the_raw_frames(varying):
    videos, clip = records(varying), ClipConfig(frames=28, stride=3, size=32, flip=False)
    sample = FrameLabelledClips(videos, DataConfig(), clip, seed=0, training=False)[(0, 0)]
    shown = SECONDS[4:88]  # the window in the middle
    assert sample.valid.all()
    np.testing.assert_allclose(sample.label_seconds, shown, atol=1e-9)
    np.testing.assert_allclose(sample.frame_seconds, shown[::3], atol=1e-9)
    expected = rasterize(videos.records[0].segments, shown, 2)
    assert expected[0].sum() == 6  # from 1.97 s to 3 s there are six slow frames
    assert np.array_equal(sample.labels.numpy().astype(bool), expected)


def test_beyond_the_end_times_go_on_and_nothing_is_valid(varying):
    clip = ClipConfig(frames=40, stride=3, size=32, flip=False)
    sample = FrameLabelledClips(records(varying), DataConfig(), clip, seed=0, training=False)[(0, 0)]
    assert sample.valid.sum() == 90 and sample.valid[:90].all()
    assert (torch.diff(sample.label_seconds) > 0).all()
    assert sample.label_seconds[90] == pytest.approx(7.82)


def test_whole_videos_and_the_rows_of_frame_map_have_the_times_of_the_file(varying):
    dataset = VideoWindows(records(varying).records, DataConfig(), stride=4, size=32, windows=Windows(512))
    (window,) = dataset
    video = window.video
    np.testing.assert_allclose(video.seconds, SECONDS[::4], atol=1e-9)
    assert video.duration_seconds == pytest.approx(7.82)
    scores = VideoScores(
        "clip",
        video.seconds,
        np.zeros((len(video.seconds), 2), np.float32),
        video.duration_seconds,
        video.frame_rate,
        video.num_frames,
        raw_seconds=video.raw_seconds,
    )
    np.testing.assert_allclose(FrameMap().frame_seconds(records(varying).records[0], scores), SECONDS, atol=1e-9)


def test_a_part_of_a_file_is_cut_at_the_times_of_the_file(varying):
    with open_video(varying, backend="pyav") as reader:
        part = VideoRecord("part", varying, start_seconds=2.0, end_seconds=4.98)
        assert used_range(part, reader) == (60, 15)  # 1.98 to 4.98 s
        assert used_range(VideoRecord("whole", varying), reader) == (0, 90)
        late = VideoRecord("late", varying, start_seconds=100.0, end_seconds=101.0)
        with pytest.raises(
            DataError, match=r"its part from 100 s is wanted, and the file ends at 7\.82 s; list it without"
        ):
            used_range(late, reader)


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.5, None), (1.3, 2.95), (0.04, 0.05), (3.9, 9.0)])
def test_a_part_at_a_constant_rate_is_cut_at_time_times_rate(tmp_path, numbered_video, start, end):
    with open_video(numbered_video(tmp_path / "clip.mp4", 100, rate=25), backend="pyav") as reader:
        first, count = used_range(VideoRecord("part", None, start_seconds=start, end_seconds=end), reader)
        assert first == int(start * 25 + 1e-9)
        assert first + count == (100 if end is None else min(100, max(first + 1, round(end * 25))))


def test_a_preview_says_the_times_of_the_file(varying):
    from ssdet_cli.viz.excerpt import load_pair

    item, partner = load_pair([varying], seconds=1.0, height=32)
    assert item.start_seconds == pytest.approx(SECONDS[item.source[0]])
    assert partner.start_seconds == pytest.approx(SECONDS[partner.source[0]])
    assert partner.end_seconds == pytest.approx(SECONDS[partner.source[-1] + 1])
    assert item.video_seconds == pytest.approx(7.82)
