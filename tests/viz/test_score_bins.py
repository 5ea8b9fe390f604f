import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.evaluation.segments import Segment
from ssdet_cli.viz.score_bins import bin_scores, check_scores, full_height, rank_classes, scored_span


def held(scores, seconds, begin, end, bins):
    """As `bin_scores`, by looking at every bin and frame."""
    edges = np.linspace(begin, end, bins + 1)
    until = np.append(seconds[1:], np.inf)
    peak = np.full((scores.shape[1], bins), np.nan)
    mean = peak.copy()
    for place, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        inside = (seconds < high - 1e-6) & (until > low + 1e-6)
        for label in range(scores.shape[1]):
            values = scores[inside, label]
            values = values[~np.isnan(values)]
            if len(values):
                peak[label, place], mean[label, place] = values.max(), values.mean()
    return peak, mean


@settings(deadline=None, max_examples=60)
@given(
    frames=st.integers(1, 60),
    bins=st.integers(1, 40),
    begin=st.integers(0, 3),
    seed=st.integers(0, 99),
    missing=st.floats(0, 1),
)
def test_bins_hold_the_highest_and_the_mean_of_what_is_on_screen_in_them(frames, bins, begin, seed, missing):
    rng = np.random.default_rng(seed)
    scores = rng.random((frames, 3)).astype(np.float32)
    scores[rng.random(scores.shape) < missing] = np.nan
    seconds = begin + np.arange(frames) * 0.5
    end = float(seconds[-1]) + 1
    found = bin_scores(scores, seconds, 0.0, end, bins)
    peak, mean = held(scores, seconds, 0.0, end, bins)
    np.testing.assert_allclose(found.peak, peak, rtol=1e-6)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)


class Watched(np.ndarray):
    """An array that notes how many rows are read at once."""

    read: list[int] = []

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(key, slice):
            self.read.append(len(part))
        return np.asarray(part)

    def __array__(self, *arguments, **options):
        raise AssertionError("all scores were copied at once")


def test_a_mapped_file_is_read_part_by_part(tmp_path):
    rows = 20_000
    mapped = np.memmap(tmp_path / "scores", np.float32, "w+", shape=(rows, 4))
    mapped[:, 1] = np.linspace(0, 1, rows)
    watched = mapped.view(Watched)
    watched.read.clear()
    seconds = np.arange(rows) * 0.04
    check_scores(watched, seconds, ["a", "b", "c", "d"], 1)
    found = bin_scores(watched, seconds, 0, rows * 0.04, 3)
    assert sum(watched.read) >= rows
    assert max(watched.read) <= 4096
    np.testing.assert_allclose(found.peak[1], [1 / 3, 2 / 3, 1], atol=1e-3)


def test_classes_with_segments_come_first_then_the_highest_scores():
    segments = [Segment("c", 2, 0, 1, 0.4), Segment("d", 3, 0, 1, 0.4)]
    assert rank_classes(np.array([0.9, 0.8, 0.3, 0.4, -1]), segments, 4) == [3, 2, 0, 1]
    assert rank_classes(np.array([0.9, 0.8]), [], 9) == [0, 1]


@pytest.mark.parametrize(
    ("seconds", "duration", "span"),
    [
        (np.arange(10) * 0.4, 4.0, (0.0, 4.0)),
        (np.arange(10) * 0.4, 4.3, (0.0, 4.3)),
        (np.arange(10) * 0.4, 900.0, (0.0, 4.0)),
        (60 + np.arange(10) * 0.4, 64.0, (60.0, 64.0)),
        (0.2 + np.arange(10) * 0.4, 4.2, (0.0, 4.2)),
        (np.array([0.0]), 3.0, (0.0, 3.0)),
        (np.array([]), 3.0, (0.0, 3.0)),
    ],
)
def test_the_shown_time_is_what_was_scored(seconds, duration, span):
    assert scored_span(seconds, duration) == pytest.approx(span)


def test_low_scores_fill_a_row_of_less_than_one():
    assert [full_height(np.array([best])) for best in (0.04, 0.06, 0.3, 0.7, 1.0, 3.0)] == [0.05, 0.1, 0.5, 1, 1, 1]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"3 times and 2 classes for scores of shape \(3, 1\); need \(T, K\)"):
        check_scores(np.zeros((3, 1)), np.arange(3), ["a", "b"], 1)
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        check_scores(np.zeros((3, 1)), np.arange(3), ["a"], 0)
