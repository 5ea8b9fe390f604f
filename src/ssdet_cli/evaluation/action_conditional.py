"""Action-conditional metrics: how well a class is found where another one is, or was just before.

Tirupattur et al., "Modeling Multi-Label Action Dependencies for Temporal Action Localization", CVPR 2021, section 4;
reported by PDAN (Dai et al., WACV 2021) and MS-TCT (Dai et al., CVPR 2022). Where the text leaves something open, this
is what the authors' code computes, which gave the numbers of those papers: the window of tau > 0 is the row itself and
the tau - 1 rows before it; a pair counts where its second class follows the first at least once; precision, recall
and AP are averaged over the pairs, and F1 is made of the averages; equal scores are taken together.

tau counts rows, which are features of eight frames in those papers. They take them of Charades at 24 frames per second,
so that a row stands for a third of a second, and does here whatever the rate of a file.

Shape letters: N rows, K classes, V videos, B draws of them.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.average_precision import average_precision
from ssdet_cli.evaluation.bootstrap import Advance, Draws, RowResampling, draw_blocks
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import ByVideo, RecordLike, VideoScores, VideoSetLike
from ssdet_cli.evaluation.row_times import AbsentRows, absent_rows, grid_step
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.evaluation.thresholds import DEFAULT

#: Rows to look back, 0 is at the same time.
TAUS = (0, 20, 40)
#: Rows per second: features of eight frames of the I3D networks that the papers stand on, at 24 frames per second.
RATE = 24 / 8
_ROWS = 2**16
#: Rows of a file may be this part of a step nearer to each other or further apart: features of eight frames at 25 per
#: second are 4 % nearer.
_TOLERANCE = 0.05


class ActionConditional(FrameMap):
    """`action-conditional`: precision, recall, F1 and mAP of pairs of classes, at tau = 0, 20 and 40 rows."""

    name = "action-conditional"
    conventions = (
        "A row every 8/24 s; an action is present strictly between its start and end, and found where its score is 0.5 "
        "or more; tau in rows. Of each pair (i, j), i unlike j, rows where j is present (tau 0), or is not and was "
        "within the tau - 1 rows before; averaged over the pairs of which i is there in such a row; F1 is of the mean "
        "precision and recall; equal scores are taken together. The mAP beside them is over all rows, over classes "
        "that have a positive. Missing videos have no rows and are listed."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(L,) times 0, 1/3, 2/3, ... s, as long as there are frames; those of every eighth frame at 24 per second.

        Raises:
            ValueError: `scores` is None; only the decoded video knows its frames.
        """
        frames = super().frame_seconds(record, scores)
        return np.arange(int(frames[-1] * RATE + 1e-6) + 1) / RATE if len(frames) else frames

    def absent_rows(self, path: Path, records: Sequence[RecordLike], seconds: ByVideo) -> AbsentRows:
        """Rows that a file leaves out of the places 0, 1/3, 2/3, ... s.

        Raises:
            DataError: Rows of a video are not 8/24 s apart, or a multiple of it: tau counts them.
        """
        steps = {one.video_id: 1 / RATE for one in records}
        for video_id in steps:
            apart = grid_step(seconds[video_id])
            if apart is None:
                continue
            many = max(1, round(apart * RATE))
            if abs(apart * RATE - many) > _TOLERANCE:
                raise DataError(
                    f"{path}: rows of '{video_id}' are {apart:.3g} s apart, and those of {self.name} are 8/24 s apart, "
                    "as tau counts rows; give a file of this protocol."
                )
            steps[video_id] = apart / many
        return absent_rows(path, records, seconds, steps, late=0.5)

    def measures(self, rows: Rows) -> dict[str, float]:
        """`precision`, `recall`, `F1` and `mAP` at each tau, of rows whose scores are probabilities."""
        return {f"{name}@tau={tau}": value for tau in TAUS for name, value in conditional(rows, tau).items()}

    def resampling(
        self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None
    ) -> "PairResampling":
        """The rows, and what is measured of pairs of classes in them; see `score`."""
        return PairResampling(self.rows(video_set, predictions, seconds))


@dataclass(frozen=True)
class PairResampling(RowResampling):
    """AP of rows, and the measures of pairs of classes; see `bootstrap.Resampling`."""

    @property
    def steps(self) -> int:
        """One a class for AP, and for the measures at each tau."""
        return (1 + len(TAUS)) * super().steps

    def draw(self, weights: np.ndarray, advance: Advance = lambda done: None) -> Draws:
        """See `resampled_conditional`."""
        ap, count, measures = super().draw(weights, advance).ap, super().steps, {}
        for number, tau in enumerate(TAUS, start=1):
            found = resampled_conditional(
                self.rows, tau, weights, advance=lambda done, before=number * count: advance(before + done)
            )
            measures |= {f"{name}@tau={tau}": values for name, values in found.items()}
        return Draws(ap, measures)


def conditional(rows: Rows, tau: int, threshold: float = DEFAULT) -> dict[str, float]:
    """`precision`, `recall`, `F1` and `mAP` at one tau; NaN where there is no pair.

    Args:
        rows: Scores and labels in the order of time within each video.
        tau: Rows of the window, see above.
        threshold: Score from which on a class is found.
    """
    given = _given(rows, tau)
    found, present, both = (np.zeros((rows.scores.shape[1],) * 2) for _ in range(3))
    for first in range(0, len(given), _ROWS):
        part = slice(first, first + _ROWS)
        of, is_found, there = given[part].astype(np.float32), rows.scores[part] >= threshold, rows.targets[part]
        for total, which in ((found, is_found), (present, there), (both, is_found & there)):
            total += which.T.astype(np.float32) @ of  # whole numbers below 2**24: exact
    pairs = present > 0
    np.fill_diagonal(pairs, False)
    if not pairs.any():
        return dict.fromkeys(("precision", "recall", "F1", "mAP"), float("nan"))
    precision = float(np.mean(both[pairs] / np.maximum(found[pairs], 1)))
    recall = float(np.mean(both[pairs] / present[pairs]))
    f1 = float(_f1(precision, recall))
    return {"precision": precision, "recall": recall, "F1": f1, "mAP": _mean_ap(rows, given, pairs)}


def _given(rows: Rows, tau: int) -> np.ndarray:
    """(N, K) bool: where class j of a pair (i, j) was, see above."""
    return preceded(rows.targets, rows.videos, tau) if tau else rows.targets


def _f1(precision: np.ndarray | float, recall: np.ndarray | float) -> np.ndarray:
    both = np.add(precision, recall)
    return np.divide(2 * np.multiply(precision, recall), both, out=np.zeros_like(both), where=both != 0)


def preceded(targets: np.ndarray, videos: np.ndarray, tau: int) -> np.ndarray:
    """(N, K) bool: a class is absent from a row, and present in one of the tau - 1 rows before it of the same video."""
    before = np.concatenate((np.zeros((1, targets.shape[1]), np.int32), np.cumsum(targets, axis=0, dtype=np.int32)))
    row = np.arange(len(targets))
    start = np.maximum(row - tau + 1, np.searchsorted(videos, videos))
    return (before[row + 1] > before[start]) & ~targets


def _mean_ap(rows: Rows, given: np.ndarray, pairs: np.ndarray) -> float:
    """Mean over the pairs of the AP of their first class among the rows of their second."""
    total = 0.0
    for second in np.flatnonzero(pairs.any(axis=0)):
        at, first = np.flatnonzero(given[:, second]), np.flatnonzero(pairs[:, second])
        place = np.ix_(at, first)
        total += average_precision(rows.scores[place], rows.targets[place], ties="together").sum()
    return float(total / pairs.sum())


def resampled_conditional(
    rows: Rows,
    tau: int,
    weights: np.ndarray,
    threshold: float = DEFAULT,
    *,
    advance: Advance = lambda done: None,
) -> Mapping[str, np.ndarray]:
    """What `conditional` says where videos count several times.

    Args:
        rows: See `conditional`.
        tau: See `conditional`.
        weights: (B, V) int32, how often the rows of each video count.
        threshold: See `conditional`.
        advance: Told how many classes are done.

    Returns:
        Name -> (B,); NaN where a draw has no pair.
    """
    given = _given(rows, tau)
    sums = np.zeros((4, len(weights)))  # of precision, recall and AP over the pairs of a draw, and the pairs
    measured = partial(_after, rows, given, weights=weights, threshold=threshold)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done, part in enumerate(pool.map(measured, range(given.shape[1])), start=1):
            sums += part
            advance(done)
    with np.errstate(invalid="ignore"):
        precision, recall, ap = sums[:3] / sums[3]
    return {"precision": precision, "recall": recall, "F1": _f1(precision, recall), "mAP": ap}


def _after(rows: Rows, given: np.ndarray, second: int, *, weights: np.ndarray, threshold: float) -> np.ndarray:
    """(4, B) sums over the pairs of one second class: precision, recall, AP, pairs."""
    sums = np.zeros((4, len(weights)))
    at = np.flatnonzero(given[:, second])
    firsts = np.flatnonzero(rows.targets[at].any(axis=0))
    firsts = firsts[firsts != second]
    if not len(firsts):
        return sums
    scores, targets = (values[np.ix_(at, firsts)] for values in (rows.scores, rows.targets))
    starts = np.flatnonzero(np.diff(rows.videos[at], prepend=-1))
    # Whole numbers, and exact: float32 holds those below 2**24.
    kind = np.float32 if int(weights.max(initial=0)) * len(at) < 2**24 else np.float64
    own = weights[:, rows.videos[at][starts]].astype(kind)
    hits = scores >= threshold
    counts = (np.add.reduceat(which, starts, axis=0, dtype=kind) for which in (hits, targets, hits & targets))
    found, present, both = ((own @ count).astype(np.float64) for count in counts)
    sums[0] = (both / np.maximum(found, 1)).sum(axis=1)
    sums[1] = (both / np.maximum(present, 1)).sum(axis=1)
    video = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(at)))
    for score, target in zip(scores.T, targets.T, strict=True):
        sums[2] += _tied_precision(score, target, video, own)
    sums[3] = (present > 0).sum(axis=1)
    return sums


def _tied_precision(scores: np.ndarray, targets: np.ndarray, videos: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(B,) AP of (n,) rows of one class, some of them positive, equal scores taken together; 0 without a positive.

    Rows between two positives count as one: how many there are in each video decides, and not which.
    """
    levels = np.unique(scores[targets])
    size = (weights.shape[1], len(levels) + 1)
    place = videos * size[1] + np.searchsorted(levels, scores, "right")
    rows, positives = (
        np.bincount(places, minlength=size[0] * size[1]).reshape(size)[:, :0:-1].astype(weights.dtype)
        for places in (place, place[targets])
    )
    holding = np.flatnonzero(positives.any(axis=1))  # few videos, mostly
    positives = positives[holding]
    ap = np.empty(len(weights))
    for part in draw_blocks(len(weights), len(levels)):
        rank = np.cumsum(weights[part] @ rows, axis=1, dtype=np.float64)
        own = weights[part, holding] @ positives
        found = np.cumsum(own, axis=1, dtype=np.float64)
        ap[part] = (own * found / np.maximum(rank, 1)).sum(axis=1) / np.maximum(found[:, -1], 1)
    return ap
