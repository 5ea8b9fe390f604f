"""One process or many: the process group, and the few collectives the engine needs."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssdet_cli.engine import numbers
from ssdet_cli.engine.host_memory import keep_freed_memory
from ssdet_cli.engine.stop import StopAsked, StopRequests
from ssdet_cli.errors import ConfigError

#: Ranks wait for each other while one generates data or scores longer videos; one that dies is noticed by the launcher.
_TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Session:
    """This process among all of a run.

    Attributes:
        device: Where this process computes.
        rank: Number of this process, from 0; rank 0 writes files.
        world_size: Number of processes.
        stop: What asks this process to end early.
    """

    device: torch.device
    rank: int = 0
    world_size: int = 1
    stop: StopRequests = field(default_factory=StopRequests, compare=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum(self, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add same-shaped tensors over all ranks, name by name; every rank gets the sums."""
        if self.world_size == 1 or not totals:
            return dict(totals)
        names = sorted(totals)
        stacked = torch.stack([totals[name].to(self.device) for name in names])
        dist.all_reduce(stacked)
        return dict(zip(names, stacked, strict=True))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        if self.world_size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def leave_if_asked(self) -> None:
        """Let all ranks leave together; every rank must call it.

        Raises:
            StopAsked: One of them was asked to stop.
        """
        if self.any(self.stop.asked()):
            raise StopAsked

    def broadcast(self, value: Any) -> Any:
        """Rank 0's value, on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device if self.device.type == "cuda" else None)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """All ranks' values in rank order, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def copy_buffers(self, module: nn.Module) -> None:
        """Give every rank rank 0's buffers (batch-norm statistics), so that all validate the same network."""
        if self.world_size > 1:
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
    """Join the process group that torchrun describes in the environment; without one, be a single process.

    A set-up that fails raises: there is no quiet fall-back to one process.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    chosen = pick_device(device, local_rank)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    else:
        keep_freed_memory()
    if world_size == 1:
        yield Session(chosen)
        return
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=_TIMEOUT, device_id=chosen if chosen.type == "cuda" else None)
    try:
        yield Session(chosen, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
