"""The one training loop.

Next batch, loss, backward, step, then three plain calls: log, validate, save. What differs between commands comes in
as a value: the task, the batches, the validation function.
"""

import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.checkpoint import save_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.optim import build_optimizer, lr_factor, set_lr
from ssdet_cli.engine.phases import CHECKPOINTS
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.state import Progress, draw_seed
from ssdet_cli.errors import SsdetError
from ssdet_cli.tasks.interface import Task

Validate = Callable[[nn.Module], dict[str, float]]


class Interrupted(SsdetError):
    """Ctrl-C or SIGTERM; the state is saved."""

    exit_code = 130


@dataclass
class FitSummary:
    """What a run leaves behind.

    Attributes:
        progress: Steps done and the best score.
        scores: Last validation's metrics.
        skipped: File -> reason, of files that could not be read.
        steps: Optimiser steps of this call.
        seconds: Wall time of this call.
        data_wait: Part of the steps' time spent waiting for batches, 0 to 1.
        clips_per_second: Over all ranks, of the steps' time.
        clips_read_by: Video reader -> clips of this call that it read, over all ranks.
    """

    progress: Progress
    scores: dict[str, float]
    skipped: dict[str, str]
    steps: int
    seconds: float
    data_wait: float
    clips_per_second: float
    clips_read_by: dict[str, int]


@dataclass
class Monitor:
    """Which validation metric decides about best.pt."""

    name: str
    higher_is_better: bool

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than `best`; a NaN never is."""
        if math.isnan(value):
            return False
        return best is None or (value > best if self.higher_is_better else value < best)


@dataclass
class Meter:
    """Sums metrics on the device; asks for them on the host only when a line is written."""

    totals: dict[str, Tensor] = field(default_factory=dict)

    def add(self, totals: dict[str, Tensor]) -> None:
        """Add (sum, count) pairs."""
        for name, value in totals.items():
            self.totals[name] = self.totals[name] + value if name in self.totals else value

    def means(self, session: Session) -> dict[str, float]:
        """Means over all that was added, on all ranks; clears the meter."""
        summed = session.sum(self.totals)
        self.totals = {}
        return {name: (value[0] / value[1].clamp_min(1e-12)).item() for name, value in summed.items()}


@contextmanager
def _stop_requests() -> Iterator[dict[str, bool]]:
    """Turn SIGINT and SIGTERM into a flag that the loop reads between steps; a second one kills at once."""
    asked = {"stop": False}
    before: dict[int, Any] = {}

    def ask(number: int, _: FrameType | None) -> None:
        asked["stop"] = True
        signal.signal(number, before[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:  # not the main thread: the caller owns the signals
        before.clear()
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Trainer:
    """State of one `fit`: network, optimiser, averaged weights, counters.

    Kept apart from `fit` so that a checkpoint is one call and each step one short method.
    """

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        *,
        optim: OptimConfig,
        loop: LoopConfig,
        session: Session,
        seed: int,
        meta: dict[str, Any],
    ) -> None:
        self.model = model.to(session.device)
        self.task, self.optim, self.loop, self.session, self.seed, self.meta = task, optim, loop, session, seed, meta
        self.optimizer = build_optimizer(self.model, optim)
        self.average = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(loop.ema), use_buffers=True)
            if loop.ema
            else None
        )
        self.progress = Progress()
        self.meter = Meter()
        self.network = self._wrap()
        self.autocast = precision(loop.precision, session.device)

    def _wrap(self) -> nn.Module:
        if self.session.world_size == 1:
            return self.model
        on_gpu = self.session.device.type == "cuda"
        return DistributedDataParallel(self.model, device_ids=[self.session.device] if on_gpu else None)

    @property
    def evaluated(self) -> nn.Module:
        """The weights that are validated and shipped: the averaged ones where there are any."""
        return self.average.module if self.average is not None else self.model

    def step(self, batches: Iterator[VideoBatch]) -> tuple[int, float, list[VideoBatch]]:
        """One optimiser step; returns clips, seconds waited for data, and the batches."""
        step, rank = self.progress.step, self.session.rank
        set_lr(self.optimizer, lr_factor(step, self.loop.steps, self.optim))
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        waited, seen = 0.0, []
        for part in range(self.loop.accumulate):
            began = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - began
            seen.append(batch)
            last = part == self.loop.accumulate - 1
            torch.manual_seed(draw_seed(self.seed, 1, step, rank, part))
            generator = torch.Generator().manual_seed(draw_seed(self.seed, 2, step, rank, part))
            with self._hold_reduction(last):
                self._backward(batch, generator)
        if self.optim.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.optim.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.progress.step += 1
        return sum(map(len, seen)), waited, seen

    def _hold_reduction(self, last: bool) -> AbstractContextManager:
        return nullcontext() if last or self.network is self.model else self.network.no_sync()

    def _backward(self, batch: VideoBatch, generator: torch.Generator) -> None:
        with torch.no_grad():
            batch = self.task.prepare(batch.to(self.session.device, non_blocking=True), generator)
        with self.autocast():
            logits = self.network(batch.frames, **batch.network_inputs())
        result = self.task.loss(logits, batch)
        (result.loss / self.loop.accumulate).backward()
        self.meter.add(dict(result.totals))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds; `model` is always the set of weights to use."""
        return {
            "model": self.evaluated.state_dict(),
            "trained": self.model.state_dict() if self.average is not None else None,
            "averaged_steps": int(self.average.n_averaged) if self.average is not None else 0,
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
            "meta": self.meta,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint's state."""
        self.model.load_state_dict(state["trained"] or state["model"])
        if self.average is not None:
            self.average.module.load_state_dict(state["model"])
            self.average.n_averaged.fill_(state["averaged_steps"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])


def precision(name: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    """Autocast to bf16 where asked for, or where the device computes in it natively (`auto`)."""
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if name == "bf16" or (name == "auto" and native):
        return lambda: torch.autocast(device.type, torch.bfloat16)
    return nullcontext


def fit(
    trainer: Trainer,
    batches: Iterable[VideoBatch],
    *,
    steps_per_epoch: float,
    validate: Validate,
    monitor: Monitor,
    log: RunLog,
    title: str,
    resume_hint: str = "",
) -> FitSummary:
    """Train to `loop.steps` optimiser steps.

    Args:
        trainer: Network, task, optimiser; possibly loaded from a checkpoint.
        batches: From the trainer's current step on; `loop.accumulate` of them make a step.
        steps_per_epoch: Optimiser steps in one pass over the data.
        validate: Called on every rank with the network to validate; returns metrics of all ranks.
        monitor: Metric that decides about best.pt.
        log: Run folder and progress line.
        title: Of the progress line.
        resume_hint: Said with an interruption.

    Raises:
        Interrupted: SIGINT or SIGTERM; last.pt is written.
        SsdetError: The loss is not finite, or a checkpoint cannot be written.
    """
    loop, progress, session = trainer.loop, trainer.progress, trainer.session
    validate_every = loop.validate_every or max(1, math.ceil(loop.steps / 5))
    save_every = loop.save_every or validate_every
    began, busy, waited, clips, first_step = time.perf_counter(), 0.0, 0.0, 0, progress.step
    scores = log.last_scores()
    skipped: dict[str, str] = {}
    readers: Counter[str] = Counter()
    stream = iter(batches)
    log.start(title, progress.step, loop.steps)
    try:
        with _stop_requests() as asked:
            while progress.step < loop.steps:
                step_began = time.perf_counter()
                step_clips, step_wait, seen = trainer.step(stream)
                busy += time.perf_counter() - step_began
                clips, waited = clips + step_clips * session.world_size, waited + step_wait
                _report_failures(seen, skipped, log)
                readers.update(backend for batch in seen for backend in batch.backends)
                step, epoch = progress.step, progress.step / steps_per_epoch
                last, stop = step == loop.steps, session.any(asked["stop"])
                # Whatever is validated or saved has a loss that was looked at.
                if stop or last or any(step % every == 0 for every in (loop.log_every, validate_every, save_every)):
                    means = _log_step(trainer, log, epoch, clips / busy, waited / busy, seen)
                    log.advance(step, _note(means, epoch, clips / busy, waited / busy))
                if step % validate_every == 0 or last:
                    scores = _validate(trainer, validate, monitor, log, epoch)
                if step % save_every == 0 or last:
                    _save(trainer, log, "last.pt")
                if stop and not last:
                    _save(trainer, log, "last.pt")
                    raise Interrupted(f"Interrupted at step {step} of {loop.steps}; the state is saved. {resume_hint}")
    finally:
        log.stop()
    skipped = {path: reason for part in session.gather(skipped) for path, reason in part.items()}
    _list_skipped(log, skipped)
    busy = max(busy, 1e-9)
    return FitSummary(
        progress=progress,
        scores=scores,
        skipped=skipped,
        steps=progress.step - first_step,
        seconds=time.perf_counter() - began,
        data_wait=waited / busy,
        clips_per_second=clips / busy,
        clips_read_by=dict(sum(session.gather(readers), Counter())),
    )


def _report_failures(seen: list[VideoBatch], skipped: dict[str, str], log: RunLog) -> None:
    for batch in seen:
        for path, reason in batch.failures:
            if path not in skipped:
                skipped[path] = reason.removeprefix(f"{path}: ")
                log.say(f"Skipped, another clip is drawn: {reason}")


def _log_step(
    trainer: Trainer, log: RunLog, epoch: float, rate: float, wait: float, seen: list[VideoBatch]
) -> dict[str, float]:
    means = trainer.meter.means(trainer.session)
    if not math.isfinite(means["loss"]):
        ids = ", ".join(name for batch in seen for name in batch.video_ids[:8])
        raise SsdetError(
            f"The loss is {means['loss']} at step {trainer.progress.step} (videos of the last batch: {ids}). "
            "Lower optim.lr, raise optim.warmup_steps or set optim.clip_norm; the last checkpoint is whole."
        )
    lr = {f"lr_{number}": group["lr"] for number, group in enumerate(trainer.optimizer.param_groups)}
    log.record(
        step=trainer.progress.step,
        epoch=epoch,
        split="train",
        lr=max(lr.values()),
        **means,
        **lr,
        clips_per_second=round(rate, 2),
        data_wait=round(wait, 4),
    )
    return means


def _note(means: dict[str, float], epoch: float, rate: float, wait: float) -> str:
    shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items() if name in ("loss", "accuracy"))
    return f"epoch {epoch:.1f}  {shown}  {rate:.1f} clips/s  data wait {100 * wait:.0f} %"


def _validate(trainer: Trainer, validate: Validate, monitor: Monitor, log: RunLog, epoch: float) -> dict[str, float]:
    trainer.session.copy_buffers(trainer.evaluated)
    network = trainer.evaluated
    network.eval()
    with torch.no_grad():
        scores = validate(network)
    network.train()
    progress = trainer.progress
    log.record(step=progress.step, epoch=epoch, split="val", **scores)
    shown = (f"{name} {value if isinstance(value, int) else format(value, '.4f')}" for name, value in scores.items())
    log.say(f"Step {progress.step}: validation {', '.join(shown)}")
    # The log runs ahead of best.pt and best.pt ahead of last.pt, never behind: after a kill in between, a run goes on
    # from the further checkpoint (`latest_checkpoint`) and drops the lines beyond it.
    if monitor.improves(scores[monitor.name], progress.best):
        progress.best, progress.best_step = scores[monitor.name], progress.step
        _save(trainer, log, "best.pt")
    return scores


def _save(trainer: Trainer, log: RunLog, name: str) -> None:
    if log.folder is not None:
        with log.phases.phase(CHECKPOINTS):
            save_checkpoint(Path(log.folder) / "checkpoints" / name, trainer.state())


def _list_skipped(log: RunLog, skipped: dict[str, str]) -> None:
    if skipped:
        log.say(f"{len(skipped)} file(s) could not be read and were replaced; listed in skipped.json:")
        for path in sorted(skipped)[:10]:
            log.say(f"  {path}")
        log.write_json("skipped.json", skipped)
