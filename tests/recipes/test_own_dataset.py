"""The example of docs/own_dataset.md, literally: read, listed by its entry point, and trained on."""

import json
import re
import shutil
from pathlib import Path

import pytest
from tiny_runs import SMALL, configured

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import FinetuneConfig
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import Segment
from ssdet_cli.errors import DataError
from ssdet_cli.recipes import finetune

PAGE = Path(__file__).parents[2] / "docs" / "own_dataset.md"


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The module of the page, and the entry point of the page as an installed package has it."""
    page = PAGE.read_text(encoding="utf-8")
    place = tmp_path / "site"
    (place / "my_lab-1.0.dist-info").mkdir(parents=True)
    (place / "my_lab.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1])
    group, line = re.search(r'```toml\n\[project\.entry-points\."(.*?)"\]\n(.*?)\n```', page, re.DOTALL).groups()
    (place / "my_lab-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my-lab\nVersion: 1.0\n")
    (place / "my_lab-1.0.dist-info" / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(place)
    return place


@pytest.fixture
def footage(data, tmp_path):
    """The generated dense videos as the example expects them."""
    classes = re.findall(r"c\d+ (.*)", (data.dense / "classes.txt").read_text())
    for video_id, entry in json.loads(data.annotations.read_text()).items():
        if entry["subset"] != "validation":
            folder = tmp_path / "footage" / entry["subset"].removesuffix("ing")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(data.dense / "videos" / f"{video_id}.mp4", folder)
            lines = (f"{start:.6f}\t{end:.6f}\t{classes[label]}\n" for label, start, end in entry["actions"])
            (folder / f"{video_id}.txt").write_text("".join(lines))
    return tmp_path / "footage"


def test_the_example_has_about_thirty_lines():
    assert 20 <= len(re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[1].splitlines()) <= 35


def test_the_example_reads_labels_of_audacity(plugin, footage):
    train = DATASETS.get("my_lab:load_audacity")(footage, None, "train")
    assert len(train) == 5 and all(record.path.is_file() for record in train.records)
    assert any(record.segments for record in train.records)
    (footage / "test" / "own.txt").write_text("1.5\t2.25\twave\n")
    test = DATASETS.get("audacity")(footage, None, "test")
    own = next(record for record in test.records if record.video_id == "own")
    assert own.path is None and own.segments == (Segment(test.classes.index("wave"), 1.5, 2.25),)
    (footage / "test" / "own.txt").write_text("1.5 2.25 wave\n")
    with pytest.raises(DataError, match=r"own\.txt: every line must hold start, end and label"):
        DATASETS.get("audacity")(footage, None, "test")
    (footage / "test" / "own.txt").write_text("soon\t2.25\twave\n")
    with pytest.raises(DataError, match=r"own\.txt: start and end must be numbers of seconds .*'soon'"):
        DATASETS.get("audacity")(footage, None, "test")


def test_the_example_is_trained_on_under_either_name(plugin, footage, tmp_path, capfd):
    words = ("data.dataset=audacity", "loop.steps=1", "loop.validate_every=1", "optim.warmup_steps=0")
    summary = finetune.run(configured(FinetuneConfig, footage, tmp_path / "run", *words))
    assert summary is not None and "audacity train: 5 videos" in capfd.readouterr().err
    command = ("finetune", "--config", "generated", "--dataset", "my_lab:load_audacity", "--videos", footage)
    assert carry_out([*map(str, command), "--print-config"]) == 0
    assert "dataset: my_lab:load_audacity" in capfd.readouterr().out
    assert carry_out([*map(str, command[:5]), "--videos", str(tmp_path), "--output", str(tmp_path / "x"), *SMALL]) == 2
    assert "holds no label files of the split 'train'" in capfd.readouterr().err


def test_the_list_shows_the_name_and_what_its_author_says(plugin, capfd):
    assert carry_out(["data", "list"]) == 0
    assert re.search(
        r"^audacity +Videos with a label file of Audacity beside each\. \(from a plug-in\)$",
        capfd.readouterr().out,
        re.M,
    )
