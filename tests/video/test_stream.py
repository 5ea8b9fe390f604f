"""A video read once: the same frames and times as by number, whatever the file is; and what has no end."""

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.ahead import ahead
from ssdet_cli.video.decode import open_video
from ssdet_cli.video.stream import Sampler, goes_on, local_path, open_stream
from ssdet_cli.video.write import write_image, write_video


def picture(number, side=48):
    """Its number as eight black or white columns, which survive any codec."""
    bits = np.array([number >> bit & 1 for bit in range(8)], np.uint8) * 255
    return np.repeat(np.repeat(bits[None], side, 0), side // 8, 1)[..., None].repeat(3, 2)


def shown(frame):
    return sum(int(frame[:, column].mean() > 127) << bit for bit, column in enumerate(range(3, 48, 6)))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    write_video(path, map(picture, range(240)), 25)
    return path


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Matroska, whose frames come 40 and 120 ms after one another, with a pause of a second."""
    path = tmp_path_factory.mktemp("film") / "uneven.mkv"
    times = np.cumsum([0, *([40, 120] * 20), 1000, *([40] * 20)])
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 48
        stream.pix_fmt, stream.bit_rate = "yuv420p", 10**6
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, at in enumerate(times.tolist()):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts, frame.time_base = at, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path, times / 1000


def taken(location, short_side=None, frame_rate=None, **how):
    with open_stream(str(location), short_side=short_side, frame_rate=frame_rate) as video:
        sampler = Sampler(video, **how)
        frames = list(sampler)
    return [index for index, _, _ in frames], [at for _, at, _ in frames], [one for _, _, one in frames], sampler.ended


@pytest.mark.parametrize("how", [{"stride": 7}, {"spacing": 7 / 25}], ids=["by number", "by time"])
def test_frames_and_times_are_those_of_the_reader(film, how):
    indices, times, frames, ended = taken(film, short_side=24, **how)
    with open_video(film, backend="pyav", short_side=24) as reader:
        wanted = np.arange(0, 240, 7)
        assert indices == list(range(len(wanted)))
        assert times == pytest.approx(reader.seconds(wanted)) and ended == pytest.approx(reader.duration_seconds)
        assert np.array_equal(np.stack(frames), reader.frames(wanted))


@pytest.mark.parametrize(("start", "end"), [(0.5, 1.0), (7.3, 8.0), (7.28, None), (9.5, 99)])
def test_a_part_is_the_same_frames_of_the_whole(film, start, end):
    whole = taken(film, spacing=0.28)
    part = taken(film, spacing=0.28, start=start, end=end)
    inside = [at for at in whole[1] if start <= at < (end or 99)]
    assert part[1] == pytest.approx(inside) and inside
    assert [shown(frame) for frame in part[2]] == [shown(whole[2][index]) for index in part[0]]
    by_number = taken(film, stride=7, start=start, end=end)
    assert by_number[0] == part[0] and [*map(shown, by_number[2])] == [*map(shown, part[2])]


def test_times_of_an_uneven_file_are_its_own(uneven):
    path, times = uneven
    indices, seconds, frames, ended = taken(path, spacing=0.1)
    assert seconds == pytest.approx(np.array(indices) / 10) and len(indices) == int(times[-1] / 0.1 + 1.4)
    # What is nearest to that time, before or after it.
    apart = np.abs(times[[*map(shown, frames)]] - np.array(seconds))
    assert apart == pytest.approx(np.abs(times[:, None] - np.array(seconds)).min(axis=0), abs=0.002)
    assert ended == pytest.approx(times[-1] + 0.04, abs=0.002)
    _, seconds, frames, _ = taken(path, stride=3)
    assert seconds == pytest.approx(times[::3]) and [*map(shown, frames)] == list(range(0, len(times), 3))


def test_a_folder_of_frames_and_an_address_of_a_file_are_videos(film, tmp_path):
    for number in range(20):
        write_image(tmp_path / "jpegs" / f"frame_{number + 1:03d}.jpg", picture(number))
    _, seconds, frames, ended = taken(tmp_path / "jpegs", frame_rate=10, spacing=0.4)
    assert seconds == pytest.approx([0, 0.4, 0.8, 1.2, 1.6]) and [*map(shown, frames)] == [0, 4, 8, 12, 16]
    assert ended == pytest.approx(2)
    assert [*map(shown, taken(f"file:{film}", stride=60)[2])] == [0, 60, 120, 180]
    assert local_path("rtsp://here/one") is None and goes_on("rtsp://here/one") and not goes_on(str(film))
    with pytest.raises(ConfigError, match="needs frame_rate"):
        taken(tmp_path / "jpegs", stride=1)


def test_what_is_wrong_with_a_file_is_one_line(film, tmp_path):
    (tmp_path / "text.mp4").write_text("no video at all")
    (tmp_path / "half.mp4").write_bytes(film.read_bytes()[:-2000])
    damaged = bytearray(film.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 2] = os.urandom(len(damaged) // 2 - len(damaged) // 3)
    (tmp_path / "damaged.mp4").write_bytes(damaged)
    for name, text in (
        ("none.mp4", "no such video file"),
        ("text.mp4", "not a readable video file"),
        ("half.mp4", "truncated, [0-9,]+ bytes are missing"),
        ("damaged.mp4", "damaged|only .* of the promised"),
    ):
        with pytest.raises(DataError, match=text) as told:
            taken(tmp_path / name, stride=1)
        assert "\n" not in str(told.value)
    with pytest.raises(DataError, match="http://127.0.0.1:9/x: cannot be opened as video"):
        taken("http://127.0.0.1:9/x", stride=1)


def endless(pipe: Path, leave: threading.Event) -> None:
    """Write MPEG-TS into a pipe until somebody says so; PyAV itself would wait for a reader with the GIL held."""
    try:
        with open(pipe, "wb") as file, av.open(file, "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=25)
            stream.width = stream.height = 48
            stream.pix_fmt = "yuv420p"
            number = 0
            while not leave.is_set():
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number % 256), format="rgb24")))
                number += 1
    except (OSError, av.FFmpegError):
        return


def test_a_pipe_is_read_as_it_comes_and_left_when_asked(tmp_path):
    pipe, leave = tmp_path / "pipe.ts", threading.Event()
    os.mkfifo(pipe)
    writer = threading.Thread(target=endless, args=(pipe, leave), daemon=True)
    writer.start()
    assert goes_on(str(pipe))
    with open_stream(str(pipe)) as video:
        assert video.live and video.duration is None
        seen = []
        for index, seconds, frame in ahead(iter(Sampler(video, spacing=0.2)), 4, lambda: len(seen) == 30):
            assert (index, seconds) == (len(seen), pytest.approx(len(seen) / 5))
            seen.append(shown(frame))
    leave.set()
    writer.join(10)
    assert seen == [5 * number % 256 for number in range(30)] and not writer.is_alive()


def test_reading_ahead_is_bounded_passes_errors_on_and_gives_up_what_hangs():
    made = []

    def numbers():
        for number in range(100):
            made.append(number)
            yield number
        raise DataError("at the end")

    stream = ahead(numbers(), 3)
    assert next(stream) == 0
    time.sleep(0.3)
    assert len(made) <= 6
    with pytest.raises(DataError, match="at the end"):
        list(stream)
    hangs = threading.Event()

    def never():
        hangs.wait()
        yield 1

    began = time.monotonic()
    assert list(ahead(never(), 1, lambda: time.monotonic() > began + 0.2)) == []
    hangs.set()
