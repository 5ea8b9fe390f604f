"""`--init` with the authors' weights: the input's normalisation follows them, also where the run is resumed."""

import sys
from pathlib import Path

import pytest
import torch

from ssdet_cli.config.commands import FinetuneConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data.generated import GenerateSettings, generate
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.models.weights import authors
from ssdet_cli.recipes import finetune

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import foreign_layouts as foreign

SMALL = (
    "loop.steps=2",
    "loop.batch_size=2",
    "loop.validate_every=1",
    "optim.warmup_steps=0",
    "clip.size=32",
    "clip.frames=4",
    "data.workers=0",
    "run.device=cpu",
    "model.backbone=x3d_tiny",
    "model.norm_splits=2",
)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    settings = GenerateSettings(
        size=40, classes=3, novel_classes=1, weak_videos=3, weak_val_videos=3, dense_train=3, dense_test=2, seconds=1
    )
    return generate(tmp_path_factory.mktemp("generated") / "data", settings).dense


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "x3d_charades.pt"
    torch.save({"model_state_dict": foreign.write_authors(foreign.random_x3d(foreign.TINY, 157), 4)}, path)
    return path


def configured(dense, output, *words):
    return load_config(FinetuneConfig, "generated", [*SMALL, *words], {"data.videos": dense, "run.output": output})


def test_normalisation_follows_the_weights_and_stays_when_resumed(dense, weights, tmp_path, capfd):
    run = tmp_path / "run"
    cfg = configured(dense, run, f"model.init={weights}", "run.verbose=true")
    finetune.run(cfg)
    told = capfd.readouterr().err
    assert "tensors loaded from" in told and "input normalised as these weights were trained, mean 0.413" in told
    assert "  loaded: backbone.stem_space.weight" in told
    expected = {"mean": list(authors.CHARADES[0]), "std": list(authors.CHARADES[1])}
    last = run / "checkpoints" / "last.pt"
    state = load_checkpoint(last)
    assert state["meta"]["normalization"] == expected
    assert state["model"]["backbone.conv5.norm.split_mean"].shape == (2, 216)
    state["progress"]["step"] = 1  # as if the run had been cut after its first step
    torch.save(state, last)
    for later in ("summary.json", "checkpoints/best.pt"):
        (run / later).unlink()
    finetune.run(cfg, resume=True)
    assert load_checkpoint(last)["meta"]["normalization"] == expected


def test_part_of_the_weights_is_refused_unless_allowed(dense, weights, tmp_path, capfd):
    state = torch.load(weights, weights_only=True)["model_state_dict"]
    part = tmp_path / "part.pt"
    torch.save({name: value for name, value in state.items() if not name.startswith("layer3")}, part)
    with pytest.raises(CheckpointError, match="--allow-partial"):
        finetune.run(configured(dense, tmp_path / "refused", f"model.init={part}"))
    finetune.run(configured(dense, tmp_path / "taken", f"model.init={part}", "model.allow_partial=true"), dry_run=True)
    assert "kept as initialised (backbone.layer3" in capfd.readouterr().err


def test_a_batch_that_splits_cannot_share_is_told_before_anything_runs(dense, tmp_path):
    with pytest.raises(ConfigError, match=r"loop.batch_size \(3\) must be a multiple of model.norm_splits \(2\)"):
        load_config(FinetuneConfig, "generated", ["model.norm_splits=2", "loop.batch_size=3"])
