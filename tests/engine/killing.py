"""Runs that are stopped and killed, for `test_killed.py`: `python killing.py FOLDER` prints what came of them as JSON.

Importing torch costs more than all of these runs, so one process imports it and every run is a fork of it; the parent
computes nothing, which is what makes forking safe.
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # what every optimiser imports, in some seconds
import torch.utils.tensorboard
from test_fit import HERE, Small, batch

from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.checkpoint import latest_checkpoint
from ssdet_cli.engine.fit import Monitor, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.stop import Interrupted
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.files import drop_unfinished
from ssdet_cli.tasks.pretraining import VolumePretraining

#: Everything that a checkpoint has to hold: averaged weights, a loss scale, accumulation, momenta, kept checkpoints.
LOOP = {"steps": 24, "accumulate": 2, "ema": 0.9, "precision": "fp16", "log_every": 5, "validate_every": 8}
LOOP |= {"save_every": 1, "keep_every": 6, "keep_most": 3}


class Noisy(Small):
    """Draws from the generators of Python and numpy as well, as somebody's network may."""

    def forward(self, frames):
        return super().forward(frames) * (1 + 0.01 * random.random() + 0.01 * float(np.random.random()))


def train(folder: Path, *, pause: float = 0.0, before_step: Callable = lambda step: None, **loop) -> int:
    """Start or resume the run in `folder`, as a recipe does; returns an exit code."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    task = VolumePretraining(lambda frames: frames.float() / 255, None, "frame")
    optim = OptimConfig(name="adamw", lr=1e-2, warmup_steps=2, clip_norm=1.0)
    configured = LoopConfig(**{**LOOP, **loop})
    trainer = Trainer(Noisy(), task, optim=optim, loop=configured, session=HERE, seed=3, meta={})
    state = latest_checkpoint(folder)
    if state is not None:
        trainer.load(state)
    drop_unfinished(folder / "checkpoints")
    step = trainer.progress.step
    log = RunLog(folder, None, resume_step=step if folder.exists() else None)

    def batches():
        for number in range(step * 2, configured.steps * 2):
            if number % 2 == 0:
                before_step(number // 2)
                time.sleep(pause)
            yield batch(number)

    def validate(network):
        for _ in range(5):
            time.sleep(pause)
            if HERE.stop.asked():
                break
        HERE.leave_if_asked()
        return {"loss": float(network(batch(99).frames.float()).square().mean())}

    monitor = Monitor("loss", higher_is_better=False)
    try:
        fit(trainer, batches(), steps_per_epoch=5, validate=validate, monitor=monitor, log=log, title="t")
    except Interrupted as stopped:
        (folder / "said").write_text(str(stopped))
        return stopped.exit_code
    finally:
        log.close()
    return 0


def forked(work: Callable[[], int]) -> int:
    """The process that does the work; its exit code is what the work returns."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(child: int) -> int:
    """Exit code, or the negative number of a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_the_middle_of_a_checkpoint(number: int) -> None:
    """Let SIGKILL come at one of the moments of writing: a file is opened, renamed, or its folder is synced."""
    left = [number]

    def watch(event: str, arguments: tuple) -> None:
        if event in ("open", "os.rename") and "checkpoints" in str(arguments[0]):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def stopped_by(folder: Path, number: signal.Signals) -> dict:
    """A run that gets a signal twice in step 12, and is resumed."""

    def ask(step: int) -> None:
        if step == 11:
            os.kill(os.getpid(), number)
            if number != signal.SIGINT:
                os.kill(os.getpid(), number)

    first = ended(forked(lambda: train(folder, before_step=ask)))
    return {"code": first, "said": (folder / "said").read_text(), "then": ended(forked(lambda: train(folder)))}


def stopped_in_validation(folder: Path) -> dict:
    """A run that is told to stop while it validates step 8."""
    child = forked(lambda: train(folder, pause=0.3))
    checkpoint = folder / "checkpoints" / "last.pt"
    while not (checkpoint.exists() and latest_checkpoint(folder)["progress"]["step"] == 7):
        time.sleep(0.02)
    time.sleep(0.7)  # the eighth step takes 0.3 seconds and more, its validation 1.5
    os.kill(child, signal.SIGTERM)
    code = ended(child)
    due = latest_checkpoint(folder)["progress"]["due"]
    return {"code": code, "due": due, "then": ended(forked(lambda: train(folder)))}


def out_of_time(folder: Path) -> dict:
    """A run with two seconds of time and steps of half a second."""
    began = time.monotonic()
    os.environ["SSDET_BEGAN"] = str(time.time())
    code = ended(forked(lambda: train(folder, pause=0.5, max_time=2.0)))
    took = time.monotonic() - began
    said = (folder / "said").read_text()
    return {"code": code, "took": took, "said": said, "then": ended(forked(lambda: train(folder)))}


def killed(folder: Path, draw: random.Random, times: int) -> dict:
    """A run that SIGKILL ends again and again, at random moments and while it writes checkpoints."""
    codes, half_written = [], 0
    for number in range(times):
        half_written += any(folder.glob("checkpoints/.*"))
        if number % 2:
            moment = draw.randrange(1, 12)

            def work(moment=moment):
                in_the_middle_of_a_checkpoint(moment)
                return train(folder)

            codes.append(ended(forked(work)))
            continue
        child = forked(lambda: train(folder, pause=0.05))
        time.sleep(draw.uniform(0.1, 0.8))
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        codes.append(ended(child))
    return {"codes": codes, "half_written": half_written, "then": ended(forked(lambda: train(folder)))}


def main(place: Path) -> None:
    """Carry all of it out."""
    outcome = {"whole": ended(forked(lambda: train(place / "whole")))}
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        outcome[number.name] = stopped_by(place / number.name, number)
    outcome["validation"] = stopped_in_validation(place / "validation")
    outcome["time"] = out_of_time(place / "time")
    outcome["killed"] = killed(place / "killed", random.Random(5), 8)
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
