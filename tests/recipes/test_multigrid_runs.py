"""Multigrid trainings as a user starts them."""

import json
import re

import pytest
import torch
from tiny_runs import configured

from ssdet_cli.config.commands import FinetuneConfig, PretrainConfig, TrainCoarseFineConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.out_of_memory import advice
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.backbones.x3d import X3D, x3d_tiny
from ssdet_cli.recipes import batch_size, finetune, pretrain
from ssdet_cli.recipes.dry_run import HeldOut, Measured, estimate
from ssdet_cli.recipes.multigrid import plan_of

WORDS = (
    "loop.steps=9",
    "loop.batch_size=2",
    "loop.validate_every=3",
    "loop.log_every=1",
    "optim.lr=0.01",
    "optim.schedule=constant",
    "multigrid.long_cycle=[[2,0.5,0.75],[1,1,1]]",
    "multigrid.short_cycle=[[[2,0.75],[1,1]]]",
    "multigrid.phases=[0.5]",
    "multigrid.clips_per_statistic=1",
)
AUTO = ["loop.batch_size=auto" if word.startswith("loop.batch_size") else word for word in WORDS]
#: Of 9 steps: the phase is 0 to 4, halves of it begin at 0 and 2; clips, sizes and frames of the first eight.
CLIPS, SIZES, FRAMES = [8, 4, 4, 2, 4, 4, 2, 4], [18, 24, 24, 32, 24, 24, 32, 24], [4, 4, 8, 8, 8, 8, 8, 8]


class Fixed(X3D):
    """Takes clips of eight frames and nothing else."""

    def _stages(self, frames):
        if frames.shape[2] != 8:
            raise RuntimeError(f"positions are for 8 frames, not {frames.shape[2]}\nand more")
        return super()._stages(frames)


def fixed():
    backbone = x3d_tiny()
    backbone.__class__ = Fixed
    return backbone


def run(data, folder, *words, resume=False):
    pretrain.run(configured(PretrainConfig, data.weak, folder, *WORDS, *words), resume=resume)


def test_a_killed_run_goes_on_inside_its_cycles_and_ends_with_the_same_weights(data, tmp_path, monkeypatch):
    step = Trainer.step

    def killed(folder, at, *, resume=False):
        def mortal(trainer, batches):
            if trainer.progress.step == at:
                raise KeyboardInterrupt
            return step(trainer, batches)

        monkeypatch.setattr(Trainer, "step", mortal)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / folder, "loop.save_every=2", resume=resume)

    killed("whole", 8)
    killed("half", 7)
    assert load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt")["progress"]["step"] == 6
    killed("half", 8, resume=True)
    logs, ends = [], []
    for name in ("whole", "half"):
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        clock = ("time", "clips_per_second", "data_wait")
        logs.append([{key: value for key, value in line.items() if key not in clock} for line in lines])
        ends.append(load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["model"])
    assert logs[0] == logs[1] and ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    create_model("x3d_tiny", 5).load_state_dict(ends[0])  # split norms or not, the weights are those of the network
    trained = [line for line in logs[0] if line["split"] == "train"]
    assert [line["batch"] for line in trained] == CLIPS and [line["size"] for line in trained] == SIZES
    assert [line["frames"] for line in trained] == FRAMES
    assert trained[-1]["epoch"] == round(sum(CLIPS) / 12, 4)
    assert [line["norm_splits"] for line in trained] == [4, 4, 2, 2, 2, 2, 2, 2]
    assert [line["lr"] for line in trained] == [0.01, 0.02, *[0.01] * 6]  # a step of warm-up


@pytest.mark.parametrize(
    ("kind", "recipe", "part"), [(PretrainConfig, pretrain, "weak"), (FinetuneConfig, finetune, "dense")]
)
def test_a_dry_run_prints_the_plan_and_tries_the_largest_batch(data, tmp_path, capfd, kind, recipe, part):
    recipe.run(configured(kind, getattr(data, part), tmp_path / "no", *WORDS, "loop.accumulate=3"), dry_run=True)
    said = capfd.readouterr().err
    rows = [re.split(r"  +", line.strip()) for line in said.splitlines() if re.match(r" *(phase|\d)  ", line)]
    assert "Multigrid plan, 9 steps, " in said
    assert rows == [
        ["phase", "from step", "steps", "clips per process", "effective batch", "frames", "crop", "norm splits", "lr"],
        ["1", "0", "2", "8 / 4", "24 / 12", "4", "18 / 24", "4", "0.01"],
        ["1", "2", "3", "4 / 2", "12 / 6", "8", "24 / 32", "2", "0.01"],
        ["2", "5", "4", "4 / 2", "12 / 6", "8", "24 / 32", "2", "0.01"],
    ]
    assert re.search(r"s per step with the largest batch \(4 clips of 8 x 24 x 24\) on cpu", said)
    assert "Estimate from these steps, not a promise: " in said and not (tmp_path / "no").exists()


def test_a_network_that_does_not_take_a_shape_is_refused_before_training(data, tmp_path):
    with pytest.raises(ConfigError) as told:
        run(data, tmp_path / "no", "model.backbone=test_multigrid_runs:fixed")
    assert re.match(
        r"multigrid has clips of 4 x 18 x 18, which test_multigrid_runs:fixed with head linear does not take: "
        r"positions are for 8 frames, not 4\. Give a multigrid\.long_cycle",
        str(told.value),
    )
    assert "\n" not in str(told.value) and not (tmp_path / "no").exists()
    with pytest.raises(ConfigError, match="multigrid is for pretrain and finetune"):
        load_config(TrainCoarseFineConfig, None, ["multigrid.preset=x3d"])


def test_the_size_of_a_batch_is_found_at_the_largest_of_its_shapes(data, tmp_path, monkeypatch, capfd):
    tried = []
    step = Trainer.step

    def noting(trainer, batches):
        batch = next(batches)
        tried.append(tuple(batch.frames.shape))
        return step(trainer, iter([batch]))

    monkeypatch.setattr(batch_size, "_MOST_ON_CPU", 2)
    monkeypatch.setattr(Trainer, "step", noting)
    pretrain.run(configured(PretrainConfig, data.weak, tmp_path, *AUTO), dry_run=True)
    assert "loop.batch_size=auto: 2 clips in a pass of every process fit on cpu" in capfd.readouterr().err
    assert tried == [(2, 3, 8, 24, 24)] * 2 + [(4, 3, 8, 24, 24)] * 4  # the trials of 1 and 2, and the dry run


def test_estimates_count_every_shape_as_often_as_it_comes():
    cfg = load_config(PretrainConfig, None, [*WORDS, "data.workers=4", "clip.frames=8", "clip.size=32"])
    plan = plan_of(cfg, x3d_tiny())
    measured = Measured(loss=1.0, step=0.5, read=0.2, forward=0.08, spacing=0.5)
    found = estimate(cfg, measured, HeldOut(clips=0), cores=4, plan=plan)
    turns = [plan.at(step) for step in range(9)]
    assert [turn.clips for turn in turns] == [*CLIPS, 2]
    assert found.reading == pytest.approx(sum(turn.clips for turn in turns) / 9 * 0.2 / 4)
    assert found.network == pytest.approx(0.5 * sum(turn.pixels for turn in turns) / 9 / (4 * 8 * 24**2))


def test_memory_that_does_not_suffice_is_told_with_the_shape_at_fault():
    cfg = load_config(PretrainConfig, None, [*WORDS, "clip.frames=8", "clip.size=32"])
    told = advice(cfg, torch.device("cpu"), 1, plan_of(cfg, x3d_tiny()).at(0))
    assert str(told).startswith("Out of memory on cpu at step 1, with 8 clips of 4 x 18 x 18 in a pass. Reduce, in")


def test_norms_that_cannot_be_split_stay_whole_and_that_is_said():
    said = []
    cfg = load_config(PretrainConfig, None, ["multigrid.preset=slowfast", "model.backbone=slowfast_r50"])
    assert plan_of(cfg, torch.nn.BatchNorm3d(4), said.append).most_splits == 1
    (line,) = said
    assert line.startswith("The batch norms of slowfast_r50 cannot be split: at every shape they see all clips")
    assert plan_of(cfg, x3d_tiny(), said.append).most_splits == 16 and len(said) == 1
