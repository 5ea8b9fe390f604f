"""Which fine frames go with a window, and features of different lengths in one batch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.fine_context import fine_span, pad_features


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 600), st.integers(1, 1800))
def test_a_span_holds_its_window_and_is_as_long_as_every_other_of_the_video(frames, start, length, longest):
    length = min(length, frames)
    start = min(start, frames - length)
    first, stop = fine_span(frames, start, length, longest)
    assert 0 <= first <= start and start + length <= stop <= frames
    assert stop - first == min(frames, max(longest, length))
    before, behind = start - first, stop - start - length
    assert abs(before - behind) <= 1 or first == 0 or stop == frames


def test_a_clip_that_begins_between_fine_frames_or_ends_behind_the_video_has_a_span_too():
    assert fine_span(10, 7.4, 64, 100) == (0, 10)
    assert fine_span(1000, 990.5, 64, 192) == (808, 1000)


def test_features_are_stacked_with_zeros_behind_the_shorter_and_a_mask():
    parts = [{"a": torch.ones(2, frames, 1, 1, dtype=torch.float16)} for frames in (3, 1)]
    features, mask = pad_features(parts)
    assert features["a"].dtype == torch.float16 and features["a"].shape == (2, 2, 3, 1, 1)
    assert mask.tolist() == [[True, True, True], [True, False, False]]
    assert features["a"][1, :, 1:].eq(0).all() and features["a"][1, :, 0].eq(1).all()
