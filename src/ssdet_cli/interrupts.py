"""Ctrl-C while processes are started: they never see it, and this one answers it afterwards."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

#: How a scheduler asks a job to stop; it and a launcher send them to all processes of the job.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


@contextmanager
def held_interrupts(*others: signal.Signals) -> Iterator[None]:
    """Hold SIGINT back; it is delivered, to the handler that was there before, when the block ends.

    A process that is started within has it blocked from its first instruction on: Ctrl-C reaches the whole process
    group, and a worker that is still importing would print a traceback.

    Args:
        others: Signals to hold back as well.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, others)
    resource_tracker.ensure_running()  # started later, by whatever needs it, it would unblock SIGINT and SIGTERM
    held: list[int] = []
    # Another thread may take the signal, and the handler then runs in this one: blocking alone is not enough.
    handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *others})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)
