"""Sets whose labels are of the other kind are refused before training; odd ones are told."""

import json
import re

import pytest
from tiny_runs import SMALL, configured

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import FinetuneConfig, PretrainConfig
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.recipes import finetune, pretrain


def refused(capfd, *words: object) -> str:
    """The one line of an error."""
    assert carry_out([str(word) for word in words]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ssdet: error:")]
    assert len(lines) == 1
    return lines[0]


def untrained(folder) -> bool:
    return not (folder / "metrics.jsonl").exists() and not (folder / "checkpoints").exists()


def test_pretraining_refuses_labels_in_seconds(data, tmp_path, capfd):
    words = ("pretrain", "--config", "generated", "--data", data.dense, "--output", tmp_path / "run", *SMALL)
    line = refused(capfd, *words)
    assert f"generated dense train ({data.annotations}) has labels in seconds" in line
    assert "`ssdet pretrain` needs one class for each clip: a folder per class, or a list of path,label" in line
    assert untrained(tmp_path / "run")


def test_finetuning_refuses_one_class_for_each_clip(data, tmp_path, capfd):
    words = ("finetune", "--config", "generated", "--videos", data.weak, "--output", tmp_path / "run", *SMALL)
    line = refused(capfd, *words)
    assert f"generated weak train ({data.weak}) has one class for each clip" in line
    assert "`ssdet finetune` needs labels in seconds" in line
    assert untrained(tmp_path / "run")


def test_an_evaluation_refuses_one_class_for_each_clip(data, tuned, capfd):
    line = refused(capfd, "evaluate", "--checkpoint", tuned, "--videos", data.weak, "--device", "cpu")
    assert "`ssdet evaluate` needs labels in seconds" in line


def test_finetuning_refuses_a_training_split_without_any_action(data, tmp_path):
    entries = json.loads(data.annotations.read_text())
    for entry in entries.values():
        entry["actions"] = entry["actions"] if entry["subset"] != "training" else []
    (tmp_path / "none.json").write_text(json.dumps(entries))
    (tmp_path / "classes.txt").write_text((data.dense / "classes.txt").read_text())
    words = ("data.dataset=json", f"data.annotations={tmp_path / 'none.json'}")
    with pytest.raises(DataError, match=r"none of its 5 videos in .*none.json has an action"):
        finetune.run(configured(FinetuneConfig, data.dense / "videos", tmp_path / "run", *words))


def test_a_folder_with_one_class_is_told(data, tmp_path, capfd):
    only = data.weak / "train" / "move-down"
    for split in ("train", "val"):
        (tmp_path / "set" / split).mkdir(parents=True)
        (tmp_path / "set" / split / "move-down").symlink_to(only)
    words = ("data.dataset=folder", "loop.steps=1", "optim.warmup_steps=0")
    pretrain.run(configured(PretrainConfig, tmp_path / "set", tmp_path / "run", *words))
    said = capfd.readouterr().err
    assert said.count("folder train has only one class, move-down: nothing is learnt by telling it apart.") == 1


def test_a_set_without_validation_split_says_once_what_validates(data, tmp_path, capfd):
    entries = json.loads(data.annotations.read_text())
    kept = {name: entry for name, entry in entries.items() if entry["subset"] != "validation"}
    (tmp_path / "two.json").write_text(json.dumps(kept))
    (tmp_path / "classes.txt").write_text((data.dense / "classes.txt").read_text())
    words = ("data.dataset=json", f"data.annotations={tmp_path / 'two.json'}", "loop.steps=2", "loop.validate_every=1")
    finetune.run(configured(FinetuneConfig, data.dense / "videos", tmp_path / "run", *words))
    said = capfd.readouterr().err
    assert said.count("val is the test split") == 1
    assert f"{tmp_path / 'two.json'} has no 'val' split: val is the test split." in said


def renamed(data, folder, change):
    """The dense annotations with another list of classes beside them."""
    folder.mkdir()
    (folder / "own.json").write_text(data.annotations.read_text())
    (folder / "classes.txt").write_text("\n".join(change(list(load_json(None, data.annotations, "test").classes))))
    return folder / "own.json"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda names: names[::-1], r"the same \d classes in another order"),
        (lambda names: [*names[:-1], "waving"], r"class \d is '.*' and 'waving'"),
        (lambda names: [*names, "waving"], r"\d classes and \d"),
    ],
)
def test_an_evaluation_refuses_another_class_list_and_says_where_it_parts(data, tuned, tmp_path, capfd, change, told):
    path = renamed(data, tmp_path / "set", change)
    words = ("--dataset", "json", "--annotations", path, "--videos", data.dense / "videos", "--device", "cpu")
    line = refused(capfd, "evaluate", "--checkpoint", tuned, *words)
    assert re.search(rf"knows other classes than .*own\.json holds \({told}\)", line)


def test_a_resumed_run_refuses_another_class_list(data, tmp_path):
    path = renamed(data, tmp_path / "set", lambda names: names)
    words = ("data.dataset=json", f"data.annotations={path}", "loop.steps=1", "optim.warmup_steps=0")
    cfg = configured(FinetuneConfig, data.dense / "videos", tmp_path / "run", *words)
    finetune.run(cfg)
    (tmp_path / "run" / "summary.json").unlink()  # as if it had been killed
    names = (tmp_path / "set" / "classes.txt").read_text().splitlines()
    (tmp_path / "set" / "classes.txt").write_text("\n".join(names[::-1]))
    with pytest.raises(ConfigError, match=r"trained on other classes .* \(the same \d classes in another order\)"):
        finetune.run(cfg, resume=True)


def test_videos_of_another_set_and_no_videos_at_all_are_told(data, tmp_path, capfd):
    words = ("finetune", "--config", "generated", "--dataset", "json", "--annotations", data.annotations, *SMALL)
    (tmp_path / "empty").mkdir()
    line = refused(capfd, *words, "--videos", tmp_path / "empty", "--output", tmp_path / "run")
    assert "holds none of the 5 annotated videos, such as " in line and line.endswith("; it holds no video at all.")
    line = refused(capfd, *words, "--videos", data.weak / "train" / "move-down", "--output", tmp_path / "run")
    assert re.search(r"; it holds \d+ others, such as .*\.mp4\.$", line)
    assert untrained(tmp_path / "run")


def test_what_was_understood_of_a_table_is_said_once(data, tmp_path, capfd):
    lines = [f"{path.name};turn;0;0,5" for path in sorted((data.dense / "videos").glob("*.mp4"))]
    (tmp_path / "own.csv").write_text("\n".join(["clip;action;begin;stop", *lines]))
    words = ("data.dataset=csv", f"data.annotations={tmp_path / 'own.csv'}", "loop.steps=1", "optim.warmup_steps=0")
    finetune.run(configured(FinetuneConfig, data.dense / "videos", tmp_path / "run", *words))
    said = " ".join(capfd.readouterr().err.split())
    assert said.count("own.csv is read as a table: video is 'clip', label is 'action'") == 1
    assert said.count("has no subsets: 1 of its 12 videos are held out") == 1
