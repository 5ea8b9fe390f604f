"""Whether a run is alive: `status.json` says how it went, and a lock that ends with its process that it goes on."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.files import write_atomically

try:
    import fcntl
except ImportError:  # no such locks there: the age of the files has to do
    fcntl = None

STATUS, LOCK, METRICS, SUMMARY = "status.json", ".lock", "metrics.jsonl", "summary.json"
#: Every state that a run folder can be in.
STATES = ("running", "finished", "interrupted", "failed", "stale")
#: Seconds without a sign of life after which a run is taken for dead where nothing better is known. A validation of
#: whole videos writes nothing and may take this long.
SILENCE = 3600
#: Exit codes of errors that a run recovers from when it is resumed.
_INTERRUPTIONS = (75, 130)

#: A process loses a POSIX lock when it closes any file object of the locked file, so it must not open its own again.
_held: dict[Path, IO[bytes]] = {}


class Life:
    """Writes `status.json` at the beginning and at the end of a run; until `begin`, and on ranks but 0, nothing."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._facts: dict[str, Any] = {}

    def begin(self, folder: Path, facts: dict[str, Any]) -> None:
        """Take the folder for this process and say that it runs.

        Args:
            folder: Of the run; it exists.
            facts: What `ssdet runs` says of a run without reading its configuration: `command`, `model`, `steps`, ...

        Raises:
            ConfigError: Another process is running there.
            SsdetError: The folder cannot be written.
        """
        _take(folder)
        here = {"host": socket.gethostname(), "pid": os.getpid(), "started": round(time.time(), 3)}
        self._folder, self._facts = folder, {**facts, **here}
        self._write("running", "")

    def _write(self, state: str, reason: str) -> None:
        content = {"state": state, "reason": reason, **self._facts}
        write_atomically(self._folder / STATUS, json.dumps(content, indent=2) + "\n")

    def __enter__(self) -> "Life":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is None:
            return
        self._facts["ended"] = round(time.time(), 3)
        try:
            if error is None:
                self._write("finished", "")
            else:
                interrupted = isinstance(error, KeyboardInterrupt) or _code(error) in _INTERRUPTIONS
                with contextlib.suppress(SsdetError):  # of a full disk the first error tells
                    self._write("interrupted" if interrupted else "failed", _one_line(error))
        finally:
            _release(self._folder)
            self._folder = None


def _code(error: BaseException) -> int:
    return getattr(error, "exit_code", 1)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, SsdetError) else f"{type(error).__name__}: {text}".removesuffix(": ")


def _take(folder: Path) -> None:
    """Lock a run folder until this process ends or `_release` is called; where there are no locks, do without.

    Raises:
        ConfigError: Another process holds it.
    """
    if fcntl is None:
        return
    try:
        file = open(folder / LOCK, "ab")
    except OSError:
        return
    for attempt in range(10):
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _held[folder.resolve()] = file
            return
        except (BlockingIOError, PermissionError):
            if attempt < 9:  # somebody may only be looking
                time.sleep(0.05)
        except OSError:
            break
    else:
        file.close()
        raise _in_use(folder)
    file.close()


def refuse_held(folder: Path) -> None:
    """See that no other process runs in a folder, before anything is built for it.

    Raises:
        ConfigError: One does.
    """
    if is_held(folder):
        raise _in_use(folder)


@contextlib.contextmanager
def taken(folder: Path) -> Iterator[None]:
    """Have a folder for this process alone, where there are locks; for what is no run and tells no state.

    Raises:
        ConfigError: Another process has it.
    """
    _take(folder)
    try:
        yield
    finally:
        _release(folder)


def _in_use(folder: Path) -> ConfigError:
    status = read_status(folder)
    who = (
        f"process {status.get('pid', '?')} on {status.get('host', 'an unknown machine')}"
        if status
        else "another process"
    )
    return ConfigError(f"{folder} is in use by {who}; wait for it or end it, or give another --output.")


def _release(folder: Path) -> None:
    file = _held.pop(folder.resolve(), None)
    if file is not None:
        file.close()


def is_held(folder: Path) -> bool | None:
    """Whether a process holds the lock of a run folder; None where that cannot be known."""
    if folder.resolve() in _held:
        return True
    if fcntl is None:
        return None
    try:
        with open(folder / LOCK, "rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except (BlockingIOError, PermissionError):
        return True if os.access(folder / LOCK, os.R_OK) else None
    except OSError:
        return None


def read_status(folder: Path) -> dict[str, Any]:
    """The content of `status.json`; empty where there is none that can be read."""
    try:
        content = json.loads((folder / STATUS).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def state_of(folder: Path, status: dict[str, Any], last_sign: float) -> tuple[str, str]:
    """The state of a run, one of `STATES`, and a sentence on it, which may be empty.

    Args:
        folder: Of the run.
        status: From `read_status`.
        last_sign: Seconds since the epoch when a file of the run changed last.
    """
    told = status.get("state")
    if told in ("finished", "interrupted", "failed"):
        return told, str(status.get("reason") or "")
    if (folder / SUMMARY).is_file():
        return "finished", ""
    held = is_held(folder)
    if held:
        return "running", ""
    if told == "running" and held is False and status.get("host") == socket.gethostname():
        return "stale", f"its process {status.get('pid', '?')} is gone without a word: killed, or the machine went down"
    silent = time.time() - last_sign
    known = f"it began on {status['host']}" if status.get("host") else f"it has no {STATUS}"
    if silent < SILENCE:
        return "running", f"judged by the age of its files: {known}"
    return "stale", f"no sign of life for {age(silent)}; {known}"


def age(seconds: float) -> str:
    """A time span in its largest fitting unit: 40 s, 12 min, 5 h, 3 d."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
