"""Putting the windows of a video together as they come: what no later window will change leaves at once."""

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor

from ssdet_cli.data.stream_windows import TimedWindow
from ssdet_cli.engine.predict import LOGITS

#: Takes (n,) seconds and (n, K) logits of frames that are done.
Sink = Callable[[np.ndarray, np.ndarray], None]


class RowJoin:
    """Mean of the logits (K, T) of a video's windows by what they count for; windows come in order.

    Holds the frames from the start of the latest window on, however long the video is.

    Args:
        sink: Told every frame once, in order.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._first = self._added = self._rows = 0
        self._seconds, self._counted = np.empty(0), np.empty(0, np.float32)
        self._sums: np.ndarray | None = None

    def add(self, window: TimedWindow, outputs: Mapping[str, Tensor]) -> bool:
        """Add a window's logits, and give away the frames before it."""
        logits = outputs[LOGITS].float().T.cpu().numpy()
        if self._sums is None:
            self._first, self._sums = window.start, np.empty((0, logits.shape[1]), np.float32)
        self._give(window.start - self._first)
        fresh = len(logits) - len(self._sums)
        self._sums = np.pad(self._sums, ((0, fresh), (0, 0))) + logits * window.weights[:, None]
        self._counted = np.pad(self._counted, (0, fresh)) + window.weights
        self._seconds = window.seconds
        self._added += 1
        if self._added != window.count:
            return False
        self._give(len(self._sums))
        return True

    def finish(self) -> int:
        """The number of frames."""
        return self._rows

    def discard(self) -> None:
        """Nothing is held outside."""

    def _give(self, count: int) -> None:
        if count:
            self._sink(self._seconds[:count], self._sums[:count] / self._counted[:count, None])
            self._seconds, self._counted = self._seconds[count:], self._counted[count:]
            self._sums, self._first, self._rows = self._sums[count:], self._first + count, self._rows + count
