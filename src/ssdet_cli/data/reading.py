"""Which file every loader worker is reading, so that one that dies can be named with it.

A worker writes the name into a file of its own before it opens a video: one system call, and it outlasts a SIGKILL.
"""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ssdet_cli.errors import SsdetError

_OF_WORKERS = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ?(.*)")
_note: int | None = None


@cache
def folder() -> Path:
    """Where the workers of this process write."""
    place = Path(tempfile.mkdtemp(prefix="ssdet-reading-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def tell_in(place: Path) -> None:
    """From here on this worker tells what it reads."""
    global _note
    _note = os.open(place / str(os.getpid()), os.O_WRONLY | os.O_CREAT, 0o600)


def reading(path: Path) -> None:
    """Tell that a file is about to be read; nothing outside a worker."""
    if _note is not None:
        os.pwrite(_note, f"{path}\n".encode(), 0)


@contextmanager
def dead_workers_named() -> Iterator[None]:
    """Turn torch's error about a worker that died into one line that names the file it was reading.

    Raises:
        SsdetError: A worker died.
    """
    try:
        yield
    except RuntimeError as error:
        found = _OF_WORKERS.search(str(error))
        if found is None:
            raise
        files = [name for pid in found[1].split(",") if (name := _read_by(int(pid)))]
        how = found[2].strip().splitlines()[0].rstrip(".") if found[2].strip() else "ended"
        hint = " (the machine may be out of memory)" if "Killed" in how or "unexpectedly" in how else ""
        raise SsdetError(
            f"A loader worker {how}{hint} while reading {', '.join(files) or 'nothing yet'}. If it is this file every "
            "time, take it out of the set; if not, lower data.workers or data.prefetch."
        ) from error


def _read_by(pid: int) -> str:
    try:
        return (folder() / str(pid)).read_text(encoding="utf-8", errors="replace").partition("\n")[0]
    except OSError:
        return ""
