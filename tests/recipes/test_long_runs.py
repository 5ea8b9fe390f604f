"""What a run of days needs: it is the same every time, survives being killed, and says what it cannot do."""

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from tiny_runs import SMALL, configured, ssdet

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config import rundir
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.recipes import pretrain
from ssdet_cli.recipes.batch_size import settle_batch_size
from ssdet_cli.recipes.training import Run

WITH_WORKERS = [word for word in SMALL if not word.startswith(("loop.steps", "loop.validate", "data.workers"))]
WITH_WORKERS += ["loop.steps=20", "loop.save_every=1", "loop.validate_every=10", "loop.ema=0.9", "data.workers=1"]

#: A backbone that has memory for so many clips and no more.
LAB = """
import torch
from ssdet_cli.models.backbones import BACKBONES

def build(*, memory: int = 5):
    backbone = BACKBONES.get("x3d_tiny")()

    class Small(type(backbone)):
        def forward_features(self, frames):
            if self.training and len(frames) > memory:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return super().forward_features(frames)

    backbone.__class__ = Small
    return backbone
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "memory_lab.py").write_text(LAB)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield "model.backbone=memory_lab:build"
    sys.modules.pop("memory_lab", None)


def log_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = ("time", "clips_per_second", "data_wait")
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


def check_same(one, other):
    states = [load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (one, other)]
    for kind in ("model", "trained"):
        for name, value in states[0][kind].items():
            assert torch.equal(value, states[1][kind][name]), name
    assert states[0]["progress"] == states[1]["progress"]
    assert log_of(one) == log_of(other)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    pretrain.run(
        load_config(PretrainConfig, "generated", WITH_WORKERS, {"data.videos": data.weak, "run.output": folder})
    )
    return folder


def test_a_seed_gives_the_same_run_twice_with_workers_and_every_file_is_closed(data, whole, tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    pretrain.run(
        load_config(
            PretrainConfig,
            "generated",
            [*WITH_WORKERS, "run.deterministic=true"],
            {"data.videos": data.weak, "run.output": tmp_path / "again"},
        )
    )
    assert len(os.listdir("/proc/self/fd")) <= before
    check_same(whole, tmp_path / "again")


def test_a_command_ended_by_sigkill_and_resumed_ends_as_the_one_that_was_not(data, whole, tmp_path):
    folder = tmp_path / "killed"
    command = ssdet("pretrain", "--config", "generated", "--data", data.weak, *WITH_WORKERS, "--output", folder)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as run:
        while not (folder / "checkpoints" / "last.pt").exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["progress"]["step"] < 20
    (folder / "checkpoints" / ".last.pt.1.tmp").write_bytes(b"half")
    assert carry_out(["pretrain", "--resume", "--output", str(folder)]) == 0
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.pt", "best.pt"}
    check_same(whole, folder)


def test_a_scheduler_stops_ranks_and_workers_and_the_command_that_goes_on_is_said(data, tmp_path):
    folder = tmp_path / "a run"
    words = [word for word in WITH_WORKERS if not word.startswith(("loop.steps", "loop.validate"))]
    words += ["loop.steps=5000", "loop.validate_every=5000", "--nproc", "2", "--output", folder]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    with subprocess.Popen(
        ssdet("pretrain", "--config", "generated", "--data", data.weak, *words),
        env={**environment, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        while not (folder / "checkpoints" / "last.pt").exists():
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGUSR1)  # the launcher gives it to the ranks, and with them to their workers
        said = run.stderr.read()
        assert run.wait(60) == 75, said
    hint = re.search(r"ssdet: Stopped by SIGUSR1 at step (\d+) of 5000; the state is saved. Resume with: (.*)", said)
    assert hint and "Traceback" not in said, said
    assert shlex.split(hint[2]) == ["ssdet", "pretrain", "--resume", "--output", str(folder)]
    assert "<b>interrupted</b> Stopped by SIGUSR1" in (folder / "report.html").read_text()
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["progress"]["step"] == int(hint[1])


def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_whole(data, tmp_path, capfd):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", disk], capture_output=True).returncode != 0:
        pytest.skip("no small disk can be mounted here")
    try:
        words = ["pretrain", "--config", "generated", "--data", data.weak, *SMALL, "loop.save_every=1", "--output"]
        code = carry_out([*map(str, words), str(disk / "run")])
        said = capfd.readouterr().err.splitlines()
        assert code == 1 and not any("Traceback" in line for line in said)
        why = "No space left on device; what was there before is whole."
        assert re.fullmatch(rf"ssdet: error: Cannot write .*/(last|best).pt: {why}", said[-1])
        assert load_checkpoint(disk / "run" / "checkpoints" / "last.pt")["progress"]["step"] >= 1
        assert not list(disk.glob("run/checkpoints/.*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_batch_size_that_fits_is_found_written_down_and_kept_by_a_resume(data, lab, tmp_path, capfd):
    folder, words = tmp_path / "run", [lab, "loop.batch_size=auto", "loop.steps=2", "loop.save_every=1"]
    cfg = configured(PretrainConfig, data.weak, folder, *words)
    pretrain.run(cfg)
    assert "loop.batch_size=auto: 5 clips in a pass of every process fit on cpu." in capfd.readouterr().err
    assert load_config(PretrainConfig, str(folder / "config.yaml")).loop.batch_size == 5
    assert load_checkpoint(folder)["meta"]["config"]["loop"]["batch_size"] == 5
    tried = tmp_path / "fixed"
    pretrain.run(configured(PretrainConfig, data.weak, tried, lab, "loop.batch_size=5", "loop.steps=2"))
    state = load_checkpoint(folder)
    for name, value in load_checkpoint(tried)["model"].items():  # trying leaves no trace in the network
        assert torch.equal(value, state["model"][name]), name
    rundir.refuse_other_config(cfg, state["meta"]["config"])
    resumed = Run(Session(torch.device("cpu")), RunLog(None, None), resume=True, state=state)
    assert settle_batch_size(cfg, resumed, None, None, None).loop.batch_size == 5


def test_memory_that_does_not_suffice_says_what_to_reduce_and_that_is_enough(data, lab, tmp_path):
    with pytest.raises(
        SsdetError, match=r"step 1, with 8 clips of 8 x 32 x 32 .* 1. model.checkpoint_activations=true"
    ) as told:
        pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "run", lab, "loop.batch_size=8"))
    advised = re.search(r"2. (loop.batch_size=\d+) (loop.accumulate=\d+)", str(told.value))
    assert advised.groups() == ("loop.batch_size=4", "loop.accumulate=2")
    pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "less", lab, *advised.groups(), "loop.steps=2"))
    with pytest.raises(SsdetError, match="Out of memory on cpu at step 1, with 1 clips"):
        words = [lab, "model.options.memory=0", "loop.batch_size=auto"]
        pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "none", *words))


def test_a_resume_compares_with_defaults_what_an_older_run_did_not_know(data, pretrained, tmp_path):
    folder = tmp_path / "older"
    shutil.copytree(pretrained, folder)
    (folder / "summary.json").unlink()
    state = torch.load(folder / "checkpoints" / "last.pt", weights_only=True)
    for section, key in (("model", "compile"), ("loop", "max_time"), ("run", "deterministic")):
        del state["meta"]["config"][section][key]
    for key in ("scaler", "meters"):
        del state[key]
    for key in ("due", "skipped"):
        del state["progress"][key]
    torch.save(state, folder / "checkpoints" / "last.pt")
    cfg = configured(PretrainConfig, data.weak, folder)
    pretrain.run(cfg, resume=True)
    (folder / "summary.json").unlink()
    with pytest.raises(ConfigError, match=r"differs in loop.precision: auto -> fp16; model.compile: False -> True"):
        words = ["model.compile=true", "loop.precision=fp16", "loop.skip_bad_batches=3", "loop.max_time=3h"]
        pretrain.run(configured(PretrainConfig, data.weak, folder, *words), resume=True)
