"""Average precision without interpolation, as the Charades scripts and the per-frame literature define it.

Shape letters: N rows (frames), K classes.
"""

from typing import Any

import numpy as np

#: Columns copied at a time: one pass over a row-major matrix then reads whole cache lines, at 16/K of its memory.
_BLOCK = 16


def average_precision(scores: Any, targets: Any) -> np.ndarray:
    """Mean over the positives of a class of the precision at each of them, in the order of falling scores.

    Equal scores keep their row order (a stable sort), as in the official Charades script.

    Args:
        scores: (N, K) numbers, NumPy array or torch tensor on any device; -inf is allowed and ranks last.
        targets: (N, K), positive where above 0.

    Returns:
        (K,) float64 from 0 to 1; NaN for a class without a positive.

    Raises:
        ValueError: The shapes differ or are not two-dimensional, or a score is NaN.
    """
    scores, targets = _as_numpy(scores), _as_numpy(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and targets must both be (N, K), got {scores.shape} and {targets.shape}.")
    result = np.empty(scores.shape[1])
    for first in range(0, len(result), _BLOCK):
        block = slice(first, first + _BLOCK)
        keys = _sort_keys(scores[:, block], first)
        positive = np.ascontiguousarray(targets[:, block].T) > 0
        result[block] = [_one_class(*column) for column in zip(keys, positive, strict=True)]
    return result


def mean_ap(ap: np.ndarray) -> float:
    """Mean of (K,) average precisions over the classes that have a positive; NaN if none has."""
    defined = ap[~np.isnan(ap)]
    return float(defined.mean()) if defined.size else float("nan")


def weighted_ap(ap: np.ndarray, positives: np.ndarray) -> float:
    """Mean of (K,) average precisions weighted by the (K,) numbers of positives, as the official scripts compute it."""
    defined = ~np.isnan(ap)
    if not defined.any():
        return float("nan")
    return float(np.average(ap[defined], weights=positives[defined]))


def _as_numpy(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        if str(values.dtype) == "torch.bfloat16":  # NumPy has no such type; float32 holds each of its values
            values = values.float()
    return np.asarray(values)


def _sort_keys(scores: np.ndarray, first: int) -> np.ndarray:
    """Return (columns, N) negated scores in a type that sorts fast and keeps every value apart."""
    single = scores.dtype in (np.float32, np.float16)
    keys = np.array(scores.T, dtype=np.float32 if single else np.float64, order="C")
    undefined = np.isnan(keys).any(axis=1)
    if undefined.any():
        raise ValueError(f"scores of class {first + undefined.argmax()} contain NaN, which cannot be ranked.")
    return np.negative(keys, out=keys)


def _one_class(keys: np.ndarray, positive: np.ndarray) -> float:
    """AP of one class from (N,) sort keys, smallest first.

    Only the positives need a rank, so the negatives are sorted by value alone, which is several times faster than a
    stable sort of all rows; rows matter where a negative has exactly the score of a positive.
    """
    rows = np.flatnonzero(positive)
    if not rows.size:
        return float("nan")
    rows = rows[np.argsort(keys[rows], kind="stable")]
    hits = keys[rows]
    negatives = np.sort(keys[~positive])
    ahead = np.searchsorted(negatives, hits, side="left")
    tied = np.searchsorted(negatives, hits, side="right") > ahead
    if tied.any():
        ahead[tied] += _tied_ahead(keys, positive, hits[tied], rows[tied])
    count = np.arange(1, rows.size + 1)
    return float(np.mean(count / (count + ahead)))


def _tied_ahead(keys: np.ndarray, positive: np.ndarray, hits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For positives (their keys and rows), count the negatives of the same key that stand in an earlier row."""
    groups = np.unique(hits)
    slot = np.minimum(np.searchsorted(groups, keys), groups.size - 1)
    tied = np.flatnonzero((groups[slot] == keys) & ~positive)
    places = np.sort(slot[tied] * keys.size + tied)
    start = np.searchsorted(groups, hits) * keys.size
    return np.searchsorted(places, start + rows) - np.searchsorted(places, start)
