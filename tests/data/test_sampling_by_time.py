"""Clips by seconds: files of different and of varying rates show the same moments, with the labels of those moments."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ssdet_cli.config.commands import FrameLabelledClip
from ssdet_cli.config.sections import ClipConfig, DataConfig, InferenceConfig
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet, rasterize
from ssdet_cli.data.clips import FrameLabelledClips, VideoWindows, WeakClips
from ssdet_cli.data.windows import Windows
from ssdet_cli.video.sampling import FrameTimes, Placing, Spacing, nearest_frames, place_clip, whole_video
from ssdet_cli.video.stream import Sampler, open_stream
from ssdet_cli.video.write import write_timed_video

SECONDS = 3.2
APART = 0.11
DATA = DataConfig(backend="pyav")


def varying_times():
    """Frames 20 to 60 ms apart, with a slow part in the middle."""
    steps = np.tile([0.02, 0.05, 0.04, 0.06, 0.03], 17)
    times = np.concatenate([[0.0], steps.cumsum()])
    return times[times < SECONDS]


TIMES = {"25": np.arange(80) / 25, "30": np.arange(96) / 30, "varying": varying_times()}


def picture(t):
    """Says its time: the left half 0.4 s by 0.4 s, the right half what is left of it, at 0.002 s a level."""
    coarse, fine = divmod(t, 0.4)
    shown = np.full((40, 48, 3), 10 + 28 * int(coarse), np.uint8)
    shown[:, 24:] = round(10 + 500 * fine)
    return shown


def moments(frames):
    """When the pictures (3, T, S, S) were taken, to 0.01 s."""
    left, right = (frames[..., at].float().mean(dim=(0, 2)).numpy() for at in (1, -2))
    return 0.4 * ((left - 10) / 28).round() + (right - 10) / 500


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The same scene at three rates."""
    folder = tmp_path_factory.mktemp("films")
    for name, times in TIMES.items():
        ends = np.append(times[1:], SECONDS)
        frames = [(t + 1e-9, end - t, picture(t + 1e-9)) for t, end in zip(times, ends, strict=True)]
        rate = Fraction(30 if name == "30" else 25)
        write_timed_video(folder / f"{name}.mp4", frames, rate, crf=1)
    return folder


def film(films, name, *segments):
    record = VideoRecord(name, films / f"{name}.mp4", segments=segments, label=None if segments else 0)
    return VideoSet(name, ("a", "b"), (record,), films)


def half_a_frame(name, at):
    """Half of the time between the frames around each moment, and what the pictures cannot tell."""
    times = TIMES[name]
    after = np.searchsorted(times, at).clip(1, len(times) - 1)
    return (times[after] - times[after - 1]) / 2 + 0.01


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [WeakClips, FrameLabelledClips])
def test_clips_of_25_30_and_varying_frames_per_second_show_the_same_moments(films, kind, training):
    clip = ClipConfig(frames=12, stride=4, seconds_between_frames=APART, size=32, flip=False)
    segments = (Segment(0, 0.5, 1.71), Segment(1, 1.3, 9.0)) if kind is FrameLabelledClips else ()
    starts = []
    for name in TIMES:
        dataset = kind(film(films, name, *segments), DATA, clip, seed=3, training=training)
        sample = dataset[(1, 0)]
        shown = moments(sample.frames)
        # All within half a frame of moments that are equally far apart, wherever the first of them is.
        late = shown - APART * np.arange(12)
        starts.append((late.max() + late.min()) / 2)
        assert (late.max() - late.min()) / 2 < half_a_frame(name, shown).max()
        if segments:
            stated = sample.frame_seconds.numpy()
            assert (np.abs(shown - stated) < half_a_frame(name, stated)).all()
            assert np.diff(stated) == pytest.approx(APART)
            labels = sample.label_seconds.numpy()
            assert labels.shape == (48,) and labels[::4] == pytest.approx(stated)
            assert np.array_equal(sample.labels.numpy(), rasterize(segments, labels, 2))
            assert np.array_equal(sample.valid.numpy(), labels < SECONDS) and sample.lengths == 12
            assert sample.start == pytest.approx(stated[0] / APART)
    # The last frames of the files are not at the same time, which moves the start a little.
    assert max(starts) - min(starts) < 0.05


def test_beyond_the_end_of_a_short_file_the_last_frame_is_repeated_and_nothing_is_valid(films):
    clip = ClipConfig(frames=40, stride=2, seconds_between_frames=APART, size=32, flip=False)
    for name in TIMES:
        sample = FrameLabelledClips(film(films, name, Segment(0, 0, 99)), DATA, clip, seed=0, training=True)[(0, 0)]
        assert sample.lengths == 30  # 0, 0.11, ..., 3.19
        assert sample.valid.sum() == 59 and sample.valid[:59].all()
        assert moments(sample.frames)[30:] == pytest.approx(moments(sample.frames)[29])


def test_whole_videos_show_the_moments_that_prediction_shows(films):
    for name in TIMES:
        spacing = Spacing(7, APART)
        (window,) = VideoWindows(film(films, name).records, DATA, spacing=spacing, size=32, windows=Windows(99))
        assert window.video.seconds == pytest.approx(np.arange(30) * APART)
        shown = moments(window.frames)
        # The last frame stands for all that comes after it.
        at = np.minimum(window.video.seconds, TIMES[name][-1])
        assert (np.abs(shown - at) < half_a_frame(name, at)).all()
        with open_stream(str(films / f"{name}.mp4")) as stream:
            seen = [(seconds, picture) for _, seconds, picture in Sampler(stream, spacing=APART)]
        assert [seconds for seconds, _ in seen] == pytest.approx(window.video.seconds)
        pictures = torch.from_numpy(np.stack([one for _, one in seen])).permute(3, 0, 1, 2)
        assert moments(pictures) == pytest.approx(shown, abs=0.01)


def test_a_part_of_a_file_is_sampled_from_its_own_beginning(films):
    record = replace(film(films, "30").records[0], start_seconds=1.0, end_seconds=2.0)
    (window,) = VideoWindows([record], DATA, spacing=Spacing(1, 0.25), size=32, windows=Windows(99))
    assert window.video.seconds == pytest.approx([1.0, 1.25, 1.5, 1.75])
    assert moments(window.frames) == pytest.approx(window.video.seconds, abs=1 / 60 + 0.01)


def test_uniform_clips_spread_over_the_whole_video_whatever_its_rate(films):
    clip = ClipConfig(frames=8, sampling="uniform", size=32, flip=False)
    for name in TIMES:
        fixed = WeakClips(film(films, name), DATA, clip, seed=0, training=False)[(0, 0)]
        middles = (np.arange(8) + 0.5) * SECONDS / 8
        assert (np.abs(moments(fixed.frames) - middles) < half_a_frame(name, middles)).all()
        drawn = moments(WeakClips(film(films, name), DATA, clip, seed=0, training=True)[(0, 0)].frames)
        assert (drawn // (SECONDS / 8)).tolist() == pytest.approx(np.arange(8), abs=1)
        assert np.abs(np.diff(drawn) - SECONDS / 8).max() < 0.1


@pytest.mark.parametrize("seconds", [None, APART])
def test_windows_cover_the_whole_video_pass_after_pass(films, seconds):
    clip = ClipConfig(frames=6, stride=3, seconds_between_frames=seconds, sampling="windows", size=32, flip=False)
    dataset = FrameLabelledClips(film(films, "30", Segment(0, 0, 1)), DATA, clip, seed=0, training=True)
    span = 6 * (seconds or 3 / 30)
    count = int(np.ceil(SECONDS / span))
    starts = sorted(dataset[(epoch, 0)].frame_seconds[0].item() for epoch in range(count))
    again = sorted(dataset[(epoch, 0)].frame_seconds[0].item() for epoch in range(count, 2 * count))
    assert starts[0] == 0 and starts == pytest.approx(again)
    assert starts[:-1] == pytest.approx(np.arange(count - 1) * span)
    last = starts[-1] + span * 5 / 6
    assert 2.9 < last <= 95 / 30 + 1e-9 and starts[-1] - starts[-2] <= span + 1e-9


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(0.001, 0.5), min_size=1, max_size=60),
    st.integers(1, 12),
    st.floats(0.01, 1.0),
    st.sampled_from(["random", "windows"]),
    st.integers(0, 99),
)
def test_a_window_by_time_stays_in_the_video_and_takes_the_nearest_frames(steps, length, apart, sampling, seed):
    times = FrameTimes(np.concatenate([[0.0], np.cumsum(steps)])[:-1], float(np.sum(steps)))
    placing = Placing(sampling, np.random.default_rng(seed), seed)
    window = place_clip(len(steps), lambda: times, length, Spacing(1, apart), placing)
    assert 0 <= window.indices.min() and window.indices.max() < len(steps)
    assert window.moments[0] >= 0 and np.diff(window.moments) == pytest.approx(apart)
    assert window.real[0] and np.array_equal(window.real, window.moments < times.end - 1e-6)
    if (length - 1) * apart <= times.seconds[-1]:
        assert window.moments[-1] <= times.seconds[-1] + 1e-9
    distance = np.abs(times.seconds[:, None] - window.moments)
    assert distance[window.indices, np.arange(length)] == pytest.approx(distance.min(axis=0), abs=1e-5)


def test_the_later_of_two_frames_that_are_as_near_is_taken_as_in_a_stream():
    assert nearest_frames(np.array([0.0, 0.1, 0.2]), np.array([0.05, 0.15 - 1e-9, 0.149])).tolist() == [1, 2, 1]
    assert nearest_frames(np.array([0.4]), np.array([0.0, 9.0])).tolist() == [0, 0]


def test_a_whole_video_by_number_and_by_time_agree_at_a_constant_rate():
    times = FrameTimes(np.arange(100) / 25, 4.0)
    by_number, by_time = whole_video(times, Spacing(5)), whole_video(times, Spacing(5, 0.2))
    assert np.array_equal(by_number[0], by_time[0]) and by_number[1] == pytest.approx(by_time[1])


def test_ways_of_sampling_that_exclude_each_other_are_refused():
    with pytest.raises(ValidationError, match="clip.sampling=uniform spreads the frames .* give one of them"):
        ClipConfig(sampling="uniform", seconds_between_frames=0.2)
    with pytest.raises(ValidationError, match="inference.stride=2 and inference.seconds_between_frames=0.5 exclude"):
        InferenceConfig(stride=2, seconds_between_frames=0.5)
    with pytest.raises(ValidationError, match="sampling"):
        FrameLabelledClip(sampling="uniform")
