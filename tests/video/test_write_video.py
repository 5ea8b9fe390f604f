"""Written files: readable, exact in time, complete or absent, the same bytes again."""

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ssdet_cli.errors import SsdetError
from ssdet_cli.video.write import write_image, write_timed_video, write_video


def pictures(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Smooth pictures, which survive compression."""
    rows, columns = np.mgrid[:height, :width]
    return [
        np.stack([rows * 5 % 256, columns * 4 % 256, np.full_like(rows, 20 + 18 * t)], -1).astype(np.uint8)
        for t in range(count)
    ]


def decoded(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_written_video_has_the_frames_in_order(tmp_path):
    frames = pictures(12)
    write_video(tmp_path / "a.mp4", frames, 25)
    back = decoded(tmp_path / "a.mp4")
    assert back.shape == (12, 32, 48, 3)
    for t, frame in enumerate(back):
        closest = np.argmin([np.abs(frame[..., 2].astype(int) - other[..., 2]).mean() for other in frames])
        assert closest == t


def test_it_is_h264_that_browsers_play_with_the_index_in_front(tmp_path):
    write_video(tmp_path / "a.mp4", pictures(4), 25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        expected = "h264" if "libx264" in av.codecs_available else "mpeg4"
        assert (context.name, context.pix_fmt) == (expected, "yuv420p")
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize(
    ("rate", "exact"),
    [
        (25, Fraction(25)),
        (29.97, Fraction(2997, 100)),
        (Fraction(30000, 1001), Fraction(30000, 1001)),
        (30000 / 1001, Fraction(30000, 1001)),
        (2160 / 77, Fraction(2160, 77)),
        (0.5, Fraction(1, 2)),
        (7.123456, Fraction(7123456, 1000000)),
    ],
)
def test_frame_rates_are_kept_exactly(tmp_path, rate, exact):
    write_video(tmp_path / "a.mp4", pictures(5), rate)
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == exact
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
    assert times == [k / exact for k in range(5)]


def test_odd_sizes_are_padded_by_their_own_edge(tmp_path):
    frame = np.zeros((31, 47, 3), np.uint8)
    frame[:, -1], frame[-1] = 200, 200
    write_video(tmp_path / "a.mp4", [frame] * 3, 10, crf=4)
    back = decoded(tmp_path / "a.mp4")
    assert back.shape[1:3] == (32, 48)
    assert back[:, -1].min() > 180 and back[:, :, -1].min() > 180
    assert back[:, :28, :44].max() < 20


def test_the_same_frames_give_the_same_bytes_when_asked(tmp_path):
    rng = np.random.default_rng(0)
    frames = [np.clip(frame + rng.normal(0, 6, frame.shape), 0, 255).astype(np.uint8) for frame in pictures(30)]
    written = set()
    for trial in range(6):
        write_video(tmp_path / f"{trial}.mp4", frames, 25, deterministic=True)
        written.add((tmp_path / f"{trial}.mp4").read_bytes())
    assert len(written) == 1


def test_the_folder_is_made_and_nothing_else_is_left_in_it(tmp_path):
    write_video(tmp_path / "new" / "folder" / "a.mp4", pictures(3), 25)
    assert [file.name for file in (tmp_path / "new" / "folder").iterdir()] == ["a.mp4"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SsdetError, match=r"^Cannot write .*a\.mp4: [^\n]+\.$"):
        write_video(tmp_path / "file" / "a.mp4", pictures(2), 25)


def test_mpeg4_stands_in_where_there_is_no_h264_encoder(tmp_path):
    frames = pictures(6)
    write_video(tmp_path / "a.mp4", frames, 7.123456, codec="mpeg4")
    back = decoded(tmp_path / "a.mp4")
    assert np.abs(back.astype(int) - np.stack(frames)).mean() < 8


def test_a_generator_is_written_in_constant_memory(tmp_path):
    frame_bytes, count = 320 * 240 * 3, 60

    def stream() -> Iterator[np.ndarray]:
        for t in range(count):
            yield np.full((240, 320, 3), t, np.uint8)

    tracemalloc.start()
    write_video(tmp_path / "a.mp4", stream(), 25)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * frame_bytes
    assert len(decoded(tmp_path / "a.mp4")) == count


def test_no_frames_are_an_error_and_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"a\.mp4: a video needs at least one frame"):
        write_video(tmp_path / "a.mp4", [], 25)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_on_the_way_keeps_the_old_file_and_leaves_no_other(tmp_path):
    write_video(tmp_path / "a.mp4", pictures(3), 25)
    before = (tmp_path / "a.mp4").read_bytes()

    def breaks() -> Iterator[np.ndarray]:
        yield from pictures(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", breaks(), 25)
    assert (tmp_path / "a.mp4").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_an_unknown_encoder_is_named(tmp_path):
    with pytest.raises(SsdetError, match="Encoder 'no_such_codec'"):
        write_video(tmp_path / "a.mp4", pictures(2), 25, codec="no_such_codec")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a POSIX feature")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    code = f"""
import resource, signal
import numpy as np
from ssdet_cli.errors import SsdetError
from ssdet_cli.video.write import write_image, write_timed_video, write_video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)
for write in (lambda: write_video({str(tmp_path / "a.mp4")!r}, noise, 25),
              lambda: write_image({str(tmp_path / "a.png")!r}, noise.reshape(-1, 64, 3))):
    try:
        write()
    except SsdetError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all(line.endswith(": File too large.") for line in lines)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_impossible_frame_rates_are_refused(tmp_path, rate):
    with pytest.raises(ValueError, match="frame_rate must be above 0"):
        write_video(tmp_path / "a.mp4", pictures(2), rate)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 1), (0, 4, 3)])
def test_pictures_of_another_shape_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"frame 0 must be \(H, W, 3\) uint8"):
        write_video(tmp_path / "a.mp4", [np.zeros(shape, np.uint8)], 25)


def test_pictures_of_changing_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Every frame must have the shape"):
        write_video(tmp_path / "a.mp4", [*pictures(1), *pictures(1, height=16)], 25)
    assert list(tmp_path.iterdir()) == []


def test_a_written_image_is_read_back_unchanged(tmp_path):
    write_image(tmp_path / "a.png", pictures(1)[0])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pictures(1)[0])


def presented(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        return times, stream.duration * stream.time_base


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001)])
def test_times_at_a_constant_rate_are_kept_exactly(tmp_path, rate, codec):
    timed = ((float(k / rate), float(1 / rate), frame) for k, frame in enumerate(pictures(6)))
    write_timed_video(tmp_path / "a.mp4", timed, float(rate), codec=codec)
    assert presented(tmp_path / "a.mp4") == ([k / rate for k in range(6)], 6 / rate)


def test_times_may_vary_and_the_last_frame_stays_as_long_as_it_is_told(tmp_path):
    times = [0, 0.021, 0.5, 0.50001, 3.25]
    timed = zip(times, [*np.diff(times), 1.75], pictures(5), strict=True)
    write_timed_video(tmp_path / "a.mp4", timed, 30)
    found, end = presented(tmp_path / "a.mp4")
    np.testing.assert_allclose([float(time) for time in found], times, atol=1.1e-4)
    assert float(end) == pytest.approx(5.0, abs=1e-3)


@pytest.mark.parametrize("times", [(0, 0), (0.5, 0.2), (-2, 1), (0, float("nan"))])
def test_times_that_do_not_rise_are_refused(tmp_path, times):
    with pytest.raises(ValueError, match="times must rise from 0"):
        write_timed_video(
            tmp_path / "a.mp4", ((time, 1, frame) for time, frame in zip(times, pictures(2), strict=True)), 25
        )
    assert list(tmp_path.iterdir()) == []
