"""Precision against recall, and whether a score of 0.3 is right three times in ten.

A row of a class is found at a threshold where its score is the threshold or more: equal scores are found together. Rows
without a score (-inf) are never found.

Shape letters: N rows, K classes, M points of a curve.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Points of a curve at most.
POINTS = 100
#: Parts of [0, 1] in which scores are compared with labels (Guo et al., ICML 2017, take 15).
BINS = 15
#: Columns copied at a time.
_BLOCK = 16


@dataclass(frozen=True)
class Curve:
    """Points of falling thresholds, which are scores of positives: evenly spaced among them, the lowest and highest in.

    Attributes:
        thresholds: (M,) falling.
        found: (M,) positives at the threshold or above.
        reached: (M,) rows at the threshold or above.
        positives: All of the class, those without a score too.
        even: The P-th highest score of P positives: from there on as many rows are found as have the action, or more
            where scores are equal; the lowest score where less rows have one. None where none has, and of a curve of
            all classes together.
    """

    thresholds: np.ndarray
    found: np.ndarray
    reached: np.ndarray
    positives: int
    even: float | None = None

    @property
    def recall(self) -> np.ndarray:
        """(M,) rising."""
        return self.found / self.positives

    @property
    def precision(self) -> np.ndarray:
        """(M,)."""
        return self.found / self.reached

    @property
    def f1(self) -> np.ndarray:
        """(M,)."""
        return 2 * self.found / (self.reached + self.positives)

    @cached_property
    def best(self) -> int | None:
        """Point with the highest F1, of several the one with the highest threshold; None if there is no point."""
        return int(np.argmax(self.f1)) if len(self.thresholds) else None


@dataclass(frozen=True)
class Calibration:
    """Scores of all classes in equal parts of [0, 1]; a border belongs to the part above it, 1 to the last one.

    Attributes:
        counts: (BINS,) scores.
        mean_score: (BINS,) their mean; NaN where there is none.
        positive: (BINS,) part of them that are positives; NaN where there is none.
        error: Expected calibration error: mean of |mean_score - positive|, weighted by counts.
    """

    counts: np.ndarray
    mean_score: np.ndarray
    positive: np.ndarray
    error: float


@dataclass(frozen=True)
class Curves:
    """What the order and the values of scores tell.

    Attributes:
        per_class: Of each class; None where it has no positive.
        common: Of the scores of all classes in one ranking ("micro"); None without a positive.
        calibration: None where the scores are no probabilities: there is none, or one outside [0, 1].
    """

    per_class: tuple[Curve | None, ...]
    common: Curve | None
    calibration: Calibration | None


def look_at(scores: np.ndarray, targets: np.ndarray, points: int = POINTS) -> Curves:
    """Make the curves and compare scores with labels.

    Args:
        scores: (N, K) numbers; those at -inf are in no curve, but for the positives there are.
        targets: (N, K) bool.
        points: M at most.
    """
    own_of_all = _known(np.sort(scores[targets]))
    common = _Ranking(own_of_all, points)
    edges = np.arange(BINS + 1) / BINS
    counts, sums, hits = np.zeros(BINS, np.int64), np.zeros(BINS), np.zeros(BINS, np.int64)
    probable, per_class = True, []
    for first in range(0, scores.shape[1], _BLOCK):
        block = slice(first, first + _BLOCK)
        # Copies, even where a column is contiguous as it is: they are sorted on the spot.
        columns = np.array(scores[:, block].T, order="C"), np.array(targets[:, block].T, order="C")
        for values, positive in zip(*columns, strict=True):
            own = _known(np.sort(values[positive]))
            values.sort()
            values = _known(values)
            mine = _Ranking(own, points)
            mine.add(values)
            common.add(values)
            positives = int(np.count_nonzero(positive))
            even = float(values[-min(positives, len(values))]) if positives and len(values) else None
            per_class.append(mine.curve(positives, even))
            if len(values):
                probable &= bool(values[0] >= 0 and values[-1] <= 1)
                place, theirs = (_places(ordered, edges) for ordered in (values, own))
                counts += np.diff(place)
                hits += np.diff(theirs)
                sums += np.diff(np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))[place])
    calibration = _calibration(counts, sums, hits) if probable and counts.any() else None
    return Curves(tuple(per_class), common.curve(int(np.count_nonzero(targets))), calibration)


class _Ranking:
    """A curve in the making, from (P,) rising scores of positives."""

    def __init__(self, own: np.ndarray, points: int) -> None:
        chosen = np.unique(np.linspace(0, len(own) - 1, points).round().astype(np.int64)) if len(own) else []
        self._thresholds = np.unique(own[chosen]) if len(own) else own
        self._found = len(own) - np.searchsorted(own, self._thresholds)
        self._reached = np.zeros(len(self._thresholds), np.int64)

    def add(self, ordered: np.ndarray) -> None:
        """Count (n,) rising scores."""
        self._reached += len(ordered) - np.searchsorted(ordered, self._thresholds)

    def curve(self, positives: int, even: float | None = None) -> Curve | None:
        """The points, the highest threshold first."""
        if not positives:
            return None
        return Curve(self._thresholds[::-1], self._found[::-1], self._reached[::-1], positives, even)


def _known(ordered: np.ndarray) -> np.ndarray:
    """Rising scores without those at -inf."""
    return ordered[np.searchsorted(ordered, -np.inf, "right") :]


def _places(ordered: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(BINS + 1,) where each part begins among rising scores, and the end."""
    place = np.searchsorted(ordered, edges)
    place[0], place[-1] = 0, len(ordered)
    return place


def _calibration(counts: np.ndarray, sums: np.ndarray, hits: np.ndarray) -> Calibration:
    with np.errstate(invalid="ignore"):
        mean, positive = sums / counts, hits / counts
    return Calibration(counts, mean, positive, float(np.abs(sums - hits).sum() / counts.sum()))
