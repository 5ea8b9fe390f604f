"""What a dry run measures, and what it makes of it."""

import os
import re
import shutil

import numpy as np
import pytest
import torch
from tiny_runs import configured

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import ConfigError
from ssdet_cli.recipes import finetune, pretrain
from ssdet_cli.recipes.dry_run import HeldOut, Measured, cores_of_a_process, estimate, span
from ssdet_cli.video.write import write_video

MEASURED = Measured(loss=1.0, step=0.5, read=0.2, forward=0.08, spacing=0.5)


def config(kind, *words):
    plain = ["loop.steps=100", "loop.batch_size=8", "loop.validate_every=30", "clip.frames=4", "data.workers=4"]
    given = {word.partition("=")[0] for word in words}
    return load_config(kind, None, [*(word for word in plain if word.partition("=")[0] not in given), *words])


def test_network_and_reading_go_on_side_by_side():
    found = estimate(config(PretrainConfig), MEASURED, HeldOut(clips=40), cores=4)
    assert found.reading == pytest.approx(8 * 0.2 / 4)
    assert found.step == 0.5  # the network is slower
    assert found.validations == 4  # after 30, 60, 90 steps and at the end
    assert found.validation == pytest.approx(40 * 0.08)
    assert found.total == pytest.approx(100 * 0.5 + 4 * 40 * 0.08)


def test_more_workers_than_cores_read_no_faster():
    found = estimate(config(PretrainConfig), MEASURED, HeldOut(clips=40), cores=2)
    assert found.step == found.reading == pytest.approx(0.8)
    assert found.validation == pytest.approx(40 * 0.1)


def test_without_workers_one_waits_for_the_other():
    cfg = config(PretrainConfig, "data.workers=0", "loop.accumulate=2")
    found = estimate(cfg, MEASURED, HeldOut(clips=40), cores=4)
    assert found.step == pytest.approx(0.5 + 16 * 0.2)


def test_of_a_run_that_goes_on_the_rest_counts():
    cfg = config(PretrainConfig)
    validation = 40 * 0.08
    for begins, validations in (((60, False), 2), ((60, True), 3), ((61, False), 2), ((99, False), 1)):
        found = estimate(cfg, MEASURED, HeldOut(clips=40), cores=4, begins=begins)
        assert found.validations == validations  # of those after 30, 60, 90 and 100 steps
        assert found.total == pytest.approx((100 - begins[0]) * 0.5 + validations * validation)


def test_processes_of_a_machine_share_its_cores(monkeypatch):
    cores = len(os.sched_getaffinity(0))
    alone, one_of_two = Session(torch.device("cpu")), Session(torch.device("cpu"), rank=1, world_size=2)
    for nproc, left in ((1, cores), (cores, 1), (2 * cores, 1)):
        assert cores_of_a_process(config(PretrainConfig, f"run.nproc={nproc}"), alone) == left
    assert cores_of_a_process(config(PretrainConfig), one_of_two) == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores))
    assert cores_of_a_process(config(PretrainConfig), one_of_two) == 1


def test_whole_videos_count_by_their_seconds_and_the_stride_of_validation():
    cfg = config(FinetuneConfig, "clip.stride=10")
    held_out = HeldOut(seconds=300.0)  # 600 input frames, 150 clips' worth
    assert estimate(cfg, MEASURED, held_out, cores=4).validation == pytest.approx(150 * 0.08)
    dense = config(FinetuneConfig, "clip.stride=10", "inference.stride=5")
    assert estimate(dense, MEASURED, held_out, cores=4).validation == pytest.approx(300 * 0.08)
    assert estimate(cfg, MEASURED, held_out, cores=4, processes=2).validation == pytest.approx(75 * 0.08)


def test_videos_of_unknown_length_count_as_the_others(tmp_path):
    records = tuple(
        VideoRecord(str(number), duration_seconds=length) for number, length in enumerate((10.0, 20.0, None))
    )
    assert HeldOut.of_videos(VideoSet("set", ("a",), records, tmp_path)).seconds == 45.0
    assert HeldOut.of_videos(VideoSet("set", ("a",), records[2:], tmp_path)).seconds == 0.0


def test_where_no_annotation_tells_durations_headers_do(tmp_path):
    write_video(tmp_path / "a.mp4", np.zeros((20, 32, 32, 3), np.uint8), 5)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    records = tuple(VideoRecord(path.stem, path) for path in (tmp_path / "a.mp4", tmp_path / "b.mp4"))
    assert HeldOut.of_videos(VideoSet("set", ("a",), records, tmp_path)).seconds == 8.0


def test_times_are_told_as_one_plans_with_them():
    assert [span(seconds) for seconds in (0.4, 40, 600, 9000, 200000)] == [
        "under 1 s",
        "40 s",
        "10 min",
        "2.5 h",
        "2.3 days",
    ]


@pytest.mark.parametrize(
    ("kind", "recipe", "part"), [(PretrainConfig, pretrain, "weak"), (FinetuneConfig, finetune, "dense")]
)
def test_a_dry_run_says_time_and_memory_and_that_it_is_an_estimate(data, tmp_path, capfd, kind, recipe, part):
    recipe.run(configured(kind, getattr(data, part), tmp_path / "no", "loop.steps=1000"), dry_run=True)
    said = capfd.readouterr().err
    assert re.search(r"parameters, loss \d\.\d+, \d+\.\d\d s per step on cpu, at most \d\.\d GiB of memory", said)
    assert re.search(r"Estimate from these steps, not a promise: \d+ (s|min) for 1,000 steps of \d", said)
    assert "reading 0." in said and "in the training process) and 500 validations of " in said
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("words", "rate", "passes", "effective", "rates", "warmup"),
    [
        ([], "0.01 x 2/2 = 0.01", 20.8, ["4", "2", "2"], ["0.02", "0.01", "0.01"], None),
        (["run.nproc=3"], "0.01 x 6/2 = 0.03", 62.5, ["12", "6", "6"], ["0.06", "0.03", "0.03"], 5),
        (
            ["run.nproc=3", "run.nnodes=2", "run.rdzv_endpoint=first:29500"],
            "0.01 x 12/2 = 0.06",
            125.0,
            ["24", "12", "12"],
            ["0.12", "0.06", "0.06"],
            3,
        ),
    ],
    ids=["alone", "three", "two machines"],
)
def test_the_try_of_one_process_tells_rate_and_plan_of_all(
    data, tmp_path, capfd, words, rate, passes, effective, rates, warmup
):
    plan = ["multigrid.long_cycle=[[2,0.5,1],[1,1,1]]", "multigrid.phases=[0.5]", "loop.steps=100", "loop.batch_size=2"]
    lr = ["optim.lr=0.01", "optim.scale_lr=linear", "optim.base_batch=2", "optim.warmup_steps=0"]
    cfg = configured(PretrainConfig, data.weak, tmp_path / "no", *plan, *lr, "optim.schedule=constant", *words)
    pretrain.run(cfg, dry_run=True)
    said = capfd.readouterr().err
    assert f"Learning rate {rate} (optim.scale_lr=linear; " in said
    assert f"Multigrid plan, 100 steps, {passes} passes over 12 clips" in said
    rows = [re.split(r"  +", line.strip()) for line in said.splitlines() if re.match(r" *\d  ", line)]
    assert [row[3] for row in rows] == ["4", "2", "2"]
    assert ([row[4] for row in rows], [row[-1] for row in rows]) == (effective, rates)
    # Five passes, by the plan of the run and not by the batches that are tried.
    advised = re.search(r"such as optim.warmup_steps=(\d+)\.", said)
    assert (advised and int(advised[1])) == warmup
    several = re.search(r"Estimate from these steps of one of (\d) processes, without what they exchange, not", said)
    assert (several and 2 * int(several[1])) == (warmup and int(rate.partition(" x ")[2].partition("/")[0]))


MULTIGRID = ["multigrid.long_cycle=[[2,0.5,1],[1,1,1]]", "multigrid.phases=[0.5]", "multigrid.clips_per_statistic=1"]


@pytest.mark.parametrize("more", [[], MULTIGRID], ids=["one shape", "multigrid"])
def test_a_dry_run_of_a_resume_is_of_the_rest_and_touches_nothing(data, tmp_path, capfd, monkeypatch, more):
    whole_step = Trainer.step

    def step(trainer, batches):
        if trainer.progress.step == 5:
            raise KeyboardInterrupt
        return whole_step(trainer, batches)

    words = ["loop.steps=10", "loop.batch_size=2", "loop.save_every=1", *more]
    cfg = configured(PretrainConfig, data.weak, folder := tmp_path / "run", *words)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trainer, "step", step)
        pretrain.run(cfg)
    held = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capfd.readouterr()
    assert carry_out(["pretrain", "--resume", "--output", str(folder), "--dry-run"]) == 0
    said = capfd.readouterr().err
    assert "for the 5 that are left of 10 steps of " in said and " and 3 validations of " in said
    assert said.rstrip().endswith("The run is as it was.")
    with pytest.raises(ConfigError, match=r"differs in optim.lr: 0.004 -> 0.5"):
        pretrain.run(configured(PretrainConfig, data.weak, folder, *words, "optim.lr=0.5"), resume=True, dry_run=True)
    assert carry_out(["pretrain", "--resume", "--output", str(folder), "--dry-run", "--nproc", "2"]) == 2
    assert "differs in run.nproc: 1 -> 2." in capfd.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == held


def test_a_dry_run_of_a_resume_of_nothing_is_refused(data, tmp_path, capfd):
    assert carry_out(["pretrain", "--resume", "--output", str(tmp_path / "none"), "--dry-run"]) == 2
    assert "holds no config.yaml, so it is no run folder" in capfd.readouterr().err
    with pytest.raises(ConfigError, match="holds no run to continue"):
        pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "none"), resume=True, dry_run=True)


def test_where_only_the_summary_is_left_a_dry_run_says_so(data, pretrained, tmp_path, capfd):
    folder = tmp_path / "copy"
    shutil.copytree(pretrained, folder)
    (folder / "summary.json").unlink()
    pretrain.run(configured(PretrainConfig, data.weak, folder), resume=True, dry_run=True)
    assert "All 4 steps are done and the report is left. The run is as it was." in capfd.readouterr().err
