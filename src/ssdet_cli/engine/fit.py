"""The one training loop.

Next batch, loss, backward, step, then three plain calls: log, validate, save. What differs between commands comes in
as a value: the task, the batches, the validation function.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ssdet_cli.batch import VideoBatch
from ssdet_cli.data.reading import dead_workers_named
from ssdet_cli.engine.bad_batches import BadBatch, list_in, the_guilty
from ssdet_cli.engine.checkpoint import keep_checkpoint, save_checkpoint
from ssdet_cli.engine.numbers import told_once
from ssdet_cli.engine.phases import CHECKPOINTS
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.state import Progress, draw_seed, seed_all
from ssdet_cli.engine.stop import Interrupted, StopAsked
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import SsdetError

Validate = Callable[[nn.Module], dict[str, float]]
#: Steps after which a run is saved beside its validations, where nothing is said: what a power cut may cost.
SAVE_EVERY = 1000
#: Smallest loss scale of fp16; a network that still overflows has gradients that no scale makes finite.
_LEAST_SCALE = 1e-4


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
class _Pace:
    """How long things take here: for the log, and to stop in time.

    Attributes:
        began: `perf_counter` of the beginning.
        busy: Seconds in steps.
        waited: Part of it spent waiting for batches.
        clips: Over all ranks.
        slowest: Seconds of the slowest of the late steps.
        saving: Seconds of the last checkpoint.
        validating: Seconds of the last validation.
    """

    began: float = field(default_factory=time.perf_counter)
    busy: float = 0.0
    waited: float = 0.0
    clips: int = 0
    slowest: float = 0.0
    saving: float = 0.0
    validating: float = 0.0

    def add_step(self, seconds: float, waited: float, clips: int) -> None:
        """Count one step."""
        self.busy, self.waited, self.clips = self.busy + seconds, self.waited + waited, self.clips + clips
        self.slowest = max(seconds, 0.98 * self.slowest)

    @property
    def rate(self) -> float:
        """Clips per second of the steps' time."""
        return self.clips / max(self.busy, 1e-9)

    @property
    def wait(self) -> float:
        """Part of the steps' time spent waiting for batches."""
        return self.waited / max(self.busy, 1e-9)

    def needed(self, due: bool) -> float:
        """Seconds that what comes next takes, a validation or a step, and then a checkpoint."""
        return self.saving + (self.validating if due else self.slowest)


def fit(
    trainer: Trainer,
    batches: Iterable[VideoBatch],
    *,
    steps_per_epoch: float | Callable[[int], float],
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
        steps_per_epoch: Optimiser steps in one pass over the data, or how many passes a number of steps makes.
        validate: Called on every rank with the network to validate; returns metrics of all ranks.
        monitor: Metric that decides about best.pt.
        log: Run folder and progress line.
        title: Of the progress line.
        resume_hint: Said with an interruption.

    Raises:
        Interrupted: SIGINT, SIGTERM or SIGUSR1, or the time is up; last.pt is written.
        SsdetError: A loss is not finite, or a checkpoint cannot be written.
    """
    loop, progress, session = trainer.loop, trainer.progress, trainer.session
    run = _Fit(trainer, validate, monitor, log, steps_per_epoch)
    stream = iter(batches)
    log.start(title, progress.step, loop.steps)
    try:
        with session.stop.listening(loop.max_time), dead_workers_named(), told_once(log.say):
            if progress.step == loop.steps and not progress.due:  # killed when only last.pt was still to be written
                run.save_where_due()
            while progress.due or progress.step < loop.steps:
                stopped = False
                if progress.due:
                    stopped = not run.validate()
                else:
                    run.step(stream)
                done = progress.step == loop.steps and not progress.due
                stopped = stopped or session.any(session.stop.asked(run.pace.needed(progress.due)))
                if stopped and not done:
                    run.save_unfinished()
                    raise run.interruption(resume_hint)
                if not progress.due:
                    run.save_where_due()
    finally:
        log.stop()
    return run.summary()


class _Fit:
    """The parts of `fit`: a step, a validation, a checkpoint."""

    def __init__(
        self,
        trainer: Trainer,
        validate: Validate,
        monitor: Monitor,
        log: RunLog,
        steps_per_epoch: float | Callable[[int], float],
    ) -> None:
        loop = trainer.loop
        self.trainer, self.log, self.monitor, self._validate = trainer, log, monitor, validate
        self.progress, self.session, self.steps_per_epoch = trainer.progress, trainer.session, steps_per_epoch
        self.validate_every = loop.validate_every or max(1, math.ceil(loop.steps / 5))
        self.save_at = (loop.save_every,) if loop.save_every else (self.validate_every, SAVE_EVERY)
        kept = (loop.keep_every,) if loop.keep_every else ()
        # Whatever is validated or saved has a loss that was looked at.
        self.look_every = (loop.log_every, self.validate_every, *self.save_at, *kept)
        self.pace, self.first_step = _Pace(), self.progress.step
        self.scores = log.last_scores()
        self.skipped: dict[str, str] = {}
        self.readers: Counter[str] = Counter()

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        step, per_epoch = self.progress.step, self.steps_per_epoch
        return per_epoch(step) if callable(per_epoch) else step / per_epoch

    def step(self, stream: Iterator[VideoBatch]) -> None:
        """One optimiser step, and a line of the log where one is due."""
        trainer, progress, pace = self.trainer, self.progress, self.pace
        began, skipped = time.perf_counter(), progress.skipped
        clips, waited, seen = trainer.step(stream)
        pace.add_step(time.perf_counter() - began, waited, clips * self.session.world_size)
        self._report_failures(seen)
        self.readers.update(backend for batch in seen for backend in batch.backends)
        if progress.skipped > skipped:
            self._report_skip()
        last = progress.step == trainer.loop.steps
        if last or any(progress.step % every == 0 for every in self.look_every):
            self._refuse_bad_batches()
            self._log_step()
        progress.due = last or progress.step % self.validate_every == 0

    def _report_failures(self, seen: list[VideoBatch]) -> None:
        for batch in seen:
            for path, reason in batch.failures:
                if path not in self.skipped:
                    self.skipped[path] = reason.removeprefix(f"{path}: ")
                    self.log.say(f"Skipped, another clip is drawn: {reason}")

    def _bad_batches(self) -> list[BadBatch]:
        """Those of all ranks since the last look, listed in the run folder."""
        found = self.trainer.watch.look(self.session.rank)
        if not self.session.any(bool(found)):
            return []
        found = the_guilty([bad for part in self.session.gather(found) for bad in part])
        if self.log.folder is not None:
            list_in(self.log.folder, found)
        return found

    def _report_skip(self) -> None:
        bad, most = self._bad_batches(), self.trainer.loop.skip_bad_batches
        if self.progress.skipped > most:
            raise self._not_finite(bad, f"{most} such batches were skipped before (loop.skip_bad_batches)")
        self.log.say(f"{_told(bad)}: the step is left out, {self.progress.skipped} of {most}.")

    def _refuse_bad_batches(self) -> None:
        if bad := self._bad_batches():
            raise self._not_finite(bad, "such batches can be skipped (loop.skip_bad_batches)")
        scaler = self.trainer.scaler
        if scaler.is_enabled() and (scale := scaler.get_scale()) < _LEAST_SCALE:
            raise SsdetError(
                f"The gradients of fp16 overflow at step {self.progress.step} however small the loss is scaled (by "
                f"{scale:.1g} now), so nothing is learned any more. Give --precision bf16 or fp32, lower optim.lr or "
                "set optim.clip_norm; the last checkpoint is whole."
            )

    def _not_finite(self, bad: list[BadBatch], skipping: str) -> SsdetError:
        where = f" (listed in {self.log.folder}/bad_batches.json)" if self.log.folder is not None else ""
        return SsdetError(
            f"{_told(bad)}{where}. Lower optim.lr, raise optim.warmup_steps or set optim.clip_norm; {skipping}; "
            "the last checkpoint is whole."
        )

    def _log_step(self) -> None:
        trainer, pace = self.trainer, self.pace
        means = trainer.meter.means(self.session)
        if not means:  # every step since the last line was left out
            return
        lr = self._rates()
        self.log.record(
            step=self.progress.step,
            epoch=self.epoch,
            split="train",
            lr=max(lr.values()),
            **means,
            **lr,
            **trainer.shape_of_last_step(),
            clips_per_second=round(pace.rate, 2),
            data_wait=round(pace.wait, 4),
        )
        self.log.advance(self.progress.step, _note(means, self.epoch, pace.rate, pace.wait))

    def _rates(self) -> dict[str, float]:
        """Learning rate of every group of the optimiser."""
        return {f"lr_{number}": group["lr"] for number, group in enumerate(self.trainer.optimizer.param_groups)}

    def validate(self) -> bool:
        """Validate, and save best.pt where it is the best; False where ranks were asked to stop in between."""
        began, progress, network = time.perf_counter(), self.progress, self.trainer.evaluated
        self.session.copy_buffers(network)
        seed_all(draw_seed(self.trainer.seed, 5, progress.step, self.session.rank))
        network.eval()
        try:
            with torch.no_grad():
                scores = self._validate(network)
        except StopAsked:
            return False
        network.train()
        progress.due = False
        self.scores, self.pace.validating = scores, time.perf_counter() - began
        self.log.record(step=progress.step, epoch=self.epoch, split="val", lr=max(self._rates().values()), **scores)
        shown = (
            f"{name} {value if isinstance(value, int) else format(value, '.4f')}" for name, value in scores.items()
        )
        self.log.say(f"Step {progress.step}: validation {', '.join(shown)}")
        # The log runs ahead of best.pt and best.pt ahead of last.pt, never behind: after a kill in between, a run goes
        # on from the further checkpoint (`latest_checkpoint`) and drops the lines beyond it.
        if self.monitor.improves(scores[self.monitor.name], progress.best):
            progress.best, progress.best_step = scores[self.monitor.name], progress.step
            self._save("best.pt")
        return True

    def save_where_due(self) -> None:
        """Save last.pt, and a checkpoint that is kept, where the step says so."""
        step = self.progress.step
        # Kept ones come before last.pt, for the reason that best.pt does.
        self._keep_where_due()
        if step == self.trainer.loop.steps or any(step % every == 0 for every in self.save_at):
            self._save("last.pt")

    def save_unfinished(self) -> None:
        """Save last.pt between two lines of the log: what was summed for the next one is saved too."""
        self._refuse_bad_batches()
        if not self.progress.due:  # the run goes on behind this step
            self._keep_where_due()
        self.trainer.gather_meter()
        self._save("last.pt")

    def _keep_where_due(self) -> None:
        loop = self.trainer.loop
        if loop.keep_every and self.progress.step % loop.keep_every == 0 and self.log.folder is not None:
            with self.log.phases.phase(CHECKPOINTS):
                keep_checkpoint(Path(self.log.folder) / "checkpoints", self.trainer.state(), loop.keep_most)

    def _save(self, name: str) -> None:
        if self.log.folder is not None:
            began = time.perf_counter()
            with self.log.phases.phase(CHECKPOINTS):
                save_checkpoint(Path(self.log.folder) / "checkpoints" / name, self.trainer.state())
            self.pace.saving = time.perf_counter() - began

    def interruption(self, hint: str) -> Interrupted:
        """Why and where the run ends early, the same on all ranks; they leave together, once last.pt is written."""
        heard = [told for told in self.session.gather(self.session.stop.heard) if told is not None]
        reason, code = min(heard, key=lambda told: -told[1])
        step, steps = self.progress.step, self.trainer.loop.steps
        return Interrupted(f"{reason} at step {step} of {steps}; the state is saved. {hint}", code)

    def summary(self) -> FitSummary:
        """What there is to say at the end."""
        parts = self.session.gather(self.skipped)
        skipped = {path: reason for part in parts for path, reason in part.items()}
        _list_skipped(self.log, skipped)
        return FitSummary(
            progress=self.progress,
            scores=self.scores,
            skipped=skipped,
            steps=self.progress.step - self.first_step,
            seconds=time.perf_counter() - self.pace.began,
            data_wait=self.pace.wait,
            clips_per_second=self.pace.rate,
            clips_read_by=dict(sum(self.session.gather(self.readers), Counter())),
        )


def _told(bad: list[BadBatch]) -> str:
    first = min(bad, key=lambda each: each.step)
    videos = [name for each in bad if each.step == first.step for name in each.video_ids]
    listed = ", ".join(videos[:8]) + (", ..." if len(videos) > 8 else "")
    what = f"The loss is {first.loss}" if first.loss in ("nan", "inf", "-inf") else "The gradient is not finite"
    return f"{what} at step {first.step} with the videos {listed}"


def _note(means: dict[str, float], epoch: float, rate: float, wait: float) -> str:
    shown = "  ".join(f"{name} {value:.3f}" for name, value in means.items() if name in ("loss", "accuracy"))
    return f"epoch {epoch:.1f}  {shown}  {rate:.1f} clips/s  data wait {100 * wait:.0f} %"


def _list_skipped(log: RunLog, skipped: dict[str, str]) -> None:
    if skipped:
        log.say(f"{len(skipped)} file(s) could not be read and were replaced; listed in skipped.json:")
        for path in sorted(skipped)[:10]:
            log.say(f"  {path}")
        log.write_json("skipped.json", skipped)
