"""Requests to end a run early: Ctrl-C, SIGTERM and SIGUSR1 (as schedulers send them), and a time that is up.

A signal only leaves a note, which the loop reads between steps and the validation between batches. Ranks hear of it at
different moments, so they agree through `Session.any` before one of them leaves.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ssdet_cli.errors import BEGAN, INTERRUPTED, RESUME_ME, SsdetError
from ssdet_cli.interrupts import STOP_SIGNALS


class Interrupted(SsdetError):
    """A run ended early and its state is saved; `exit_code` says whether a person wanted that (130) or not (75)."""

    def __init__(self, message: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class StopAsked(Exception):
    """Ranks agreed to leave what they are doing and to save."""


class StopRequests:
    """What asks this process to stop; nothing does outside `listening`."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._seconds: float | None = None
        self._end: float | None = None

    @contextmanager
    def listening(self, seconds: float | None = None) -> Iterator[None]:
        """Note signals, and when the time is up.

        A second Ctrl-C is answered as before; SIGTERM and SIGUSR1 come twice where a scheduler and a launcher both send
        them, and stay a request.

        Args:
            seconds: Time that the whole command may take; None is any.
        """
        self._signal, self._seconds = None, seconds
        if seconds is not None:
            spent = time.time() - float(os.environ.get(BEGAN, time.time()))
            self._end = time.monotonic() + seconds - spent
        before: dict[int, Any] = {}

        def note(number: int, _: FrameType | None) -> None:
            self._signal = number
            if number == signal.SIGINT:
                signal.signal(number, before[number])

        try:
            for number in (signal.SIGINT, *STOP_SIGNALS):
                before[number] = signal.signal(number, note)
        except ValueError:  # not the main thread: the caller owns the signals
            before.clear()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._signal = self._seconds = self._end = None

    def asked(self, needed: float = 0.0) -> bool:
        """Whether to stop now.

        Args:
            needed: Seconds that what comes next will take.
        """
        return self._signal is not None or (self._end is not None and time.monotonic() + needed >= self._end)

    @property
    def heard(self) -> tuple[str, int] | None:
        """Why to stop, as the beginning of a sentence, and the exit code; None where this process heard nothing."""
        if self._signal == signal.SIGINT:
            return "Interrupted", INTERRUPTED
        if self._signal is not None:
            return f"Stopped by {signal.Signals(self._signal).name}", RESUME_ME
        if self._seconds is not None:
            return f"The time is up (loop.max_time={self._seconds:g} s): stopped", RESUME_ME
        return None
