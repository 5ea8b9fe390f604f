"""What happens in a video, shown while it is read: a table in a terminal, lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

_BAR = 30
#: Seconds between two lines where the output is no terminal.
_PAUSE = 10.0
#: Seconds from one preliminary score to the next in a terminal.
_REFRESH = 1.0


class LiveView:
    """Shows how far a video is read, and the highest scores of the latest frame that has some; a context manager.

    Args:
        console: Where; None is silent.
        name: Of the video.
        classes: K names.
        top_k: Classes to show.
        duration: When the part of the video that is read ends, seconds; None where it has no end.
        start: When that part begins, seconds.
        clock: Seconds that pass.
    """

    def __init__(
        self,
        console: Console | None,
        name: str,
        classes: Sequence[str],
        top_k: int,
        duration: float | None,
        start: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._name, self._classes, self._top_k = console, name, classes, top_k
        self._duration, self._start, self._clock = duration, start, clock
        self._began = self._last = self._now = clock()
        self._read = start
        self._found: tuple[float, np.ndarray, str] | None = None
        self._live: Live | None = None

    def __enter__(self) -> "LiveView":
        if self._console is not None and self._console.is_terminal:
            self._live = Live(
                console=self._console, refresh_per_second=4, transient=True, get_renderable=self._renderable
            )
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def reach(self, seconds: float) -> None:
        """Reading has come to this time."""
        self._read = max(self._read, seconds)
        self._say()

    def wants_scores(self) -> bool:
        """Whether preliminary scores would be shown now: in a terminal the first as soon as there can be some."""
        if self._live is not None and self._found is None:
            return True
        pause = _PAUSE if self._live is None else _REFRESH
        return self._console is not None and self._clock() - self._last >= pause

    def show(self, seconds: np.ndarray, scores: np.ndarray, remark: str = "") -> None:
        """Show the last of (n,) times and (n, K) scores, with a remark on what those are."""
        self._found = float(seconds[-1]), scores[-1], remark
        self._read = max(self._read, float(seconds[-1]))
        if self._live is not None:
            self._last = self._clock()
        self._say()

    def _say(self) -> None:
        """Print a line where there is no terminal and the last one is some time ago."""
        self._now = self._clock()
        if self._console is None or self._live is not None or self._now - self._last < _PAUSE:
            return
        self._last = self._now
        line = f"{self._name}: {self._position()}"
        if self._found is not None:
            _, scores, remark = self._found
            told = ", ".join(f"{self._classes[label]} {scores[label]:.2f}" for label in self._top(scores)[:3])
            line += f"  {self._at()}{told}{f' ({remark})' if remark else ''}"
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _top(self, scores: np.ndarray) -> list[int]:
        return np.argsort(-scores, kind="stable")[: self._top_k].tolist()

    def _at(self) -> str:
        """When the scores are of, where that is not what is being read."""
        return f"at {clock(self._found[0])}: " if int(self._found[0]) != int(self._read) else ""

    def _position(self) -> str:
        if self._duration is None:
            return clock(self._read)
        done, whole, took = self._read - self._start, self._duration - self._start, self._now - self._began
        share = f"{min(done / whole, 1):.0%}" if whole > 0 else ""
        speed = f", {done / took:.1f} times as fast as it plays" if took > 0 and done > 0 else ""
        return f"{clock(self._read)} of {clock(self._duration)} ({share}{speed})"

    def _renderable(self) -> Group:
        """The picture of the moment; asked for by the thread that draws it."""
        title = Text(f"{self._name}  {self._position()}", "italic", no_wrap=True, overflow="ellipsis")
        if self._found is None:
            return Group(title, Text(f"no scores yet, {clock(self._clock() - self._began)}", "dim"))
        _, scores, remark = self._found
        table = Table(box=None, show_header=False)
        for label in self._top(scores):
            full = round(float(scores[label]) * _BAR)
            table.add_row(Text(self._classes[label]), Text("━" * full, "cyan"), f"{scores[label]:.2f}")
        below = f"{self._at()}{remark}".removesuffix(": ")
        return Group(title, table, *([Text(below, "dim")] if below else []))


def clock(seconds: float) -> str:
    """`1:02:03`, and `2:03` below an hour."""
    whole = int(seconds)
    hours, rest = f"{whole // 3600}:" if whole >= 3600 else "", whole % 3600
    return f"{hours}{rest // 60:0{2 if hours else 1}d}:{rest % 60:02d}"
