import os
import resource
from fractions import Fraction

import av
import numpy as np
import pytest

from ssdet_cli.errors import SsdetError
from ssdet_cli.video.write import write_video


def pictures(count=6, height=32, width=48):
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    return [np.dstack([np.tile(np.roll(ramp, 4 * i), (height, 1))] * 3) for i in range(count)]


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return frames, stream.average_rate, stream.codec_context.name, stream.codec_context.pix_fmt


@pytest.mark.parametrize("rate", [8, 23.976, Fraction(30000, 1001)])
def test_what_is_written_is_h264_at_that_rate_and_looks_the_same(tmp_path, rate):
    write_video(tmp_path / "new" / "clip.mp4", pictures(), rate)
    frames, found, codec, pixels = read(tmp_path / "new" / "clip.mp4")
    assert len(frames) == 6
    assert float(found) == pytest.approx(float(rate), rel=1e-4)
    assert (codec, pixels) == ("h264", "yuv420p")
    for frame, wanted in zip(frames, pictures(), strict=True):
        assert np.abs(frame.astype(int) - wanted).mean() < 6
    assert os.listdir(tmp_path / "new") == ["clip.mp4"]


def test_the_index_comes_before_the_pictures(tmp_path):
    write_video(tmp_path / "clip.mp4", pictures(), 8)
    content = (tmp_path / "clip.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_odd_sides_are_padded_by_their_last_row_and_column(tmp_path):
    write_video(tmp_path / "clip.mp4", pictures(height=31, width=47), 8)
    frames, *_ = read(tmp_path / "clip.mp4")
    assert frames[0].shape == (32, 48, 3)
    assert np.abs(frames[0][31].astype(int) - frames[0][30]).mean() < 6


def test_one_thread_gives_the_same_bytes_again(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, pictures(20), 8, deterministic=True)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_frames_may_come_from_a_generator_and_a_failure_in_it_leaves_nothing(tmp_path):
    def broken():
        yield from pictures(3)
        raise RuntimeError("the source ended badly")

    with pytest.raises(RuntimeError, match="ended badly"):
        write_video(tmp_path / "clip.mp4", broken(), 8)
    assert os.listdir(tmp_path) == []


def test_no_frame_and_unequal_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_video(tmp_path / "clip.mp4", [], 8)
    with pytest.raises(ValueError, match=r"shape \(32, 48, 3\) of the first, got \(16, 48, 3\)"):
        write_video(tmp_path / "clip.mp4", [*pictures(2), *pictures(1, height=16)], 8)
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(SsdetError, match="Cannot write .*clip.mp4"):
            write_video(tmp_path / "clip.mp4", noise, 8, crf=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SsdetError, match="Cannot write .*clip.mp4"):
        write_video(tmp_path / "file" / "clip.mp4", pictures(), 8)
