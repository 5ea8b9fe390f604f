"""Where an evaluation goes, from a prediction file: no network is needed to know."""

import json

import pytest
import yaml

FILES = ["config.yaml", "metrics.json", "ranks.npz", "report.html", "submission.txt"]
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


def test_where_an_evaluation_went_is_told_in_one_line_as_it_is(ssdet, scored):
    place = f"{'long ' * 20}[bold]"  # brackets are no markup
    assert f"Wrote {place}/metrics.json, submission.txt and report.html.\n" in ssdet(*WORDS, "--output", place).err
    told = ssdet("evaluate", "--compare", place, place, "--output", f"{place}/x").err
    assert f"Wrote {place}/x/compare.json and report.html.\n" in told


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


def test_the_annotations_that_are_named_are_scored_and_not_those_beside_them(ssdet, tmp_path):
    for split, label in (("val", 0), ("test", 1)):
        lines = (f"{split}-{number},c{label:03d} 1 7,10\n" for number in range(2))
        (tmp_path / f"Charades_v1_{split}.csv").write_text("id,actions,length\n" + "".join(lines))
    (tmp_path / "classes.txt").write_text("c000 jump\nc001 run\n")
    rows = [
        f"{split}-{number} {point} {point % 7} {number}"
        for split in ("val", "test")
        for number in range(2)
        for point in range(1, 26)
    ]
    (tmp_path / "scores.txt").write_text("\n".join(rows) + "\n")
    words = ("evaluate", "--predictions", "scores.txt", "--dataset", "charades", "--annotations")
    for split, options in (("val", ()), ("val", ("--split", "val")), ("test", ()), ("test", ("--split", "val"))):
        outcome = ssdet(*words, f"Charades_v1_{split}.csv", *options, "--output", "out")
        assert outcome.code == 0, outcome.err
        metrics = json.loads((tmp_path / "out/metrics.json").read_text())
        assert metrics["annotations"] == f"Charades_v1_{split}.csv" and metrics["videos"] == 2
        assert [ap is None for ap in metrics["per_class_AP"]] == [split == "test", split == "val"]
        told = [note for note in metrics["notes"] if "it is what was named, so it is read" in note]
        assert len(told) == (options != () and split == "test" or options == () and split == "val")


def test_intervals_are_shown_and_written_and_follow_the_seed(ssdet, scored, tmp_path):
    outcome = ssdet(*WORDS, "--bootstrap", "200", "--output", "out")
    assert outcome.code == 0, outcome.err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    found = metrics["intervals"]
    assert (found["samples"], found["seed"], found["confidence"]) == (200, 0, 0.95)
    assert found["videos"] == 2 and any(
        note.startswith("Intervals of 2 videos say little") for note in metrics["notes"]
    )
    low, high = found["mAP"]
    assert 0 < low - 1e-12 < metrics["mAP"] < high + 1e-12 < 1 and len(found["per_class_AP"]) == 2
    assert f"mAP (95 % interval {100 * low:.2f} to {100 * high:.2f})" in " ".join(outcome.out.split())
    page = (tmp_path / "out/report.html").read_text()
    assert f"{100 * low:.2f} to {100 * high:.2f}</b><span>95 % interval of mAP" in page and page.count("<s style") == 2
    assert ssdet("evaluate", "--config", "out/config.yaml", "--output", "again").code == 0
    assert json.loads((tmp_path / "again/metrics.json").read_text())["intervals"] == found


def test_wrong_ways_to_ask_for_intervals_and_files_are_one_line(ssdet, scored, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "timed.txt").write_text("first 0.5 1 2\nsecond 0.5 2 1\n")
    (tmp_path / "bare.py").write_text(
        "from ssdet_cli.evaluation.frame_map import FrameMap\n\n\n"
        "class Bare(FrameMap):\n    name = 'bare'\n    resampling = None\n"
    )
    timed = [word if word != "scores.txt" else "timed.txt" for word in WORDS]
    for words, text in (
        ((*WORDS, "--bootstrap", "10"), "bootstrap=10 are too few draws for an interval; give 1000, at least 100."),
        ((*timed, "--protocol", "bare:Bare", "--bootstrap", "100"), "bootstrap=100: bare has no intervals"),
        (
            (*WORDS, "--protocol", "charades-classify"),
            "scores.txt, line 1: id and 2 scores are needed, got 3 scores. A frame before the scores is the form of "
            "--protocol charades-localize.",
        ),
        ((*WORDS, "--protocol", "segment-map"), "score it with --protocol charades-localize."),
        ((*WORDS, "--protocol", "charades-25-lagacy"), "Did you mean 'charades-25-legacy'?"),
    ):
        outcome = ssdet(*words, "--output", "out")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1) and text in outcome.err, outcome.err
    assert not (tmp_path / "out").exists()


def test_measures_beside_the_map_are_shown_and_written(ssdet, scored, tmp_path):
    (tmp_path / "timed.txt").write_text(
        "".join(f"{name} {t} {t % 3} {t % 4}\n" for name in ("first", "second") for t in range(9))
    )
    timed = [word if word != "scores.txt" else "timed.txt" for word in WORDS]
    outcome = ssdet(*timed, "--protocol", "segment-map", "--output", "out")
    assert outcome.code == 0 and "mAP@tIoU=0.5" in outcome.out, outcome.err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert len(metrics["measures"]) == 9 and metrics["intervals"] is None
    assert "<td>mAP@tIoU=0.9</td>" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(("protocol", "name"), [("segment-map", "mAP@tIoU=0.3"), ("action-conditional", "F1@tau=0")])
def test_measures_have_intervals_too(ssdet, scored, tmp_path, protocol, name):
    truth = json.loads((tmp_path / "truth.json").read_text())
    for video in truth.values():
        video["actions"] = [[0, 1.0, 7.0], [1, 3.0, 8.5]]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "timed.txt").write_text(
        "".join(f"{name} {t} {t % 3 / 3} {1 / (1 + t % 4)}\n" for name in truth for t in range(9))
    )
    timed = [word if word != "scores.txt" else "timed.txt" for word in WORDS]
    outcome = ssdet(*timed, "--protocol", protocol, "--bootstrap", "100", "--output", "out")
    assert outcome.code == 0, outcome.err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    found = metrics["intervals"]["measures"]
    assert found.keys() == metrics["measures"].keys()
    low, high = found[name]
    assert 0 < low <= high <= 1
    told = f"{100 * low:.2f} to {100 * high:.2f}"
    assert told in outcome.out and f"<td>{told}</td>" in (tmp_path / "out/report.html").read_text()


def test_intervals_of_a_set_without_actions_are_undefined(ssdet, scored, tmp_path):
    truth = {name: {"subset": "testing", "duration": 10.0, "actions": []} for name in ("first", "second")}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    outcome = ssdet(*WORDS, "--bootstrap", "100", "--output", "out")
    assert outcome.code == 0, outcome.err
    assert json.loads((tmp_path / "out/metrics.json").read_text())["intervals"]["mAP"] is None


def test_what_is_behind_the_score_is_shown_and_written(ssdet, scored, tmp_path):
    truth = json.loads((tmp_path / "truth.json").read_text())
    truth |= {f"t{n}": {"subset": "training", "actions": [[0, 0.0, 2.0], [0, 1.0, 3.0]]} for n in range(2)}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    outcome = ssdet(*WORDS, "--output", "out")
    assert outcome.code == 0, outcome.err
    analysis = json.loads((tmp_path / "out/metrics.json").read_text())["analysis"]
    # two videos with 3 s at 24 frames a second; the last action's end is the video's, as no duration is annotated
    assert analysis["training"]["frames"] == [142, 0] and "json train" in analysis["training"]["of"]
    assert analysis["calibration"] is None and analysis["errors"]["videos"] == 2
    assert [one["video"] for end in ("best", "worst") for one in analysis["videos"][end]] in (
        ["first", "second"],
        ["second", "first"],
    )
    assert outcome.out.index("% mAP") < outcome.out.index("errors over time") < outcome.out.index("Worst videos")
    page = (tmp_path / "out/report.html").read_text()
    assert "Kinds of errors over time" in page and "Counted: training frames at 24 a second of 2 videos" in page


def test_a_set_without_a_training_split_counts_its_own_positives(ssdet, scored, tmp_path):
    assert ssdet(*WORDS, "--output", "out").code == 0
    training = json.loads((tmp_path / "out/metrics.json").read_text())["analysis"]["training"]
    assert (training["frames"], training["unit"]) == ([15, 15], "positives") and "no training split" in training["of"]
    assert "as no training split of theirs was found" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("protocol", "lines", "shown"),
    [
        ("segment-map", "{name} {t} 0.{t} 0.3\n", "Kinds of errors over time"),
        ("frame-map", "{name} {t} 0.{t} 0.3\n", "Kinds of errors over time"),
        ("action-conditional", "{name} {t} 0.{t} 0.3\n", "Best and worst videos"),
        ("charades-25-legacy", "{name} {s} 0.{t} 0.3\n", "Precision against recall, and calibration"),
    ],
)
def test_every_protocol_of_moments_is_looked_behind(ssdet, scored, tmp_path, protocol, lines, shown):
    rows = 25 if protocol == "charades-25-legacy" else 9
    text = "".join(lines.format(name=name, t=t, s=0.4 * t + 0.1) for name in ("first", "second") for t in range(rows))
    (tmp_path / "scores.txt").write_text(text)
    outcome = ssdet(*WORDS, "--protocol", protocol, "--output", "out")
    assert outcome.code == 0, outcome.err
    assert shown in (tmp_path / "out/report.html").read_text()
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert (metrics["analysis"]["notes"] != []) == (protocol == "segment-map")
    errors = metrics["analysis"]["errors"]
    assert errors["true_cells"] == errors["found_cells"] + sum(errors["missed"].values()) == (30 if rows == 25 else 10)


def test_videos_as_rows_say_what_is_not_shown(ssdet, scored, tmp_path):
    (tmp_path / "scores.txt").write_text("first 0.3 0.4\nsecond 0.2 0.9\n")
    outcome = ssdet(*WORDS, "--protocol", "charades-classify", "--output", "out")
    assert outcome.code == 0 and "errors over time" not in outcome.out, outcome.err
    assert "A row is no moment of a video" in (tmp_path / "out/report.html").read_text()


def test_members_of_an_ensemble_may_follow_their_option_once(ssdet, scored, tmp_path):
    second = (tmp_path / "scores.txt").read_text().replace(" 3\n", " 3.5\n")
    (tmp_path / "second.txt").write_text(second)
    truth = ("--dataset", "json", "--annotations", "truth.json")
    ways = [
        ("--predictions", "scores.txt", "--predictions", "second.txt", *truth),
        ("--predictions", "scores.txt", "second.txt", *truth),
        (*truth, "--predictions", "scores.txt", "second.txt"),
        ("--predictions", "scores.txt", "second.txt", "data.dataset=json", *truth[2:]),
    ]
    for number, words in enumerate(ways):
        outcome = ssdet("evaluate", *words, "--output", f"out{number}")
        assert outcome.code == 0, outcome.err
        members = json.loads((tmp_path / f"out{number}/metrics.json").read_text())["members"]
        assert [member["file"] for member in members] == ["scores.txt", "second.txt"]


def test_a_word_behind_an_override_or_another_option_is_no_member(ssdet, scored):
    for words in (("smooth=1", "second.txt"), ("--split", "test", "second.txt")):
        outcome = ssdet(*WORDS[:3], *words, *WORDS[3:])
        assert (outcome.code, "'second.txt' is not an override" in outcome.err) == (2, True), outcome.err
    assert ssdet("evaluate", "--checkpoint", "--predictions", "scores.txt").code == 2
