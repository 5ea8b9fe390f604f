"""How long the reading of one file may take, and ceasing to wait for what may never come.

Two things make a file endless. A system call or a codec library that does not return can only be left behind in its
thread (`within`). What goes on frame after frame ends by itself: who reads asks `check_time` between two frames.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ssdet_cli.errors import DataError

Result = TypeVar("Result")

#: Seconds that a reader has to notice that its time is over before it is left behind.
_GRACE = 1.0
_of_thread = threading.local()


def in_time(seconds: float | None, path: Path | str | None, work: Callable[..., Result], *arguments: Any) -> Result:
    """Return `work(*arguments)`, or give up on the file that it reads.

    Args:
        seconds: It may take; None is as long as it takes, in this thread.
        path: File, for the error.
        work: Runs in a thread of its own, to whose end nobody waits where it hangs.
        *arguments: Of `work`.

    Raises:
        DataError: The time is over.
        Exception: Whatever `work` raised.
    """
    if seconds is None:
        return work(*arguments)

    def timed() -> Result:
        _of_thread.end, _of_thread.allowed = time.monotonic() + seconds, seconds
        return work(*arguments)

    try:
        return within(seconds + _GRACE, timed)
    except TimeoutError as error:
        raise _too_slow(path, seconds) from error


def check_time(path: Path) -> None:
    """To be called again and again while a file is read.

    Raises:
        DataError: The time that `in_time` gave this thread is over.
    """
    if time.monotonic() > getattr(_of_thread, "end", float("inf")):
        raise _too_slow(path, _of_thread.allowed)


def _too_slow(path: Path | str | None, seconds: float) -> DataError:
    return DataError(f"{path}: it could not be read within {seconds:g} s (data.file_timeout).")


def within(seconds: float, work: Callable[..., Result], *arguments: Any) -> Result:
    """Return `work(*arguments)`, or give up waiting for it; a call that never returns is left to a daemon thread.

    Raises:
        TimeoutError: No result after `seconds`.
        Exception: Whatever `work` raised.
    """
    outcome: list[tuple[Result | None, BaseException | None]] = []

    def run() -> None:
        try:
            outcome.append((work(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError(f"no result within {seconds:g} s")
    result, error = outcome[0]
    if error is not None:
        raise error
    return result
