"""What loading takes from the index of `ssdet data check`."""

import importlib.util
import re
import sys
from io import StringIO
from pathlib import Path

import numpy as np
from rich.console import Console

from ssdet_cli.config.commands import ExtractData
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.index import INDEX_NAME, IndexWriter, VideoIndex
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.recipes.training import load_split
from ssdet_cli.recipes.video_lengths import lengths_of
from ssdet_cli.video.inspection import FileFacts, stamp
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.write import write_video


def indexed(root, **codes):
    """Two clips, and an index that says of both what no header does: 90 frames."""
    records = []
    with IndexWriter(VideoIndex(root / INDEX_NAME), root) as writer:
        for name in ("a", "b"):
            path = root / "train" / "run" / f"{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
            records.append(VideoRecord(name, path))
            writer.add(FileFacts(str(path), *stamp(str(path)), frames=90, frame_rate=8.0, code=codes.get(name, "")))
    return records


def test_lengths_come_from_the_index_but_for_parts_of_files_and_files_that_changed(tmp_path):
    records = indexed(tmp_path)
    data = ExtractData(videos=tmp_path)
    records.append(VideoRecord("part", records[0].path, start_seconds=0.5))
    with session("cpu") as here:
        assert lengths_of(records, data, Spacing(4), here).frames == {"a": 23, "b": 23, "part": 1}
        write_video(records[1].path, [np.zeros((32, 32, 3), np.uint8)] * 12, 8)
        assert lengths_of(records, data, Spacing(4), here).frames == {"a": 23, "b": 3, "part": 1}


def test_training_leaves_out_what_the_index_calls_bad_and_says_so(tmp_path):
    indexed(tmp_path, b="damaged")
    (tmp_path / "val" / "run").mkdir(parents=True)
    write_video(tmp_path / "val" / "run" / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 8, 8)

    told = StringIO()
    log = RunLog(None, Console(file=told, width=1000))
    kept = load_split(DataConfig(videos=tmp_path), "train", log)
    assert [record.video_id for record in kept.records] == ["train/run/a.mp4"]
    assert re.search("1 of 2 videos are left out.*damaged", told.getvalue())
    assert len(load_split(DataConfig(videos=tmp_path), "val", log)) == 1


def test_the_benchmark_of_starting_up_runs(monkeypatch, capsys):
    file = Path(__file__).parents[2] / "benchmarks" / "start_up.py"
    spec = importlib.util.spec_from_file_location("start_up", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CLASSES", 4)
    monkeypatch.setattr(sys, "argv", ["start_up.py", "--videos", "40", "--headers", "4"])
    module.main()
    said = capsys.readouterr().out
    assert re.search(r"lengths of 3\d videos by their headers \(\d measured\)", said)
    assert re.search(r"lengths of 3\d videos by the index", said)
    assert "leaving out what the index calls bad (training)" in said
