"""`optim.scale_lr`: a learning rate that was found for one batch, for the batch that a run has."""

from bisect import bisect_left
from collections.abc import Callable

from ssdet_cli.config.commands import TrainingConfig
from ssdet_cli.config.sections import OptimConfig

#: Passes over the data in which the rate of a larger batch should be reached (Goyal et al., section 2.2).
_WARMUP_EPOCHS = 5


def scaled(
    cfg: TrainingConfig,
    world_size: int,
    steps_per_epoch: float | Callable[[int], float],
    say: Callable[[str], None],
) -> OptimConfig:
    """The optimiser's configuration with the learning rate of this run's batch.

    `linear` multiplies it by clips per step over `optim.base_batch` (Goyal et al., "Accurate, Large Minibatch SGD:
    Training ImageNet in 1 Hour", 2017, section 2.1). The configuration of the run keeps the rate that was given, so
    that a run from its `config.yaml` comes to the same, on as many processes or on others.

    Args:
        cfg: Configuration whose batch size is settled.
        world_size: Number of processes.
        steps_per_epoch: Optimiser steps in one pass over the data, or how many passes a number of steps makes.
        say: Prints a line.
    """
    optim, loop = cfg.optim, cfg.loop
    if optim.scale_lr == "none":
        return optim
    batch = loop.batch_size * loop.accumulate * world_size
    lr = optim.lr * batch / optim.base_batch
    parts = [f"{loop.batch_size} clips"]
    parts += [f"{world_size} processes"] * (world_size > 1) + [f"{loop.accumulate} passes"] * (loop.accumulate > 1)
    advice = ""
    if batch > optim.base_batch and optim.warmup_steps == 0:
        steps = _warmup_steps(steps_per_epoch, max(1, loop.steps // 10))
        advice = f" A rate that was raised wants a warm-up, such as optim.warmup_steps={steps}."
    say(
        f"Learning rate {optim.lr:g} x {batch}/{optim.base_batch} = {lr:g} (optim.scale_lr=linear; "
        f"{' x '.join(parts)} in a step).{advice}"
    )
    return optim.model_copy(update={"lr": lr})


def _warmup_steps(steps_per_epoch: float | Callable[[int], float], most: int) -> int:
    """Steps of the passes that a warm-up takes, from 1 to `most`."""
    if callable(steps_per_epoch):
        return 1 + bisect_left(range(1, most), _WARMUP_EPOCHS, key=steps_per_epoch)
    return min(max(1, round(_WARMUP_EPOCHS * steps_per_epoch)), most)
