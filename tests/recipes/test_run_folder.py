"""What a run leaves behind besides its weights: how it ended, where the time went, the classes' scores."""

import json
import shutil
from importlib.util import find_spec

import pytest
from tiny_runs import configured

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import FinetuneConfig, PretrainConfig
from ssdet_cli.config.life import is_held, read_status
from ssdet_cli.engine.wandb_run import require
from ssdet_cli.errors import DataError, MissingExtraError, SsdetError
from ssdet_cli.recipes import finetune, pretrain
from ssdet_cli.recipes.runs import read_run
from ssdet_cli.viz.run_timing import read_timing


def test_a_finished_run_says_so_and_lists_with_its_best_score(pretrained, tuned):
    for folder, command, metric in ((pretrained, "pretrain", "loss"), (tuned, "finetune", "mAP")):
        record = read_run(folder)
        assert (record.state, record.command, record.model, record.metric) == ("finished", command, "x3d_tiny", metric)
        assert (record.step, record.steps, record.troubles) == (4, 4, ())
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        scores = [line[metric] for line in lines if line["split"] == "val"]
        assert record.best == (max if metric == "mAP" else min)(scores)
        assert is_held(folder) is False


def test_the_time_of_a_run_is_told_by_phase(tuned):
    shares = read_timing(tuned)
    assert {name for name, _, _ in shares} == {
        "waiting for data",
        "forward, backward, optimiser",
        "validation",
        "writing checkpoints",
        "start and report",
    }
    assert sum(share for _, _, share in shares) == pytest.approx(1)
    summary = json.loads((tuned / "summary.json").read_text())
    fitted = sum(seconds for name, seconds, _ in shares if name != "start and report")
    assert fitted == pytest.approx(summary["seconds"], abs=0.5)


def test_the_report_shows_phases_and_classes(tuned):
    scores = json.loads((tuned / "class_scores.json").read_text())
    assert len(scores["classes"]) == len(scores["AP"]) > 1
    page = (tuned / "report.html").read_text()
    assert "Where the time went" in page and "Average precision of each class" in page
    assert all(name in page for name in scores["classes"])


def test_a_resumed_run_goes_on_counting_and_is_finished_in_the_end(data, pretrained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    (folder / "summary.json").unlink()
    status = {**read_status(folder), "state": "running", "host": "elsewhere"}
    (folder / "status.json").write_text(json.dumps(status))
    before = {name: seconds for name, seconds, _ in read_timing(folder)}
    pretrain.run(configured(PretrainConfig, data.weak, folder), resume=True)
    after = {name: seconds for name, seconds, _ in read_timing(folder)}
    assert after["validation"] == before["validation"]  # nothing was left to do
    assert after["start and report"] > before["start and report"]
    assert read_run(folder).state == "finished"


def test_a_run_goes_on_without_the_weights_that_it_started_from(data, pretrained, tmp_path, capfd):
    start, folder = shutil.copytree(pretrained, tmp_path / "start"), tmp_path / "run"
    finetune.run(configured(FinetuneConfig, data.dense, folder, f"model.init={start}", "loop.steps=2"))
    (folder / "summary.json").unlink()
    shutil.rmtree(start)
    assert carry_out(["finetune", "--resume", "--output", str(folder)]) == 0
    assert read_run(folder).state == "finished"
    capfd.readouterr()
    shutil.rmtree(folder / "checkpoints")  # then it begins anew, and needs them
    (folder / "summary.json").unlink()
    assert carry_out(["finetune", "--resume", "--output", str(folder)]) == 2
    assert f"{start} does not exist" in capfd.readouterr().err


def test_a_run_that_fails_says_why_in_its_folder(data, tmp_path):
    folder = tmp_path / "run"
    cfg = configured(PretrainConfig, data.weak, folder, "optim.lr=1e30", "optim.clip_norm=null", "loop.log_every=1")
    with pytest.raises(SsdetError, match="loss is|not finite"):
        pretrain.run(cfg)
    record = read_run(folder)
    assert record.state == "failed" and "last checkpoint is whole" in record.reason


def test_what_fails_before_the_run_leaves_no_folder(data, tmp_path):
    cfg = configured(PretrainConfig, tmp_path / "empty", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        pretrain.run(cfg)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("wandb") is not None, reason="Weights & Biases is installed")
def test_asking_for_weights_and_biases_without_it_names_the_extra_before_anything_is_made(data, tmp_path, capfd):
    with pytest.raises(MissingExtraError, match=r"pip install 'ssdet\[log\]'"):
        require()
    words = ["pretrain", "--config", "generated", "--data", data.weak, "--output", tmp_path / "run", "--wandb", "mine"]
    assert carry_out([str(word) for word in words]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "pip install 'ssdet[log]'" in said
    assert not (tmp_path / "run").exists()


def test_only_training_commands_log_to_weights_and_biases(capfd):
    assert carry_out(["evaluate", "run.wandb=mine", "--print-config"]) == 2
    assert "unknown key 'run.wandb'" in capfd.readouterr().err
