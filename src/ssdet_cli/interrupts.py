"""Ctrl-C where it must not come as an exception: while processes are started, and as the end of what has none."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

#: How a scheduler asks a job to stop; it and a launcher send them to all processes of the job.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
#: Seconds that ranks have to write a checkpoint once they are asked to stop.
STOPPING_SECONDS = 300
#: Filter of warnings that begin so, in the form of PYTHONWARNINGS.
_QUIET = "ignore:resource_tracker:UserWarning"


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
    _start_tracker()  # started later, by whatever needs it, it would unblock SIGINT and SIGTERM
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


def _start_tracker() -> None:
    """Start the process that removes what killed processes leave behind, unless there is one.

    It warns of that before the error line is there, which tells what was killed; so its warnings are switched off.
    """
    from multiprocessing import resource_tracker  # takes longer to import than all that every command needs of this

    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, _QUIET)))
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def asked_to_stop(
    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
) -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether one of the signals has come; a second one is answered as before the block.

    For what has no end of its own, and is complete whenever it is stopped; and for what is worth having in part.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in signals}

    def ask(number: int, _: FrameType | None) -> None:
        asked.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_with_the_parent() -> None:
    """End this process of multiprocessing soon after the one that asked for it, also where that was killed.

    A process of the fork server has that for its system's parent, which lives as long as the last of them does: they
    would keep each other. What shows the end of the process that asked is the pipe that it holds to this one.
    """
    from multiprocessing import parent_process

    parent = parent_process()

    def wait() -> None:
        parent.join()
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def stop_with_the_launcher(launcher: int, seconds: float) -> None:
    """Ask this process to stop by SIGTERM once the process that started it is gone, and end it some time later.

    Nobody else would: ranks whose launcher was killed would train on, and keep their GPUs.

    Args:
        launcher: Number of the parent process.
        seconds: From the request to the end.
    """

    def wait() -> None:
        while os.getppid() == launcher:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
