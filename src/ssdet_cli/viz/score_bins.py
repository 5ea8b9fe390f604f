"""What pictures need of the scores of a long video: as many values as there are pixels, and the classes that matter.

T scored frames, K classes, N bins of equal length in time. A score holds from its frame's time to the next one's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

#: Rows that are read at a time: the scores of a long video may lie in a file.
_ROWS = 4096
#: Full heights of a row that are easy to read off.
_HEIGHTS = (0.05, 0.1, 0.2, 0.5, 1.0)


class Found(Protocol):
    """An action that was found; attributes as in `evaluation.segments.Segment`: seconds, [start, end)."""

    label: str
    class_index: int
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Bins:
    """Scores over equal parts of a time.

    Attributes:
        peak: (K, N) float32, the highest score in a bin; NaN where nothing was scored.
        mean: (K, N) float32, their mean.
    """

    peak: np.ndarray
    mean: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """(K,) highest score of all; -1 for a class without any."""
        best = np.fmax.reduce(self.peak, axis=1, initial=np.nan)
        return np.where(np.isnan(best), -1.0, best)


def check_scores(scores: np.ndarray, seconds: np.ndarray, classes: Sequence[str], top_k: int) -> None:
    """See that what is to be drawn fits together.

    Raises:
        ValueError: It does not, or `top_k` is below 1.
    """
    if np.ndim(scores) != 2 or np.shape(scores) != (len(seconds), len(classes)):
        told = f"{len(seconds)} times and {len(classes)} classes"
        raise ValueError(f"{told} for scores of shape {np.shape(scores)}; need (T, K).")
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}.")


def scored_span(seconds: np.ndarray, duration: float) -> tuple[float, float]:
    """Return from when to when there are scores, seconds: the whole video but for what was left out of it.

    Args:
        seconds: (T,) start of every scored frame, rising.
        duration: Of the video.
    """
    if not len(seconds):
        return 0.0, max(duration, 1e-3)
    first, last = float(seconds[0]), float(seconds[-1])
    apart = (last - first) / (len(seconds) - 1) if len(seconds) > 1 else duration
    begin = first if first > 1.5 * apart else 0.0
    # A video's end rarely falls on the end of a scored frame.
    end = duration if last <= duration <= last + 2.5 * apart else last + apart
    return begin, max(end, begin + 1e-3)


def bin_scores(scores: np.ndarray, seconds: np.ndarray, begin: float, end: float, bins: int) -> Bins:
    """Reduce scores to `bins` equal parts of [begin, end); reads them part by part and never copies them all.

    Args:
        scores: (T, K); NaN is a frame without a score. May be mapped from a file.
        seconds: (T,) start of every scored frame, rising.
        begin: Seconds.
        end: Seconds.
        bins: N.
    """
    edges = np.linspace(begin, end, bins + 1)
    # A bin has the frame that is on screen at its start, and those that appear within it.
    slack = 1e-9 * max(1.0, abs(end))
    first = np.searchsorted(seconds, edges[:-1] + slack, side="right") - 1
    stop = np.searchsorted(seconds, edges[1:] - slack, side="left")
    peak = np.full((bins, scores.shape[1]), np.nan, np.float32)
    mean = peak.copy()
    for place, (low, high) in enumerate(zip(first.clip(min=0).tolist(), stop.tolist(), strict=True)):
        if high > low:
            peak[place], mean[place] = _reduced(scores, low, high)
    return Bins(peak.T, mean.T)


def _reduced(scores: np.ndarray, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
    """Highest and mean score of the rows [low, high): (K,) each."""
    count = scores.shape[1]
    peak, total, known = np.full(count, np.nan, np.float32), np.zeros(count), np.zeros(count)
    for row in range(low, high, _ROWS):
        part = np.asarray(scores[row : min(row + _ROWS, high)], np.float32)
        peak = np.fmax(peak, np.fmax.reduce(part, axis=0))
        total += np.nansum(part, axis=0, dtype=np.float64)
        known += (~np.isnan(part)).sum(axis=0)
    return peak, np.divide(total, known, out=np.full(count, np.nan), where=known > 0)


def rank_classes(best: np.ndarray, segments: Sequence[Found], top_k: int) -> list[int]:
    """Return the `top_k` classes that matter: those with segments first, then by their highest score.

    Args:
        best: (K,) highest score of every class.
        segments: What was found.
        top_k: At least 1; all classes if there are fewer.
    """
    found = {segment.class_index for segment in segments}
    return sorted(range(len(best)), key=lambda label: (label not in found, -best[label], label))[:top_k]


def full_height(best: np.ndarray) -> float:
    """Return the score that fills a row: 1, or less where all scores stay far below it and would not be seen."""
    highest = float(np.max(best, initial=0.0))
    return next((height for height in _HEIGHTS if highest <= height), 1.0)
