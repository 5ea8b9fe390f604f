"""What Ctrl-C does; imports next to nothing, since it must be known before anything else is imported."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

#: Exit code of a command that was interrupted.
INTERRUPTED = 130
#: Set for the processes that `ssdet` starts itself: the parent speaks for them.
LAUNCHED = "SSDET_LAUNCHED"


def leave(*_: object) -> None:
    """Answer SIGINT while nothing is begun yet: say so and end at once.

    An exception would come up in whatever is being imported, and torch does not survive one: its C++ initialisation
    calls Python, and aborts.
    """
    if LAUNCHED not in os.environ and os.environ.get("RANK", "0") == "0":
        os.write(2, b"ssdet: interrupted.\n")
    os._exit(INTERRUPTED)


@contextmanager
def interruptible() -> Iterator[None]:
    """Work begins, all is imported: from here on SIGINT raises KeyboardInterrupt, so that what was begun is ended."""
    if signal.getsignal(signal.SIGINT) is not leave:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, leave)
