"""Work on files in processes of their own: one that dies, hangs or eats the memory costs its file and nothing else.

A pool of the standard library breaks as a whole when one of its processes dies.
"""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from ssdet_cli.interrupts import end_with_the_parent, held_interrupts
from ssdet_cli.video.decode import loader_context

Job = TypeVar("Job")
Result = TypeVar("Result")

#: A fresh process imports the codec libraries before its first file.
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Died:
    """What became of a process instead of a result.

    Attributes:
        code: "crash", "timeout" or "out-of-memory".
        detail: In words.
    """

    code: str
    detail: str


@dataclass
class _Worker(Generic[Job]):
    process: Any
    connection: Connection
    messages: Path
    job: Job | None = None
    deadline: float = field(default=0.0)
    fresh: bool = True


def in_processes(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    *,
    workers: int,
    timeout: float,
    memory_bytes: int | None = None,
) -> Iterator[tuple[Job, Result | Died]]:
    """Apply a function to every job; results come as they are ready.

    Args:
        function: Importable by name.
        jobs: Taken one by one as processes become free.
        workers: Processes.
        timeout: Seconds that one job may take.
        memory_bytes: What one process may allocate, where the system can limit that.

    Yields:
        A job and its result, or how its process ended.
    """
    waiting, pool = iter(jobs), []
    with tempfile.TemporaryDirectory(prefix="ssdet-check-") as folder:
        try:
            while True:
                while len(pool) < workers and (job := next(waiting, None)) is not None:
                    pool.append(_start(function, memory_bytes, Path(folder)))
                    _give(pool[-1], job, timeout)
                if not pool:
                    return
                for worker, answer in _answers(pool, timeout):
                    done = worker.job
                    if isinstance(answer, Died):
                        pool.remove(worker)
                    elif (job := next(waiting, None)) is None:
                        pool.remove(worker)
                        _end(worker)
                    else:
                        _give(worker, job, timeout)
                    yield done, answer
        finally:
            for worker in pool:
                worker.process.kill()
            for worker in pool:
                _end(worker)


def _start(function: Callable[[Any], Any], memory_bytes: int | None, folder: Path) -> _Worker:
    context = get_context(loader_context())
    ours, theirs = context.Pipe()
    number, name = tempfile.mkstemp(dir=folder)
    os.close(number)
    process = context.Process(target=_serve, args=(theirs, function, memory_bytes, name), daemon=True)
    with held_interrupts():
        process.start()
    theirs.close()
    return _Worker(process, ours, Path(name))


def _give(worker: _Worker, job: Any, timeout: float) -> None:
    worker.job, worker.deadline = job, time.monotonic() + timeout + _START_SECONDS * worker.fresh
    os.truncate(worker.messages, 0)  # what was said of other files explains no crash over this one
    try:
        worker.connection.send(job)
    except BrokenPipeError:  # it died between two jobs; the end of its pipe tells
        return


def _answers(pool: list[_Worker], timeout: float) -> list[tuple[_Worker, Any]]:
    """Wait until at least one process has answered, died or run out of time."""
    patience = max(0.0, min(worker.deadline for worker in pool) - time.monotonic())
    ready = set(wait([worker.connection for worker in pool], patience))
    found: list[tuple[_Worker, Any]] = []
    for worker in list(pool):
        if worker.connection in ready:
            try:
                answer = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                answer = _how_it_died(worker)
            if answer == _READY:
                worker.fresh, worker.deadline = False, time.monotonic() + timeout
                continue
            found.append((worker, answer))
        elif time.monotonic() >= worker.deadline:
            worker.process.kill()
            _end(worker)
            found.append((worker, Died("timeout", f"the decoder was still busy after {timeout:g} s")))
    return found


def _how_it_died(worker: _Worker) -> Died:
    worker.process.join()
    number = worker.process.exitcode
    how = f"killed by {signal.Signals(-number).name}" if number < 0 else f"ended with exit code {number}"
    said = worker.messages.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    worker.connection.close()
    return Died("crash", f"the decoder's process was {how}" + (f": {said[-1][:200]}" if said else ""))


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.join(5)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


_READY = "ready"


def _serve(connection: Connection, function: Callable[[Any], Any], memory_bytes: int | None, messages: str) -> None:
    """The life of one process: it ends when the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_the_parent()  # a decoder that hangs does not see the end of the pipe
    # What codec libraries print belongs to no file on the screen; of a crash the last line is told.
    os.dup2(os.open(messages, os.O_WRONLY | os.O_APPEND), 2)
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
    connection.send(_READY)
    while True:
        try:
            job = connection.recv()
        except EOFError:
            return
        try:
            answer = function(job)
        except MemoryError:
            limit = f" of {memory_bytes / 2**30:g} GB" if memory_bytes else ""
            answer = Died("out-of-memory", f"the decoder asked for more memory than the limit{limit}")
        connection.send(answer)


def _limit_memory(memory_bytes: int) -> None:
    if os.name != "posix":
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
