"""The score from which on a class counts as present."""

import numpy as np

#: Where nothing better is known.
DEFAULT = 0.5


def best_f1_thresholds(scores: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The threshold of every class that gives the highest F1 over all frames.

    It lies half-way between the lowest score that counts as present and the next one below, so that it does not hang
    on the last digit of one frame.

    Args:
        scores: (N, K) probabilities.
        targets: (N, K) bool.

    Returns:
        (K,) float64; 0.5 for a class that is in no frame, or in every one.
    """
    return np.array([_best(scores[:, label], targets[:, label]) for label in range(scores.shape[1])], np.float64)


def _best(scores: np.ndarray, targets: np.ndarray) -> float:
    positives = int(targets.sum())
    if positives in (0, len(targets)):
        return DEFAULT
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order].astype(np.float64)
    hits = np.cumsum(targets[order])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + positives)
    # Equal scores are all present or all absent.
    f1[:-1][ranked[1:] == ranked[:-1]] = -1
    last = int(np.argmax(f1))
    below = ranked[last + 1] if last + 1 < len(ranked) else ranked[last]
    return float((ranked[last] + below) / 2)
