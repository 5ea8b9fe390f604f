"""The backbone and the clip, where nobody gives them."""

import subprocess
import sys

import pytest
import torch
import yaml

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import save_checkpoint


def resolved(ssdet, *words):
    """(backbone, frames, stride, size) of the configuration that a command line gives."""
    outcome = ssdet(*words, "--print-config")
    assert (outcome.code, outcome.err) == (0, "")
    got = yaml.safe_load(outcome.out)
    return got["model"]["backbone"], *(got["clip"][name] for name in ("frames", "stride", "size"))


@pytest.fixture
def run(tmp_path):
    """A pretraining run's folder with what is read of it."""
    words = ["model.backbone=x3d_s", "clip.frames=12", "clip.stride=3", "clip.size=128"]
    return rundir.prepare(load_config(PretrainConfig, None, words), tmp_path / "run")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrain", "--data", "."], ("x3d_m", 16, 5, 224)),
        (["pretrain", "--data", ".", "--backbone", "x3d_s"], ("x3d_s", 13, 6, 160)),
        (["pretrain", "--data", ".", "model.backbone=x3d_xs"], ("x3d_xs", 4, 12, 160)),
        (["pretrain", "--data", ".", "--backbone", "x3d"], ("x3d", 16, 5, 224)),
        (["pretrain", "--data", ".", "--backbone", "x3d_s", "clip.size=96"], ("x3d_s", 13, 6, 96)),
        (["pretrain", "--data", ".", "--backbone", "my.lab:net"], ("my.lab:net", 16, 5, 224)),
        (["pretrain", "--config", "generated", "--backbone", "x3d_s"], ("x3d_s", 16, 1, 40)),
        (["finetune", "--backbone", "x3d_s"], ("x3d_s", 13, 10, 160)),
        (["finetune", "clip.frames=8"], ("x3d_m", 8, 10, 224)),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, list) else "",
)
def test_what_is_given_goes_before_the_backbone_s_own_clip_and_that_before_the_default(ssdet, words, expected):
    assert resolved(ssdet, *words) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["finetune"], ("x3d_s", 12, 10, 128)),
        (["finetune", "--backbone", "x3d_s"], ("x3d_s", 12, 10, 128)),
        (["finetune", "clip.frames=32", "clip.stride=2"], ("x3d_s", 32, 2, 128)),
        (["finetune", "--backbone", "x3d_xs"], ("x3d_xs", 4, 10, 160)),
        (["finetune", "--config", "generated"], ("x3d_tiny", 32, 1, 40)),
        (["pretrain", "--data", "."], ("x3d_s", 12, 3, 128)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_run_to_start_from_decides_what_is_not_given(ssdet, run, words, expected):
    assert resolved(ssdet, *words, "--init", run) == expected


def test_what_a_run_decided_is_said_in_one_line(ssdet, run, tmp_path):
    (run / "checkpoints").mkdir()
    for file in (tmp_path / "a.json", run / "checkpoints" / "best.pt"):
        file.touch()
    words = ["finetune", "--dataset", "json", "--annotations", "a.json"]
    words += ["model.options.dropout=0.1"]  # refused after the line was said
    said = ssdet(*words, "--init", "run").err.splitlines()
    assert said[0] == "Taken from run: model.backbone=x3d_s clip.frames=12 clip.size=128"
    assert len(said) == 2
    assert "Taken" not in ssdet(*words, "--init", "run", "--backbone", "x3d_m").err


def test_a_checkpoint_file_says_the_same_of_itself(ssdet, tmp_path):
    meta = {"backbone": "x3d_l", "clip": {"frames": 6, "stride": 2, "size": 64}}
    save_checkpoint(tmp_path / "bare.pt", {"model": {"w": torch.zeros(1)}, "meta": meta})
    assert resolved(ssdet, "finetune", "--init", "bare.pt") == ("x3d_l", 6, 10, 64)
    folder = tmp_path / "moved" / "checkpoints"
    folder.mkdir(parents=True)
    (tmp_path / "bare.pt").rename(folder / "best.pt")
    assert resolved(ssdet, "finetune", "--init", "moved") == ("x3d_l", 6, 10, 64)


def test_weights_of_other_origin_decide_nothing(ssdet, tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "theirs.pt")
    assert resolved(ssdet, "finetune", "--init", "theirs.pt", "--backbone", "x3d_s") == ("x3d_s", 13, 10, 160)


def test_a_typing_error_is_found_before_a_checkpoint_is_read(ssdet, tmp_path):
    (tmp_path / "broken.pt").write_bytes(b"no weights")
    outcome = ssdet("finetune", "--init", "broken.pt", "--head", "linea")
    assert (outcome.code, "Did you mean 'linear'?" in outcome.err) == (2, True)
    outcome = ssdet("finetune", "--init", "broken.pt")
    assert (outcome.code, "broken.pt cannot be read as weights" in outcome.err) == (2, True)


def test_a_run_is_asked_without_torch(run):
    code = (
        "import sys\nfrom ssdet_cli.__main__ import carry_out\n"
        f"code = carry_out(['finetune', '--init', {str(run)!r}, '--print-config'])\n"
        "assert code == 0 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--steps", "4"], (4, 0)),
        (["loop.steps=30"], (30, 2)),
        (["--steps", "41"], (41, 40)),
        ([], (600, 40)),
        (["--steps", "4", "optim.warmup_steps=3"], (4, 3)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_recipe_that_is_tried_for_a_few_steps_warms_up_for_as_small_a_part_of_them(ssdet, words, expected):
    for start in (["pretrain", "--config", "generated"], ["pretrain"]):
        outcome = ssdet(*start, *words, "--print-config")
        assert (outcome.code, outcome.err) == (0, "")
        got = yaml.safe_load(outcome.out)
        assert (got["loop"]["steps"], got["optim"]["warmup_steps"]) == expected


def test_a_warm_up_is_left_as_it_is_where_the_mistake_is_somebody_s(ssdet, tmp_path):
    too_long = "optim.warmup_steps (9) must be smaller than loop.steps (5)."
    (tmp_path / "mine.yaml").write_text("optim: {warmup_steps: 9}\nloop: {steps: 5}\n")
    assert f"mine.yaml: {too_long}" in ssdet("pretrain", "--config", "mine.yaml").err
    assert too_long in ssdet("pretrain", "--config", "mine.yaml", "--steps", "5").err
    assert too_long in ssdet("pretrain", "--config", "generated", "--steps", "5", "optim.warmup_steps=9").err


def test_a_shortened_warm_up_is_told(ssdet):
    told = ssdet("pretrain", "--config", "generated", "--steps", "30", "--data", "nowhere").err
    assert "warm-up" not in told  # nothing but the mistake
    told = ssdet("pretrain", "--config", "generated", "--steps", "30", "--data", ".").err
    assert "The warm-up is shortened like the run: optim.warmup_steps=2." in told
