"""Several processes: the launch line, the GPUs, and how a rank's end comes out."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ssdet_cli.cli import launch
from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.config.life import read_status
from ssdet_cli.config.load import load_config
from ssdet_cli.config.sections import RunConfig
from ssdet_cli.errors import ConfigError
from ssdet_cli.video.write import write_video

#: Datasets that end a rank before any network is built, and a network that ends its rank in the third step.
LAB = """
import os, time
from pathlib import Path
from ssdet_cli.errors import DataError

def broken(videos, annotations, split):
    if os.environ["RANK"] == "1":
        raise DataError("clip 7 is no video.")
    time.sleep(60)

def slow(videos, annotations, split):
    Path(f"rank{os.environ['RANK']}").touch()
    time.sleep(60)

def mortal():
    from ssdet_cli.models.backbones.x3d import x3d_tiny
    backbone, calls = x3d_tiny(), []

    def count(*_):
        calls.append(1)
        if len(calls) == 3 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), 9)

    backbone.stem_space.register_forward_pre_hook(count)
    return backbone
"""


TWO_MACHINES = RunConfig(nproc=4, nnodes=2, node_rank=1, rdzv_endpoint="first:29500")


def start(folder: Path, dataset: str, *more: str) -> "subprocess.Popen[str]":
    """`ssdet pretrain` with two CPU processes on a dataset of LAB."""
    (folder / "lab.py").write_text(LAB)
    dataset = dataset if dataset == "folder" else f"lab:{dataset}"
    words = ["pretrain", "--dataset", dataset, "--data", ".", "--nproc", "2", "--device", "cpu", "--output", "run"]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "ssdet_cli", *words, *(more or ("--backbone", "x3d_tiny"))],
        cwd=folder,
        env={**environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_error_of_one_rank_is_the_one_line_and_the_exit_code_of_the_run(tmp_path):
    process = start(tmp_path, "broken")
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (2, "ssdet: error: clip 7 is no video.\n")
    assert {path.name for path in tmp_path.iterdir()} <= {"lab.py", "__pycache__"}


def test_a_rank_that_is_killed_while_it_trains_is_named_with_its_signal(tmp_path):
    for split in ("train", "val"):
        clip = tmp_path / split / "a" / "clip.mp4"
        clip.parent.mkdir(parents=True)
        write_video(clip, [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
    small = ["--batch-size", "1", "clip.size=32", "clip.frames=4", "data.workers=0", "loop.validate_every=50"]
    process = start(tmp_path, "folder", "--backbone", "lab:mortal", *small)
    _, err = process.communicate(timeout=120)
    last = err.splitlines()[-1]
    assert (process.returncode, last) == (
        1,
        "ssdet: error: rank 1 was killed by SIGKILL; the machine may be out of memory.",
    )
    assert err.count("ssdet: error") == 1
    told = read_status(tmp_path / "run")
    assert told["state"] == "failed" and told["reason"].startswith("rank 1 (process ")
    command = json.loads((tmp_path / "run" / "env.json").read_text())["command"]
    assert command[1:5] == ["pretrain", "--dataset", "folder", "--data"]  # and not the ranks' own


def test_ranks_whose_launcher_is_killed_save_and_leave(tmp_path):
    for split in ("train", "val"):
        clip = tmp_path / split / "a" / "clip.mp4"
        clip.parent.mkdir(parents=True)
        write_video(clip, [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
    small = ["--batch-size", "1", "clip.size=32", "clip.frames=4", "data.workers=0", "loop.validate_every=1000"]
    process = start(tmp_path, "folder", "--backbone", "x3d_tiny", *small, "loop.log_every=1", "loop.steps=100000")
    until = time.monotonic() + 100
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    ranks = psutil.Process(process.pid).children()
    assert len(ranks) >= 2
    process.kill()
    process.communicate()
    gone, left = psutil.wait_procs(ranks, timeout=60)
    assert not left
    assert read_status(tmp_path / "run")["state"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "last.pt").exists()


def test_an_interruption_reaches_every_rank_and_is_said_once(tmp_path):
    process = start(tmp_path, "slow")
    until = time.monotonic() + 100
    while not all((tmp_path / f"rank{rank}").exists() for rank in (0, 1)):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "ssdet: interrupted.\n")


def test_one_machine_is_started_standalone():
    words = launch.arguments(RunConfig(nproc=2), ["pretrain", "--config", "r/config.yaml", "--resume"])
    expected = "--standalone --nproc-per-node 2 -m ssdet_cli pretrain --config r/config.yaml --resume"
    assert words == shlex.split(expected)


def test_several_machines_meet_at_the_endpoint():
    words = launch.arguments(TWO_MACHINES, ["pretrain"])
    assert words[:8] == shlex.split("--nnodes 2 --node-rank 1 --rdzv-endpoint first:29500 --nproc-per-node 4")


def test_the_words_are_ones_that_torch_understands():
    from torch.distributed.run import parse_args

    parsed = parse_args(launch.arguments(TWO_MACHINES, ["pretrain", "--config", "c.yaml"]))
    assert (parsed.nnodes, parsed.node_rank, parsed.nproc_per_node) == ("2", 1, "4")
    assert (parsed.training_script, parsed.module) == ("ssdet_cli", True)


def test_gpus_count_among_the_visible_ones_and_never_fall_back_to_the_cpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    run = launch.choose_devices(RunConfig(gpus="2,0"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7,5"
    assert (run.nproc, run.device) == (2, "cuda")


def test_gpus_and_processes_must_agree(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(ConfigError, match="give one of them"):
        launch.choose_devices(RunConfig(gpus="0,1", nproc=3))


def test_nothing_is_started_again_under_torchrun(monkeypatch):
    assert launch.needed(RunConfig(nproc=2))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not launch.needed(RunConfig(nproc=2))


def test_a_rank_of_ours_leaves_the_visible_gpus_alone(monkeypatch):
    monkeypatch.setenv("SSDET_LAUNCHED", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    run = RunConfig(gpus="1,0", nproc=2, device="cuda")
    assert launch.choose_devices(run) is run
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6"


def test_the_evaluation_of_a_rank_knows_only_the_data_keys_that_were_given(tmp_path):
    from ssdet_cli.config import rundir

    cfg = load_config(EvaluateConfig, flags={"checkpoints": (Path("a"),), "data.videos": Path("v")})
    (tmp_path / "config.yaml").write_text(rundir.text_of(cfg, tmp_path))
    again = load_config(EvaluateConfig, str(tmp_path / "config.yaml"))
    assert again.data.model_fields_set == {"videos"}
    assert again.run.output == tmp_path


#: What aborts while the interpreter is taken apart.
ABORTING = """
import os, sys
from ssdet_cli.__main__ import main

class Last:
    def __del__(self):
        os.abort()

last = Last()
sys.argv = ["ssdet", "configs", "list"]
main()
"""


@pytest.mark.parametrize(("others", "code"), [({"RANK": "1", "WORLD_SIZE": "2"}, 0), ({}, -signal.SIGABRT)])
def test_what_aborts_at_the_interpreters_end_does_not_change_the_code_of_a_rank(others, code):
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        [sys.executable, "-c", ABORTING], env={**environment, **others}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "pretrain/" in done.stdout or code


@pytest.mark.parametrize(("words", "code"), [(["configs", "list"], 0), (["configs", "show", "nothing"], 2)])
def test_a_rank_ends_with_the_code_of_its_command(words, code):
    done = subprocess.run(
        [sys.executable, "-m", "ssdet_cli", *words],
        env={**os.environ, "RANK": "0", "WORLD_SIZE": "2"},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
