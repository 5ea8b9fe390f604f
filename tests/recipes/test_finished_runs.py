"""A run that is done, and one that was killed when only the writing was left."""

import json
import shutil
import sys

import pytest
from tiny_runs import configured

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.errors import ConfigError
from ssdet_cli.recipes import pretrain


def contents(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_resuming_a_finished_run_changes_nothing_and_says_so(pretrained, capfd):
    before = contents(pretrained)
    assert carry_out(["pretrain", "--resume", "--output", str(pretrained)]) == 0
    assert capfd.readouterr().err == f"{pretrained} is finished, all 4 steps of it; nothing was changed.\n"
    assert contents(pretrained) == before


def test_a_finished_run_is_not_made_longer(data, pretrained, capfd):
    before = contents(pretrained)
    assert carry_out(["pretrain", "--resume", "--output", str(pretrained), "loop.steps=8"]) == 2
    assert "this configuration differs in loop.steps: 4 -> 8" in capfd.readouterr().err
    with pytest.raises(ConfigError, match=r"is finished \(summary.json\); there is nothing to resume"):
        pretrain.run(configured(PretrainConfig, data.weak, pretrained), resume=True)
    assert contents(pretrained) == before


def test_a_run_killed_before_its_summary_gets_it_with_the_scores_of_its_last_validation(data, pretrained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(pretrained, folder)
    for name in ("summary.json", "report.html", "curves.png"):
        (folder / name).unlink()
    log = (folder / "metrics.jsonl").read_text()
    told = json.loads((folder / "env.json").read_text())
    (folder / "env.json").write_text(json.dumps({**told, "command": ["ssdet", "as it began"]}))
    summary = pretrain.run(configured(PretrainConfig, data.weak, folder), resume=True)
    assert (summary.steps, (folder / "metrics.jsonl").read_text()) == (0, log)
    assert (folder / "report.html").is_file() and (folder / "curves.png").is_file()
    then, now = (json.loads((place / "summary.json").read_text())["scores"] for place in (pretrained, folder))
    assert now == then != {}
    told = json.loads((folder / "env.json").read_text())
    assert told["command"] == ["ssdet", "as it began"] and told["resumed_with"] == sys.argv
    report = (folder / "report.html").read_text()
    assert "ssdet as it began" in report and "resumed with" in report
