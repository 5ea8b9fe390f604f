"""Every way a command can end badly, as one line and an exit code.

Exit codes: 0 done, 1 failed while running, 2 wrong input, 75 stopped by a scheduler or a time limit (start it again),
130 interrupted. A process of a larger run writes its line where the elastic launcher looks for it, and the launcher
prints the first one.
"""

import errno
import json
import os
import socket
import sys
import time
import traceback
from pathlib import Path
from types import TracebackType

from ssdet_cli.errors import BY_SRUN, INTERRUPTED, LAUNCHED, RESUME_ME, RankLost, SsdetError, WordsError


def one_line(text: str) -> str:
    """The text without line breaks or runs of blanks."""
    return " ".join(text.split())


def described(error: BaseException) -> tuple[str, int]:
    """What to tell of an error, and the exit code that goes with it."""
    if isinstance(error, SsdetError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted.", INTERRUPTED
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        return f"ended with exit code {code}.", code
    if is_of_a_full_disk(error):
        what = "the disk is full" if error.errno == errno.ENOSPC else os.strerror(error.errno)
        return f"{what} ({error.filename or 'while writing'}); make room and run again.", 1
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}:{last[0].lineno})" if last else ""
    return f"unexpected {type(error).__name__}: {error}{where}; run again with --debug for the traceback.", 1


def is_of_a_full_disk(error: BaseException) -> bool:
    """Whether there is no room left on a disk, or for this user."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def tell(message: str, code: int, *, silent: bool = False) -> None:
    """Print the line, and record it for the launcher where there is one.

    Args:
        message: What is wrong.
        code: Exit code that goes with it; an interruption is said once, by the parent or by rank 0, and is no failure.
        silent: Another process has told it: record only.
    """
    line = one_line(message)
    ours, wanted = LAUNCHED in os.environ, code in (INTERRUPTED, RESUME_ME)
    if wanted and not ours:
        speaks = os.environ.get("RANK", "0") == "0"
    else:
        speaks = not _recorded(line, code) or not ours
    if speaks and not silent:
        print(f"ssdet: {line}" if wanted else f"ssdet: error: {line}", file=sys.stderr, flush=True)


def tell_error(error: BaseException) -> int:
    """Tell an error that ends this process, unless another process does; returns the exit code."""
    message, code = described(error)
    if isinstance(error, RankLost):
        tell(message, code, silent=not error.speaks)
    elif BY_SRUN in os.environ and os.environ["RANK"] != "0" and isinstance(error, SsdetError):
        _tell_of_a_task(error, message, code)
    else:
        tell(message, code)
    return code


def _tell_of_a_task(error: SsdetError, message: str, code: int) -> None:
    """Tell an error that a task of `srun` met before it met the others; what all of them meet, the first one tells.

    Their words are the same, so what is wrong with those rank 0 tells. Files and packages may be others on another
    machine: of anything else that machine's first task tells too, and where it is.
    """
    one_of_a_machine = os.environ.get("SLURM_NODEID", "0") != "0" and os.environ.get("SLURM_LOCALID") == "0"
    where = f" (rank {os.environ['RANK']} on {socket.gethostname()})."
    tell(message.rstrip(".") + where, code, silent=isinstance(error, WordsError) or not one_of_a_machine)


def _recorded(line: str, code: int) -> bool:
    """Write the line in the form that `torch.distributed.elastic` reads; False where nobody asks for it."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return False
    extra = {"py_callstack": "", "timestamp": str(int(time.time()))}
    content = {"message": {"message": line, "extraInfo": extra}, "exit_code": code}
    Path(file).write_text(json.dumps(content), encoding="utf-8")
    return True


def unexpected(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    """`sys.excepthook`: a mistake of ours is one line too."""
    tell_error(error)
