"""Runs that are stopped by signals and time limits or killed by SIGKILL end as the run that never was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssdet_cli.engine.checkpoint import load_checkpoint

#: What the clock decides.
OF_THE_CLOCK = ("time", "clips_per_second", "data_wait")
STOPPED = ("SIGTERM", "SIGUSR1", "SIGINT", "validation", "time", "killed")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def outcome(place):
    script = Path(__file__).with_name("killing.py")
    path = os.pathsep.join([str(script.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script, place], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def lines(folder):
    """The log without what the clock decides."""
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in OF_THE_CLOCK} for line in read]


def same(one, other, place=""):
    """Whether two states are equal bit for bit, tensors and all."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("name", STOPPED)
def test_weights_momenta_scale_scores_and_log_are_those_of_a_run_never_stopped(outcome, place, name):
    assert outcome["whole"] == outcome[name]["then"] == 0
    names = sorted(path.name for path in (place / "whole" / "checkpoints").iterdir())
    # The signals come in step 12, whose checkpoint is kept all the same.
    assert names == ["best.pt", "last.pt", "step-00000012.pt", "step-00000018.pt", "step-00000024.pt"]
    assert sorted(path.name for path in (place / name / "checkpoints").iterdir()) == names
    for file in names:
        whole, other = (load_checkpoint(place / run / "checkpoints" / file) for run in ("whole", name))
        for part in whole:
            assert same(whole[part], other[part]), f"{file}: {part}"
    assert lines(place / name) == lines(place / "whole")
    assert whole["scaler"]["scale"] > 1 and whole["averaged_steps"] == 24


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)])
def test_a_signal_ends_the_step_and_the_exit_code_says_who_asked(outcome, name, code):
    reason = "Interrupted" if name == "SIGINT" else f"Stopped by {name}"
    assert outcome[name]["code"] == code
    assert outcome[name]["said"].startswith(f"{reason} at step 12 of 24; the state is saved.")


def test_a_validation_is_left_at_once_and_done_again_after_the_resume(outcome):
    assert (outcome["validation"]["code"], outcome["validation"]["due"]) == (75, True)


def test_a_run_leaves_by_itself_before_its_time_is_up(outcome):
    told = outcome["time"]
    assert told["code"] == 75
    assert told["said"].startswith("The time is up (loop.max_time=2 s): stopped at step")
    assert told["took"] < 4.0  # the rest is what starting and leaving take on a busy machine


def test_sigkill_came_while_checkpoints_were_written_too(outcome):
    codes = outcome["killed"]["codes"]
    assert codes.count(-9) >= 5 and set(codes) <= {-9, 0}
    assert outcome["killed"]["half_written"], "it came while a checkpoint was written, and left a temporary file"
