"""Runs of two ranks of which one ends badly in the middle of training, for `test_lost_ranks.py`.

`python losing_ranks.py FOLDER` prints what came of them as JSON.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
import torch._dynamo  # what every optimiser imports, in some seconds
import torch.utils.tensorboard
from forked_ranks import run_ranks
from test_fit import Small, batch

from ssdet_cli.config.life import Life
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.fit import Monitor, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import DataError
from ssdet_cli.tasks.pretraining import VolumePretraining

#: Rank -> what it does before a step.
Acts = dict[int, Callable[[Session], None]]


def train(folder: Path, acts: Acts, at_step: int = 3) -> None:
    """Train six steps as one of two ranks."""
    with session("cpu") as here, Life() as life, here.explained():
        torch.manual_seed(0)
        trainer = Trainer(
            Small(),
            VolumePretraining(lambda frames: frames.float() / 255, None, "frame"),
            optim=OptimConfig(lr=0.1),
            loop=LoopConfig(steps=6, validate_every=2, save_every=1),
            session=here,
            seed=0,
            meta={},
        )
        if here.is_main:
            life.begin(folder, {})

        def batches():
            for number in range(6):
                if number == at_step and here.rank in acts:
                    acts[here.rank](here)
                yield batch(2 * number + here.rank)

        log = RunLog(folder if here.is_main else None, None)
        fit(
            trainer,
            batches(),
            steps_per_epoch=3,
            validate=lambda network: {"loss": 0.0},
            monitor=Monitor("loss", False),
            log=log,
            title="t",
        )


def kill(_: Session) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def raise_data_error(_: Session) -> None:
    raise DataError("clip 7 is no video.")


def make_a_mistake(_: Session) -> None:
    {}["nothing"]


def leave(_: Session) -> None:
    sys.exit(3)


def sleep(_: Session) -> None:
    time.sleep(100)


def hang_in_c(_: Session) -> None:
    """What waits in a collective of NCCL looks like from Python: C code that no signal leaves."""
    torch.distributed.TCPStore("localhost", 0, is_master=True).wait(["never"])


#: Name -> what the ranks do.
CASES: dict[str, Acts] = {
    "error": {1: raise_data_error},
    "error of rank 0": {0: raise_data_error},
    "mistake": {1: make_a_mistake},
    "exit": {1: leave},
    "killed": {1: kill},
    "rank 0 killed": {0: kill},
    "killed while the other sleeps": {0: sleep, 1: kill},
    "killed while the other hangs": {0: hang_in_c, 1: kill},
    "error while the other hangs": {0: hang_in_c, 1: raise_data_error},
    "nothing": {},
}


def main(place: Path) -> None:
    """Carry all of it out."""
    outcome = {}
    for name, acts in CASES.items():
        folder = place / name
        folder.mkdir()
        outcome[name] = [asdict(end) for end in run_ranks(partial(train, folder, acts), place / f"{name} said")]
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
