import subprocess
import sys
import textwrap

import pytest

RANK = """
import sys
import torch
from torch import nn
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.trainer import Meter

with session("cpu") as here:
    assert here.world_size == 2
    meter = Meter()
    meter.add({"loss": torch.tensor([here.rank * 4.0, 1.0]), "accuracy": torch.tensor([1.0, 3.0 + 2 * here.rank])})
    assert meter.means(here) == {"accuracy": 0.25, "loss": 2.0}, "sums of all ranks"
    assert here.any(here.rank == 1) and not here.any(False)
    assert here.broadcast({"folder": f"from {here.rank}"}) == {"folder": "from 0"}
    assert here.gather(here.rank) == [0, 1]
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(here.rank)
    here.copy_buffers(norm)
    assert norm.running_mean.tolist() == [0.0, 0.0]
    print("rank", here.rank, "fine", flush=True)
"""


def torchrun(script, *words, timeout=120):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        str(script),
        *words,
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def test_two_processes_sum_gather_and_broadcast(tmp_path):
    script = tmp_path / "rank.py"
    script.write_text(RANK)
    done = torchrun(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fine") == 2


EQUAL = """
import sys
import torch
from torch import nn
sys.path.insert(0, sys.argv[1])
from test_fit import batch
from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.fit import Monitor, Trainer, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.tasks.pretraining import VolumePretraining


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = nn.Conv3d(3, 8, 3, padding=1), nn.Conv1d(8, 3, 1)

    def forward(self, frames):
        return self.head(self.backbone(frames).relu().mean((3, 4)))


def half(whole, rank, world):
    part = slice(rank * 4 // world, (rank + 1) * 4 // world)
    return VideoBatch(whole.frames[part], whole.labels[part], video_ids=whole.video_ids[part])


with session("cpu") as here:
    torch.manual_seed(here.rank)  # ranks must agree although they start apart
    if here.rank == 0:
        torch.manual_seed(0)
    run = Trainer(
        Net(), VolumePretraining(lambda frames: frames.float() / 255, None, "frame"),
        optim=OptimConfig(name="sgd", lr=0.5), loop=LoopConfig(steps=6, batch_size=2, validate_every=6), session=here,
        seed=0, meta={},
    )
    fit(run, [half(batch(n), here.rank, here.world_size) for n in range(6)], steps_per_epoch=3,
        validate=lambda network: {"loss": 0.0}, monitor=Monitor("loss", False), log=RunLog(None, None), title="t")
    torch.save(run.model.state_dict(), f"{sys.argv[2]}/{here.world_size}-{here.rank}.pt")
"""


def test_two_processes_with_half_the_batch_train_what_one_process_trains(tmp_path):
    import os

    import torch

    script = tmp_path / "equal.py"
    script.write_text(textwrap.dedent(EQUAL))
    here = os.path.dirname(__file__)
    done = torchrun(script, here, str(tmp_path))
    assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, script, here, tmp_path], check=True, timeout=120)
    one, first, second = (torch.load(tmp_path / name) for name in ("1-0.pt", "2-0.pt", "2-1.pt"))
    for name in one:
        assert torch.equal(first[name], second[name])
        assert torch.allclose(one[name], first[name], atol=1e-6), name


def test_a_set_up_that_fails_is_an_error_and_not_one_process_alone(tmp_path):
    script = tmp_path / "alone.py"
    script.write_text("from ssdet_cli.engine.distributed import session\nwith session('cpu'):\n    print('ran')\n")
    environment = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "PATH": "/usr/bin:/bin"}  # no MASTER_ADDR
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "ran" not in done.stdout


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_takes_the_run_down(tmp_path, rank):
    script = tmp_path / "dies.py"
    script.write_text(
        "import sys\nfrom ssdet_cli.engine.distributed import session\n"
        f"with session('cpu') as here:\n    if here.rank == {rank}:\n        sys.exit(3)\n    here.gather(1)\n"
    )
    assert torchrun(script).returncode != 0


STOPPED = """
import os, signal, sys
import torch
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from dataclasses import replace
from test_fit import Small, batch
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.checkpoint import latest_checkpoint
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.fit import Monitor, fit
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.stop import Interrupted
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.tasks.pretraining import VolumePretraining


def run(name, here, asks=None, spoils=()):
    folder = Path(sys.argv[2]) / name
    torch.manual_seed(0)
    loop = LoopConfig(steps=8, log_every=3, validate_every=4, ema=0.9, skip_bad_batches=2)
    trainer = Trainer(Small(), VolumePretraining(lambda frames: frames.float() / 255, None, "frame"),
                      optim=OptimConfig(name="adamw", lr=1e-2), loop=loop, session=here, seed=0, meta={})
    state = latest_checkpoint(folder)
    if state is not None:
        trainer.load(state)
    here.broadcast(None)

    def batches():
        for number in range(trainer.progress.step, 8):
            if asks == (here.rank, number):
                os.kill(os.getpid(), signal.SIGUSR1)
            made = batch(2 * number + here.rank)
            if (here.rank, number) in spoils:
                made = replace(made, frames=made.frames.float() * torch.nan)
            yield made

    log = RunLog(folder if here.is_main else None, None)
    try:
        fit(trainer, batches(), steps_per_epoch=3, validate=lambda network: {"loss": here.rank * 0.0},
            monitor=Monitor("loss", False), log=log, title="t")
    except Interrupted as stopped:
        assert stopped.exit_code == 75 and "Stopped by SIGUSR1 at step 6 of 8" in str(stopped), str(stopped)
        assert asks is not None
    return trainer


with session("cpu") as here:
    whole = run("whole", here)
    stopped = run("stopped", here, asks=(1, 5))  # only one rank hears of it, in the middle between two lines of the log
    assert stopped.progress.step == 6
    again = run("stopped", here)
    for name, value in whole.model.state_dict().items():
        if "running" not in name:  # these are rank 0's; the others take them over with the next step
            assert torch.equal(value, again.model.state_dict()[name]), name
    bad = run("bad", here, spoils=[(1, 2)])  # all ranks leave the step out
    states = here.gather({name: value for name, value in bad.model.state_dict().items() if "running" not in name})
    assert bad.progress.skipped == 1 and all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    print("rank", here.rank, "fine", flush=True)
"""


def test_a_signal_to_one_rank_stops_all_at_one_step_and_resuming_ends_as_if_nothing_had_been(tmp_path):
    import json
    import os

    from test_killed import lines, same

    from ssdet_cli.engine.checkpoint import load_checkpoint

    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    done = torchrun(script, os.path.dirname(__file__), str(tmp_path))
    assert done.returncode == 0 and done.stdout.count("fine") == 2, done.stderr
    whole, again = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("whole", "stopped"))
    assert same(whole, again)
    assert lines(tmp_path / "whole") == lines(tmp_path / "stopped")
    (bad,) = json.loads((tmp_path / "bad" / "bad_batches.json").read_text())
    assert (bad["step"], bad["rank"], bad["video_ids"][0]) == (3, 1, "v5-0")
