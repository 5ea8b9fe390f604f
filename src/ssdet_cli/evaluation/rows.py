"""What a protocol ranks.

Shape letters: N ranked rows, K classes.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Rows:
    """Rows in annotation order.

    Attributes:
        scores: (N, K); -inf where there is none.
        targets: (N, K) bool.
        videos: (N,) int64, number of the video that each row is of, from 0 and rising.
        absent: AP of a class without a positive row; NaN leaves it out of the mean.
        video_ids: Names of those videos; empty where a protocol does not say them.
        seconds: (N,) time of each row, rising within a video; None where rows are no moments.
    """

    scores: np.ndarray
    targets: np.ndarray
    videos: np.ndarray
    absent: float = float("nan")
    video_ids: tuple[str, ...] = ()
    seconds: np.ndarray | None = None
