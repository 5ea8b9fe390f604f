"""One process or many: how ranks find each other, and the few collectives the engine needs.

Ranks that have found each other share a store, which waits as long as it has to. The process group, whose collectives
have a time limit, is made by the first of them: data is scanned and generated before.
"""

import os
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssdet_cli.engine import network, numbers
from ssdet_cli.engine.host_memory import keep_freed_memory
from ssdet_cli.engine.lifeline import Lifeline, open_line, told_by_rank_0
from ssdet_cli.engine.stop import StopAsked, StopRequests
from ssdet_cli.errors import INTERRUPTED, RESUME_ME, ConfigError, RankLost, SsdetError
from ssdet_cli.telling import described

#: Ranks wait for each other while one scores longer videos; of one that dies they hear otherwise, see `lifeline`.
_TIMEOUT = timedelta(hours=2)
#: Seconds after which the store is asked again, at most.
_PAUSE = 0.5
#: Until all ranks have started.
_START = timedelta(minutes=15)


class Meeting:
    """How the ranks of a run come together.

    Args:
        rank: Of this process.
        world_size: Number of ranks.

    Raises:
        SsdetError: The others cannot be found.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self._store = _rendezvous()
        self._exchanged = 0
        self.line: Lifeline = open_line(rank, world_size, os.environ["MASTER_ADDR"], self.exchange)

    def exchange(self, value: Any) -> Any:
        """Rank 0's value, on every rank, through the store: without a process group, however long it takes."""
        self._exchanged += 1
        key = f"exchanged/{self._exchanged}"
        if self.rank == 0:
            self._store.set(key, pickle.dumps(value))
            return value
        self._wait([key])
        return pickle.loads(self._store.get(key))

    def _wait(self, keys: list[str]) -> None:
        """Wait for keys without end, but so that signals and the loss of a rank are answered."""
        pause = 0.01
        while not self._store.check(keys):
            time.sleep(pause)
            pause = min(2 * pause, _PAUSE)

    def join(self, device: torch.device) -> None:
        """Make the process group unless there is one: NCCL for what is on GPUs, gloo for what is not.

        Raises:
            SsdetError: The ranks do not reach each other.
        """
        if dist.is_initialized():
            return
        # Whoever is still reading data is waited for without a time limit too.
        self._store.set(f"ready/{self.rank}", b"")
        self._wait([f"ready/{rank}" for rank in range(self.world_size)])
        address = self.line.address()
        of_rank_0 = self.exchange(address)
        network.name_card(address or of_rank_0)  # who is not connected with another machine shares rank 0's
        on_gpu = device.type == "cuda"
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=dist.PrefixStore("group", self._store),
                rank=self.rank,
                world_size=self.world_size,
                timeout=_TIMEOUT,
                device_id=device if on_gpu else None,
            )
        except RuntimeError as error:
            raise self.line.why(error) or SsdetError(
                f"rank {self.rank} cannot talk with the others: {error}; {network.GLOO_CARD} and NCCL_SOCKET_IFNAME "
                "name the network card to use."
            ) from error

    def leave(self) -> None:
        """End the process group where there is one."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def part(self, error: BaseException) -> BaseException:
        """Leave because of an error, and tell the others of it unless they know; returns what this rank shall raise."""
        message, code = described(error)
        if isinstance(error, SsdetError | KeyboardInterrupt) and code in (INTERRUPTED, RESUME_ME):
            self.line.close()  # all leave together
        elif not isinstance(error, RankLost):
            heard = self.line.fail(message, code)
            if self.rank != 0 and told_by_rank_0():
                error = RankLost(message, code, speaks=not heard)
        if torch.cuda.is_initialized():  # NCCL would wait for those that are gone
            self.line.end_anyway(code)
        else:
            self.leave()
        return error


def _rendezvous() -> dist.Store:
    """The store that the environment describes.

    Raises:
        SsdetError: Its place is not described, is taken, or cannot be reached.
    """
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} and no {missing[0]}: several processes are started by --nproc, "
            "torchrun or srun, which say where they meet."
        )
    try:
        store, *_ = next(iter(dist.rendezvous("env://", timeout=_START)))
    except (dist.DistError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise SsdetError(
            f"rank {os.environ['RANK']} cannot meet the others at {place} (MASTER_ADDR, MASTER_PORT): {error}"
        ) from error
    return dist.PrefixStore("ssdet", store)


@dataclass(frozen=True)
class Session:
    """This process among all of a run.

    Attributes:
        device: Where this process computes.
        rank: Number of this process, from 0; rank 0 writes files.
        world_size: Number of processes.
        stop: What asks this process to end early.
        meeting: How it comes together with the others; None where there are none.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    stop: StopRequests = field(default_factory=StopRequests, compare=False)
    meeting: Meeting | None = field(default=None, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def join(self) -> None:
        """See that there is a process group, where there are several ranks; every rank must call it."""
        if self.meeting is not None:
            self.meeting.join(self.device)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Let an error inside that comes from another rank's end become that rank's error.

        Raises:
            RankLost: In its place.
        """
        try:
            yield
        except BaseException as error:
            lost = self.meeting.line.why(error) if self.meeting is not None else None
            if lost is None or lost is error:
                raise
            raise lost from error

    def sum(self, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add same-shaped tensors over all ranks, name by name; every rank gets the sums."""
        if self.world_size == 1 or not totals:
            return dict(totals)
        self.join()
        names = sorted(totals)
        stacked = torch.stack([totals[name].to(self.device) for name in names])
        dist.all_reduce(stacked)
        return dict(zip(names, stacked, strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank; agreed between the hosts, so that no step waits for a GPU."""
        if self.world_size == 1:
            return flag
        self.join()
        value = torch.tensor(int(flag))
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value)

    def leave_if_asked(self) -> None:
        """Let all ranks leave together; every rank must call it.

        Raises:
            StopAsked: One of them was asked to stop.
        """
        if self.any(self.stop.asked()):
            raise StopAsked

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank; the others wait for it however long it takes."""
        return value if self.meeting is None else self.meeting.exchange(value)

    def gather(self, value: Any) -> list[Any]:
        """All ranks' values in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        self.join()
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def copy_buffers(self, module: nn.Module) -> None:
        """Give every rank rank 0's buffers (batch-norm statistics), so that all validate the same network."""
        if self.world_size > 1:
            self.join()
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device.

    Raises:
        ConfigError: A GPU is asked for and there is none, or fewer.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise ConfigError(f"run.device={name} is not a device; choose auto, cpu, cuda or cuda:N.")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(number) if number else local_rank
    if index >= count:
        raise ConfigError(f"run.device={name}: GPU {index} is asked for and {count} can be used; try run.device=cpu.")
    return torch.device("cuda", index)


@contextmanager
def session(device: str, *, deterministic: bool = False) -> Iterator[Session]:
    """Be one process of a run, see `_joined`.

    Args:
        device: As in `pick_device`.
        deterministic: Ask torch for deterministic algorithms meanwhile.
    """
    with numbers.deterministic(deterministic), _joined(device) as here:
        yield here


@contextmanager
def _joined(device: str) -> Iterator[Session]:
    """Find the others that the environment describes (torchrun's, or srun's); without one, be a single process.

    A set-up that fails raises: there is no quiet fall-back to one process. A rank that fails tells the others, which
    then end with its error (`RankLost`).
    """
    world_size, rank = (int(os.environ.get(name, alone)) for name, alone in (("WORLD_SIZE", "1"), ("RANK", "0")))
    if world_size == 1:
        yield Session(_taken(device))
        return
    meeting = Meeting(rank, world_size)
    try:
        here = Session(_taken(device), rank, world_size, meeting=meeting)
        with here.explained():
            yield here
    except BaseException as error:
        raised = meeting.part(error)
        if raised is not error:
            raise raised from error
        raise
    else:
        meeting.line.close()
        meeting.leave()
    finally:
        meeting.line.release()


def _taken(device: str) -> torch.device:
    """The device of this process, as the one that it computes on."""
    chosen = pick_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    else:
        keep_freed_memory()
    return chosen
