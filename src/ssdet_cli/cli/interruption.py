"""What signals do; imports next to nothing, since Ctrl-C must be answered before anything else is imported."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ssdet_cli.errors import INTERRUPTED, LAUNCHED, RESUME_ME, SsdetError

#: What `torchrun` sets for every process that it starts.
_TORCHRUN = "TORCHELASTIC_RUN_ID"


def leave(*_: object) -> None:
    """Answer SIGINT while nothing is begun yet: say so and end at once.

    An exception would come up in whatever is being imported, and torch does not survive one: its C++ initialisation
    calls Python, and aborts.
    """
    rank = os.environ.get("RANK")
    if rank is None or (rank == "0" and LAUNCHED not in os.environ):
        os.write(2, b"ssdet: interrupted.\n")
    os._exit(INTERRUPTED)


def leave_for_now(number: int, _: object) -> None:
    """Answer SIGTERM or SIGUSR1 while nothing is begun yet, for the same reason and with the code that asks for more.

    A scheduler may want its machine back while torch is still being imported, which takes long on a busy file system.
    """
    if os.environ.get("RANK", "0") == "0":
        os.write(2, f"ssdet: stopped by {signal.Signals(number).name}; run the same command again.\n".encode())
    os._exit(RESUME_ME)


class Stopped(SsdetError):
    """A scheduler stopped the command where nothing is lost by it."""

    exit_code = RESUME_ME


def stop(number: int, _: FrameType | None) -> None:
    """Answer SIGTERM or SIGUSR1 while no training is under way, which would save first."""
    raise Stopped(f"stopped by {signal.Signals(number).name}; run the same command again.")


@contextmanager
def interruptible() -> Iterator[None]:
    """Work begins, all is imported: from here on signals raise exceptions, so that what was begun is ended.

    SIGINT raises KeyboardInterrupt; SIGTERM and SIGUSR1 raise `Stopped` where no launcher waits for this process.
    """
    if signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = {}
    if _TORCHRUN not in os.environ:  # else a rank that is still preparing ends at once
        from ssdet_cli.interrupts import STOP_SIGNALS

        before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)
        for number, handler in before.items():
            signal.signal(number, handler)
