"""Runs on data in other forms than the generated set's own: the same videos, the same outcome."""

import csv
import json
import shutil

import pytest
import torch
from tiny_runs import configured

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.data.convert import convert
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.recipes import pretrain


def test_pretraining_on_a_csv_of_kinetics_with_a_clip_missing(data, tmp_path, capfd):
    rows = []
    for number, clip in enumerate(sorted(data.weak.rglob("*.mp4"))):
        youtube_id, split = f"{number:011d}", "validate" if "val" in clip.relative_to(data.weak).parts else "train"
        rows.append((clip.parent.name.replace("-", " "), youtube_id, 7, 17, split))
        place = tmp_path / "clips" / split / clip.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, place / f"{youtube_id}_000007_000017.mp4")
    rows.append((rows[0][0], "AbCdEfGhIjK", 3, 13, "train"))
    with open(tmp_path / "kinetics.csv", "w", newline="") as file:
        csv.writer(file).writerows([("label", "youtube_id", "time_start", "time_end", "split"), *rows])
    words = ("data.dataset=kinetics400", f"data.annotations={tmp_path / 'kinetics.csv'}", "loop.steps=2")
    cfg = configured(PretrainConfig, tmp_path / "clips", tmp_path / "run", *words, "optim.warmup_steps=0")
    assert pretrain.run(cfg) is not None
    said = " ".join(capfd.readouterr().err.split())
    assert "kinetics400 train: 12 videos, 4 classes." in said and "kinetics400 val: 5 videos, 4 classes." in said
    assert "1 annotated clips are not there (AbCdEfGhIjK_000003_000013)." in said
    assert said.count("kinetics400 has 400 classes and") == 1
    assert not (tmp_path / "run" / "skipped.json").exists()


def test_an_evaluation_on_a_table_without_durations_takes_the_lengths_of_the_files(data, tuned, tmp_path):
    made = convert([data.annotations], tmp_path / "set" / "own.csv")
    text = [line.rsplit(",", 1)[0] for line in made.annotations.read_text().splitlines()]
    made.annotations.write_text("\n".join(text))
    scores = []
    for dataset, annotations in (("json", data.annotations), ("csv", made.annotations)):
        out = tmp_path / dataset
        words = ("--dataset", dataset, "--annotations", annotations, "--videos", data.dense / "videos", "--output", out)
        assert carry_out([*map(str, ("evaluate", "--checkpoint", tuned, *words, "--device", "cpu"))]) == 0
        scores.append(json.loads((out / "metrics.json").read_text()))
    # The annotated durations are rounded, so a time of the protocol may fall on the next frame.
    assert scores[1]["per_class_AP"] == pytest.approx(scores[0]["per_class_AP"], abs=0.01)
    assert scores[0]["frames"] == scores[1]["frames"] and scores[1]["videos"] == 4
    assert "4 videos have no annotated duration that holds: that of their files is taken." in scores[1]["notes"]


def test_a_checkpoint_is_scored_on_the_file_that_is_named_and_else_on_the_split_beside_its_own(data, tuned, tmp_path):
    made = convert([data.annotations], tmp_path / "set" / "own.csv")
    head, *lines = made.annotations.read_text().splitlines()
    place = head.split(",").index("subset")
    for split, subset in (("train", "training"), ("val", "validation"), ("test", "testing")):
        own = [line for line in lines if line.split(",")[place] == subset]
        table = [
            ",".join(cell for index, cell in enumerate(line.split(",")) if index != place) for line in (head, *own)
        ]
        (made.annotations.parent / f"{split}.csv").write_text("\n".join(table))
    made.annotations.unlink()
    state = load_checkpoint(tuned)
    files = {split: made.annotations.parent / f"{split}.csv" for split in ("train", "val", "test")}
    known = {"dataset": "csv", "annotations": str(files["train"]), "videos": str(data.dense / "videos")}
    state["meta"]["config"]["data"].update(known)
    torch.save(state, tmp_path / "own.pt")
    for words, read, count in (((), "test", 4), (("--split", "train"), "train", 5), (("--annotations",), "val", 3)):
        words = (*words, files["val"]) if words == ("--annotations",) else words
        words = (
            "evaluate",
            "--checkpoint",
            tmp_path / "own.pt",
            *words,
            "--device",
            "cpu",
            "--output",
            tmp_path / read,
        )
        assert carry_out([*map(str, words)]) == 0
        metrics = json.loads((tmp_path / read / "metrics.json").read_text())
        assert (metrics["annotations"], metrics["videos"]) == (str(files[read]), count)
        told = f"{files['test']} is read for the split 'test' instead of train.csv."
        assert (told in metrics["notes"]) == (read == "test")
