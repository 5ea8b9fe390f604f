"""Every way a command can end badly, as one line and an exit code.

Exit codes: 0 done, 1 failed while running, 2 wrong input, 130 interrupted. A process of a larger run writes its line
where the elastic launcher looks for it, and the launcher prints the first one.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType

from ssdet_cli.cli.console import LAUNCHED, is_main

INTERRUPTED = 130


def one_line(text: str) -> str:
    """The text without line breaks or runs of blanks."""
    return " ".join(text.split())


def tell(message: str, code: int) -> None:
    """Print the line, and record it for the launcher where there is one.

    Args:
        message: What is wrong.
        code: Exit code that goes with it; an interruption is said once, by rank 0, and is no failure.
    """
    line = one_line(message)
    if code == INTERRUPTED:
        speaks = is_main()
    else:
        speaks = not _recorded(line) or LAUNCHED not in os.environ
    if speaks:
        print(f"ssdet: {line}" if code == INTERRUPTED else f"ssdet: error: {line}", file=sys.stderr, flush=True)


def _recorded(line: str) -> bool:
    """Write the line in the form that `torch.distributed.elastic` reads; False where nobody asks for it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return False
    content = {"message": {"message": line, "extraInfo": {"py_callstack": "", "timestamp": str(int(time.time()))}}}
    Path(file).write_text(json.dumps(content), encoding="utf-8")
    return True


def unexpected(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """`sys.excepthook`: a mistake of ours is one line too."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    tell(f"unexpected {kind.__name__}: {error}{where}; run again with --debug for the traceback.", 1)
