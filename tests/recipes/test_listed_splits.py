"""Which videos a command reads that takes those of all splits."""

import json

import pytest

from ssdet_cli.config.commands import ExtractData
from ssdet_cli.errors import DataError
from ssdet_cli.recipes.video_lengths import listed


@pytest.mark.parametrize("form", ["json", "frame lists"])
def test_a_set_of_two_splits_has_no_need_of_a_third(tmp_path, form):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b"):
        (videos / f"{name}.mp4").touch()
    path, dataset = tmp_path / "train.csv", "charades"
    if form == "json":
        path, dataset = tmp_path / "own.json", "json"
        subsets = {"a": "training", "b": "validation"}
        path.write_text(
            json.dumps({name: {"subset": one, "actions": [["run", 0, 1]]} for name, one in subsets.items()})
        )
    else:
        for name, split in (("a", "train"), ("b", "val")):
            line = f'{name} 0 0 {name}/{name}-000001.jpg "3"'
            (tmp_path / f"{split}.csv").write_text(f"original_vido_id video_id frame_id path labels\n{line}\n")
    found = listed(ExtractData(dataset=dataset, videos=videos, annotations=path), "all")
    assert [record.video_id for record in found.records] == ["a", "b"]
    with pytest.raises(DataError, match="'test'"):
        listed(ExtractData(dataset=dataset, videos=videos, annotations=path), "test")
