"""Work on files in processes that may die or hang: such a file is named, and the others go on."""

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.interrupts import end_with_the_parent, held_interrupts
from ssdet_cli.video.decode import loader_context

Item = TypeVar("Item")
Result = TypeVar("Result")

#: What a piece of work is given to say that it gets on.
Alive = Callable[[], None]
#: Seconds that a process has to import what it needs.
_START = 120.0
#: Seconds between two looks at the clock.
_LOOK = 0.5


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """What became of an item: a result, or why there is none."""

    item: Item
    result: Result | None = None
    failure: str = ""


def each_apart(
    work: Callable[[Item, Alive], Result], items: Iterable[Item], *, workers: int, patience: float | None = None
) -> Iterator[Outcome[Item, Result]]:
    """Yield the outcome of `work` on every item, in the order in which they are done.

    A `DataError` is a failure of its item, and so is the end of its process and its silence for `patience`; then the
    process is killed and another takes its place.

    Args:
        work: A function of a module; told the item, and a function to call when it gets on.
        items: To be worked on.
        workers: Processes.
        patience: Seconds that an item may take without getting on; None waits.

    Raises:
        SsdetError: Another error of `work`, at once.
    """
    waiting = iter(items)
    pool: list[_Process] = []
    try:
        for item in waiting:
            pool.append(_Process(work))
            pool[-1].begin(item)
            if len(pool) == workers:
                break
        while busy := {process.ours: process for process in pool}:
            ready = wait(list(busy), timeout=None if patience is None else _LOOK)
            for process in busy.values():
                outcome = process.outcome() if process.ours in ready else process.overdue(patience)
                if outcome is None:
                    continue
                yield outcome
                if process.ended:
                    pool[pool.index(process)] = process = _Process(work)
                _next(process, waiting, pool)
    finally:
        for process in pool:
            process.end()


def _next(process: "_Process", waiting: Iterator[Any], pool: "list[_Process]") -> None:
    for item in waiting:
        process.begin(item)
        return
    pool.remove(process)
    process.end()


class _Process:
    """One that works on items one after the other; it is started with the first."""

    def __init__(self, work: Callable[[Any, Alive], Any]) -> None:
        context = get_context(loader_context())
        self.ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(work, theirs), daemon=True)
        with held_interrupts():  # one that is still importing cannot ignore them yet
            self._process.start()
        theirs.close()
        self._item: Any = None
        self._heard, self._up, self.ended = 0.0, False, False

    def begin(self, item: Any) -> None:
        """Give it an item."""
        self._item, self._heard = item, time.monotonic()
        self.ours.send((item,))

    def outcome(self) -> Outcome | None:
        """What it says; None where it only gets on."""
        try:
            kind, value = self.ours.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            self.ended = True
            return Outcome(self._item, failure=f"{_name(self._item)}: {_how(self._process.exitcode)} while reading it.")
        self._heard, self._up = time.monotonic(), True
        if kind == "fatal":
            raise value
        if kind == "alive":
            return None
        return Outcome(self._item, result=value) if kind == "done" else Outcome(self._item, failure=value)

    def overdue(self, patience: float | None) -> Outcome | None:
        """Kill it where it is silent for too long."""
        if patience is None or time.monotonic() - self._heard < (patience if self._up else max(patience, _START)):
            return None
        self._process.kill()
        self._process.join()
        self.ended = True
        return Outcome(self._item, failure=f"{_name(self._item)}: nothing could be read of it for {patience:g} s.")

    def end(self) -> None:
        """Let it go."""
        self.ours.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()


def _serve(work: Callable[[Any, Alive], Any], parent: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers it
    end_with_the_parent()  # a decoder that hangs does not see the end of the pipe
    parent.send(("alive", None))
    while True:
        try:
            (item,) = parent.recv()
        except EOFError:
            return
        try:
            parent.send(("done", work(item, lambda: parent.send(("alive", None)))))
        except DataError as error:
            parent.send(("failed", str(error)))
        except SsdetError as error:
            parent.send(("fatal", error))


def _name(item: Any) -> str:
    return str(getattr(item, "source", item))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the decoder was ended by {signal.Signals(-code).name}"
    return f"the decoder left with code {code}"
