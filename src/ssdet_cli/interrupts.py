"""Ctrl-C while processes are started: they never see it, and this one answers it afterwards."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Hold SIGINT back; it is delivered, to the handler that was there before, when the block ends.

    A process that is started within has it blocked from its first instruction on: Ctrl-C reaches the whole process
    group, and a worker that is still importing would print a traceback.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started later, by whatever needs it, it would unblock SIGINT
    held: list[int] = []
    # Another thread may take the signal, and the handler then runs in this one: blocking alone is not enough.
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)
