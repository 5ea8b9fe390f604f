"""Whatever the backend, the container and the timestamps: frame i is the i-th frame shown."""

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video import _pyav
from ssdet_cli.video._decord import import_decord
from ssdet_cli.video._pyav import scaled_size
from ssdet_cli.video.decode import open_video

needs_decord = pytest.mark.skipif(import_decord() is None, reason="decord has no wheel for this platform")
both = pytest.mark.parametrize("backend", ["pyav", pytest.param("decord", marks=needs_decord)])
OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"}


@pytest.fixture(scope="module")
def clip(tmp_path_factory, numbered_video):
    return numbered_video(tmp_path_factory.mktemp("clip") / "numbered.mp4", 100)


@both
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=st.lists(st.integers(0, 99), min_size=1, max_size=6))
def test_any_frames_in_any_order_are_the_frames_asked_for(clip, numbers, backend, wanted):
    with open_video(clip, backend=backend) as video:
        assert numbers(video.frames(wanted)) == wanted


@both
def test_a_whole_file_is_its_frames_in_order(clip, numbers, backend):
    with open_video(clip, backend=backend) as video:
        assert numbers(video.frames(range(len(video)))) == list(range(100))


@needs_decord
def test_decord_and_pyav_give_the_same_pixels(clip):
    wanted = [0, 5, 50, 51, 99]
    with open_video(clip, backend="pyav") as first, open_video(clip, backend="decord") as second:
        difference = np.abs(first.frames(wanted).astype(int) - second.frames(wanted))
    assert difference.max() <= 2


@both
def test_a_reader_tells_what_it_reads_and_can_be_asked_again(clip, numbers, backend):
    with open_video(clip, backend=backend) as video:
        assert (video.backend, video.num_frames, video.frame_rate) == (backend, 100, 25.0)
        assert (video.height, video.width, video.duration_seconds) == (48, 64, 4.0)
        assert numbers(video.frames([70])) == [70]
        assert numbers(video.frames([3, 80])) == [3, 80]
        video.close()
        assert numbers(video.frames([99])) == [99]


@both
def test_frames_that_do_not_exist_are_refused_with_the_range(clip, backend):
    with open_video(clip, backend=backend) as video:
        for wrong in (100, -1):
            with pytest.raises(DataError, match=rf"numbered.mp4: frame {wrong} was asked for; it has frames 0 to 99"):
                video.frames([0, wrong])


def test_no_frames_asked_are_no_frames(clip):
    with open_video(clip, short_side=24) as video:
        assert video.frames([]).shape == (0, 24, 32, 3)


@both
def test_times_name_the_frame_on_screen_and_are_clamped_to_the_ends(clip, numbers, backend):
    with open_video(clip, backend=backend) as video:
        assert numbers(video.frames_at([-1.0, 0.0, 0.039, 0.04, 2.0, 2.03, 99.0])) == [0, 0, 0, 1, 50, 50, 99]
        every = np.arange(100) / video.frame_rate
        assert video.indices_at(every).tolist() == list(range(100))
        with pytest.raises(DataError, match="time nan"):
            video.frames_at([float("nan")])


@both
def test_frames_shrink_while_decoding_and_never_grow(clip, numbers, backend):
    with open_video(clip, backend=backend, short_side=24) as video:
        small = video.frames([7, 90])
        assert small.shape[1:] == (24, 32, 3) == (video.height, video.width, 3)
        assert numbers(small) == [7, 90]
    with open_video(clip, backend=backend, short_side=25) as video:
        odd = video.frames([50, 99])
        assert odd.shape[1:] == (25, 33, 3)
        assert numbers(odd) == [50, 99]
    with open_video(clip, backend=backend, short_side=480) as video:
        assert (video.height, video.width) == (48, 64)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 3000), st.integers(2, 3000), st.integers(2, 600))
def test_scaling_keeps_the_shape_of_the_picture(height, width, short_side):
    size = scaled_size(height, width, short_side)
    if size is None:
        assert min(height, width) <= short_side
    else:
        assert min(size) == short_side
        assert (size[0] < size[1]) <= (height < width) and (size[0] > size[1]) <= (height > width)
        assert abs(max(size) - max(height, width) * short_side / min(height, width)) <= 0.5


@pytest.mark.parametrize(
    ("name", "codec", "options", "refusal"),
    [
        ("mpeg4_in.avi", "mpeg4", {"bf": "2", "g": "12"}, "is not reliable on avi files"),
        ("h264_in.mkv", "libx264", None, ""),
        ("vp9_in.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "g": "12"}, ""),
        ("av1_in.mp4", "libsvtav1", {"preset": "12", "g": "12"}, "has no decoder for"),
        ("transport.ts", "libx264", None, "is not reliable on mpegts files"),
        ("bare_stream.h264", "libx264", None, "is not reliable on h264 files"),
        ("open_groups.mp4", "libx264", OPEN_GROUPS, "with open groups"),
    ],
)
def test_every_container_and_codec_gives_the_frames_asked_for(
    tmp_path, numbered_video, numbers, name, codec, options, refusal
):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no encoder {codec}")
    path = numbered_video(tmp_path / name, 60, codec=codec, options=options)
    with open_video(path) as video:
        assert video.num_frames == 60
        assert numbers(video.frames([59, 0, 13, 50, 51])) == [59, 0, 13, 50, 51]
        assert video.backend == "pyav"
        assert numbers(video.frames_at([0.0, 0.5, 2.0])) == [0, 12, 50]
    if import_decord() is None:
        return
    if refusal:
        with pytest.raises(DataError, match=rf"{name}: decord .*{refusal}.*; use backend 'pyav'\.$"):
            open_video(path, backend="decord")
        return
    with open_video(path, backend="decord") as video:
        assert numbers(video.frames([59, 0, 13, 50, 51])) == [59, 0, 13, 50, 51]


@both
def test_variable_frame_rates_are_read_by_their_own_times(tmp_path, numbered_video, numbers, backend):
    times = np.cumsum([0] + [20, 80, 40] * 20)[:60]
    path = numbered_video(tmp_path / "vfr.mkv", 60, rate=1000, milliseconds=times.tolist())
    with open_video(path, backend=backend) as video:
        assert numbers(video.frames([1, 30, 59])) == [1, 30, 59]
        assert numbers(video.frames_at(times[[2, 17, 55]] / 1000)) == [2, 17, 55]
        assert numbers(video.frames_at((times[[2, 17, 55]] - 2) / 1000)) == [1, 16, 54]
        assert video.frame_rate == pytest.approx(59 / (times[-1] / 1000), rel=0.02)


@both
def test_a_late_first_timestamp_does_not_shift_the_frames(tmp_path, numbered_video, numbers, backend):
    path = numbered_video(tmp_path / "late.mkv", 60, rate=1000, milliseconds=[700 + 40 * k for k in range(60)])
    with open_video(path, backend=backend) as video:
        assert numbers(video.frames([0, 20, 59])) == [0, 20, 59]
        assert numbers(video.frames_at([0.0, 0.8])) == [0, 20]


def without_first_group(source, target) -> None:
    """Copy the stream from its second keyframe on: its first stored frames lack what they refer to."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as cut:
        stream = whole.streams.video[0]
        copy, keyframes = cut.add_stream_from_template(stream), 0
        for packet in whole.demux(stream):
            keyframes += packet.is_keyframe
            if keyframes > 1 and packet.dts is not None:
                packet.stream = copy
                cut.mux(packet)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frames_that_nobody_can_decode_are_not_counted(tmp_path, numbered_video, numbers, suffix):
    whole, cut = numbered_video(tmp_path / "whole.mp4", 60, options=OPEN_GROUPS), tmp_path / f"cut.{suffix}"
    without_first_group(whole, cut)
    with open_video(cut) as video:
        shown = numbers(video.frames(range(video.num_frames)))
        first = 60 - video.num_frames
        assert shown == list(range(first, 60))
        assert numbers(video.frames([30])) == [first + 30]


def turned(path, quarter_turns: int):
    """Write the display matrix of a telephone held sideways into an MP4 file."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    for slot, value in ((0, cosine), (1, sine), (3, -sine), (4, cosine)):
        data[matrix + 4 * slot : matrix + 4 * slot + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_pictures_are_turned_upright_as_the_file_asks(tmp_path, numbered_video, quarter_turns):
    path = numbered_video(tmp_path / "turned.mp4", 8)
    with open_video(path, backend="pyav") as video:
        stored = video.frames([0, 5])
    turned(path, quarter_turns)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).rotation in (-90 * quarter_turns, 360 - 90 * quarter_turns)
    with open_video(path) as video:
        upright = video.frames([0, 5])
        assert upright.shape[1:3] == (video.height, video.width)
    np.testing.assert_array_equal(upright, np.rot90(stored, -quarter_turns, axes=(1, 2)))
    with open_video(path, short_side=24) as video:
        assert video.frames([0]).shape[1:3] == ((32, 24) if quarter_turns % 2 else (24, 32))


def test_unknown_and_unfitting_backends_are_refused_with_the_way_out(clip, tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown video backend 'pyva'\. Did you mean 'pyav'\?"):
        open_video(clip, backend="pyva")
    with pytest.raises(ConfigError, match="is a folder, which backend 'decord' cannot read"):
        open_video(tmp_path, backend="decord")
    with pytest.raises(ConfigError, match="short_side must be at least 2 pixels, got 1"):
        open_video(clip, short_side=1)


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("name", "frames", "rate", "size"),
    [
        ("arm_wrestling.mp4", 280, 28, (256, 340)),
        ("flipping_a_pancake.mkv", 310, 30, (240, 426)),
        ("fullhd_72frames.mp4", 72, 28.05, (1080, 1920)),
        ("test.avi", 164, 25, (240, 320)),
    ],
)
@pytest.mark.parametrize("backend", ["pyav", "auto"])
def test_real_clips_are_read_exactly(shared_data, backend, name, frames, rate, size):
    path = shared_data / "clips" / name
    wanted = [0, 3, frames // 2, frames - 1]
    with av.open(str(path)) as container:
        expected = [
            frame.to_ndarray(format="rgb24") for k, frame in enumerate(container.decode(video=0)) if k in wanted
        ]
    with open_video(path, backend=backend) as video:
        assert (video.num_frames, video.height, video.width) == (frames, *size)
        assert video.frame_rate == pytest.approx(rate, abs=0.01)
        assert np.abs(video.frames(wanted).astype(int) - np.stack(expected)).max() <= 2


def test_frames_that_no_other_refers_to_are_skipped_and_those_wanted_are_the_same_to_the_bit(
    tmp_path, numbered_video, numbers, monkeypatch
):
    pyramid = {"x264-params": "keyint=60:bframes=7:b-pyramid=normal:b-adapt=0:scenecut=0:ref=4"}
    for name, options, rate in (
        ("p.mp4", pyramid, 25),
        ("d.mkv", None, 30),
        ("o.mp4", {"x264-params": "open-gop=1"}, 25),
    ):
        path = numbered_video(tmp_path / name, 200, options=options, rate=rate)
        for wanted in ([60, 70, 81, 92, 103], [199], [3, 120, 121, 122], list(range(50, 180, 7))):
            seen = []
            with monkeypatch.context() as patch:
                with open_video(path, backend="pyav") as reader:
                    decode = reader._source._decode_needed
                    patch.setattr(
                        reader._source,
                        "_decode_needed",
                        lambda *given, decode=decode, seen=seen: (seen.append(1) or frame for frame in decode(*given)),
                    )
                    frames = reader.frames(wanted)
            assert numbers(frames) == wanted
            with monkeypatch.context() as patch:
                patch.setattr(_pyav, "_TELLS_REFERENCES", frozenset())
                with open_video(path, backend="pyav") as reader:
                    assert np.array_equal(reader.frames(wanted), frames)
            if name == "p.mp4" and len(wanted) == 5:
                assert len(seen) < 75  # of 104
