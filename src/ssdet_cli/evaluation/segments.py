"""From scores of frames to actions with a begin and an end.

T scored frames, K classes. A frame is on screen from its own time until the next one's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

#: Rows that are looked at at a time: the scores of a long video are in a file, and stay there.
_ROWS = 4096


@dataclass(frozen=True)
class Segment:
    """One action that was found.

    Attributes:
        label: Name of the class.
        class_index: Its place among the classes, from 0.
        start: Seconds.
        end: Seconds; the segment is half-open, [start, end).
        score: Mean score of its frames.
    """

    label: str
    class_index: int
    start: float
    end: float
    score: float


def find_segments(
    scores: np.ndarray,
    seconds: np.ndarray,
    thresholds: np.ndarray | float,
    classes: Sequence[str],
    *,
    duration: float,
    min_length: float = 0.0,
    smooth: float = 0.0,
    rows: int = _ROWS,
) -> list[Segment]:
    """Find the longest runs of frames whose score reaches the threshold of their class.

    Args:
        scores: (T, K); NaN and infinities reach no threshold. May be mapped from a file: it is read once, part by part.
        seconds: (T,) start of every scored frame, rising.
        thresholds: (K,), or one for all.
        classes: K names.
        duration: When the last frame ends, seconds.
        min_length: Shorter segments are left out, seconds.
        smooth: Width of a centred moving average that the scores go through first, seconds.
        rows: Frames that are read at a time; the result does not depend on it.

    Returns:
        Segments by start, then class; between two of one class lies a frame below the threshold.
    """
    seconds = np.asarray(seconds, np.float64)
    edges = np.append(seconds, max(duration, seconds[-1])) if len(seconds) else seconds
    found = []
    for label, first, stop, mean in _runs(scores, np.asarray(thresholds), _odd(seconds, smooth), rows):
        start, end = float(edges[first]), float(edges[stop])
        if end > start and end - start >= min_length:
            found.append(Segment(classes[label], label, start, end, mean))
    return sorted(found, key=lambda segment: (segment.start, segment.class_index))


def _odd(seconds: np.ndarray, width: float) -> int:
    """Frames in a window of `width` seconds, an odd number."""
    if width <= 0 or len(seconds) < 2:
        return 1
    apart = float(seconds[-1] - seconds[0]) / (len(seconds) - 1)
    return 2 * int(width / apart / 2 + 1e-6) + 1


def _runs(scores: np.ndarray, thresholds: np.ndarray, width: int, rows: int) -> Iterator[tuple[int, int, int, float]]:
    """Yield (class, first frame, frame behind the last, mean score) of every run."""
    count = scores.shape[1] if scores.ndim == 2 else 0
    active, begun = np.zeros(count, bool), np.zeros(count, np.int64)
    total, at_begin = np.zeros(count), np.zeros(count)
    for first in range(0, len(scores), rows):
        part = _smoothed(scores, first, min(first + rows, len(scores)), width)
        known = np.isfinite(part)
        above = known & (part >= thresholds)
        before = np.vstack((active[None], above[:-1]))
        # Sum of all scores before each frame: a run's is the difference of two.
        sums = total + np.vstack((np.zeros(count), np.cumsum(np.where(known, part, 0), axis=0)))
        for row, label in np.argwhere(above != before):
            if above[row, label]:
                begun[label], at_begin[label] = first + row, sums[row, label]
            else:
                yield _run(label, begun[label], first + row, sums[row, label] - at_begin[label])
        active, total = above[-1], sums[-1]
    for label in np.flatnonzero(active):
        yield _run(label, begun[label], len(scores), total[label] - at_begin[label])


def _run(label: np.integer, first: np.integer, stop: int, total: float) -> tuple[int, int, int, float]:
    return int(label), int(first), int(stop), float(total / (stop - first))


def _smoothed(scores: np.ndarray, first: int, stop: int, width: int) -> np.ndarray:
    """Rows [first, stop) as float64, each the mean of what is known in the `width` rows around it."""
    if width == 1:
        return np.asarray(scores[first:stop], np.float64)
    half = width // 2
    begin, end = max(0, first - half), min(len(scores), stop + half)
    part = np.asarray(scores[begin:end], np.float64)
    finite = np.isfinite(part)
    known = _sums_before(finite)
    sums = _sums_before(np.where(finite, part, 0))
    frames = np.arange(first, stop)
    low, high = np.maximum(frames - half, begin) - begin, np.minimum(frames + half + 1, end) - begin
    count = known[high] - known[low]
    return np.where(count > 0, (sums[high] - sums[low]) / np.maximum(count, 1), np.nan)


def _sums_before(rows: np.ndarray) -> np.ndarray:
    """(n + 1, K): sum of all rows before each, and of all."""
    return np.vstack((np.zeros(rows.shape[1]), np.cumsum(rows, axis=0, dtype=np.float64)))


def _apart(seconds: np.ndarray) -> np.ndarray:
    """(T - 1,) steps of (T,) times that smoothing never reaches across; T at least 2."""
    steps = np.diff(seconds)
    return steps > 2 * np.median(steps)


def smoothing_reaches(seconds: np.ndarray, width: float) -> bool:
    """Whether `smoothed_scores` takes more than one of (T,) rows together, where all have scores."""
    seconds = np.asarray(seconds, np.float64)
    if len(seconds) < 2:
        return False
    stretches = np.split(seconds, np.flatnonzero(_apart(seconds)) + 1)
    return any(_odd(stretch, width) > 1 for stretch in stretches)


def smoothed_scores(scores: np.ndarray, seconds: np.ndarray, width: float) -> np.ndarray:
    """Replace scores by a centred moving average over `width` seconds, the one that `find_segments` looks at.

    It never reaches across a gap: a step in time of more than twice the usual one, or rows without a score (-inf),
    which stay as they are.

    Args:
        scores: (T, K), without NaN.
        seconds: (T,) their times, rising.
        width: Seconds; where it is shorter than two steps in time, nothing changes.

    Returns:
        (T, K) float64.
    """
    seconds = np.asarray(seconds, np.float64)
    result = np.array(scores, np.float64)
    if len(seconds) < 2:
        return result
    known = np.isfinite(result)
    apart = _apart(seconds)
    alike = (known == known[:, :1]).all()
    for columns in [slice(None)] if alike else [slice(label, label + 1) for label in range(result.shape[1])]:
        held = known[:, columns][:, 0]
        borders = np.flatnonzero(apart | (held[1:] != held[:-1])) + 1
        for first, stop in zip([0, *borders], [*borders, len(seconds)], strict=True):
            if held[first]:
                part = result[first:stop, columns]
                result[first:stop, columns] = _smoothed(part, 0, stop - first, _odd(seconds[first:stop], width))
    return result
