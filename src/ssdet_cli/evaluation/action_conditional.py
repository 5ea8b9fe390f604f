"""Action-conditional metrics: how well a class is found where another one is, or was just before.

Tirupattur et al., "Modeling Multi-Label Action Dependencies for Temporal Action Localization", CVPR 2021, section 4;
reported by PDAN (Dai et al., WACV 2021) and MS-TCT (Dai et al., CVPR 2022). Where the text leaves something open, this
is what the authors' code computes, which gave the numbers of those papers: the window of tau > 0 is the row itself and
the tau - 1 rows before it; a pair counts where its second class follows the first at least once; precision, recall
and AP are averaged over the pairs, and F1 is made of the averages; equal scores are taken together.

Shape letters: N rows, K classes.
"""

import numpy as np

from ssdet_cli.evaluation.average_precision import average_precision
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import RecordLike, VideoScores
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.evaluation.thresholds import DEFAULT

#: Rows to look back, 0 is at the same time.
TAUS = (0, 20, 40)
#: Frames in a row: those of a feature of the I3D networks that the papers stand on.
STEP = 8
_ROWS = 2**16


class ActionConditional(FrameMap):
    """`action-conditional`: precision, recall, F1 and mAP of pairs of classes, at tau = 0, 20 and 40 rows."""

    name = "action-conditional"
    conventions = (
        "A row every 8 frames; an action is present strictly between its start and end, and found where its score is "
        "0.5 or more; tau in rows. Of each pair (i, j), i unlike j, rows where j is present (tau 0), or is not and was "
        "within the tau - 1 rows before; averaged over the pairs of which i is there in such a row; F1 is of the mean "
        "precision and recall; equal scores are taken together. The mAP beside them is over all rows, over classes "
        "that have a positive. Missing videos have no rows and are listed."
    )

    def frame_seconds(self, record: RecordLike, scores: VideoScores | None = None) -> np.ndarray:
        """(L,) times of every eighth frame of the decoded video.

        Raises:
            ValueError: `scores` is None; only the decoded video knows its frames.
        """
        return super().frame_seconds(record, scores)[::STEP]

    def measures(self, rows: Rows) -> dict[str, float]:
        """`precision`, `recall`, `F1` and `mAP` at each tau, of rows whose scores are probabilities."""
        return {f"{name}@tau={tau}": value for tau in TAUS for name, value in conditional(rows, tau).items()}


def conditional(rows: Rows, tau: int, threshold: float = DEFAULT) -> dict[str, float]:
    """`precision`, `recall`, `F1` and `mAP` at one tau; NaN where there is no pair.

    Args:
        rows: Scores and labels in the order of time within each video.
        tau: Rows of the window, see above.
        threshold: Score from which on a class is found.
    """
    given = preceded(rows.targets, rows.videos, tau) if tau else rows.targets
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
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"precision": precision, "recall": recall, "F1": f1, "mAP": _mean_ap(rows, given, pairs)}


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
