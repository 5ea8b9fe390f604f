"""Precision against recall and calibration, against plain loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssdet_cli.evaluation.curves import BINS, look_at


@st.composite
def tables(draw):
    values = st.sampled_from([-np.inf, 0.0, 0.05, 0.2, 1 / 3, 0.4, 0.95, 1.0])
    shape = draw(st.integers(0, 30)), draw(st.integers(1, 3))
    return draw(arrays(np.float64, shape, elements=values)), draw(arrays(bool, shape))


def plain_point(scores, targets, threshold):
    """(found, reached) by counting."""
    pairs = list(zip(scores.ravel().tolist(), targets.ravel().tolist(), strict=True))
    return sum(score >= threshold and hit for score, hit in pairs), sum(score >= threshold for score, _ in pairs)


@settings(deadline=None)
@given(tables(), st.integers(2, 8))
def test_points_are_what_counting_gives(table, points):
    scores, targets = table
    found = look_at(scores, targets, points)
    columns = [(scores[:, label], targets[:, label]) for label in range(scores.shape[1])]
    for curve, (own, hits) in zip((*found.per_class, found.common), (*columns, (scores, targets)), strict=True):
        if not hits.any():
            assert curve is None
            continue
        known = np.unique(own[hits & (own > -np.inf)])
        assert len(curve.thresholds) <= points and (np.diff(curve.thresholds) < 0).all()
        assert set(curve.thresholds) <= set(known)
        if len(known):
            assert curve.thresholds[0] == known[-1] and curve.thresholds[-1] == known[0]
        for place, threshold in enumerate(curve.thresholds):
            right, reached = plain_point(own, hits, threshold)
            assert (curve.found[place], curve.reached[place], curve.positives) == (right, reached, hits.sum())
            assert curve.precision[place] == right / reached and curve.recall[place] == right / hits.sum()
            f1 = 2 * right / (reached + hits.sum())
            assert curve.f1[place] == pytest.approx(f1) and curve.f1[curve.best] >= f1


@settings(deadline=None)
@given(tables())
def test_from_the_even_threshold_on_as_many_rows_are_found_as_have_the_class(table):
    scores, targets = table
    for label, curve in enumerate(look_at(scores, targets).per_class):
        own = scores[:, label]
        known = own[own > -np.inf]
        if curve is None or not len(known):
            assert curve is None or curve.even is None
            continue
        wanted = min(int(targets[:, label].sum()), len(known))
        assert (own >= curve.even).sum() >= wanted and (own > curve.even).sum() < wanted


@settings(deadline=None)
@given(tables())
def test_calibration_is_what_counting_gives(table):
    scores, targets = table
    found = look_at(scores, targets).calibration
    bins = [[] for _ in range(BINS)]
    for score, hit in zip(scores.ravel().tolist(), targets.ravel().tolist(), strict=True):
        if score > -np.inf:
            bins[max(part for part in range(BINS) if part == 0 or score >= part / BINS)].append((score, hit))
    total = sum(map(len, bins))
    if not total:
        assert found is None
        return
    assert found.counts.tolist() == [len(part) for part in bins]
    error = 0.0
    for part, mean, positive in zip(bins, found.mean_score, found.positive, strict=True):
        if not part:
            assert np.isnan(mean) and np.isnan(positive)
            continue
        wanted = np.mean(part, axis=0)
        assert (mean, positive) == (pytest.approx(wanted[0]), pytest.approx(wanted[1]))
        error += abs(wanted[0] - wanted[1]) * len(part) / total
    assert found.error == pytest.approx(error)


@pytest.mark.parametrize("odd", [-0.1, 1.5])
def test_scores_that_are_no_probabilities_have_no_calibration(odd):
    scores = np.array([[0.2], [odd]])
    assert look_at(scores, np.array([[True], [False]])).calibration is None
    assert look_at(scores[:1], np.array([[True]])).calibration.counts.sum() == 1


def test_a_curve_is_thinned_evenly_and_float32_stays_exact():
    rng = np.random.default_rng(0)
    scores = rng.random((5000, 2), dtype=np.float32)
    targets = rng.random((5000, 2)) < 0.3
    for label, curve in enumerate(look_at(scores, targets).per_class):
        assert len(curve.thresholds) == 100
        assert np.abs(np.diff(curve.found) - curve.positives / 99).max() <= 1
        assert (scores[:, label] >= np.float32(curve.thresholds[50])).sum() == curve.reached[50]
