"""`--batch-size auto`: the largest batch whose training steps fit into memory, found by taking some."""

import gc
from collections.abc import Callable
from functools import cache

import torch
from torch import nn
from torch.utils.data import Dataset

from ssdet_cli.config.commands import TrainingConfig
from ssdet_cli.data.clips import collate
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.host_memory import available_memory, peak_memory
from ssdet_cli.engine.out_of_memory import advice, is_out_of_memory
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.recipes.multigrid import plan_of
from ssdet_cli.recipes.training import Run
from ssdet_cli.tasks.interface import Task

#: Part of a GPU's memory that trials may take: the rest is for other clips, validation and other ranks' gradients.
_PART_OF_GPU = 0.92
#: Part of the free memory of a machine without one, where an allocation that fails kills the process.
_PART_OF_HOST = 0.6
#: A CPU gains nothing from more clips in a pass.
_MOST_ON_CPU = 32


def settle_batch_size(cfg: TrainingConfig, run: Run, model: nn.Module, task: Task, dataset: Dataset) -> TrainingConfig:
    """Replace `loop.batch_size=auto` by a number, the same on all ranks; of a resumed run, its own.

    In a multigrid training it is the number of full clips with which the largest batch of any shape fits.

    Raises:
        OutOfMemory: Not even the smallest batch fits.
    """
    if cfg.loop.batch_size != "auto":
        return cfg
    here = run.session
    if run.state is not None:
        return _with(cfg, run.state["meta"]["config"]["loop"]["batch_size"])
    unit = cfg.model.norm_splits
    on_gpu = here.device.type == "cuda"
    most = max(unit, min(len(dataset) // run.processes(cfg), 1 << 12 if on_gpu else _MOST_ON_CPU))
    found = min(here.gather(largest(_Trials(cfg, model, task, dataset, here).fits, most, unit)))
    if found == 0:
        raise advice(_with(cfg, unit), here.device, 1)
    limit = ""
    if found + unit > most:
        limit = ", the most that is tried on a CPU" if most == _MOST_ON_CPU else ", as many as the set has"
    run.log.say(f"loop.batch_size=auto: {found} clips in a pass of every process fit on {here.device}{limit}.")
    return _with(cfg, found)


def _with(cfg: TrainingConfig, batch_size: int) -> TrainingConfig:
    return cfg.model_copy(update={"loop": cfg.loop.model_copy(update={"batch_size": batch_size})})


def largest(fits: Callable[[int], bool], most: int, unit: int = 1) -> int:
    """Largest multiple of `unit` up to `most` that fits, to an eighth: doubling, then bisection; 0 where none does."""
    good, bad = 0, most // unit + 1
    trial = 1
    while trial < bad:
        if fits(trial * unit):
            good, trial = trial, min(2 * trial, max(bad - 1, trial + 1))
        else:
            bad = trial
    while bad - good > max(1, good // 8):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle * unit) else (good, middle)
    return good * unit


class _Trials:
    """Training steps on copies of one clip; network and random state come out as they went in."""

    def __init__(self, cfg: TrainingConfig, model: nn.Module, task: Task, dataset: Dataset, here: Session) -> None:
        self.cfg, self.model, self.task = cfg, model, task
        self.sample = cache(lambda *shape: dataset[0, 0, *shape])
        # Alone: ranks whose trials fail at different sizes must not wait for each other.
        self.here = Session(here.device, here.rank)
        self.before = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        self.peak, self.per_clip = peak_memory() or 0, 0.0
        self.free = available_memory()

    def fits(self, batch_size: int) -> bool:
        """Whether a training step with so many clips fits."""
        on_gpu = self.here.device.type == "cuda"
        if not on_gpu and self.free is not None and self.per_clip * batch_size > _PART_OF_HOST * self.free:
            return False
        if on_gpu:
            torch.cuda.set_per_process_memory_fraction(_PART_OF_GPU, self.here.device)
        try:
            return self._try(batch_size)
        finally:
            self.model.zero_grad(set_to_none=True)
            self.model.load_state_dict(self.before)
            gc.collect()
            if on_gpu:
                torch.cuda.set_per_process_memory_fraction(1.0, self.here.device)
                torch.cuda.empty_cache()
            self.per_clip = max(self.per_clip, ((peak_memory() or 0) - self.peak) / batch_size)

    def _try(self, batch_size: int) -> bool:
        parts = min(2, self.cfg.loop.accumulate)
        loop = self.cfg.loop.model_copy(update={"accumulate": parts, "skip_bad_batches": 0})
        plan = plan_of(_with(self.cfg, batch_size), self.model, say=lambda line: None)
        turn = plan.largest if plan is not None else None
        try:
            trainer = Trainer(
                self.model,
                self.task,
                optim=self.cfg.optim,
                loop=loop,
                session=self.here,
                seed=self.cfg.run.seed,
                meta={},
                channels_last=self.cfg.model.channels_last,
                plan=plan.only(turn) if plan is not None else None,
            )
            clips = [self.sample()] * batch_size if turn is None else [self.sample(turn.shape)] * turn.clips
            batch = collate(clips)
            for _ in range(2):  # the second one has the optimiser's state beside the activations
                trainer.step(iter([batch] * parts))
            if self.here.device.type == "cuda":
                torch.cuda.synchronize(self.here.device)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return False
        return True
