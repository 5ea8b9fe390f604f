"""A file of the wrong kind is named as what it is, by every dataset, in one line."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.data import DATASETS
from ssdet_cli.data.flaws import tolerated
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.info import INFO
from ssdet_cli.data.plain_videos import load_plain_videos
from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.video.write import write_video


def picture(kind):
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, kind)
    return content.getvalue()


def archive():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("train.csv", "path,label\n")
    return content.getvalue()


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    write_video(path, np.zeros((5, 32, 32, 3), np.uint8), 5)
    return path.read_bytes()


BINARY = {
    "a picture (JPEG)": picture("JPEG"),
    "a picture (PNG)": picture("PNG"),
    "a ZIP archive (or a spreadsheet)": archive(),
    "a Git LFS pointer and not the file itself": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n",
    "a gzip archive": b"\x1f\x8b\x08\x00",
    "not UTF-8 text": b"path,label\n\xff\xfe\n",
}
#: Datasets that read a file whose name is not theirs to choose.
READERS = [name for name in INFO if name not in ("generated", "ucf101", "hmdb51")]


def complaint(name, path):
    with pytest.raises(SsdetError) as caught:
        DATASETS.get(name)(path.parent, path, "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_what_is_no_text_is_named(tmp_path, name, suffix, video):
    for kind, content in {**BINARY, "a video (MP4 or MOV)": video}.items():
        path = tmp_path / f"labels{suffix}"
        path.write_bytes(content)
        assert f"{path} is {kind}" in complaint(name, path)


@pytest.mark.parametrize("name", ["charades", "csv", "folder", "kinetics"])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (json.dumps({"a": {"subset": "training"}}), "JSON"),
        ("<!DOCTYPE html>\n<html><body>404</body></html>", "a web page (HTML), as a failed download leaves it"),
        ("<annotations><version>1.1</version></annotations>", "a CVAT file (XML)"),
        ('<?xml version="1.0"?><ANNOTATION_DOCUMENT/>', "an ELAN file (EAF)"),
    ],
)
def test_a_text_of_another_kind_in_the_place_of_a_table_is_named(tmp_path, name, text, kind):
    path = tmp_path / "train.csv"
    path.write_text(text)
    assert f"is {kind}" in complaint(name, path)


@pytest.mark.parametrize("name", ["json", "multithumos", "tsu", "kinetics", "charades"])
def test_a_table_in_the_place_of_json_is_named(tmp_path, name):
    path = tmp_path / "own.json"
    path.write_text("id,actions,length\nAB12C,,3\n")
    assert "is a table whose first line is id, actions, length, where JSON is expected" in complaint(name, path)


@pytest.mark.parametrize("name", ["csv", "json", "folder"])
def test_an_empty_file_is_told(tmp_path, name):
    path = tmp_path / "own.txt"
    path.write_text("\n")
    assert any(word in complaint(name, path) for word in ("empty", "lists no clips"))


def test_every_dataset_has_its_row_and_a_row_its_dataset():
    assert set(INFO) == set(DATASETS.entries)
    for row in INFO.values():
        assert row.sentence.endswith(".") and row.videos and (row.annotations or not row.needs_annotations)


@pytest.mark.parametrize("name", ["csv", "json"])
def test_a_folder_in_the_place_of_a_file_is_told(tmp_path, name):
    with pytest.raises(DataError, match="is a folder[,;]"):
        DATASETS.get(name)(None, tmp_path, "train")


def test_folders_that_hold_no_video_are_not_counted_as_videos(tmp_path):
    (tmp_path / "videos" / "notes").mkdir(parents=True)
    path = tmp_path / "own.json"
    path.write_text('{"a": {"subset": "training", "actions": [["run", 0, 1]]}}')
    with pytest.raises(
        DataError, match=r"holds none of the 1 annotated videos, such as a\.mp4; it holds no video at all"
    ):
        DATASETS.get("json")(tmp_path / "videos", path, "train")


LONG = "9" * 400


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": {"actions": []}, "a": {"actions": []}}', "'a' stands twice in one object"),
        ("[" * 100_000, "no JSON that can be read"),
        ('{"a": {"actions": [[0, 1, ' + "9" * 5000 + "]]}}", "no JSON that can be read"),
        ('{"a": {"actions": [["run", 1, ' + LONG + "]]}}", "end is no number of seconds but one of 400 digits"),
        (
            '{"a": {"actions": [["run", 1, 2]], "duration": ' + LONG + "}}",
            "duration is no number of seconds but one of 400",
        ),
        ('{"a": {"duration": Infinity, "actions": [["run", 1, 2]]}}', "duration inf is not a number of seconds"),
        ('{"a": {"actions": [[20240131, 1, 2]]}}', "20240131 stands where a class is expected"),
    ],
)
def test_json_that_no_set_could_mean_is_one_line(tmp_path, text, told):
    path = tmp_path / "own.json"
    path.write_text(text)
    assert told in complaint("json", path) and str(path) in complaint("json", path)


def test_a_name_that_stands_twice_is_a_finding_and_its_first_entry_counts(tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"a": {"actions": [["run", 0, 1]]}, "b": {"actions": []}, "a": {"actions": []}}')
    with tolerated(raw=True) as flaws:
        found = [one for split in ("train", "val") for one in load_json(None, path, split).records]
    assert sorted((one.video_id, len(one.segments)) for one in found) == [("a", 1), ("b", 0)]
    assert {(one.code, one.video_id) for one in flaws} == {("bad-annotation", "a")}


@pytest.mark.parametrize("name", ["folder", "csv"])
def test_a_number_that_is_no_class_is_refused_before_so_many_are_counted(tmp_path, name):
    path = tmp_path / "own.csv"
    path.write_text("video,label,start,end\na.mp4,20240131,0,1\nb.mp4,1,0,1\n")
    assert "20240131 stands where a class is expected" in complaint(name, path)


def test_line_ends_of_old_macs_are_line_ends(tmp_path):
    path = tmp_path / "own.csv"
    path.write_bytes(b"video,label,start,end,subset\ra,run,0,1,train\rb,sit,1,2,test\r")
    assert [one.video_id for one in DATASETS.get("csv")(None, path, "train").records] == ["a"]


@pytest.mark.parametrize(("name", "of_class"), [("folder", True), ("kinetics", True), ("csv", False), (None, False)])
def test_a_name_that_is_no_text_is_one_line(tmp_path, name, of_class):
    root = tmp_path / "videos"
    folder = root / "run" if of_class else root
    folder.mkdir(parents=True)
    (folder / "a.mp4").touch()
    odd = os.fsencode(folder) + b"/caf\xe9"
    try:
        open(odd + b".txt", "wb").close()
    except OSError:
        pytest.skip("this file system has no such names")
    (tmp_path / "own.csv").write_text("video,label,start,end,subset\na.mp4,run,0,1,train\nb.mp4,run,0,1,test\n")
    (tmp_path / "kinetics.csv").write_text("label,youtube_id,split\nrun,a,train\nrun,b,val\n")
    lists = {"csv": tmp_path / "own.csv", "kinetics": tmp_path / "kinetics.csv"}

    def read():
        return load_plain_videos(root) if name is None else DATASETS.get(name)(root, lists.get(name), "train")

    for number in range(20):
        (folder / f"{number}.mp4").touch()
    assert len(read())  # what is no video may be called anything
    open(odd + b".mp4", "wb").close()
    with pytest.raises(DataError, match=r"holds '.*caf\\udce9.*', a name that is not UTF-8 text; rename it"):
        read()
