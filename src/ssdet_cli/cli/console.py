"""Where words go: messages to stderr, results to stdout.

Rich is imported when something is drawn, so that `--help` does not wait for it. It draws plainly where the output is no
terminal, and without colour where NO_COLOR is set.
"""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console(*, results: bool = False) -> "Console":
    """A console for messages (stderr), or for results (stdout)."""
    from rich.console import Console

    return Console(stderr=not results, highlight=False, soft_wrap=True)


def is_main() -> bool:
    """Whether this process speaks: rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Write one message to stderr, from rank 0 only."""
    if is_main():
        print(text, file=sys.stderr, flush=True)
