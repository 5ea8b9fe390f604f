"""Where the time of a run goes. One clock that changes its owner: all of the time is in exactly one phase.

On a GPU work is queued, and the time shows where the host waits for it: inside the training steps, since the loop reads
the loss before it validates or saves. Nothing here waits for a device.
"""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from ssdet_cli.files import write_atomically
from ssdet_cli.viz.run_timing import TIMING, read_timing

DATA, STEPS, VALIDATION, CHECKPOINTS, REST = (
    "waiting for data",
    "forward, backward, optimiser",
    "validation",
    "writing checkpoints",
    "start and report",
)
Item = TypeVar("Item")


class Phases:
    """Seconds per phase, over all sessions of a run."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys((DATA, STEPS, VALIDATION, CHECKPOINTS, REST), 0.0)
        self._now, self._since = REST, time.perf_counter()

    def _turn_to(self, name: str) -> str:
        before, now = self._now, time.perf_counter()
        self.seconds[before] += now - self._since
        self._now, self._since = name, now
        return before

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens here belongs to a phase, and not to the one around it."""
        before = self._turn_to(name)
        try:
            yield
        finally:
            self._turn_to(before)

    def waiting(self, batches: Iterable[Item]) -> "Waited[Item]":
        """The same batches; waiting for each is `DATA`."""
        return Waited(batches, self)

    def continue_from(self, folder: Path) -> None:
        """Add what earlier sessions of the run took."""
        for name, seconds, _ in read_timing(folder):
            self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def write(self, folder: Path) -> None:
        """Write `timing.json`.

        Raises:
            SsdetError: The folder cannot be written.
        """
        self._turn_to(self._now)
        content = {"seconds": {name: round(value, 3) for name, value in self.seconds.items()}}
        write_atomically(folder / TIMING, json.dumps(content, indent=2) + "\n")


class Waited(Generic[Item]):
    """An iterable whose `next` is timed."""

    def __init__(self, batches: Iterable[Item], phases: Phases) -> None:
        self._batches, self._phases = batches, phases

    def __iter__(self) -> Iterator[Item]:
        with self._phases.phase(DATA):  # the loader's workers start, now and not at the first batch
            stream = iter(self._batches)
        return self._timed(stream)

    def _timed(self, stream: Iterator[Item]) -> Iterator[Item]:
        while True:
            with self._phases.phase(DATA):
                try:
                    item = next(stream)
                except StopIteration:
                    return
            yield item
