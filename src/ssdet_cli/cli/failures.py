"""Every way a command can end badly, as one line and an exit code.

Exit codes: 0 done, 1 failed while running, 2 wrong input, 75 stopped by a scheduler or a time limit (start it again),
130 interrupted. A process of a larger run writes its line where the elastic launcher looks for it, and the launcher
prints the first one.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType

from ssdet_cli.cli.console import is_main
from ssdet_cli.cli.interruption import LAUNCHED
from ssdet_cli.errors import INTERRUPTED, RESUME_ME


def one_line(text: str) -> str:
    """The text without line breaks or runs of blanks."""
    return " ".join(text.split())


def tell(message: str, code: int) -> None:
    """Print the line, and record it for the launcher where there is one.

    Args:
        message: What is wrong.
        code: Exit code that goes with it; an interruption is said once, by the parent or by rank 0, and is no failure.
    """
    line = one_line(message)
    ours, wanted = LAUNCHED in os.environ, code in (INTERRUPTED, RESUME_ME)
    if wanted and not ours:
        speaks = is_main()
    else:
        speaks = not _recorded(line, code) or not ours
    if speaks:
        print(f"ssdet: {line}" if wanted else f"ssdet: error: {line}", file=sys.stderr, flush=True)


def _recorded(line: str, code: int) -> bool:
    """Write the line in the form that `torch.distributed.elastic` reads; False where nobody asks for it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return False
    extra = {"py_callstack": "", "timestamp": str(int(time.time()))}
    content = {"message": {"message": line, "extraInfo": extra}, "exit_code": code}
    Path(file).write_text(json.dumps(content), encoding="utf-8")
    return True


def unexpected(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """`sys.excepthook`: a mistake of ours is one line too."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    tell(f"unexpected {kind.__name__}: {error}{where}; run again with --debug for the traceback.", 1)
