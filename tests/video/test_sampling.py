"""Temporal sampling: every window stays in the video where it can, and says where it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.video.sampling import centre_window, random_window, window_indices

quick = settings(deadline=None, max_examples=30)
videos = st.tuples(st.integers(1, 400), st.integers(1, 40), st.integers(1, 12))


@quick
@given(videos, st.integers(0, 2**32 - 1))
def test_a_random_window_lies_inside_every_video_that_is_long_enough(video, seed):
    num_frames, length, stride = video
    start = random_window(num_frames, length, stride, np.random.default_rng(seed))
    indices, valid = window_indices(start, length, stride, num_frames)
    assert valid.all() == ((length - 1) * stride + 1 <= num_frames)
    assert indices[0] == start
    assert 0 <= indices.min() and indices.max() < num_frames


def test_random_windows_reach_the_first_and_the_last_possible_start():
    rng = np.random.default_rng(0)
    starts = {random_window(10, 3, 2, rng) for _ in range(200)}
    assert starts == set(range(6))


def test_a_draw_costs_one_number_whatever_the_video():
    long, short = np.random.default_rng(5), np.random.default_rng(5)
    random_window(1000, 4, 2, long)
    random_window(500, 4, 2, short)
    assert long.random() == short.random()


@quick
@given(videos)
def test_the_centre_window_leaves_equal_margins(video):
    num_frames, length, stride = video
    start = centre_window(num_frames, length, stride)
    span = (length - 1) * stride + 1
    after = num_frames - start - span
    assert start == 0 if span > num_frames else after - start in (0, 1)


@quick
@given(videos, st.integers(0, 500))
def test_a_window_repeats_the_last_frame_beyond_the_end_and_marks_it(video, start):
    num_frames, length, stride = video
    indices, valid = window_indices(start, length, stride, num_frames)
    wanted = [start + k * stride for k in range(length)]
    assert indices.tolist() == [min(frame, num_frames - 1) for frame in wanted]
    assert valid.tolist() == [frame < num_frames for frame in wanted]
    assert indices.dtype == np.int64 and valid.dtype == bool


@pytest.mark.parametrize("arguments", [(0, 4, 1), (10, 0, 1), (10, 4, 0), (-3, 4, 1)])
def test_counts_below_one_are_refused(arguments):
    with pytest.raises(ValueError, match="must be at least 1"):
        random_window(*arguments, np.random.default_rng(0))
    with pytest.raises(ValueError, match="must be at least 1"):
        centre_window(*arguments)


def test_a_negative_start_is_refused():
    with pytest.raises(ValueError, match="start must be at least 0, got -1"):
        window_indices(-1, 4, 1, 10)
