"""Average precision without interpolation, as the Charades scripts and the per-frame literature define it.

Shape letters: N rows (frames), K classes.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Literal

import numpy as np

#: What becomes of rows with equal scores, see `average_precision`.
Ties = Literal["order", "together"]
#: Columns copied at a time: one pass over a row-major matrix then reads whole cache lines, at 16/K of its memory.
_BLOCK = 16
#: Rows that go through several steps at a time, which then find them in the cache.
_ROWS = 8192
#: NumPy lets other threads run while it sorts.
THREADS = min(8, os.cpu_count() or 1)


def average_precision(scores: Any, targets: Any, *, ties: Ties = "order") -> np.ndarray:
    """Mean over the positives of a class of the precision at each of them, in the order of falling scores.

    Args:
        scores: (N, K) numbers, NumPy array or torch tensor on any device; -inf is allowed and ranks last.
        targets: (N, K), positive where above 0.
        ties: `order`: equal scores keep their row order (a stable sort), as in the official Charades script.
            `together`: rows of equal score enter the ranking at once, as scikit-learn has it.

    Returns:
        (K,) float64 from 0 to 1; NaN for a class without a positive.

    Raises:
        ValueError: The shapes differ or are not two-dimensional, or a score is NaN.
    """
    scores, targets = _as_numpy(scores), _as_numpy(targets)
    result = np.empty(scores.shape[1] if scores.ndim == 2 else 0)
    with ThreadPoolExecutor(THREADS) as pool:
        for block, keys, positive in sort_keys(scores, targets):
            result[block] = list(pool.map(partial(_one_class, ties=ties), keys, positive))
    return result


def sort_keys(scores: np.ndarray, targets: np.ndarray) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
    """Yield (columns, (columns, N) keys that rise as scores fall, (columns, N) bool targets), some classes at a time.

    Raises:
        ValueError: See `average_precision`.
    """
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(f"scores and targets must both be (N, K), got {scores.shape} and {targets.shape}.")
    for first in range(0, scores.shape[1], _BLOCK):
        block = slice(first, first + _BLOCK)
        yield block, _sort_keys(scores[:, block], first), _turned(targets[:, block] > 0, bool)


def ranking(keys: np.ndarray) -> np.ndarray:
    """Stable order of the (N,) keys of one class."""
    if keys.dtype == np.float32:
        return (_packed(keys, np.zeros(keys.size, bool)).astype(np.uint32) >> 1).astype(np.intp)
    return _order_double(keys)


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
    single = scores.dtype in (np.float32, np.float16) and len(scores) < 2**31
    keys = _turned(scores, np.float32 if single else np.float64)
    for label, column in enumerate(keys, start=first):
        np.subtract(0, column, out=column)  # and -0.0 becomes 0.0, the same bits
        if np.isnan(column.min(initial=0)):  # which a minimum passes on
            raise ValueError(f"scores of class {label} contain NaN, which cannot be ranked.")
    return keys


def _turned(values: np.ndarray, dtype: type) -> np.ndarray:
    """(N, columns) -> (columns, N), some rows at a time: whole cache lines are read and written."""
    turned = np.empty(values.shape[::-1], dtype)
    for row in range(0, len(values), _ROWS):
        turned[:, row : row + _ROWS] = values[row : row + _ROWS].T
    return turned


def _one_class(keys: np.ndarray, positive: np.ndarray, ties: Ties) -> float:
    """AP of one class from (N,) sort keys, smallest first."""
    count = np.count_nonzero(positive)
    if not count:
        return float("nan")
    if ties == "together":
        own = np.sort(keys[positive])
        found, rank = np.searchsorted(own, own, "right"), np.searchsorted(np.sort(keys), own, "right")
        return float(np.mean(found / rank))
    rank = _ranks_single(keys, positive) if keys.dtype == np.float32 else _ranks_double(keys, positive)
    return float(np.mean(np.arange(1, count + 1) / rank))


def _packed(keys: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Sorted integers made of the bits of float32 keys, the row (31 bits) and whether it is positive (1 bit).

    Integers sort several times as fast as a stable argsort runs, and what they carry need not be looked up by row.
    """
    packed = np.empty(keys.size, np.uint64)
    for row in range(0, keys.size, _ROWS):
        part = slice(row, row + _ROWS)
        bits, signs = keys[part].view(np.uint32), keys[part].view(np.int32) >> 31
        # IEEE numbers order like integers once the sign bit is flipped, and all bits where it was set.
        np.left_shift(bits ^ (signs.view(np.uint32) | np.uint32(1 << 31)), np.uint64(32), out=packed[part])
        packed[part] |= np.arange(2 * row, 2 * (row + bits.size), 2, dtype=np.uint64)
        packed[part] |= positive[part]
    packed.sort()
    return packed


def _ranks_single(keys: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Ranks of the positives, from 1, rising."""
    return np.flatnonzero(_packed(keys, positive) & np.uint64(1)) + 1


def _ranks_double(keys: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Ranks of the positives, from 1, rising; values are sorted, and rows only where they decide."""
    ranked, own = np.sort(keys), np.sort(keys[positive])
    above, own_above = np.searchsorted(ranked, own), np.searchsorted(own, own)
    equal = np.searchsorted(ranked, own, "right") - above
    if (equal == np.searchsorted(own, own, "right") - own_above).all():
        return above + np.arange(own.size) - own_above + 1
    return np.flatnonzero(positive[_order_double(keys)]) + 1


def _order_double(keys: np.ndarray) -> np.ndarray:
    """Stable order of float64 keys: a fast argsort, then rows put in order within each run of equal keys."""
    order = np.argsort(keys)
    ranked = keys[order]
    equal = ranked[1:] == ranked[:-1]
    if equal.any():
        tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
        run = np.cumsum(np.insert(~equal, 0, True))[tied] * keys.size
        order[tied] = np.sort(run + order[tied]) - run
    return order
