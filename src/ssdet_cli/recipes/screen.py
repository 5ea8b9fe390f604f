"""Standard output and error of recipes that have files to write behind what they show."""

import os
from contextlib import suppress

from rich.console import Console


class Screen(Console):
    """A console whose reader may go, as that of `| head` does: nothing more is shown then, and the work goes on."""

    def on_broken_pipe(self) -> None:
        """Fall silent, in place of ending the process; see `Console`."""
        self.quiet = True
        # What is left in the buffer is written at the end, and would be an error then.
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)
