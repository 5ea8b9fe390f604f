"""`ssdet runs` on folders as runs, kills and other people leave them."""

import json
import os
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssdet_cli.config.commands import EvaluateConfig, ExtractFeaturesConfig, FinetuneConfig, PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.predict import PredictConfig
from ssdet_cli.config.rundir import prepare
from ssdet_cli.recipes.runs import find_runs, read_run

TRAIN = {"epoch": 1.5, "split": "train", "time": 0.0, "loss": 0.5, "lr": 0.1}
VAL = {"epoch": 2.0, "split": "val", "time": 0.0}


def lines(*parts):
    return "".join(json.dumps(part) + "\n" for part in parts)


def make(folder, cfg=None, metrics="", status=None, **files):
    folder.mkdir(parents=True)
    if cfg is not None:
        prepare(cfg, folder)
    if metrics:
        (folder / "metrics.jsonl").write_text(metrics)
    if status is not None:
        (folder / "status.json").write_text(json.dumps(status))
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def runs(tmp_path):
    root = tmp_path / "runs"
    tuned = [{"step": 10, **TRAIN}, {"step": 10, **VAL, "mAP": 20.5}, {"step": 20, **VAL, "mAP": 18.0}]
    done = {"state": "finished", "command": "finetune", "model": "x3d_m", "steps": 20, "metric": "mAP"}
    make(root / "tuned", metrics=lines(*tuned), status={**done, "higher_is_better": True})
    (root / "tuned/checkpoints").mkdir()
    (root / "tuned/checkpoints/best.pt").touch()
    stopped = {"state": "interrupted", "reason": "Stopped by SIGTERM at step 4 of 8.", "command": "pretrain"}
    steps = [{"step": 2, **TRAIN}, {"step": 2, **VAL, "loss": 1.5}, {"step": 4, **VAL, "loss": 1.25}]
    cut = lines(*steps) + '{"step": 6, "split": "tr'
    cfg = load_config(PretrainConfig, None, ["loop.steps=8", "optim.warmup_steps=0"])
    make(root / "stop ped", cfg, metrics=cut, status={**stopped, "model": "x3d_tiny", "steps": 8})
    return root


def test_the_list_tells_states_scores_and_places(ssdet, runs):
    answer = ssdet("runs")
    assert answer.code == 0
    rows = {line.split("  ")[0].strip(): " ".join(line.split()) for line in answer.out.splitlines()}
    assert rows["tuned"].startswith("tuned finetune x3d_m finished 20/20 2.0 mAP 20.5 ")
    assert rows["stop ped"].startswith("stop ped pretrain x3d_tiny interrupted 4/8 2.0 loss 1.25 ")
    assert "stop ped: Stopped by SIGTERM at step 4 of 8." in answer.err
    assert "stop ped: metrics.jsonl: 1 damaged line(s) left out" in answer.err


def test_json_is_complete_and_takes_other_folders(ssdet, runs, tmp_path):
    answer = ssdet("runs", "--json", runs / "tuned", tmp_path / "runs")
    records = json.loads(answer.out)
    assert {record["name"] for record in records} == {"tuned", "stop ped"}
    tuned = next(record for record in records if record["name"] == "tuned")
    assert (tuned["state"], tuned["best"], tuned["best_step"], tuned["metric"]) == ("finished", 20.5, 10, "mAP")
    assert tuned["age"] >= 0 and tuned["troubles"] == []
    assert "runs/tuned" in ssdet("runs", "list", runs).out


def test_damaged_and_foreign_folders_are_survived_and_named(ssdet, tmp_path):
    root = tmp_path / "odd"
    make(root / "no-config", metrics=lines({"step": 1, **TRAIN}))
    make(root / "not-yaml", config__yaml="a: [", metrics="\n\x00\xff nothing\n[]\n")
    make(root / "foreign", config__yaml="their: run\n", metrics=lines({"step": "one", "split": 3}))
    make(root / "no-number", cfg=FinetuneConfig(), metrics=lines({"step": 1, **VAL, "mAP": float("nan")}))
    make(root / "odd-status", status=["running"])
    (root / "a\x1b[31mred").mkdir()
    (root / "a\x1b[31mred/metrics.jsonl").mkdir()
    (root / "notes").mkdir()
    (root / "file").touch()
    answer = ssdet("runs", root)
    assert answer.code == 0 and "\x1b[31m" not in answer.out + answer.err
    assert "notes" not in answer.out
    for told in (
        "no-config: has no config.yaml",
        "not-yaml/config.yaml, line 1",
        "not-yaml: metrics.jsonl: 2 damaged line(s) left out",
        "foreign: its config.yaml is of no command of ssdet",
        "odd-status: status.json cannot be read",
        "red: metrics.jsonl cannot be read: Is a directory",
    ):
        assert told in answer.err, told
    records = {record["name"]: record for record in json.loads(ssdet("runs", root, "--json").out)}
    assert records["no-number"]["best"] is None and records["no-number"]["command"] == "finetune"
    assert records["no-config"]["step"] == 1
    for name in records:
        assert ssdet("runs", "show", root / name).code == 0, name


@contextmanager
def as_nobody():
    """Root may look everywhere: be somebody else for a moment."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the folders above belong to root alone, and a relative path does not cross them
    tmp_path.chmod(0o755)
    make(Path("runs/open"), status={"state": "failed", "command": "pretrain", "reason": "Disk full."})
    folder = make(Path("runs/secret"), metrics=lines({"step": 1, **TRAIN}))
    folder.chmod(0)
    try:
        with as_nobody():
            found = {record.name: record for record in map(read_run, find_runs([Path("runs")]))}
    finally:
        folder.chmod(0o700)
    assert (found["secret"].state, found["secret"].troubles) == ("unreadable", ("cannot be read: Permission denied",))
    assert (found["open"].state, found["open"].reason) == ("failed", "Disk full.")


def test_an_evaluation_shows_its_score_and_extraction_its_end(ssdet, tmp_path):
    make(
        tmp_path / "runs/scored",
        load_config(EvaluateConfig, None, ["protocol=frame-map"]),
        metrics__json='{"mAP": 0.25}',
    )
    index = {"complete": True, "origin": {"backbone": "x3d_tiny"}}
    cfg = ExtractFeaturesConfig(checkpoint="runs/tuned")
    make(tmp_path / "runs/features", cfg, index__json=json.dumps(index))
    make(tmp_path / "runs/extracting", cfg)
    records = {record["name"]: record for record in json.loads(ssdet("runs", "--json").out)}
    scored, features = records["scored"], records["features"]
    assert (scored["command"], scored["model"], scored["state"]) == ("evaluate", "frame-map", "finished")
    assert scored["best"] == 25.0
    told = [features[name] for name in ("command", "state", "model")]
    assert told == ["extract-features", "finished", "x3d_tiny"]  # not the default of the configuration
    assert records["extracting"]["model"] is None


def test_a_prediction_is_finished_once_its_results_are_there(ssdet, tmp_path):
    cfg = load_config(PredictConfig, None, ["checkpoint=runs/tuned", "data.videos=[videos]"])
    whole, part = '{"partial": false, "name": "a"}', '{"partial": true, "name": "b"}'
    make(tmp_path / "runs/one", cfg, segments__json=whole)
    several = make(tmp_path / "runs/several", cfg)
    make(several / "a", segments__json=whole)
    make(several / "deeper/b", segments__json=whole)
    cut = make(tmp_path / "runs/cut", cfg)
    make(cut / "b", segments__json=part)
    answer = ssdet("runs", "--json")
    states = {record["name"]: (record["command"], record["state"]) for record in json.loads(answer.out)}
    assert states["one"] == states["several"] == ("predict", "finished")
    assert states["cut"] == ("predict", "interrupted")
    assert "judged by the age" not in ssdet("runs").err
    assert "cut: of b only a part was seen" in ssdet("runs").err


def test_show_draws_curves_and_says_how_to_go_on(ssdet, runs):
    answer = ssdet("runs", "show", "stop ped")
    assert answer.code == 0
    assert "loss  ⣀ train  ● val" in answer.out and answer.out.count("●") == 3
    assert "best     loss 1.25 at step 4" in answer.out
    assert "resume   ssdet pretrain --resume --output 'runs/stop ped'" in answer.out
    assert "config   runs/stop ped/config.yaml" in answer.out
    shown = json.loads(ssdet("runs", "show", "stop ped", "--json").out)
    assert [line["step"] for line in shown["metrics"]] == [2, 2, 4]
    assert shown["resume"].startswith("ssdet pretrain --resume")
    status = json.loads((runs / "stop ped/status.json").read_text())
    (runs / "stop ped/status.json").write_text(json.dumps({**status, "resume": "torchrun ... -m ssdet_cli pretrain"}))
    assert "resume   torchrun ... -m ssdet_cli pretrain" in ssdet("runs", "show", "stop ped").out
    tuned = ssdet("runs", "show", runs / "tuned").out
    assert "mAP (%)" in tuned and "resume" not in tuned and "best     runs/tuned" not in tuned
    assert str(runs / "tuned/checkpoints/best.pt") in tuned


def test_show_alone_takes_the_newest_and_says_which(ssdet, runs):
    old = time.time() - 1000
    for path in (*(runs / "tuned").rglob("*"), runs / "tuned"):
        os.utime(path, (old, old))
    answer = ssdet("runs", "show")
    assert "The newest run, runs/stop ped." in answer.err


def test_what_is_not_there_is_one_clear_line(ssdet, runs):
    for words, told in {
        ("runs", "nowhere"): "nowhere is no folder; give a run folder or a folder of run folders.",
        (
            "runs",
            "show",
            "tunde",
        ): "There is no run 'tunde', neither as a folder nor under runs/. Did you mean 'tuned'?",
        ("runs", "show", "."): ". holds no run",
    }.items():
        answer = ssdet(*words)
        assert answer.code == 2 and told in answer.err and answer.err.count("\n") == 1


def test_no_runs_at_all_is_no_error(ssdet):
    answer = ssdet("runs")
    assert (answer.code, answer.out) == (0, "") and "No runs under runs/" in answer.err
    assert json.loads(ssdet("runs", "--json").out) == []
    assert ssdet("runs", "show").code == 2
    assert "list" in ssdet("runs", "--help").out


def test_list_and_show_load_no_torch_and_cost_less_than_seven_tenths_of_a_second(runs):
    code = (
        "import sys; from ssdet_cli.__main__ import carry_out\n"
        "assert carry_out(['runs']) == 0 and carry_out(['runs', 'show', 'tuned']) == 0\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules)"
    )
    best = float("inf")
    for _ in range(3):
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        before = used.ru_utime + used.ru_stime
        subprocess.run([sys.executable, "-c", code], cwd=runs.parent, check=True, capture_output=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, used.ru_utime + used.ru_stime - before)
    assert best < 0.7, f"ssdet runs took {best:.2f} s of the processor"
