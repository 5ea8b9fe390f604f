"""What happens in a video, shown while it is read: a table in a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

_BAR = 30
#: Seconds between two lines where the output is no terminal.
_PAUSE = 10.0


class LiveView:
    """Shows the highest scores of the latest frame; a context manager.

    Args:
        console: Where; None is silent.
        name: Of the video.
        classes: K names.
        top_k: Classes to show.
        duration: Of the video, seconds; None where it has no end.
        clock: Seconds that pass.
    """

    def __init__(
        self,
        console: Console | None,
        name: str,
        classes: Sequence[str],
        top_k: int,
        duration: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._name, self._classes, self._top_k = console, name, classes, top_k
        self._duration, self._clock, self._last = duration, clock, clock()
        self._live: Live | None = None

    def __enter__(self) -> "LiveView":
        if self._console is not None and self._console.is_terminal:
            self._live = Live(console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, seconds: np.ndarray, scores: np.ndarray) -> None:
        """Show the last of (n,) times and (n, K) scores."""
        if self._live is not None:
            self._live.update(self._table(float(seconds[-1]), scores[-1]))
        elif self._console is not None and self._clock() - self._last >= _PAUSE:
            self._last = self._clock()
            told = ", ".join(f"{self._classes[label]} {scores[-1, label]:.2f}" for label in self._top(scores[-1])[:3])
            line = f"{self._name}: {self._position(float(seconds[-1]))}  {told}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _top(self, scores: np.ndarray) -> list[int]:
        return np.argsort(-scores, kind="stable")[: self._top_k].tolist()

    def _position(self, seconds: float) -> str:
        return clock(seconds) if self._duration is None else f"{clock(seconds)} of {clock(self._duration)}"

    def _table(self, seconds: float, scores: np.ndarray) -> Table:
        table = Table(
            title=Text(f"{self._name}  {self._position(seconds)}"), title_justify="left", box=None, show_header=False
        )
        for label in self._top(scores):
            full = round(float(scores[label]) * _BAR)
            table.add_row(Text(self._classes[label]), Text("━" * full, "cyan"), f"{scores[label]:.2f}")
        return table


def clock(seconds: float) -> str:
    """`1:02:03`, and `2:03` below an hour."""
    whole = int(seconds)
    hours, rest = f"{whole // 3600}:" if whole >= 3600 else "", whole % 3600
    return f"{hours}{rest // 60:0{2 if hours else 1}d}:{rest % 60:02d}"
