"""Inside `srun`: its tasks are the ranks, and nothing else on a SLURM machine is taken for one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssdet_cli.cli import slurm
from ssdet_cli.errors import ConfigError
from ssdet_cli.video.write import write_video

#: Of task 5 of 8 on two machines.
STEP = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_NTASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def recognised(**changes):
    environment = {name: value for name, value in {**STEP, **changes}.items() if value is not None}
    slurm.recognise(environment)
    return environment


def test_a_task_of_a_step_is_a_rank():
    found = recognised()
    ours = {name: found[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")}
    assert ours == {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu07"}
    assert 15000 <= int(found["MASTER_PORT"]) < 30000


def test_where_to_meet_is_the_users_to_say():
    found = recognised(MASTER_ADDR="10.0.0.7", MASTER_PORT="2000")
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("10.0.0.7", "2000")


def test_steps_and_jobs_meet_at_ports_of_their_own():
    jobs = [recognised(SLURM_JOB_ID=str(job), SLURM_STEP_ID=str(step)) for job in (4711, 4712) for step in (0, 1)]
    assert len({job["MASTER_PORT"] for job in jobs}) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_STEP_ID": None, "SLURM_STEP_NUM_TASKS": None, "SLURM_PROCID": "0"},  # the script of sbatch
        {"SLURM_STEP_ID": None, "SLURM_STEP_NUM_TASKS": None, "SLURM_PROCID": None},  # the shell of salloc
        {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},  # srun of one task, or salloc's interactive step
        {"RANK": "0", "WORLD_SIZE": "2"},  # torchrun inside srun
    ],
    ids=["sbatch", "salloc", "one task", "torchrun"],
)
def test_what_is_no_task_of_several_is_left_alone(changes):
    before = {name: value for name, value in {**STEP, **changes}.items() if value is not None}
    assert recognised(**changes) == before


@pytest.mark.parametrize(("visible", "local"), [("3", "0"), ("0,1", "1"), (None, "1")])
def test_a_task_that_sees_one_gpu_takes_it(visible, local):
    assert recognised(CUDA_VISIBLE_DEVICES=visible)["LOCAL_RANK"] == local


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("localhost", "localhost"),
        ("gpu07,gpu09", "gpu07"),
        ("gpu[003-006,9],login", "gpu003"),
        ("rack[1-2]-node[05,07]", "rack1-node05"),
        ("a-b.c[12]", "a-b.c12"),
        ("", ""),
    ],
)
def test_the_first_host_of_a_list(hosts, first):
    assert slurm.first_host(hosts) == first


@given(st.text("abz-.", min_size=1), st.lists(st.integers(0, 9999), min_size=1), st.integers(1, 5))
def test_numbers_keep_their_zeros(name, numbers, width):
    padded = [f"{number:0{width}}" for number in numbers]
    assert slurm.first_host(f"{name}[{','.join(padded)}],other[1-2]") == name + padded[0]


def test_the_configuration_agrees_with_what_srun_started():
    slurm.settle(1, 1, recognised())
    slurm.settle(8, 1, recognised())
    slurm.settle(4, 1, recognised(SLURM_STEP_ID=None))  # no step, so a launcher of ours
    with pytest.raises(ConfigError, match=r"asks for 4 processes and srun has started 8; inside srun leave --nproc"):
        slurm.settle(4, 1, recognised())


def test_a_launcher_on_every_machine_is_no_rank():
    environment = recognised(MASTER_ADDR="10.0.0.7")
    slurm.settle(4, 8, environment)
    assert environment == {**STEP, "MASTER_ADDR": "10.0.0.7"}


WORDS = ["pretrain", "--data", "clips", "--backbone", "x3d_tiny", "--device", "cpu", "--batch-size", "1"]
WORDS += ["clip.size=32", "clip.frames=4", "loop.steps=100000", "loop.validate_every=1000", "data.workers=0"]
WORDS += ["loop.log_every=1", "--output", "run"]


def task(place: Path, number: int, *words: str, stdout: int | None = None, **more: str) -> "subprocess.Popen[str]":
    """Task of a step of two on this machine; `more` is its environment's."""
    given = {**STEP, "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_STEP_NODELIST": "localhost"}
    given |= {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number), "SLURM_JOB_ID": str(os.getpid())}
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "ssdet_cli", *WORDS, *words],
        cwd=place,
        env={**kept, **given, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **more},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("step")
    for split in ("train", "val"):
        for label in ("a", "b"):
            clip = folder / "clips" / split / label / "clip.mp4"
            clip.parent.mkdir(parents=True)
            write_video(clip, [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
    return folder


def test_two_tasks_train_one_run_and_a_signal_to_one_of_them_ends_both_with_75(place):
    tasks = [task(place, number) for number in (0, 1)]
    until = time.monotonic() + 100
    while not (place / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < until and all(each.poll() is None for each in tasks)
        time.sleep(0.1)
    tasks[1].send_signal(signal.SIGUSR1)
    said = [each.communicate(timeout=60)[1] for each in tasks]
    assert [each.returncode for each in tasks] == [75, 75], said
    assert said[0].splitlines()[-1].endswith("Resume with: srun ssdet pretrain --resume --output run")
    assert said[1] == ""
    assert json.loads((place / "run" / "env.json").read_text())["world_size"] == 2


def test_steps_of_a_dry_run_of_two_tasks_are_those_of_both(place):
    tasks = [task(place, number, "--dry-run", "--output", "none") for number in (0, 1)]
    said = [each.communicate(timeout=100)[1] for each in tasks]
    assert [each.returncode for each in tasks] == [0, 0]
    assert "Estimate from these steps, not a promise: " in said[0] and said[1] == ""


def test_more_processes_than_srun_started_are_one_clear_line(place):
    _, said = (process := task(place, 0, "--nproc", "4")).communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("ssdet: error: run.nproc=4 (or --gpus) asks for 4 processes and srun has started 2")
    assert said.count("\n") == 1


#: Datasets that fail on both tasks, and on the second one alone.
LAB = """
import os
from ssdet_cli.errors import DataError

def bad(videos, annotations, split):
    raise DataError("clip 7 is no video.")

def bad_there(videos, annotations, split):
    if os.environ["RANK"] == "1":
        bad(videos, annotations, split)
    import time
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--nproc", "4"], 2, "ssdet: error: run.nproc=4 (or --gpus) asks for 4 processes and srun has started 2"),
        (["--stepz", "4"], 2, "ssdet: error: Unknown option --stepz."),
        (["--init", "none.pt"], 2, "ssdet: error: --init"),
        (["--dataset", "lab:bad"], 2, "ssdet: error: clip 7 is no video."),
        (["--dataset", "lab:bad_there"], 2, "ssdet: error: clip 7 is no video."),
        (["--print-config"], 0, ""),
    ],
)
def test_what_several_tasks_have_to_say_the_first_one_says(place, words, code, said):
    (place / "lab.py").write_text(LAB)
    tasks = [task(place, number, "--output", "none", *words, stdout=subprocess.PIPE) for number in (0, 1)]
    (out, first), (other_out, other) = (each.communicate(timeout=100) for each in tasks)
    assert [each.returncode for each in tasks] == [code, code]
    assert first.startswith(said) and first.count("\n") == bool(said)
    assert (other_out, other) == ("", "")
    assert bool(out) == ("--print-config" in words)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--config", "nowhere/my.yaml"], "my.yaml"),
        (["--init", "none.pt"], "there is no none.pt"),
        (["--resume", "--output", "gone"], "--resume: gone holds no config.yaml, so it is no run folder"),
    ],
    ids=["data", "config", "init", "run"],
)
def test_what_another_machine_lacks_is_told_there_once(place, words, named):
    tasks = [task(place, 1, "--output", "none", *words, SLURM_NODEID="1", SLURM_LOCALID=local) for local in "01"]
    said = [each.communicate(timeout=60)[1] for each in tasks]
    assert [each.returncode for each in tasks] == [2, 2]
    assert said[0].startswith("ssdet: error: ") and said[0].count("\n") == 1
    assert named in said[0] and " (rank 1 on " in said[0]
    assert said[1] == ""


@pytest.mark.parametrize("words", [["--stepz", "4"], ["loop.steps"], ["--nproc", "4"]])
def test_wrong_words_are_told_on_no_other_machine(place, words):
    said = (process := task(place, 1, *words, SLURM_NODEID="1", SLURM_LOCALID="0")).communicate(timeout=60)[1]
    assert (process.returncode, said) == (2, "")
