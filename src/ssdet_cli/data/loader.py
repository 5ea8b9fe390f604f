"""Which sample when, and on which rank; and the loader that carries it out."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data import reading
from ssdet_cli.data.multigrid import ClipShape, Plan
from ssdet_cli.interrupts import STOP_SIGNALS, end_with_the_parent, held_interrupts
from ssdet_cli.video.decode import loader_context

Key = TypeVar("Key")


class _ShareOfBatches(Sampler[list[Key]]):
    """This rank's part of a run's batches over shuffled passes, the same on every run and from any place on.

    Args:
        size: Samples in the set.
        start: How much is already behind, in what the subclass counts by.
        seed: Of the permutations.
        rank: Of this process.
        world_size: Number of processes.
    """

    def __init__(self, size: int, *, start: int = 0, seed: int = 0, rank: int = 0, world_size: int = 1) -> None:
        self.size, self.start, self.seed, self.rank, self.world_size = size, start, seed, rank, world_size

    def _order(self, epoch: int) -> np.ndarray:
        """The order of the samples in one pass over them."""
        return np.random.default_rng([self.seed, 4, epoch]).permutation(self.size)


class TrainingBatches(_ShareOfBatches[tuple[int, int]]):
    """Batches of (epoch, index), one shuffled pass after the other.

    All ranks share one permutation per epoch and take their own part of every batch; an epoch's remainder that does
    not fill a batch of all ranks is dropped, and a set smaller than one batch is repeated to fill it.

    Args:
        size: Samples in the set.
        batch_size: Per rank.
        total: Batches in the whole run.
        **share: `start`, in batches, `seed`, `rank` and `world_size`, see `_ShareOfBatches`.
    """

    def __init__(self, size: int, batch_size: int, *, total: int, **share: int) -> None:
        super().__init__(size, **share)
        self.batch_size, self.total = batch_size, total
        self.per_epoch = max(1, size // (batch_size * self.world_size))

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, dtype=int)
        whole = self.batch_size * self.world_size
        for number in range(self.start, self.total):
            if number // self.per_epoch != epoch:
                epoch = number // self.per_epoch
                order = self._filled(epoch, whole)
            first = (number % self.per_epoch) * whole + self.rank * self.batch_size
            yield [(epoch, int(index)) for index in order[first : first + self.batch_size]]

    def _filled(self, epoch: int, at_least: int) -> np.ndarray:
        order = self._order(epoch)
        return order if self.size >= at_least else np.resize(order, at_least)


class PlannedBatches(_ShareOfBatches[tuple[int, int, ClipShape]]):
    """Batches of (epoch, index, shape) as a multigrid plan has them; the workers make what the shape says.

    Shuffled passes follow each other without a gap, since batches of many sizes never fill one: a batch may begin in
    one and end in the next. The place in them is a number of samples that follows from the plan and the step.

    Args:
        size: Samples in the set.
        plan: Clips and shape of every step.
        accumulate: Batches per step.
        **share: `start`, in steps, `seed`, `rank` and `world_size`, see `_ShareOfBatches`.
    """

    def __init__(self, size: int, plan: Plan, *, accumulate: int = 1, **share: int) -> None:
        super().__init__(size, **share)
        self.plan, self.accumulate = plan, accumulate

    def __len__(self) -> int:
        return (self.plan.steps - self.start) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int, ClipShape]]]:
        place = self.plan.clips_before(self.start) * self.accumulate * self.world_size
        orders: dict[int, np.ndarray] = {}
        for step in range(self.start, self.plan.steps):
            turn = self.plan.at(step)
            for _ in range(self.accumulate):
                first = place + self.rank * turn.clips
                places = [divmod(number, self.size) for number in range(first, first + turn.clips)]
                orders = {
                    epoch: orders[epoch] if epoch in orders else self._order(epoch)
                    for epoch in sorted({epoch for epoch, _ in places})
                }
                yield [(epoch, int(orders[epoch][number]), turn.shape) for epoch, number in places]
                place += turn.clips * self.world_size

    def passes(self, step: int) -> float:
        """Passes over the samples that are behind at a step."""
        return self.plan.clips_before(step) * self.accumulate * self.world_size / self.size


class ValidationBatches(Sampler[list[tuple[int, int]]]):
    """Every sample once, in order; whole batches are dealt to the ranks: a batch never depends on their number."""

    def __init__(self, size: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        firsts = range(0, size, batch_size)[rank::world_size]
        self.batches = [[(0, index) for index in range(first, min(first + batch_size, size))] for first in firsts]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)


def _start_worker(number: int, notes: Path) -> None:
    # Ctrl-C reaches the whole process group: the training process answers it, and needs its workers for the step that
    # it finishes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _obey_the_parent_alone()
    end_with_the_parent()
    reading.tell_in(notes)
    torch.set_num_threads(1)
    if number > 0:  # what every worker would say is said once
        logging.getLogger("ssdet").setLevel(logging.ERROR)


def _obey_the_parent_alone() -> None:
    """Let SIGTERM end this worker where its parent sends it (that is how torch ends one), and no one else."""
    if not hasattr(signal, "sigwaitinfo"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        while True:
            told = signal.sigwaitinfo(STOP_SIGNALS)
            if told.si_signo == signal.SIGTERM and told.si_pid == parent.pid:
                os._exit(128 + signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class _Loader(DataLoader):
    """Starts its workers out of reach of signals; they import torch first, so `_start_worker` would be too late."""

    def __iter__(self) -> Iterator[Any]:
        with held_interrupts(*STOP_SIGNALS):
            return super().__iter__()


def _identity(items: list[Any]) -> list[Any]:
    return items


def build_loader(
    dataset: Dataset,
    batches: Sampler,
    collate: Callable[[list[Any]], Any] | None,
    data: DataConfig,
    *,
    device: torch.device,
) -> DataLoader:
    """A loader whose workers start from a clean process (never forked from one that has opened a video).

    Args:
        dataset: What `batches` index.
        batches: Yields lists of keys.
        collate: Samples -> batch; None leaves the list.
        data: Workers and prefetch.
        device: Batches for a GPU come in pinned memory.
    """
    return _Loader(
        dataset,
        batch_sampler=batches,
        collate_fn=collate or _identity,
        pin_memory=device.type == "cuda" and collate is not None,
        **_workers(data.workers, data.prefetch),
    )


def build_stream(dataset: IterableDataset, data: DataConfig, *, most_workers: int | None = None) -> DataLoader:
    """A loader of what a dataset yields, item by item; its workers start as those of `build_loader`.

    Args:
        dataset: Shares its items out among workers by itself.
        data: Workers and prefetch, in items.
        most_workers: No more than these; one keeps the items in order.
    """
    workers = data.workers if most_workers is None else min(data.workers, most_workers)
    return _Loader(dataset, batch_size=None, **_workers(workers, data.prefetch))


def _workers(number: int, prefetch: int) -> dict[str, Any]:
    if number == 0:
        return {"num_workers": 0}
    context = multiprocessing.get_context(loader_context())
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["ssdet_cli.data.clips"])
    return {
        "num_workers": number,
        "prefetch_factor": prefetch,
        "multiprocessing_context": context,
        "worker_init_fn": partial(_start_worker, notes=reading.folder()),
    }
