"""Ranks of a run as forks of one process: importing torch costs more than what most tests of several ranks compute.

The process that forks imports, and computes nothing, which is what makes forking safe.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ssdet_cli.telling import tell_error


@dataclass
class End:
    """How a rank ended.

    Attributes:
        code: Exit code, or the negative number of a signal.
        said: What it wrote to stdout and stderr.
        seconds: Since all ranks were started.
    """

    code: int
    said: str
    seconds: float


def free_port() -> str:
    """A port that nobody listens on now."""
    with socket.create_server(("", 0)) as server:
        return str(server.getsockname()[1])


def run_ranks(work: Callable[[], None], folder: Path, count: int = 2, limit: float = 60.0) -> list[End]:
    """Run `work` as every rank of a run of `count`, as `srun` would start them; errors are told as by the command.

    Args:
        work: Returns when it is done; reads its rank from the environment.
        folder: For what they say.
        count: Ranks.
        limit: Seconds after which whoever is still there is killed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": free_port()}
    began = time.monotonic()
    children = {_fork(work, folder / f"rank{rank}", {**environment, "RANK": str(rank)}): rank for rank in range(count)}
    ends: dict[int, End] = {}
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child in children:
            rank = children.pop(child)
            code, seconds = os.waitstatus_to_exitcode(status), time.monotonic() - began
            ends[rank] = End(code, (folder / f"rank{rank}").read_text(), seconds)
        elif time.monotonic() - began > limit:
            for left in children:
                os.kill(left, signal.SIGKILL)
        else:
            time.sleep(0.02)
    return [ends[rank] for rank in range(count)]


def _fork(work: Callable[[], None], said: Path, environment: dict[str, str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.update(environment)
        os.environ["LOCAL_RANK"] = environment["RANK"]
        torch.set_num_threads(1)
        work()
        code = 0
    except BaseException as error:
        code = tell_error(error)
    finally:
        sys.stderr.flush()
        os._exit(code)
