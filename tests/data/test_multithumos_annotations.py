import json

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.data_check import DataCheckConfig
from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import Segment
from ssdet_cli.data.clips import FrameLabelledClips
from ssdet_cli.data.convert import convert
from ssdet_cli.data.lengths import decoded_lengths
from ssdet_cli.data.multithumos import MULTITHUMOS_CLASSES, load_multithumos
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.score_files import NetworkScores, ScoreFile, write_scores
from ssdet_cli.recipes.data_check import run
from ssdet_cli.video.write import write_video


def write(tmp_path, actions, duration=100.0):
    path = tmp_path / "multithumos.json"
    entry = {"subset": "testing", "duration": duration, "actions": actions}
    path.write_text(json.dumps({"video_test_0000001": entry}))
    return path


def test_there_are_65_distinct_names_in_file_order():
    assert len(set(MULTITHUMOS_CLASSES)) == len(MULTITHUMOS_CLASSES) == 65
    known = {1: "BaseballPitch", 5: "CliffDiving", 8: "Diving", 20: "VolleyballSpiking", 44: "Squat", 65: "NoHuman"}
    assert {number: MULTITHUMOS_CLASSES[number - 1] for number in known} == known


def test_classes_count_from_zero_and_actions_stay_within_the_video(tmp_path):
    path = write(tmp_path, [[1, 2.0, 3.0], [65, 90.0, 3600.0], [25, 100.0, 101.0], [7, 4.0, 4.0]])
    videos = load_multithumos(None, path, "test")
    assert videos.records[0].segments == (Segment(0, 2.0, 3.0), Segment(64, 90.0, 100.0), Segment(6, 4.0, 4.0))
    assert videos.notes == (
        "1 actions start after their video and are left out (video_test_0000001).",
        "1 actions end after their video and are cut at its end (video_test_0000001).",
    )


@pytest.mark.parametrize("number", [0, 66, 1.5, "Walk"])
def test_other_classes_are_refused(tmp_path, number):
    path = write(tmp_path, [[number, 0.0, 1.0]])
    with pytest.raises(DataError, match="'video_test_0000001': class .* is not a number from 1 to 65"):
        load_multithumos(None, path, "test")


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("split", "videos", "segments", "outside"), [("train", 200, 18_482, 8), ("test", 213, 20_208, 52)]
)
def test_the_real_file_has_the_published_counts(shared_data, split, videos, segments, outside):
    found = load_multithumos(None, shared_data / "multithumos", split)
    assert len(found) == videos
    assert sum(len(record.segments) for record in found.records) == segments - outside
    assert {part.label for record in found.records for part in record.segments} == set(range(65))
    assert all(part.end <= record.duration_seconds for record in found.records for part in record.segments)
    assert found.notes[0].startswith(f"{outside} actions start after their video")


@pytest.mark.needs_shared_data
def test_every_real_cliff_dive_is_a_dive(shared_data):
    for record in load_multithumos(None, shared_data / "multithumos", "test").records:
        spans = {name: set() for name in ("CliffDiving", "Diving")}
        for part in record.segments:
            if MULTITHUMOS_CLASSES[part.label] in spans:
                spans[MULTITHUMOS_CLASSES[part.label]].add((part.start, part.end))
        assert spans["CliffDiving"] <= spans["Diving"]


def write_texts(folder, entries):
    """The release's files of one class each, out of the entries of a JSON; classes there count from 1."""
    folder.mkdir(parents=True)
    lines = {name: [] for name in MULTITHUMOS_CLASSES}
    for video_id, entry in entries.items():
        for label, start, end in entry["actions"]:
            lines[MULTITHUMOS_CLASSES[label - 1]].append(f"{video_id} {start} {end}\n")
    for name, own in lines.items():
        (folder / f"{name}.txt").write_text("".join(own))
    return folder


ENTRIES = {
    "video_test_0000001": {"subset": "testing", "duration": 9.0, "actions": [[1, 2.0, 3.0], [65, 4.5, 6.0]]},
    "video_validation_0000002": {"subset": "training", "duration": 9.0, "actions": [[1, 0.5, 1.0], [1, 7.0, 6.0]]},
}


def test_the_text_files_of_the_release_are_read(tmp_path):
    folder = write_texts(tmp_path / "multithumos" / "annotations", ENTRIES)
    (folder.parent / "videos" / "validation").mkdir(parents=True)
    (folder.parent / "videos" / "validation" / "video_validation_0000002.mp4").touch()
    train = load_multithumos(folder.parent / "videos", folder.parent, "train")
    assert [(record.video_id, record.segments) for record in train.records] == [
        ("video_validation_0000002", (Segment(0, 0.5, 1.0),))
    ]
    assert train.records[0].path.name == "video_validation_0000002.mp4" and train.records[0].duration_seconds is None
    assert train.notes == ("1 actions end before they start and are left out (video_validation_0000002).",)
    val = load_multithumos(None, folder, "val")
    assert val.records[0].segments == (Segment(0, 2.0, 3.0), Segment(64, 4.5, 6.0))
    assert "val is the test split" in val.notes[0]


def test_what_is_wrong_with_the_text_files_is_named(tmp_path):
    folder = write_texts(tmp_path / "annotations", ENTRIES)
    (folder / "Walk.txt").write_text("video_test_0000001 1.0\n")
    with pytest.raises(DataError, match=r"Walk\.txt, line 1: `video_validation_0000051 start end` is expected"):
        load_multithumos(None, folder, "test")
    (folder / "Walk.txt").write_text("kitchen 1.0 2.0\n")
    with pytest.raises(DataError, match=r"Walk\.txt, line 1: .* found 'kitchen 1\.0 2\.0'"):
        load_multithumos(None, folder, "test")
    (folder / "Walk.txt").unlink()
    with pytest.raises(DataError, match=r"1 of its 65 classes have no file, the first Walk\.txt"):
        load_multithumos(None, folder, "test")
    with pytest.raises(DataError, match=r"holds neither multithumos\.json nor BaseballPitch\.txt"):
        (tmp_path / "empty").mkdir()
        load_multithumos(None, tmp_path / "empty", "test")


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(("split", "subset"), [("train", "training"), ("test", "testing")])
def test_the_real_segments_are_the_same_from_text_files(shared_data, tmp_path, split, subset):
    entries = json.loads((shared_data / "multithumos" / "multithumos.json").read_text())
    found = load_multithumos(None, write_texts(tmp_path / "annotations", entries), split)
    own = {video_id: entry for video_id, entry in entries.items() if entry["subset"] == subset}
    assert {record.video_id for record in found.records} == own.keys()
    for record in found.records:
        actions = sorted((label - 1, start, end) for label, start, end in own[record.video_id]["actions"])
        assert sorted((part.label, part.start, part.end) for part in record.segments) == actions


def late(tmp_path, seconds=12):
    """A JSON that says 8 s of a video of `seconds`, with one action after those 8."""
    path = write(tmp_path, [[21, 9.0, 11.0], [22, 1.0, 2.0]], duration=8.0)
    (tmp_path / "videos").mkdir()
    film = np.zeros((seconds * 2, 32, 32, 3), np.uint8)
    write_video(tmp_path / "videos" / "video_test_0000001.mp4", film, 2)
    return path, tmp_path / "videos"


def test_an_annotated_length_that_contradicts_its_actions_gives_way_to_that_of_the_file(tmp_path):
    path, folder = late(tmp_path)
    videos = load_multithumos(folder, path, "test")
    assert videos.records[0].segments == (Segment(20, 9.0, 11.0), Segment(21, 1.0, 2.0))
    assert videos.records[0].duration_seconds is None
    assert videos.notes == (
        "1 actions end after the annotated end of their video, which may be wrong: that of the file counts "
        "(video_test_0000001).",
    )
    clip = ClipConfig(frames=24, stride=1, size=32, scales=(1.0,), flip=False)
    sample = FrameLabelledClips(videos, DataConfig(), clip, seed=0, training=False)[(0, 0)]
    assert np.flatnonzero(sample.labels[20]).tolist() == list(range(18, 23)) and sample.valid.all()
    assert load_multithumos(None, path, "test").records[0].segments == (Segment(21, 1.0, 2.0),)


def test_a_length_that_contradicts_nothing_stays_and_so_does_that_of_a_folder_of_frames(tmp_path):
    path, folder = late(tmp_path)
    (folder / "video_test_0000001.mp4").unlink()
    frames = folder / "video_test_0000001"
    frames.mkdir()
    for number in range(1, 4):
        Image.new("RGB", (32, 32)).save(frames / f"{number:06d}.jpg")
    (record,) = load_multithumos(folder, path, "test").records
    assert record.duration_seconds == 8.0 and record.segments[0] == Segment(20, 9.0, 11.0)
    path = write(tmp_path, [[21, 1.0, 8.0]], duration=8.0)
    (record,) = load_multithumos(folder, path, "test").records
    assert record.duration_seconds == 8.0 and record.segments == (Segment(20, 1.0, 8.0),)


# Rows of half a second show 9.5 to 11 of 9 to 11 and 1.5 to 2 of 1 to 2: overlaps of 0.75 and 0.5.
@pytest.mark.parametrize(("protocol", "expected"), [("frame-map", (1, 1)), ("segment-map", (7 / 9, 5 / 9))])
def test_saved_scores_bring_the_length_along(tmp_path, protocol, expected):
    path = write(tmp_path, [[21, 9.0, 11.0], [22, 1.0, 2.0]], duration=8.0)
    seconds = np.arange(24) / 2
    logits = np.full((24, 65), -9.0, np.float32)
    logits[19:22, 20] = logits[3, 21] = 9.0
    score = VideoScores("video_test_0000001", seconds, logits, 12.0, 2.0, 24)
    write_scores(tmp_path / "s.npz", ScoreFile(MULTITHUMOS_CLASSES, (NetworkScores("a", "", {}, (score,)),)))
    words = ("--predictions", tmp_path / "s.npz", "--dataset", "multithumos", "--annotations", path)
    words = (*words, "--protocol", protocol, "--output", tmp_path / "out")
    assert carry_out([*map(str, ("evaluate", *words))]) == 0
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert [told["per_class_AP"][label] for label in (20, 21)] == pytest.approx(expected)
    assert any("may be wrong: that of the file counts" in note for note in told["notes"])


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(("split", "late"), [("train", 10), ("test", 55)])
def test_no_real_action_is_cut_where_the_lengths_of_the_files_follow(shared_data, split, late):
    with decoded_lengths(True):
        found = load_multithumos(None, shared_data / "multithumos", split)
    assert sum(len(record.segments) for record in found.records) == {"train": 18_482, "test": 20_208}[split]
    assert [record.duration_seconds for record in found.records].count(None) == 6
    assert found.notes[0].startswith(f"{late} actions end after the annotated end of their video")


def test_what_is_converted_or_listed_without_the_videos_keeps_the_actions_that_a_wrong_length_would_cut(tmp_path):
    entry = {"subset": "training", "duration": 10.0, "actions": [[1, 2, 4], [2, 9, 12], [3, 15, 18]]}
    path = tmp_path / "multithumos.json"
    path.write_text(json.dumps({"video_validation_0000001": entry}))
    made = convert([path], tmp_path / "own" / "own.json")
    checked = run(
        DataCheckConfig(
            data={"dataset": "multithumos", "annotations": path}, annotations_only=True, output=tmp_path / "out"
        )
    )
    for written in (made.annotations, checked.written["clean list"]):
        (own,) = json.loads(written.read_text()).values()
        assert own == {"subset": "training", "actions": [[0, 2.0, 4.0], [1, 9.0, 12.0], [2, 15.0, 18.0]]}
