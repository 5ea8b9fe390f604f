"""Multigrid training: the plan of a configuration, what it looks like, and whether the network goes along."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.commands import TrainingConfig
from ssdet_cli.data.multigrid import Leg, Plan, build_plan
from ssdet_cli.engine.optim import lr_factor
from ssdet_cli.engine.out_of_memory import is_out_of_memory
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import ConfigError

_HEAD = ("phase", "from step", "steps", "clips per process", "effective batch", "frames", "crop", "norm splits", "lr")


def plan_of(cfg: TrainingConfig, model: nn.Module, say: Callable[[str], None] = print) -> Plan | None:
    """Lay the run out; None where all batches are alike.

    A network whose batch norms cannot be split keeps them whole, which is said.

    Args:
        cfg: With a number in `loop.batch_size`.
        model: The network.
        say: Prints a line.

    Raises:
        ConfigError: A batch cannot be cut into `model.norm_splits`.
    """
    multigrid, loop, clip = cfg.multigrid, cfg.loop, cfg.clip
    if not multigrid.on:
        return None

    def build() -> Plan:
        sizes = {"clips": loop.batch_size, "frames": clip.frames, "size": clip.size}
        return build_plan(multigrid, **sizes, steps=loop.steps, norm_splits=cfg.model.norm_splits)

    plan = build()
    if plan.most_splits > 1 and not any(hasattr(part, "set_norm_splits") for part in model.modules()):
        multigrid = multigrid.model_copy(update={"clips_per_statistic": None})
        say(
            f"The batch norms of {cfg.model.backbone} cannot be split: at every shape they see all clips of a process "
            "(multigrid.clips_per_statistic)."
        )
        plan = build()
    return plan


def refuse_unfit(cfg: TrainingConfig, plan: Plan, trainer: Trainer, *, outputs: int) -> None:
    """Pass one empty clip of every shape through the augmentations and the network, before anything is trained.

    Args:
        cfg: Of the run.
        plan: With the shapes.
        trainer: Network, task and device.
        outputs: K, channels of the labels.

    Raises:
        ConfigError: A shape does not go through.
    """
    network, device = trainer.model, trainer.session.device
    network.eval()
    try:
        for frames, size in dict.fromkeys((turn.shape.frames, turn.shape.size) for turn in plan.turns):
            clip = torch.zeros(1, 3, frames, size, size, dtype=torch.uint8, device=device)
            labels = torch.zeros(1, outputs, frames, device=device)
            try:
                with torch.no_grad(), trainer.autocast():
                    batch = trainer.task.prepare(VideoBatch(clip, labels), None)
                    network(batch.frames)
            except (RuntimeError, ValueError, AssertionError, ConfigError) as error:
                if is_out_of_memory(error):
                    raise
                reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
                raise ConfigError(
                    f"multigrid has clips of {frames} x {size} x {size}, which {cfg.model.backbone} with head "
                    f"{cfg.model.head} does not take: {reason.rstrip('.')}. Give a multigrid.long_cycle and "
                    "multigrid.short_cycle that keep what is fixed at 1, or another --backbone."
                ) from error
    finally:
        network.train()


def table(plan: Plan, trainer: Trainer, processes: int, samples: int) -> str:
    """The plan of so many processes, a row for every shape of the long cycle; steps of the short cycle share a row."""
    times = processes * trainer.loop.accumulate
    passes = plan.clips_before(plan.steps) * times / samples
    rows = [_row(plan, leg, trainer, times) for leg in plan.legs]
    lines = _aligned([_HEAD, *rows])
    return "\n".join([f"Multigrid plan, {plan.steps:,} steps, {passes:.1f} passes over {samples:,} clips:", *lines])


def _row(plan: Plan, leg: Leg, trainer: Trainer, times: int) -> tuple[str, ...]:
    base = max(group["base_lr"] for group in trainer.optimizer.param_groups)

    def rate(step: int) -> str:
        return f"{base * lr_factor(step, plan.steps, trainer.optim) * plan.at(step).lr:.3g}"

    # A step of the schedule that falls on a phase's boundary belongs to the phase before for one step.
    first, last = rate(leg.first), rate(max(leg.first, leg.end - 2))
    return (
        str(leg.phase),
        f"{leg.first:,}",
        f"{leg.end - leg.first:,}",
        _each(turn.clips for turn in leg.turns),
        _each(turn.clips * times for turn in leg.turns),
        _each(turn.shape.frames for turn in leg.turns),
        _each(turn.shape.size for turn in leg.turns),
        _each(turn.norm_splits for turn in leg.turns),
        first if first == last else f"{first} to {last}",
    )


def _each(values: Iterable[int]) -> str:
    """`512 / 256`, and one number where all are equal."""
    values = list(values)
    return str(values[0]) if len(set(values)) == 1 else " / ".join(map(str, values))


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
