"""The videos that were scored best and worst, and their scores beside their actions.

Shape letters: N rows, L rows of a video, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssdet_cli.evaluation.error_types import united, video_parts
from ssdet_cli.evaluation.interface import SegmentLike
from ssdet_cli.evaluation.rows import Rows

#: Videos from each end.
VIDEOS = 3
#: Classes of a timeline that the video has, and that it has not but were found in it.
LANES, FALSE_LANES = 8, 3
#: Moments of a timeline at most; a part of the video that holds several shows the highest score.
MOMENTS = 240


def video_precision(rows: Rows) -> np.ndarray:
    """(V,) AP of each video by itself: mean over its classes of the AP among its rows; equal scores keep their order.

    Classes that go on in all its rows are left out: nothing can be ranked wrongly. NaN for a video without other ones,
    or without a score.
    """
    found = np.full(len(rows.video_ids), np.nan)
    for number, part in video_parts(rows.videos):
        scores, targets = rows.scores[part], rows.targets[part]
        there = np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0))
        if len(there) and not np.isneginf(scores).all():
            found[number] = _mean_precision(scores[:, there], targets[:, there])
    return found


def _mean_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    order = np.argsort(-scores, axis=0, kind="stable")
    hits = np.take_along_axis(targets, order, axis=0)
    precision = np.cumsum(hits, axis=0) / np.arange(1, len(hits) + 1)[:, None]
    return float(np.mean((precision * hits).sum(axis=0) / hits.sum(axis=0)))


def best_and_worst(
    rows: Rows, segments: Mapping[str, Sequence[SegmentLike]], thresholds: np.ndarray
) -> dict[str, Any] | None:
    """Videos by their own AP, of equal ones those with more positives first; None where rows are no moments.

    Args:
        rows: With video_ids and seconds.
        segments: Video id -> its actions.
        thresholds: (K,) scores from which on a class is found; +inf for a class that never is.
    """
    if not rows.video_ids or rows.seconds is None:
        return None
    precision = video_precision(rows)
    known = np.flatnonzero(~np.isnan(precision))
    if not len(known):
        return None
    positives = np.bincount(rows.videos, rows.targets.sum(axis=1), len(rows.video_ids))[known]
    falling = known[np.lexsort((known, -positives, -precision[known]))]
    rising = known[np.lexsort((known, -positives, precision[known]))]
    parts = dict(video_parts(rows.videos))
    draw = _Timelines(rows, thresholds)

    def told(number: int) -> dict[str, Any]:
        lanes = draw.of(parts[number], segments[rows.video_ids[number]])
        return {"video": rows.video_ids[number], "AP": float(precision[number]), **lanes}

    return {
        "ranked": len(known),
        "best": [told(number) for number in falling[: min(VIDEOS, (len(known) + 1) // 2)].tolist()],
        "worst": [told(number) for number in rising[: min(VIDEOS, len(known) // 2)].tolist()],
    }


class _Timelines:
    """Lanes of videos; the range of a class's scores in the whole set is looked up once."""

    def __init__(self, rows: Rows, thresholds: np.ndarray) -> None:
        self._rows, self._thresholds = rows, thresholds
        self._ranges: dict[int, tuple[float, float]] = {}

    def of(self, part: slice, segments: Sequence[SegmentLike]) -> dict[str, Any]:
        """What a drawing of one video shows."""
        scores, seconds, targets = self._rows.scores[part], self._rows.seconds[part], self._rows.targets[part]
        actions = united(segments)
        begin, end = float(seconds[0]), float(seconds[-1])
        end += (end - begin) / max(len(seconds) - 1, 1)  # the last row lasts as long as the others
        end = max([end, *(stop for _, _, stop in actions)])
        false = ((scores >= self._thresholds) & ~targets).sum(axis=0)
        own = list(dict.fromkeys(label for label, _, _ in sorted(actions, key=lambda one: (one[1], one[0]))))
        others = [label for label in np.argsort(-false, kind="stable").tolist() if false[label] and label not in own]
        lanes = []
        for label in (*own[:LANES], *others[:FALSE_LANES]):
            low, high = self._range(label)
            level = self._thresholds[label]
            lanes.append(
                {
                    "class": label,
                    "actions": [[start, stop] for one, start, stop in actions if one == label],
                    "false_rows": int(false[label]),
                    "scores": _thinned(_scaled(scores[:, label], low, high), seconds, begin, end),
                    "threshold": float(_scaled(level, low, high)) if np.isfinite(level) else None,
                }
            )
        hidden = max(0, len(own) - LANES), max(0, len(others) - FALSE_LANES)
        return {"begin": begin, "end": max(end, begin + 1e-3), "lanes": lanes, "hidden": list(hidden)}

    def _range(self, label: int) -> tuple[float, float]:
        if label not in self._ranges:
            column = self._rows.scores[:, label]
            column = column[np.isfinite(column)]
            self._ranges[label] = (float(column.min()), float(column.max())) if len(column) else (0.0, 1.0)
        return self._ranges[label]


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 at the lowest score of the class in the set, 1 at its highest; rows without a score are at 0."""
    if high <= low:
        return np.where(np.asarray(values) >= high, 0.5, 0.0)
    return np.clip((np.nan_to_num(np.asarray(values, np.float64), neginf=low, posinf=high) - low) / (high - low), 0, 1)


def _thinned(values: np.ndarray, seconds: np.ndarray, begin: float, end: float) -> list[list[float]]:
    """[second, value] of at most `MOMENTS` moments."""
    if len(values) > MOMENTS:
        place = np.minimum(((seconds - begin) / (end - begin) * MOMENTS).astype(np.int64), MOMENTS - 1)
        first = np.flatnonzero(np.diff(place, prepend=-1))
        values, seconds = np.maximum.reduceat(values, first), seconds[first]
    return [[round(time, 3), round(value, 3)] for time, value in zip(seconds.tolist(), values.tolist(), strict=True)]
