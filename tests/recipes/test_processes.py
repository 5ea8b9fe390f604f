"""Two processes on real video.

A run of several processes costs their start more than anything, so there are two: one is started by torchrun, with the
line that a dry run prints, and trains; the other is started by `ssdet`, and evaluates. `tests/cli/test_launch.py` and
`test_interruption.py` start `ssdet pretrain --nproc 2` and end it early.
"""

import json
import os
import shlex
import subprocess

import numpy as np
import pytest
import torch
from tiny_runs import SMALL, ssdet

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import EvaluateConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data import DATASETS
from ssdet_cli.data.clips import WeakClips, collate
from ssdet_cli.data.loader import ValidationBatches, build_loader
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.models import create_model
from ssdet_cli.recipes import evaluate
from ssdet_cli.recipes.pretrain import build_task, fixed_draws

HERE = Session(torch.device("cpu"))
#: Small, with the device left to the flag.
SMALL_HERE = [word for word in SMALL if not word.startswith("run.device")]


def run(command, folder):
    """Run a command line of two processes to its end and return what it said."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        command, cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def validated_by_one(folder):
    """Loss and accuracy of a run's last weights on all held-out clips, in this process."""
    cfg = load_config(PretrainConfig, str(folder / "config.yaml"))
    state = load_checkpoint(folder / "checkpoints" / "last.pt")
    model = create_model(cfg.model.backbone, state["meta"]["num_classes"])
    model.load_state_dict(state["model"])
    videos = DATASETS.get(cfg.data.dataset)(cfg.data.videos, None, "val")
    clips = WeakClips(videos, cfg.data, cfg.clip, seed=cfg.run.seed, training=False)
    loader = build_loader(
        clips, ValidationBatches(len(clips), cfg.loop.batch_size), collate, cfg.data, device=HERE.device
    )
    log = RunLog(None, None)
    with torch.no_grad():
        return fixed_draws(build_task(cfg, model, HERE, log), loader, HERE, "fp32", log)(model.eval())


def check_run_of_two(folder, steps=4, batch_size=4):
    """One folder, written once, about the clips and the validation of both ranks."""
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "env.json", "metrics.jsonl", "summary.json", "report.html", "checkpoints"} <= names
    assert len([name for name in names if name.startswith("events.out")]) == 1
    assert json.loads((folder / "env.json").read_text())["world_size"] == 2
    written = lines(folder)
    assert [line["step"] for line in written if line["split"] == "val"] == [2, 4]
    assert len({(line["split"], line["step"]) for line in written}) == len(written)
    summary = json.loads((folder / "summary.json").read_text())
    assert sum(summary["clips_read_by"].values()) == 2 * steps * batch_size
    expected = validated_by_one(folder)
    assert {name: written[-1][name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert summary["scores"] == pytest.approx(expected, abs=1e-5)


def test_the_launch_line_of_a_dry_run_leaves_one_run_of_two_under_torchrun(data, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    words = ["pretrain", "--config", "generated", "--data", data.weak, "--output", "by hand", "--nproc", 2]
    words += ["--device", "cpu", *SMALL_HERE]
    assert carry_out([*map(str, words), "--dry-run"]) == 0
    assert list(tmp_path.iterdir()) == []
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Launch: ")]
    said = run(shlex.split(line.removeprefix("Launch: ")), tmp_path)
    assert said.count("Done in") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "by hand"]
    check_run_of_two(tmp_path / "by hand")


def test_two_processes_evaluate_as_one_does(tuned, tmp_path):
    flags = {"protocol": "frame-map", "checkpoints": (tuned,), "run.output": tmp_path / "one", "run.device": "cpu"}
    evaluate.run(load_config(EvaluateConfig, flags={**flags, "save_predictions": tmp_path / "one.npz"}))
    words = ["evaluate", "--protocol", "frame-map", "--checkpoint", tuned, "--nproc", 2, "--device", "cpu"]
    said = run(ssdet(*words, "--output", "two", "--save-predictions", "two.npz"), tmp_path)
    assert said.count("Wrote two/metrics.json") == 1
    one, two = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two"))
    written = [(tmp_path / name / "submission.txt").read_text().split("\n") for name in ("one", "two")]
    rows = [[line.split()[1:] for line in lines if line] for lines in written]
    np.testing.assert_allclose(np.array(rows[0], float), np.array(rows[1], float), atol=1e-5)
    for name in ("mAP", "wAP", "per_class_AP"):  # scores that are equal but for rounding may change places
        assert two.pop(name) == pytest.approx(one.pop(name), abs=2e-3), name
    behind = [result.pop("analysis") for result in (one, two)]  # counted at scores, so rounding moves it too
    assert behind[0].keys() == behind[1].keys() and behind[0]["training"] == behind[1]["training"]
    assert two == one
    assert (one["videos"], one["missing"], sum(one["videos_read_by"].values())) == (4, 0, 4)
    with np.load(tmp_path / "one.npz") as first, np.load(tmp_path / "two.npz") as second:
        for name in first.files:
            if name == "logits_0":
                np.testing.assert_allclose(first[name], second[name], atol=1e-5)
            else:
                np.testing.assert_array_equal(first[name], second[name], err_msg=name)
