"""Confidence intervals of average precision: what it would be over other videos of the same kind.

Videos are drawn with replacement as often as there are videos, many times over, and every draw is scored: percentile
intervals, less the bias of the draws (Efron and Tibshirani, 1993, ch. 10 and 13). A video that is drawn twice stands
beside itself in the ranking, which lifts AP. Frames of one video are alike, so that drawing frames would promise far
too much. A draw is a whole number of times that each video counts: rows are sorted, or detections matched, once for
all draws.

Shape letters: N rows, K classes, V videos, B draws.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np

from ssdet_cli.evaluation.average_precision import ranking, sort_keys
from ssdet_cli.evaluation.rows import Rows

Interval = tuple[float, float]
#: Of the draws that lie inside an interval.
CONFIDENCE = 0.95
#: Numbers that one thread holds at a time.
_NUMBERS = 2**19


#: Told how many of the steps of a resampling are done.
Advance = Callable[[int], object]


@dataclass(frozen=True)
class Draws:
    """What each of B draws scores.

    Attributes:
        ap: (B, K); NaN where a draw leaves it undefined, which takes the class out of the mean.
        measures: Those of `EvaluationResult.measures` that are resampled, (B,) each; NaN as above.
    """

    ap: np.ndarray
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)


class Resampling(Protocol):
    """What a protocol offers for intervals: its score for any number of times that each video counts."""

    @property
    def videos(self) -> int:
        """V, the videos that are drawn from."""

    @property
    def steps(self) -> int:
        """What `advance` counts up to."""

    def draw(self, weights: np.ndarray, advance: Advance = lambda done: None) -> Draws:
        """Score (B, V) int32 weights, as if each video were there so many times."""


@dataclass(frozen=True)
class RowResampling:
    """AP of rows; see `Resampling`."""

    rows: Rows

    @property
    def videos(self) -> int:
        """Videos that have rows."""
        return int(self.rows.videos[-1]) + 1 if len(self.rows.videos) else 0

    @property
    def steps(self) -> int:
        """One a class."""
        return self.rows.scores.shape[1]

    def draw(self, weights: np.ndarray, advance: Advance = lambda done: None) -> Draws:
        """See `resampled_precision`."""
        rows = self.rows
        ap = resampled_precision(rows.scores, rows.targets, rows.videos, weights, advance=advance)
        return Draws(ap if np.isnan(rows.absent) else np.where(np.isnan(ap), rows.absent, ap))


@dataclass(frozen=True)
class Intervals:
    """Intervals around the scores, from 0 to 1; None where no draw is defined.

    Attributes:
        samples: Draws.
        seed: Of the draws.
        confidence: Part of the draws inside.
        mAP: (low, high) of the mean.
        per_class_AP: In class order.
        measures: Name -> interval, of those measures that are resampled.
        videos: That were drawn from.
    """

    samples: int
    seed: int
    confidence: float
    mAP: Interval | None
    per_class_AP: tuple[Interval | None, ...]
    measures: Mapping[str, Interval | None] = field(default_factory=dict)
    videos: int = 0


def bootstrap(
    resampling: Resampling, samples: int, *, seed: int = 0, advance: Advance = lambda done: None
) -> Intervals:
    """Draw intervals of the mAP, of the AP of every class and of the measures.

    Args:
        resampling: Of a protocol.
        samples: B.
        seed: Equal seeds draw equal videos, whatever is scored on them: differences of two runs may be paired.
        advance: Told how many of `resampling.steps` are done.
    """
    once = np.ones((1, resampling.videos), np.int32)  # the set itself, in front of the draws
    draws = resampling.draw(np.concatenate((once, draw_weights(resampling.videos, samples, seed))), advance)
    measures = {name: _around_first(values) for name, values in draws.measures.items()}
    per_class = tuple(_around_first(column) for column in draws.ap.T)
    overall = _around_first(mean_over_classes(draws.ap))
    return Intervals(samples, seed, CONFIDENCE, overall, per_class, measures, resampling.videos)


def _around_first(values: np.ndarray) -> Interval | None:
    return None if np.isnan(values[0]) else interval_around(float(values[0]), values[1:], 0.0, 1.0)


def interval_around(score: float, draws: np.ndarray, least: float, most: float) -> Interval | None:
    """The percentile interval of the draws, less their bias: the distance of their mean from the score.

    Where the score would still lie outside, the interval is stretched to it.

    Args:
        score: Of the set itself.
        draws: (B,); NaN are left out.
        least: Where the interval is cut off.
        most: Likewise.

    Returns:
        None where no draw is defined.
    """
    interval = percentile_interval(draws)
    if interval is None:
        return None
    bias = float(np.nanmean(draws)) - score
    low, high = (end - bias for end in interval)
    return max(min(low, score), least), min(max(high, score), most)


def mean_over_classes(ap: np.ndarray) -> np.ndarray:
    """(B,) means of (B, K) average precisions over the classes of each draw that are defined; NaN without any."""
    known = ~np.isnan(ap)
    with np.errstate(invalid="ignore"):
        return np.where(known, ap, 0).sum(axis=1) / known.sum(axis=1)


def draw_blocks(draws: int, numbers: int) -> Iterator[slice]:
    """So many draws at a time that arrays of `numbers` numbers for each of them stay in the cache."""
    step = max(1, _NUMBERS // max(1, numbers))
    for first in range(0, draws, step):
        yield slice(first, min(first + step, draws))


def draw_weights(videos: int, samples: int, seed: int) -> np.ndarray:
    """(B, V) int32: how often each video is in each draw of V videos."""
    if not videos:
        return np.zeros((samples, 0), np.int32)
    return np.random.default_rng(seed).multinomial(videos, np.full(videos, 1 / videos), samples).astype(np.int32)


def resampled_precision(
    scores: np.ndarray,
    targets: np.ndarray,
    videos: np.ndarray,
    weights: np.ndarray,
    *,
    advance: Callable[[int], object] = lambda classes: None,
) -> np.ndarray:
    """AP of rows that count several times, as if each were repeated on the spot.

    Args:
        scores: (N, K).
        targets: (N, K), positive where above 0.
        videos: (N,) index of each row's video.
        weights: (B, V) int32, how often the rows of each video count.
        advance: Told how many classes are done.

    Returns:
        (B, K) float64; NaN where a draw holds no positive of a class.

    Raises:
        ValueError: See `average_precision`.
    """
    result = np.empty((len(weights), scores.shape[1]))
    harmonic = harmonic_numbers(weights, np.bincount(videos, minlength=weights.shape[1]))
    done = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for block, keys, positive in sort_keys(scores, targets):
            counted = partial(_one_class, videos=videos, weights=weights, harmonic=harmonic)
            for label, column in enumerate(pool.map(counted, keys, positive), start=block.start):
                result[:, label] = column
                done += 1
                advance(done)
    return result


def harmonic_numbers(weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """H(0), H(1), ... as far as `weighted_precision` needs them.

    Args:
        weights: (B, V) int32.
        rows: (V,) rows of each video.
    """
    most = int((weights.astype(np.int64) @ rows).max(initial=0))
    return np.concatenate(([0.0], np.cumsum(1 / np.arange(1, most + 1))))


def _one_class(
    keys: np.ndarray, positive: np.ndarray, videos: np.ndarray, weights: np.ndarray, harmonic: np.ndarray
) -> np.ndarray:
    """(B,) AP of one class."""
    if not positive.any():
        return np.full(len(weights), np.nan)
    order = ranking(keys)
    at = np.flatnonzero(positive[order])
    return weighted_precision(videos[order[: at[-1] + 1]], at, weights, harmonic)


def weighted_precision(
    ranked: np.ndarray, at: np.ndarray, weights: np.ndarray, harmonic: np.ndarray, counts: np.ndarray | None = None
) -> np.ndarray:
    """AP of one class from its ranking, under weights of the videos.

    A positive that counts w times behind R rows, P of them positive, adds the sum over i = 1..w of (P + i) / (R + i),
    which is w + (P - R) (H(R + w) - H(R)) with the harmonic numbers H.

    Args:
        ranked: (E,) video of each row from the best one to the last positive.
        at: (P,) where the positives stand in it, rising, at least one.
        weights: (B, V) int32, how often the rows of each video count.
        harmonic: See `harmonic_numbers`.
        counts: (E,) rows of that video that each entry stands for, 1 at the positives; None is one each.

    Returns:
        (B,) float64; NaN where a draw holds no positive.
    """
    ranked = ranked.astype(np.intp)
    theirs = ranked[at]
    begins = np.concatenate(([0], at[:-1] + 1))  # rows from one positive to the next are summed at once
    ap = np.empty(len(weights))
    step = max(1, _NUMBERS // len(ranked))
    for first in range(0, len(weights), step):
        part = weights[first : first + step]
        own = np.take(part, theirs, axis=1)
        # `clip` checks no index, which are all right: half the time of everything here.
        each = np.take(part, ranked, axis=1, mode="clip")
        if counts is not None:
            each *= counts
        upto = np.cumsum(np.add.reduceat(each, begins, axis=1), axis=1)
        found = np.cumsum(own, axis=1)
        added = own + (found - upto) * (np.take(harmonic, upto) - np.take(harmonic, upto - own))
        total = found[:, -1]
        ap[first : first + step] = np.where(total > 0, added.sum(axis=1) / np.maximum(total, 1), np.nan)
    return ap


def percentile_interval(values: np.ndarray) -> Interval | None:
    """Where `CONFIDENCE` of the draws that are no NaN lie; None where there are none."""
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    outside = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, (outside, 100 - outside))
    return float(low), float(high)
