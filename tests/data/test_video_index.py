import json
import os
import resource
from dataclasses import replace

import pytest

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.index import INDEX_NAME, IndexWriter, VideoIndex, find_index, without_unusable
from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.video.inspection import FileFacts, stamp


def file(path, content=b"video"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return FileFacts(str(path), *stamp(str(path)), frames=7, frame_rate=25.0, content="abc")


@pytest.fixture
def made(tmp_path):
    """An index in the folder of three videos, the second of them bad."""
    root = tmp_path / "videos"
    facts = [file(root / "run" / f"{name}.mp4") for name in "abc"]
    facts[1] = replace(facts[1], code="truncated", detail="its end is missing")
    with IndexWriter(VideoIndex(root / INDEX_NAME), root) as writer:
        for one in facts:
            writer.add(one)
    return root, facts


def test_what_was_added_is_read_again_before_and_after_rewriting(made):
    root, facts = made
    assert list(VideoIndex(root / INDEX_NAME).facts.values()) == facts
    with IndexWriter(VideoIndex(root / INDEX_NAME), root) as writer:
        writer.add(replace(facts[0], frames=8))
        writer.rewrite()
    lines = (root / INDEX_NAME).read_text().splitlines()
    assert json.loads(lines[0]) == {"ssdet_index": 1, "root": "."}
    assert [json.loads(line)["path"] for line in lines[1:]] == ["run/a.mp4", "run/b.mp4", "run/c.mp4"]
    assert VideoIndex(root / INDEX_NAME).known(root / "run" / "a.mp4").frames == 8


def test_an_index_moves_with_its_videos(made, tmp_path):
    root, facts = made
    moved = tmp_path / "elsewhere"
    root.rename(moved)
    found = find_index(DataConfig(videos=moved))
    assert found.known(moved / "run" / "a.mp4") == replace(facts[0], path=str(moved / "run" / "a.mp4"))


def test_a_changed_or_deleted_file_is_not_known(made):
    root, facts = made
    os.utime(facts[0].path, ns=(0, facts[0].mtime_ns + 1))
    (root / "run" / "b.mp4").write_bytes(b"another video")
    os.utime(facts[1].path, ns=(0, facts[1].mtime_ns))
    os.unlink(facts[2].path)
    assert VideoIndex(root / INDEX_NAME).all_known([one.path for one in facts]) == {}


def test_the_line_that_a_killed_run_left_unfinished_is_cut_off_and_work_goes_on(made):
    root, facts = made
    index = root / INDEX_NAME
    with open(index, "ab") as broken:
        broken.write(b'{"depth": "ends", "path": "run/d')
    assert len(VideoIndex(index).facts) == 3
    more = file(root / "run" / "e.mp4")
    with IndexWriter(VideoIndex(index), root) as writer:
        writer.add(more)
    assert VideoIndex(index).known(more.path) == more
    assert len(index.read_text().splitlines()) == 5


def test_a_full_disk_is_one_line_and_what_was_there_stays(made):
    root, facts = made
    index = root / INDEX_NAME
    before = index.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with IndexWriter(VideoIndex(index), root) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
        try:
            with pytest.raises(SsdetError, match="Cannot write .*what was there before is whole"):
                writer.add(facts[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert index.read_bytes()[: len(before)] == before
    assert len(VideoIndex(index).facts) == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: this is no index"),
        ("path,label\na.mp4,run\n", "line 1: this is no index"),
        ('{"ssdet_index": 2, "root": "."}\n', "version 2; this ssdet reads 1"),
        ('{"ssdet_index": 1, "root": "."}\n{"path": "a", "colour": 3}\n', "line 2: this is no line of an index"),
    ],
)
def test_another_file_is_refused(tmp_path, text, told):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(DataError, match=told):
        VideoIndex(tmp_path / "x.jsonl")


def test_a_named_index_must_be_there_and_an_unnamed_one_need_not(tmp_path):
    with pytest.raises(DataError, match="data.index: there is no"):
        find_index(DataConfig(index=tmp_path / "none.jsonl"))
    assert find_index(DataConfig(videos=tmp_path)) is None


def test_loading_leaves_out_what_the_index_calls_bad_until_the_file_is_replaced(made):
    root, facts = made
    records = tuple(VideoRecord(one.path, root / one.path, label=0) for one in facts)
    videos, data = VideoSet("folder train", ("run",), records, root), DataConfig(videos=root)
    kept, told = without_unusable(videos, data)
    assert kept.records == (records[0], records[2])
    assert "1 of 3 videos are left out" in told
    assert "b.mp4 (truncated: its end is missing)" in told
    os.utime(facts[1].path, ns=(0, facts[1].mtime_ns + 1))
    assert without_unusable(videos, data) == (videos, "")
