"""Wrong files of predictions: exit code 2, one line, nothing written; what is missing is counted and told."""

import gzip
import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.score_files import NetworkScores, ScoreFile, read_scores, write_scores

CLASSES = ("jump", "run")
VIDEOS = ("first", "second")
WORDS = ("evaluate", "--dataset", "json", "--annotations", "truth.json", "--output", "out")


def lines(videos=VIDEOS, frames=range(1, 26), classes=2, seed=0):
    scores = np.random.default_rng(seed).random((len(videos), 26, classes)).round(6)
    return "".join(
        f"{name} {frame} {' '.join(map(str, scores[number, frame]))}\n"
        for number, name in enumerate(videos)
        for frame in frames
    )


def saved(path, videos=VIDEOS, classes=CLASSES, networks=1):
    rng = np.random.default_rng(1)
    seconds = np.arange(20) / 2
    said = tuple(
        NetworkScores(
            f"run{number}/best.pt",
            str(number) * 64,
            {"stride": 4, "crops": 1, "shifts": 1},
            tuple(
                VideoScores(name, seconds, rng.normal(size=(20, len(classes))).astype(np.float32), 10.0, 8.0, 80)
                for name in videos
            ),
        )
        for number in range(networks)
    )
    write_scores(path, ScoreFile(tuple(classes), said, {}))


@pytest.fixture
def files(tmp_path):
    """Two annotated videos, and files of every kind."""
    truth = {
        name: {"subset": "testing", "duration": 10.0, "actions": [[label, 1.0, 7.0]]}
        for label, name in enumerate(VIDEOS)
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    whole = lines()
    dense = "".join(f"{name} {row / 10} 0.{row % 7} 0.{row % 5}\n" for name in VIDEOS for row in range(100))
    texts = {
        "good.txt": whole,
        "unknown.txt": lines(("third", "fourth")),
        "some.txt": whole + "third 1 0.5 0.5\n",
        "wide.txt": lines(classes=3),
        "nan.txt": whole.replace(whole.splitlines()[31], "second 7 nan 0.5"),
        "zero.txt": lines(frames=range(25)),
        "part.txt": "".join(line for line in whole.splitlines(True) if not line.startswith(("second", "first 3 "))),
        "wild.txt": whole.replace(whole.splitlines()[0], "first 1 7 0.5"),
        "empty.txt": "",
        "rows.txt": dense,
        "text.npz": whole,
        "frames.txt": "".join(f"{name} {row} 0.{row % 7} 0.5\n" for name in VIDEOS for row in range(100)),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "packed.txt").write_bytes(gzip.compress(whole.encode()))
    saved(tmp_path / "scores.npz")
    saved(tmp_path / "two.npz", networks=2)
    saved(tmp_path / "others.npz", videos=("first", "secnd"))
    saved(tmp_path / "classes.npz", classes=("run", "jump"))
    saved(tmp_path / "three.npz", classes=("jump", "run", "sit"))
    saved(tmp_path / "half.npz", videos=("first",))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "scores.npz").read_bytes()[:-40])
    with np.load(tmp_path / "scores.npz") as arrays:
        held = {name: arrays[name] for name in arrays.files}
    np.savez(tmp_path / "bad.npz", **{**held, "logits_0": np.full_like(held["logits_0"], np.nan)})
    about = json.loads(str(held["about"]))
    np.savez(tmp_path / "new.npz", **{**held, "about": np.array(json.dumps({**about, "version": 9}))})
    return tmp_path


WRONG = {
    "unknown.txt": "unknown.txt names none of the 2 annotated videos; its first is 'third'.",
    "wide.txt": "wide.txt, line 1: id, time and 2 scores are needed, got 3 scores.",
    "nan.txt": "nan.txt, line 32: a score is NaN, which cannot be ranked.",
    "empty.txt": "empty.txt holds no predictions.",
    "text.npz": "text.npz is damaged, or no file of --save-predictions (",
    "cut.npz": "cut.npz is damaged, or no file of --save-predictions (File is not a zip file).",
    "bad.npz": "bad.npz: a score of 'first' is NaN or infinite, which cannot be ranked.",
    "new.npz": "new.npz has the format version 9, and this ssdet reads version 1.",
    "others.npz": "others.npz holds scores of 1 videos that truth.json (json test) does not hold, the first: 'secnd'. "
    "Did you mean 'second'?",
    "classes.npz": "classes.npz holds scores of other classes than truth.json (the same 2 classes in another order).",
    "three.npz": "three.npz holds scores of other classes than truth.json (3 classes and 2).",
    "good.txt scores.npz --weights 1,2,3": "weights=1,2,3 must be 2 numbers, one for each of: good.txt, scores.npz.",
    "two.npz --weights 1": "weights=1 must be 2 numbers, one for each of: two.npz (run0/best.pt), two.npz (run",
    "good.txt good.txt --weights 1,0": "weights='1,0': every one of the weights must be a number above 0, as in 2,1",
    "good.txt good.txt --weights -1,1": "every one of the weights must be a number above 0",
    "good.txt --weights 1,x": "weights",
    "good.txt --average mean": "average='mean': input should be 'probabilities' or 'logits'.",
    "good.txt --smooth -1": "smooth=-1",
    "wild.txt --average logits": "average=logits: wild.txt holds scores outside 0 to 1",
    "wild.txt scores.npz": "wild.txt holds scores outside 0 to 1, which cannot be averaged with the probabilities of",
    "scores.npz half.npz": "scores.npz and half.npz hold different videos: 1 are in one of them only, such as second",
    "good.txt part.txt": "good.txt and part.txt hold different videos",
    "good.txt --save-predictions kept.npz": "save_predictions keeps what networks said, and good.txt is a submission",
    "scores.npz --save-predictions .": "save_predictions=. is a folder; give a file, such as scores.npz.",
    "scores.npz --save-predictions good.txt/x.npz": "the folder of save_predictions=good.txt is a file",
    "scores.npz --save-predictions scores.npz": "save_predictions=scores.npz is read here (predictions) and would be",
    "scores.npz --save-predictions truth.json": "save_predictions=truth.json is read here (data.annotations) and would",
    "scores.npz --save-predictions classes.txt": "classes.txt is there already and holds no scores of",
    "scores.npz --save-predictions text.npz": "text.npz is there already and holds no scores of --save-predictions",
    "scores.npz inference.shifts=2": "inference.shifts=2 would do nothing: only predictions are scored",
    "good.txt inference.crops=3": "inference.crops=3 would do nothing: only predictions are scored",
    "good.txt --bootstrap 1000000000": "bootstrap=1000000000: input should be less than or equal to 100000.",
    "scores.npz --nproc 2": "predictions are scored by one process; leave out --nproc",
    "good.txt --protocol frame-map": "score it with --protocol charades-localize.",
    "good.txt --smooth 0.7": "smooth=0.7 leaves 2 of 2 videos of good.txt as they are: their rows are 0.4 s apart",
    "rows.txt --protocol charades-25-legacy": "rows.txt: 'first' has 100 rows, and charades-25-legacy has 25 of every",
    "frames.txt --protocol frame-map": "frames.txt: a row of 'first' is at 99, and the video lasts 10 s; so it is with",
    "packed.txt": "packed.txt is no text: predictions are lines of UTF-8, in no packed file.",
    "pipe": "predictions=pipe is a pipe, which can be read only once; write it to a file first.",
    ".": "predictions=. is a folder; give a file.",
    "scores.npz --save-predictions out/ranks.npz": "save_predictions=out/ranks.npz would be lost: the evaluation",
    "scores.npz --save-predictions ./out/../out/metrics.json": "metrics.json would be lost: the evaluation writes",
    "rows.txt --protocol action-conditional": "rows.txt: rows of 'first' are 0.1 s apart, and those of action-condit",
    "scores.npz good.txt --protocol charades-classify": "good.txt, line 1: id and 2 scores are needed, got 3 scores.",
}


def words_of(case):
    """Files, then other words."""
    words = case.split()
    files = list(itertools.takewhile(lambda word: not word.startswith("--") and "=" not in word, words))
    return [*(word for name in files for word in ("--predictions", name)), *words[len(files) :]]


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_or_option_is_one_line_and_leaves_nothing(ssdet, files, case):
    before = sorted(files.iterdir())
    outcome = ssdet(*WORDS, *words_of(case))
    assert (outcome.code, outcome.err.count("\n"), outcome.out) == (2, 1, ""), outcome.err
    assert outcome.err.startswith("ssdet: error: ") and WRONG[case] in outcome.err, outcome.err
    assert sorted(files.iterdir()) == before


def test_annotations_of_another_dataset_are_one_line(ssdet, files):
    truth = (files / "truth.json").read_text()
    (files / "other.json").write_text(truth.replace("first", "film").replace("second", "f2"))
    for name in ("good.txt", "scores.npz"):
        outcome = ssdet(*("other.json" if word == "truth.json" else word for word in WORDS), "--predictions", name)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1) and "'first'" in outcome.err, outcome.err
    for dataset, annotations in (("csv", "truth.json"), ("json", "good.txt"), ("charades", "good.txt")):
        outcome = ssdet("evaluate", "--predictions", "good.txt", "--dataset", dataset, "--annotations", annotations)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert not (files / "out").exists()


def test_one_of_them_in_a_process_of_its_own(files):
    command = [sys.executable, "-m", "ssdet_cli", *WORDS, "--predictions", "cut.npz"]
    done = subprocess.run(command, cwd=files, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"ssdet: error: {WRONG['cut.npz']}\n"


def test_what_is_missing_unknown_or_counted_from_0_is_told(ssdet, files):
    for name, told in (
        ("part.txt", ("1 of 2 videos have no scores: second.", "26 of 50 rows have no scores and rank last.")),
        ("some.txt", ("1 lines of 1 videos without annotation ('third', ...) were ignored",)),
        ("zero.txt", ("zero.txt counts frames from 0: taken as 1 to 25.",)),
        ("half.npz", ("1 of 2 videos have no scores: second.",)),
    ):
        outcome = ssdet(*WORDS, "--predictions", name)
        assert outcome.code == 0, outcome.err
        page = (files / "out/report.html").read_text().replace("&#x27;", "'")
        for sentence in told:
            assert sentence in " ".join(outcome.out.split()) and sentence in page, (name, sentence)
    metrics = json.loads((files / "out/metrics.json").read_text())
    assert (metrics["videos_scored"], metrics["missing"], metrics["missing_frames"]) == (1, 1, 25)


def test_a_weighted_ensemble_of_both_kinds_is_told_and_repeated_by_its_configuration(ssdet, files):
    words = (*WORDS, "--predictions", "good.txt", "--predictions", "two.npz", "--weights", "2,1,1", "--smooth", "0.9")
    outcome = ssdet(*words, "--average", "logits")
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "weighted mean of the logits of 3 members (50 %, 25 %, 25 %); smoothed over 0.9 s" in said
    before = (files / "out/metrics.json").read_bytes()
    metrics = json.loads(before)
    assert [(one["kind"], one["weight"]) for one in metrics["members"]] == [
        ("submission", 0.5),
        ("scores", 0.25),
        ("scores", 0.25),
    ]
    assert ssdet("evaluate", "--config", "out/config.yaml").code == 0
    assert (files / "out/metrics.json").read_bytes() == before


def test_smoothed_lines_are_what_is_left_as_the_submission(ssdet, files):
    assert ssdet(*WORDS, "--predictions", "good.txt").code == 0
    assert (files / "out/submission.txt").read_text() == (files / "good.txt").read_text()
    assert ssdet(*WORDS, "--predictions", "good.txt", "--smooth", "1.3").code == 0
    before = (files / "out/metrics.json").read_text()
    (files / "smooth.txt").write_bytes((files / "out/submission.txt").read_bytes())
    assert ssdet(*WORDS, "--predictions", "smooth.txt").code == 0
    again = json.loads((files / "out/metrics.json").read_text())
    assert again["per_class_AP"] == json.loads(before)["per_class_AP"]
    rows = [np.array(line.split()[2:], float) for line in (files / "good.txt").read_text().splitlines()[:3]]
    first = np.array((files / "smooth.txt").read_text().splitlines()[1].split()[2:], float)
    assert first == pytest.approx(np.mean(rows, axis=0))


def test_scores_that_were_saved_before_are_saved_again_and_links_to_inputs_are_not(ssdet, files):
    assert ssdet(*WORDS, "--predictions", "scores.npz", "--save-predictions", "two.npz").code == 0
    assert len(read_scores(files / "two.npz").networks) == 1
    before = (files / "scores.npz").read_bytes()
    (files / "link.npz").hardlink_to(files / "scores.npz")
    outcome = ssdet(*WORDS, "--predictions", "scores.npz", "--save-predictions", "link.npz")
    assert outcome.code == 2 and "link.npz is read here (predictions)" in outcome.err
    assert (files / "scores.npz").read_bytes() == before


LOST = {
    "--predictions out/submission.txt --smooth 1.3": "out/submission.txt is read here (predictions) and would be lost",
    "--predictions good.txt --predictions out/submission.txt": "out/submission.txt is read here (predictions) and",
    "--predictions link.txt --smooth 1.3": "out/submission.txt is read here (predictions) and would be lost",
    "--predictions scores.npz --annotations out/metrics.json": "out/metrics.json is read here (data.annotations) and",
    "--predictions scores.npz": "run.output=out holds a submission.txt that is of no earlier evaluation and would",
    "--predictions out/submission.txt": "run.output=out holds a report.html that is of no earlier evaluation and would",
}


@pytest.mark.parametrize("case", LOST)
def test_no_file_that_is_read_or_of_another_origin_is_written_over(ssdet, files, case):
    out = files / "out"
    out.mkdir()
    (out / "submission.txt").write_bytes((files / "good.txt").read_bytes())
    (files / "link.txt").hardlink_to(out / "submission.txt")
    if "metrics.json" in case:
        (out / "metrics.json").write_bytes((files / "truth.json").read_bytes())
    if case == "--predictions out/submission.txt":
        (out / "report.html").write_text("mine")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    words = WORDS if "--annotations" not in case else ("evaluate", "--dataset", "json", "--output", "out")
    outcome = ssdet(*words, *case.split())
    assert (outcome.code, outcome.err.count("\n"), outcome.out) == (2, 1, ""), outcome.err
    assert LOST[case] in outcome.err and {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_file_is_scored_where_it_lies_and_stays(ssdet, files):
    (files / "out").mkdir()
    (files / "out/submission.txt").write_bytes((files / "good.txt").read_bytes())
    for _ in range(2):  # the second time it is the file that an evaluation has left
        outcome = ssdet(*WORDS, "--predictions", "out/submission.txt")
        assert outcome.code == 0, outcome.err
        assert (files / "out/submission.txt").read_bytes() == (files / "good.txt").read_bytes()


@pytest.mark.parametrize("streams", ["stdout", "both"])
def test_a_reader_that_goes_takes_no_file_with_it(files, streams):
    end, begin = os.pipe()
    os.close(end)  # as `| head -1` does
    words = ("--predictions", "scores.npz", "--bootstrap", "100", "--save-predictions", "kept.npz")
    done = subprocess.run(
        [sys.executable, "-m", "ssdet_cli", *WORDS, *words],
        cwd=files,
        stdout=begin,
        stderr=begin if streams == "both" else subprocess.PIPE,
        timeout=60,
    )
    os.close(begin)
    assert done.returncode == 0, done.stderr
    assert "analysis" in json.loads((files / "out/metrics.json").read_text()) and (files / "out/ranks.npz").is_file()
    assert "Best and worst videos" in (files / "out/report.html").read_text() and (files / "kept.npz").is_file()


def test_the_same_member_twice_is_told(ssdet, files):
    (files / "copy.npz").write_bytes((files / "scores.npz").read_bytes())
    (files / "copy.txt").write_bytes((files / "good.txt").read_bytes())
    for pair, twice in (
        (("scores.npz", "copy.npz"), "scores.npz and copy.npz: the same member twice (SHA-256 000000000000)"),
        (("good.txt", "copy.txt"), "good.txt and copy.txt: the same member twice (SHA-256 "),
        (("good.txt", "good.txt"), "good.txt: the same member twice (SHA-256 "),
        (("good.txt", "scores.npz"), None),
        (("two.npz",), None),
    ):
        words = [word for name in pair for word in ("--predictions", name)]
        outcome = ssdet(*WORDS, *words)
        assert outcome.code == 0, outcome.err
        notes = json.loads((files / "out/metrics.json").read_text())["notes"]
        assert [twice in note for note in notes if "same member" in note] == ([True] if twice else [])


def test_files_of_other_numbers_of_rows_are_refused_with_allow_missing_too(ssdet, files):
    for name, count in (("ten", 10), ("nine", 9)):
        timed = "".join(f"{video} {row}.0 0.5 0.{row}\n" for video in VIDEOS for row in range(count))
        (files / f"{name}.txt").write_text(timed)
    words = ("--predictions", "ten.txt", "--predictions", "nine.txt", "--protocol", "frame-map")
    for more in ((), ("--allow-missing",)):
        outcome = ssdet(*WORDS, *words, *more)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert "ten.txt and nine.txt hold first at different times (10 rows and 9)." in outcome.err


def test_missing_rows_of_timed_files_are_counted_and_told(ssdet, files):
    words = (*WORDS, "--protocol", "frame-map", "--predictions", "less.txt")
    rows = (files / "rows.txt").read_text().splitlines(True)
    for kept, absent, told in (
        (rows, 0, ""),
        (
            rows[:30] + rows[40:190],
            20,
            "less.txt leaves out 20 rows of 2 of 2 videos: 0 before the first row of a video, ",
        ),
    ):
        (files / "less.txt").write_text("".join(kept))
        outcome = ssdet(*words)
        assert outcome.code == 0, outcome.err
        said, metrics = " ".join(outcome.out.split()), json.loads((files / "out/metrics.json").read_text())
        assert (metrics["frames"], metrics["missing_frames"], metrics["absent_frames"]) == (len(kept), absent, absent)
        assert told in said and ("leaves out" in said) == bool(absent) and "rank last" not in said
        assert told in (files / "out/report.html").read_text()


def test_rows_of_which_only_one_run_has_scores_are_told_by_a_comparison(ssdet, files):
    whole = (files / "good.txt").read_text().splitlines(True)
    (files / "less.txt").write_text("".join(whole[:20] + whole[22:]))
    for name in ("good", "less"):
        assert ssdet(*WORDS[:-1], name, "--predictions", f"{name}.txt").code == 0
    outcome = ssdet("evaluate", "--compare", "good", "less", "--bootstrap", "100")
    assert outcome.code == 0, outcome.err
    assert "Rows without scores: 0 in A and 2 in B;" in " ".join(outcome.out.split())
