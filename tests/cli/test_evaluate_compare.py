"""`ssdet evaluate --compare A B`: good and bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from ssdet_cli.evaluation import ranks

WORDS = ("evaluate", "--dataset", "json", "--annotations", "truth.json")
COUNT = 12


@pytest.fixture
def evaluated(ssdet, tmp_path):
    """Evaluations `first` and `second` of 12 videos; the second is better."""
    rng = np.random.default_rng(0)
    truth = {
        f"v{number:02}": {"subset": "testing", "duration": 10.0, "actions": [[number % 2, 1.0, 7.0]]}
        for number in range(COUNT)
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "classes.txt").write_text("jump\nrun\n")
    for name, gain in (("first", 0.3), ("second", 3.0)):
        lines = []
        for video, about in truth.items():
            label, start, end = about["actions"][0]
            scores = rng.normal(size=(25, 2)).round(3)
            scores[[start <= 0.4 * point <= end for point in range(25)], label] += gain
            lines += [f"{video} {point + 1} {row[0]} {row[1]}" for point, row in enumerate(scores)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
        assert ssdet(*WORDS, "--predictions", f"{name}.txt", "--output", name).code == 0
    return tmp_path


def refused(outcome, text):
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert text in outcome.err, outcome.err


def test_two_evaluations_are_compared_into_a_folder_that_is_said(ssdet, evaluated):
    outcome = ssdet("evaluate", "--compare", "first", "second", "--bootstrap", "300")
    assert outcome.code == 0, outcome.err
    (folder,) = (evaluated / "runs").iterdir()
    assert folder.name.startswith("compare-20")
    assert sorted(path.name for path in folder.iterdir()) == ["compare.json", "config.yaml", "report.html"]
    assert f"Wrote runs/{folder.name}/compare.json and report.html." in outcome.err
    assert json.loads(ssdet("runs", "--json").out)[0]["state"] == "finished"
    assert "B is better by" in outcome.out and "B better" in outcome.out and "second" in outcome.out
    found = json.loads((folder / "compare.json").read_text())
    metrics = [json.loads((evaluated / name / "metrics.json").read_text()) for name in ("first", "second")]
    assert [found["mAP"]["a"], found["mAP"]["b"]] == [one["mAP"] for one in metrics]
    for number, row in enumerate(found["classes"]):
        assert [row["a"], row["b"]] == [one["per_class_AP"][number] for one in metrics]
    assert [found["scored"][side]["members"] for side in "ab"] == [one["members"] for one in metrics]
    assert "first.txt</td><td>submission</td>" in (folder / "report.html").read_text()
    assert found["annotations"] == "truth.json" and len(found["annotations_sha256"]) == 64 and found["samples"] == 300
    assert ssdet("evaluate", "--config", folder / "config.yaml", "--output", "again").code == 0
    assert (evaluated / "again/compare.json").read_bytes() == (folder / "compare.json").read_bytes()
    assert ssdet("evaluate", "--config", folder / "config.yaml", "--seed", "1", "--output", "other").code == 0
    assert json.loads((evaluated / "other/compare.json").read_text())["difference"] != found["difference"]


def test_a_comparison_starts_no_torch_and_draws_a_thousand_times(evaluated):
    code = (
        "import sys; from ssdet_cli.__main__ import carry_out\n"
        "code = carry_out(['evaluate', '--compare', 'first', 'second', '--output', 'out'])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=evaluated, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((evaluated / "out/compare.json").read_text())["samples"] == 1000
    config = yaml.safe_load((evaluated / "out/config.yaml").read_text())
    assert (config["compare"], config["bootstrap"]) == (["first", "second"], 1000)


def test_the_same_evaluation_twice_does_not_differ(ssdet, evaluated):
    assert ssdet("evaluate", "--compare", "first", "first", "--output", "out").code == 0
    found = json.loads((evaluated / "out/compare.json").read_text())
    assert found["difference"] == {"value": 0.0, "interval": [0.0, 0.0], "p": 1.0}


def test_wrong_words_are_one_line(ssdet, evaluated):
    (evaluated / "run/checkpoints").mkdir(parents=True)
    (evaluated / "nothing").mkdir()
    for words, text in (
        (("--compare", "first"), "two folders are needed, and --output is an option"),
        (("--compare", "first", "absent"), "--compare (compare): there is no absent."),
        (("--compare", "first", "second.txt"), "second.txt is a file; give the folder of an evaluation."),
        (("--compare", "run", "first"), "run is a training run; evaluate it first (ssdet evaluate --checkpoint run"),
        (("--compare", "first", "nothing"), "nothing is no evaluation: it holds no metrics.json."),
        (("compare=[first]",), "compare takes the folders of two evaluations, got 1."),
        (("--compare", "first", "second", "--predictions", "first.txt"), "leave out --checkpoint and --predictions."),
        (
            ("--compare", "first", "second", "--annotations", "truth.json"),
            "the annotations are theirs; leave out data.",
        ),
        (("--compare", "first", "second", "--average", "logits"), "scores nothing; leave out average."),
        (("--compare", "first", "second", "inference.shifts=2"), "inference.shifts=2 would do nothing: two finished"),
        (("--compare", "first", "second", "--nproc", "2"), "compared by one process; leave out --nproc"),
        (("--compare", "first", "second", "--bootstrap", "10"), "bootstrap=10 are too few draws"),
        (("--compare", "first", "second", "--protocol", "frame-map"), "but first was scored under charades-localize"),
    ):
        refused(ssdet("evaluate", *words, "--output", "out"), text)
        assert not (evaluated / "out").exists()
    refused(ssdet("evaluate", "--compare", "first"), "requires 2 arguments")
    before = (evaluated / "first/report.html").read_bytes()
    refused(ssdet("evaluate", "--compare", "first", "second", "--output", "first"), "first holds an evaluation, whose")
    assert (evaluated / "first/report.html").read_bytes() == before


def test_a_comparison_is_no_place_for_an_evaluation_and_an_earlier_evaluation_is_replaced(ssdet, evaluated):
    assert ssdet("evaluate", "--compare", "first", "second", "--output", "both").code == 0
    before = {path.name: path.read_bytes() for path in (evaluated / "both").iterdir()}
    refused(
        ssdet(*WORDS, "--predictions", "first.txt", "--output", "both"), "run.output=both holds a comparison, whose"
    )
    assert {path.name: path.read_bytes() for path in (evaluated / "both").iterdir()} == before
    assert (
        "and report.html in place of an earlier evaluation's." in ssdet("evaluate", "--config", "first/config.yaml").err
    )
    assert "in place of" not in ssdet(*WORDS, "--predictions", "first.txt", "--output", "new").err


def test_folders_that_cannot_be_compared_are_one_line(ssdet, evaluated):
    def against(name):
        return ssdet("evaluate", "--compare", "first", name, "--output", "out")

    (evaluated / "classes.txt").write_text("jump\nwalk\n")
    assert ssdet(*WORDS, "--predictions", "second.txt", "--output", "walk").code == 0
    refused(against("walk"), "first (2) and walk (2) are of other classes: 'run' is only in first; compare")
    (evaluated / "classes.txt").write_text("jump\nrun\n")

    lines = (evaluated / "second.txt").read_text().splitlines()
    truth = json.loads((evaluated / "truth.json").read_text())
    timed = [f"{video} {0.4 * int(point)} {rest}" for video, point, rest in (line.split(" ", 2) for line in lines)]
    for name, kept in (("dense", timed), ("fewer", timed[25:])):
        (evaluated / f"{name}.txt").write_text("\n".join(kept) + "\n")
        done = ssdet(*WORDS, "--protocol", "frame-map", "--predictions", f"{name}.txt", "--output", name)
        assert done.code == 0, done.err
    refused(against("dense"), "first and dense differ in their protocol: charades-localize and frame-map.")
    refused(
        ssdet("evaluate", "--compare", "dense", "fewer"),
        "dense (12) and fewer (11) are of other videos: 'v00' is only in dense; compare evaluations of the",
    )

    (evaluated / "other.json").write_text(json.dumps({**truth, "v99": {**truth["v00"], "subset": "training"}}))
    done = ssdet(*WORDS[:-1], "other.json", "--predictions", "second.txt", "--output", "other")
    assert done.code == 0, done.err
    refused(against("other"), "first and other differ in their annotations (SHA-256):")

    second = evaluated / "second"
    whole = (second / "ranks.npz").read_bytes()
    (second / "ranks.npz").write_bytes(whole[:100])
    refused(against("second"), "second/ranks.npz is damaged")
    (second / "ranks.npz").write_bytes((evaluated / "first/ranks.npz").read_bytes())
    refused(against("second"), "second/ranks.npz and metrics.json are not of the same evaluation: evaluate again.")
    (second / "ranks.npz").unlink()
    refused(against("second"), "evaluate again: ssdet evaluate --config second/config.yaml.")
    assert ssdet("evaluate", "--config", "second/config.yaml").code == 0
    assert (second / "ranks.npz").read_bytes() == whole
    (second / "metrics.json").write_text("{}")
    refused(against("second"), "second/metrics.json cannot be read as the result of an evaluation")

    done = ssdet(*WORDS, "--protocol", "segment-map", "--predictions", "dense.txt", "--output", "segments")
    assert done.code == 0 and not (evaluated / "segments/ranks.npz").exists(), done.err
    refused(against("segments"), "segment-map ranks no rows; its evaluations cannot be compared.")
    assert not (evaluated / "out").exists()


def test_missing_videos_of_one_are_said(ssdet, evaluated):
    lines = (evaluated / "second.txt").read_text().splitlines()
    (evaluated / "part.txt").write_text("\n".join(lines[25:]) + "\n")
    assert ssdet(*WORDS, "--predictions", "part.txt", "--output", "part").code == 0
    outcome = ssdet("evaluate", "--compare", "second", "part", "--output", "out")
    assert outcome.code == 0 and "Videos without scores: 0 in A and 1 in B" in " ".join(outcome.out.split())
    assert "not the same ones (v00)" in (evaluated / "out/report.html").read_text()


def test_a_set_too_large_for_ranks_says_so_and_leaves_no_old_ones(ssdet, evaluated, monkeypatch):
    monkeypatch.setattr(ranks, "LIMIT", 25 * COUNT * 2 - 1)
    outcome = ssdet("evaluate", "--config", "first/config.yaml")
    assert outcome.code == 0 and "evaluate --compare cannot take this evaluation." in outcome.err
    assert not (evaluated / "first/ranks.npz").exists()
    monkeypatch.setattr(ranks, "LIMIT", 25 * COUNT * 2)
    assert "cannot take" not in ssdet("evaluate", "--config", "first/config.yaml").err
    assert (evaluated / "first/ranks.npz").exists()
