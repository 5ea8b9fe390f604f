"""Which actions go on together, in truth and in what was found.

Shape letters: N rows, K classes, C of them chosen.
"""

from typing import Any

import numpy as np

#: Classes that are looked at: those with the most positive rows.
CLASSES = 20
_ROWS = 2**16


def together(scores: np.ndarray, targets: np.ndarray, thresholds: np.ndarray) -> dict[str, Any] | None:
    """Shares of the rows of one class in which another one is as well; None where less than two classes have rows.

    Args:
        scores: (N, K).
        targets: (N, K) bool.
        thresholds: (K,) scores from which on a class is found; +inf for a class that never is.

    Returns:
        `classes`: C indices, the most frequent first. `true`: of the rows where the class of a line goes on, those
        where the class of a column does, (C, C). `found`: of the rows where the first is found, those where the second
        is. `found_where_true`: of the rows where the first goes on, those where the second is found; its diagonal is
        the recall. None in place of a share of no rows.
    """
    positives = targets.sum(axis=0)
    chosen = np.argsort(-positives, kind="stable")[:CLASSES]
    chosen = chosen[positives[chosen] > 0]
    if len(chosen) < 2:
        return None
    true, found, mixed = (np.zeros((len(chosen),) * 2) for _ in range(3))
    for first in range(0, len(scores), _ROWS):
        part = slice(first, first + _ROWS)
        there = targets[part][:, chosen].astype(np.float32)
        seen = (scores[part][:, chosen] >= thresholds[chosen]).astype(np.float32)
        true += there.T @ there  # whole numbers below 2**24: exact
        found += seen.T @ seen
        mixed += there.T @ seen
    rows = np.diag(true)
    return {
        "classes": chosen.tolist(),
        "true": _shares(true, rows),
        "found": _shares(found, np.diag(found)),
        "found_where_true": _shares(mixed, rows),
    }


def _shares(both: np.ndarray, rows: np.ndarray) -> list[list[float | None]]:
    return [
        [round(float(count / total), 4) if total else None for count in line]
        for line, total in zip(both, rows, strict=True)
    ]
