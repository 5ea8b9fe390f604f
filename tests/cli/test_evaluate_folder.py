"""Where an evaluation goes, from a prediction file: no network is needed to know."""

import json

import pytest
import yaml

FILES = ["config.yaml", "metrics.json", "report.html", "submission.txt"]
WORDS = ("evaluate", "--predictions", "scores.txt", "--dataset", "json", "--annotations", "truth.json")


@pytest.fixture
def scored(tmp_path):
    """Two annotated videos and scores at their 25 times."""
    truth = {
        name: {"subset": "testing", "duration": 10.0, "actions": [[label, 1.0, 7.0]]}
        for label, name in enumerate(("first", "second"))
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "classes.txt").write_text("jump\nrun\n")
    rows = [f"{name} {point} {point % 7} {point % 5}" for name in truth for point in range(1, 26)]
    (tmp_path / "scores.txt").write_text("\n".join(rows) + "\n")


def test_an_evaluation_without_output_is_written_to_a_folder_that_is_said(ssdet, scored, tmp_path):
    outcome = ssdet(*WORDS)
    assert outcome.code == 0, outcome.err
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("evaluate-charades-localize-20")
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert f"Wrote runs/{folder.name}/metrics.json" in outcome.err
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["videos"], metrics["frames"], metrics["videos_read_by"]) == (2, 50, None)


def test_the_configuration_of_an_evaluation_repeats_it_in_its_folder(ssdet, scored, tmp_path):
    assert ssdet(*WORDS, "--output", "out").code == 0
    before = (tmp_path / "out/metrics.json").read_bytes()
    (tmp_path / "out/metrics.json").unlink()
    assert ssdet("evaluate", "--config", "out/config.yaml").code == 0
    assert (tmp_path / "out/metrics.json").read_bytes() == before
    assert yaml.safe_load((tmp_path / "out/config.yaml").read_text())["predictions"] == ["scores.txt"]


@pytest.mark.parametrize("trace", ["metrics.jsonl", "checkpoints/last.pt"])
def test_an_evaluation_never_lands_on_a_training_run(ssdet, scored, tmp_path, trace):
    (tmp_path / "run" / trace).parent.mkdir(parents=True)
    for name in (trace, "config.yaml", "report.html"):
        (tmp_path / "run" / name).write_text("the run's\n")
    outcome = ssdet(*WORDS, "--output", "run")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "run is a training run" in outcome.err and "--output run/evaluate" in outcome.err
    assert {path.read_text() for path in (tmp_path / "run").glob("*.*")} == {"the run's\n"}
    assert ssdet(*WORDS, "--output", "run/evaluate").code == 0
