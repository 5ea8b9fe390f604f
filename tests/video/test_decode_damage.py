"""Files that are truncated, damaged or no video: one line with the path, and never a hang or a crash."""

import contextlib
import io
import os
import resource
import struct
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from ssdet_cli.errors import DataError
from ssdet_cli.video._decord import import_decord, returns_width
from ssdet_cli.video.decode import open_video
from ssdet_cli.video.inspection import DEPTHS, Inspection, inspect
from ssdet_cli.video.patience import in_time, within
from ssdet_cli.video.stream import Sampler, open_stream
from ssdet_cli.video.write import write_video

needs_decord = pytest.mark.skipif(import_decord() is None, reason="decord has no wheel for this platform")
everyone = pytest.mark.parametrize("backend", ["auto", "pyav", pytest.param("decord", marks=needs_decord)])


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """An MP4 whose frames are large, index in front; of 30 frames 12 are keyframes or refer to many."""
    path = tmp_path_factory.mktemp("noisy") / "noisy.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (30, 48, 64, 3), dtype=np.uint8), 25)
    return path


def one_line(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@everyone
def test_a_missing_file_is_named(tmp_path, backend):
    with pytest.raises(DataError, match=r"none\.mp4: no such video file"):
        open_video(tmp_path / "none.mp4", backend=backend)


@everyone
@pytest.mark.parametrize("content", [b"", b"\x00", b"not a video at all" * 50, b"\x00\x00\x00\x18ftypmp42"])
def test_what_is_no_video_is_named(tmp_path, backend, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"clip\.mp4: ") as error:
        open_video(path, backend=backend)
    one_line(error)


def test_a_file_with_sound_only_is_named(tmp_path):
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(DataError, match=r"sound\.mkv: holds no video stream"):
        open_video(path)


@everyone
def test_a_truncated_mp4_says_what_is_missing_and_what_is_left(noisy, tmp_path, backend):
    data = noisy.read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[:-5000])
    with pytest.raises(DataError, match=r"cut\.mp4: truncated, 5,000 bytes are missing .*; \d+ of 30 frames") as error:
        open_video(path, backend=backend)
    left = int(one_line(error).split("; ")[1].split()[0])
    assert 0 < left < 30


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("mkv", "libx264")])
def test_other_truncated_containers_are_noticed_too(tmp_path, numbered_video, suffix, codec):
    path = numbered_video(tmp_path / f"clip.{suffix}", 40, codec=codec)
    with open_video(path) as video:
        assert video.num_frames == 40
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=rf"clip\.{suffix}: truncated, [\d,]+ bytes are missing at its end") as error:
        open_video(path)
    one_line(error)


@everyone
def test_damage_that_only_decoding_meets_says_how_far_reading_came(noisy, tmp_path, backend):
    data = bytearray(noisy.read_bytes())
    middle = data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[middle : middle + 6000] = b"\xff" * 6000
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with open_video(path, backend=backend) as video:
        assert video.num_frames == 30
        with pytest.raises(DataError, match=r"damaged\.mp4: ") as error:
            video.frames(range(30))
    message = one_line(error)
    if backend == "decord":
        assert "decord cannot decode it" in message
    else:
        assert "of 30 frames could be read, then Invalid data" in message


@needs_decord
def test_decord_by_name_refuses_what_it_would_read_wrongly_and_nothing_else_takes_over(
    tmp_path, numbered_video, numbers, caplog
):
    path = numbered_video(tmp_path / "a.ts", 20)
    with pytest.raises(DataError, match=r"a\.ts: decord is not reliable on mpegts files; use backend 'pyav'") as error:
        open_video(path, backend="decord")
    one_line(error)
    groups = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}
    with pytest.raises(DataError, match="does not find the right frames in a stream with open groups"):
        open_video(numbered_video(tmp_path / "b.mp4", 40, options=groups), backend="decord")
    # The usual reader takes both, and has nothing to say about it.
    for name in ("a.ts", "b.mp4"):
        with open_video(tmp_path / name) as video:
            assert video.backend == "pyav"
            assert numbers(video.frames([19, 3])) == [19, 3]
    assert not caplog.records


WITHOUT_DECORD = """
import sys
sys.modules["decord"] = None    # as where it has no wheel
from ssdet_cli.errors import ConfigError
from ssdet_cli.video.decode import open_video
with open_video(sys.argv[1]) as video:
    print(video.backend)
try:
    open_video(sys.argv[1], backend="decord")
except ConfigError as error:
    print(error)
"""


def test_without_decord_files_are_read_as_ever_and_its_name_is_refused(tmp_path, numbered_video):
    path = numbered_video(tmp_path / "a.mp4", 4)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DECORD, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [
        "pyav",
        "Video backend 'decord' is not installed here; use 'pyav', which reads every file, or 'auto'.",
    ]


def test_a_reader_that_is_stuck_is_given_up():
    import threading

    with pytest.raises(TimeoutError, match=r"no result within 0\.05 s"):
        within(0.05, threading.Event().wait)
    assert within(5, np.ones, 3).tolist() == [1, 1, 1]
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


FUZZ = """
import sys
from pathlib import Path
import numpy as np
from ssdet_cli.errors import DataError
from ssdet_cli.video._decord import import_decord
from ssdet_cli.video.decode import open_video
source, work = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
rng, outcomes = np.random.default_rng(0), {"read": 0, "refused": 0}
for trial in range(24):
    data = bytearray(source)
    for place in rng.integers(0, len(data), 1 + trial % 8):
        data[place] = rng.integers(256)
    if trial % 3 == 0:
        del data[rng.integers(len(data)):]
    path = work / f"{trial}.mp4"
    path.write_bytes(data)
    for backend in ("pyav", "decord") if import_decord() else ("pyav",):
        try:
            with open_video(path, backend=backend) as video:
                frames = video.frames([0, video.num_frames - 1])
                assert frames.shape[0] == 2 and frames.shape[3] == 3
            outcomes["read"] += 1
        except DataError as error:
            assert str(path) in str(error) and "\\n" not in str(error), error
            outcomes["refused"] += 1
print(outcomes["read"], outcomes["refused"])
"""


def test_randomly_damaged_files_are_read_or_refused_but_never_crash_hang_or_chatter(noisy, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(noisy), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    read, refused = map(int, done.stdout.split())
    assert read and refused
    assert done.stderr == ""


@pytest.mark.needs_shared_data
@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_the_corrupted_real_clip_is_one_line_and_nothing_else(shared_data, caplog, capfd, backend):
    with open_video(shared_data / "clips" / "corrupted.mp4", backend=backend) as video:
        assert video.num_frames == 50
        with pytest.raises(DataError, match=r"corrupted\.mp4: damaged, 28 of 50 frames could be read, then") as error:
            video.frames(range(50))
    one_line(error)
    assert not caplog.records
    assert capfd.readouterr().err == ""


@needs_decord
@pytest.mark.parametrize("width", [8, 16, 24, 48, 72, 32, 50, 64, 96])
def test_a_width_that_decord_cannot_return_is_refused_and_every_other_is_returned(tmp_path, width):
    path = tmp_path / "square.mp4"
    write_video(path, np.full((4, 128, 128, 3), 90, np.uint8), 8)
    if returns_width(width):
        with open_video(path, backend="decord", short_side=width) as video:
            assert video.frames([0, 3]).shape == (2, width, width, 3)
        return
    with pytest.raises(DataError, match=f"decord cannot return a width of {width}; use backend 'pyav'"):
        open_video(path, backend="decord", short_side=width)


def test_the_widths_that_decord_cannot_return_are_those_that_it_refuses(tmp_path):
    decord = import_decord()
    if decord is None:
        pytest.skip("decord is not installed here")
    path = tmp_path / "square.mp4"
    write_video(path, np.full((2, 128, 128, 3), 90, np.uint8), 8)
    for width in range(4, 128):
        reader = decord.VideoReader(str(path), width=width, height=16, num_threads=1)
        try:
            reader.get_batch([0, 1])
            returned = True
        except (decord.DECORDError, RuntimeError):
            returned = False
        assert returned == returns_width(width), width


def test_pictures_beyond_all_measure_are_refused_before_one_is_decoded(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(buffer, "JPEG")
    picture = bytearray(buffer.getvalue())
    at = picture.index(b"\xff\xc0") + 5
    picture[at : at + 4] = struct.pack(">HH", 9000, 9000)
    path = tmp_path / "huge.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 9000
        stream.pix_fmt = "yuvj420p"
        packet = av.Packet(bytes(picture))
        packet.pts, packet.dts, packet.time_base, packet.stream = 0, 0, Fraction(1, 25), stream
        container.mux(packet)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"huge\.mkv: the size of its picture .* more than 67,108,864 pixels"):
        open_video(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(picture)
    with pytest.raises(DataError, match="a picture of 9000 x 9000; 67,108,864 pixels are the limit"):
        open_video(folder, frame_rate=25)
    picture[at : at + 4] = struct.pack(">HH", 40000, 40000)  # more than Pillow itself opens
    (folder / "1.jpg").write_bytes(picture)
    with pytest.raises(DataError, match=r"1\.jpg: not a readable picture \(Image size"):
        open_video(folder, frame_rate=25)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(DataError, match=r"pipe\.mp4: not a file but a pipe, a socket or a device"):
        open_video(tmp_path / "pipe.mp4")


def test_what_goes_on_frame_after_frame_ends_by_itself_when_its_time_is_over(noisy):
    seen = []

    def again_and_again():
        with open_video(noisy, backend="pyav") as reader:
            while True:
                seen.append(reader.frames([29])[0, 0, 0, 0])

    began = time.monotonic()
    with pytest.raises(DataError, match=r"noisy\.mp4: it could not be read within 0\.5 s \(data\.file_timeout\)"):
        in_time(0.5, noisy, again_and_again)
    assert time.monotonic() - began < 1.4  # and not after the second that a reader which hangs is given
    time.sleep(0.2)
    count = len(seen)
    time.sleep(0.2)
    assert len(seen) == count > 1


def test_what_hangs_in_a_call_is_left_behind():
    began = time.monotonic()
    with pytest.raises(DataError, match="x.mp4: it could not be read within 0.1 s"):
        in_time(0.1, "x.mp4", time.sleep, 30)
    assert time.monotonic() - began < 5
    assert in_time(5, "x.mp4", sum, [1, 2]) == in_time(None, "x.mp4", sum, [1, 2]) == 3
    with pytest.raises(ZeroDivisionError):
        in_time(5, "x.mp4", lambda: 1 / 0)


@everyone
@pytest.mark.parametrize(
    "tail",
    [b"TAG" + b"A tune".ljust(125, b"\0"), b"\xff" * 8, bytes(range(90, 190))],
    ids=["ID3v1", "8 bytes", "100 bytes"],
)
def test_what_follows_the_samples_of_an_mp4_takes_nothing_away(noisy, tmp_path, backend, tail):
    path = tmp_path / "tail.mp4"
    path.write_bytes(noisy.read_bytes() + tail)
    with open_video(path, backend=backend) as video, open_video(noisy, backend=backend) as whole:
        assert video.num_frames == 30
        np.testing.assert_array_equal(video.frames(range(30)), whole.frames(range(30)))
    facts = inspect(Inspection(str(path), "all", backend))
    assert (facts.code, facts.frames) == ("", 30)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_check_does_not_wait_for_a_pipe(tmp_path, depth):
    os.mkfifo(tmp_path / "pipe.mp4")
    facts = in_time(5, "pipe.mp4", inspect, Inspection(str(tmp_path / "pipe.mp4"), depth))
    assert (facts.code, facts.detail) == ("unreadable", "not a file but a pipe, a socket or a device")


def test_pictures_that_nothing_can_decode_are_one_line(tmp_path, numbered_video):
    path = numbered_video(tmp_path / "odd.mkv", 20)
    assert path.read_bytes().count(b"V_MPEG4/ISO/AVC") == 1
    path.write_bytes(path.read_bytes().replace(b"V_MPEG4/ISO/AVC", b"V_ODD/ISO/ODDER"))
    for read in (open_video, open_stream):
        with (
            pytest.raises(DataError, match=r"odd\.mkv: there is no decoder for its pictures") as caught,
            read(str(path)),
        ):
            pass
        one_line(caught)
    facts = inspect(Inspection(str(path)))
    assert facts.code == "unreadable" and facts.detail.startswith("there is no decoder")


def transport_stream(path, first, count, *, sound):
    """Frames `first` on of a picture a twenty-fifth of a second, as MPEG-TS."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        voice = container.add_stream("mp2", rate=44100) if sound else None
        for number in range(first, first + count):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
            if voice is not None:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1764), np.int16), format="s16", layout="mono")
                silence.sample_rate, silence.pts = 44100, number * 1764
                container.mux(voice.encode(silence))
        container.mux(stream.encode(None))
        if voice is not None:
            container.mux(voice.encode(None))
    return path.read_bytes()


def test_sound_that_begins_late_in_a_recording_takes_no_picture_away(tmp_path):
    silent = transport_stream(tmp_path / "a.ts", 0, 30, sound=False)
    loud = transport_stream(tmp_path / "b.ts", 30, 20, sound=True)
    again = transport_stream(tmp_path / "c.ts", 50, 10, sound=False)
    padding = b"\x47\x1f\xff\x10" + b"\xff" * 184
    path = tmp_path / "late.ts"  # so far from either end that opening the file finds the pictures alone
    path.write_bytes(silent + padding * (6_000_000 // 188) + loud + padding * (3_000_000 // 188) + again)
    with av.open(str(path)) as container:
        assert len(container.streams) == 1
        with contextlib.suppress(IndexError):  # PyAV before 19 does not know the stream that it comes to
            list(container.demux(container.streams.video[0]))
    with open_video(path) as video:
        assert video.num_frames == 60
        assert [int(frame.mean()) for frame in video.frames([2, 40, 59])] == pytest.approx([2, 40, 59], abs=3)
    with open_stream(str(path)) as stream:
        assert len(list(Sampler(stream, stride=1))) == 60
    assert inspect(Inspection(str(path), "all")).code == ""
