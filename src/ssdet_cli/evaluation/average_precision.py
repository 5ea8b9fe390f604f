"""Average precision without interpolation, as the Charades scripts and the per-frame literature define it.

Shape letters: N rows (frames), K classes.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

#: Columns copied at a time: one pass over a row-major matrix then reads whole cache lines, at 16/K of its memory.
_BLOCK = 16
#: NumPy lets other threads run while it sorts.
_THREADS = min(4, os.cpu_count() or 1)


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
    with ThreadPoolExecutor(_THREADS) as pool:
        for first in range(0, len(result), _BLOCK):
            block = slice(first, first + _BLOCK)
            keys = _sort_keys(scores[:, block], first)
            positive = np.ascontiguousarray(targets[:, block].T) > 0
            result[block] = list(pool.map(_one_class, keys, positive))
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
    np.negative(keys, out=keys)
    keys += 0.0  # makes -0.0 and 0.0 the same bits
    return keys


def _one_class(keys: np.ndarray, positive: np.ndarray) -> float:
    """AP of one class from (N,) sort keys, smallest first."""
    if not positive.any():
        return float("nan")
    order = _order_single(keys) if keys.dtype == np.float32 else _order_double(keys)
    rank = np.flatnonzero(positive[order]) + 1
    return float(np.mean(np.arange(1, rank.size + 1) / rank))


def _order_single(keys: np.ndarray) -> np.ndarray:
    """Stable order of float32 keys: sorts integers made of key and row, which is twice as fast as a stable argsort."""
    bits = keys.view(np.uint32)
    # IEEE numbers order like integers once the sign bit is flipped, and all bits where it was set.
    bits = np.where(keys < 0, ~bits, bits | np.uint32(1 << 31))
    packed = bits.astype(np.uint64) << np.uint64(32)
    packed |= np.arange(keys.size, dtype=np.uint64)
    packed.sort()
    return packed.astype(np.uint32)


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
