import csv
import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import numpy as np
import pytest

from ssdet_cli.data.generated import (
    FLIP_SAFE,
    MOTIONS,
    GenerateSettings,
    draw_video,
    ensure_generated,
    generate,
    load_generated,
    plan_dense,
    plan_weak,
)
from ssdet_cli.errors import ConfigError, DataError

TINY = GenerateSettings(
    size=32, classes=4, weak_videos=8, weak_val_videos=4, dense_train=3, dense_test=3, dense_val=2, seconds=1.0, seed=7
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("generated") / "out", TINY, workers=1)


def annotation_bytes(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".mp4"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def video_names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*.mp4")}


def decoded(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def charades_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_folder_holds_all_videos_and_annotations_and_nothing_else(tiny):
    assert set(annotation_bytes(tiny.folder)) == {
        "settings.json",
        "weak.csv",
        "weak_val.csv",
        "dense/charades.json",
        "dense/train.csv",
        "dense/val.csv",
        "dense/test.csv",
        "dense/classes.txt",
    }
    plans = [*plan_weak(TINY, "train"), *plan_weak(TINY, "val")]
    plans += [plan for split in ("train", "val", "test") for plan in plan_dense(TINY, split)]
    assert video_names(tiny.folder) == {plan.path for plan in plans}
    assert tiny.written == TINY.videos == len(plans) == 20


def test_videos_are_h264_files_that_show_what_was_drawn(tiny):
    for plan in (plan_weak(TINY, "train")[0], plan_dense(TINY, "test")[0]):
        frames = decoded(tiny.folder / plan.path)
        assert frames.shape == (plan.frames, 32, 32, 3)
        assert np.abs(frames.astype(float) - draw_video(plan, TINY)).mean() < 12


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(tiny, tmp_path):
    again = generate(tmp_path / "again", TINY, workers=2)
    assert annotation_bytes(again.folder) == annotation_bytes(tiny.folder)
    for name in video_names(tiny.folder):
        assert (again.folder / name).read_bytes() == (tiny.folder / name).read_bytes(), name


def test_another_process_draws_the_same_pictures_to_the_last_bit():
    plans = [*plan_weak(TINY, "train"), *plan_dense(TINY, "train")]
    here = [draw_video(plan, TINY) for plan in plans]
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        there = list(pool.map(partial(draw_video, settings=TINY), plans))
    assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))


def test_another_seed_gives_other_annotations_and_more_videos_keep_the_first_ones():
    plans = plan_dense(TINY, "train")
    assert plan_dense(replace(TINY, seed=8), "train") != plans
    assert plan_dense(replace(TINY, dense_train=9), "train")[:3] == plans


def test_json_and_csv_say_exactly_the_same(tiny):
    entries = json.loads(tiny.annotations.read_text())
    files = {"training": "train.csv", "testing": "test.csv", "validation": "val.csv"}
    rows = {subset: charades_rows(tiny.dense / name) for subset, name in files.items()}
    assert [row["id"] for split in rows.values() for row in split] == list(entries)
    for subset, split in rows.items():
        for row in split:
            triples = [triple.split(" ") for triple in row["actions"].split(";") if triple]
            actions = [[int(name[1:]), float(start), float(end)] for name, start, end in triples]
            assert entries[row["id"]] == {"subset": subset, "duration": float(row["length"]), "actions": actions}


def test_the_csv_has_the_eleven_columns_of_charades_and_their_line_ends(tiny):
    content = (tiny.dense / "train.csv").read_bytes()
    header = b"id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\r\n"
    assert content.startswith(header) and content.count(b"\r\n") == content.count(b"\n") == 4
    assert all(len(row["length"].split(".")[1]) == 2 for row in charades_rows(tiny.dense / "train.csv"))


def test_a_video_without_actions_has_an_empty_field(tmp_path):
    settings = replace(TINY, dense_test=30, weak_videos=4, weak_val_videos=1, dense_train=1, seconds=0.5)
    data = generate(tmp_path / "out", settings, workers=1)
    row = charades_rows(data.dense / "test.csv")[29]
    assert row["actions"] == "" and row["objects"] != ""
    assert json.loads(data.annotations.read_text())[row["id"]]["actions"] == []


def test_dense_classes_are_the_weak_ones_with_the_same_indices_and_then_unseen_ones(tiny):
    lines = (tiny.dense / "classes.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == [f"c{number:03d}" for number in range(7)]
    names = [line.split()[1] for line in lines]
    assert tuple(names[:4]) == TINY.weak_classes and not set(names[4:]) & set(TINY.weak_classes)


@pytest.mark.parametrize("seed", range(3))
def test_default_dense_videos_have_about_1_1_actions_per_frame_with_gaps_and_four_at_a_time(seed):
    settings = GenerateSettings(seed=seed)
    classes = {name: number for number, name in enumerate(settings.dense_classes)}
    counts, dealt = Counter(), Counter()
    for plan in plan_dense(settings, "test"):
        dealt.update(action.name for action in plan.actions)
        assert 2 * settings.seconds - 0.2 <= plan.duration <= 3 * settings.seconds + 0.2
        seconds = np.arange(plan.frames) / settings.fps
        labels = np.zeros((len(classes), plan.frames), dtype=int)
        for action in plan.actions:
            assert 0 <= action.start and action.end <= plan.duration and 0.74 < action.end - action.start < 2.51
            labels[classes[action.name]] += (action.start <= seconds) & (seconds <= action.end)
        counts.update(labels.sum(axis=0).tolist())
    frames = sum(counts.values())
    assert 1.0 < sum(number * count for number, count in counts.items()) / frames < 1.25
    assert 0.1 < counts[0] / frames < 0.35 and counts[3] > 0 and counts[4] > 0
    assert set(dealt) == set(classes) and max(dealt.values()) < 1.5 * min(dealt.values())


def test_one_object_never_does_two_things_at_once():
    for plan in plan_dense(GenerateSettings(), "train"):
        for planned in plan.objects:
            for first, second in zip(planned.actions, planned.actions[1:], strict=False):
                assert first.end <= second.start and first.name != second.name


def test_direction_is_the_class_so_flips_are_declared_unsafe():
    assert FLIP_SAFE is False


def test_loading_the_weak_set_gives_one_label_per_clip(tiny):
    for place in (tiny.folder, tiny.weak):
        train, val = (load_generated(place, None, split) for split in ("train", "test"))
        assert train.classes == TINY.weak_classes and len(train) == 8 and len(val) == 4
        assert all(
            record.path.is_file() and record.path.parent.name == train.classes[record.label] for record in train.records
        )
        assert not {record.video_id for record in train.records} & {record.video_id for record in val.records}
    with open(tiny.folder / "weak.csv", newline="") as file:
        listed = {row["path"]: row["label"] for row in csv.DictReader(file)}
    assert listed == {str(r.path.relative_to(tiny.folder)): train.classes[r.label] for r in train.records}


def test_loading_the_dense_set_gives_the_segments_that_were_planned(tiny):
    for split in ("train", "val", "test"):
        loaded = load_generated(tiny.dense, None, split)
        assert not loaded.notes
        assert loaded.classes == TINY.dense_classes and loaded.sha256
        for record, plan in zip(loaded.records, plan_dense(TINY, split), strict=True):
            assert record.video_id == plan.video_id and record.path.is_file() and record.label is None
            assert record.duration_seconds == plan.duration
            told = [(loaded.classes[s.label], s.start, s.end) for s in record.segments]
            assert told == [(action.name, action.start, action.end) for action in plan.actions]


def test_pictures_change_while_an_action_lasts_and_rest_in_the_gaps():
    settings = replace(TINY, size=64, dense_train=12, seconds=2.0)
    moving, still = [], []
    for plan in plan_dense(settings, "train"):
        frames = draw_video(plan, settings).astype(float)
        change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
        seconds = (np.arange(plan.frames - 1) + 0.5) / settings.fps
        busy = np.zeros_like(seconds)
        for action in plan.actions:
            busy += (action.start < seconds) & (seconds < action.end)
        grain = np.median(np.abs(np.diff(frames, axis=0)), axis=(1, 2, 3))
        moving += (change - grain)[busy >= 1].tolist()
        still += (change - grain)[busy == 0].tolist()
    assert len(still) > 20 and np.mean(moving) > 1.5 * np.mean(still)


def test_a_complete_set_is_used_as_it_is(tiny):
    assert ensure_generated(tiny.folder, TINY).written == 0


def test_other_settings_are_refused_with_what_differs(tiny):
    with pytest.raises(
        ConfigError, match=r"generated with classes 4 instead of 5, seed 7 instead of 9; choose another"
    ):
        ensure_generated(tiny.folder, replace(TINY, seed=9, classes=5))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_call_leaves_whole_files_and_the_next_one_goes_on(tiny, tmp_path, workers):
    def interrupt(done: int, total: int, what: str) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        generate(folder, TINY, progress=interrupt, workers=workers)
    begun = video_names(folder)
    assert 0 < len(begun) and not (folder / "settings.json").exists()
    assert all(len(decoded(folder / name)) >= 8 for name in begun)
    assert not [path for path in folder.rglob(".*")]
    with pytest.raises(DataError, match="the generated set is unfinished; make it with `ssdet data generate`"):
        load_generated(folder, None, "train")
    (folder / min(begun)).unlink()
    assert ensure_generated(folder, TINY).written == 20 - len(begun) + 1
    assert annotation_bytes(folder) == annotation_bytes(tiny.folder)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="holds files that `ssdet data generate` did not make"):
        generate(tmp_path, TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_foreign_settings_file_is_refused(tmp_path):
    (tmp_path / "settings.json").write_text('{"editor": "vim"}')
    with pytest.raises(DataError, match="was not written by `ssdet data generate`"):
        ensure_generated(tmp_path, TINY)
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(DataError, match="not readable as the settings of a generated set"):
        ensure_generated(tmp_path, TINY)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(DataError, match="out is a file; choose a folder"):
        generate(tmp_path / "out", TINY)


def test_progress_ends_with_all_videos(tmp_path):
    told = []
    generate(tmp_path / "out", TINY, progress=lambda *step: told.append(step), workers=1)
    assert [step[0] for step in told] == [8, 16, 20]
    assert told[-1] == (20, 20, "Generating videos")


def test_loading_says_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="data.videos must name the folder of a generated set"):
        load_generated(None, None, "train")
    with pytest.raises(DataError, match="the generated set is absent"):
        load_generated(tmp_path, None, "train")
    with pytest.raises(ConfigError, match="split 'dev' is unknown; use train, val or test"):
        load_generated(tmp_path, None, "dev")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 8}, r"size \(8\) must be between 32 and 1024"),
        ({"classes": 99}, r"classes \(99\) must be between 2 and 23"),
        ({"weak_videos": 3}, r"weak_videos \(3\) must be between 12 and"),
        ({"fps": 1}, r"fps \(1\) must be between 6 and 60"),
    ],
)
def test_settings_out_of_range_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        GenerateSettings(**values)


def test_one_number_of_videos_scales_all_parts_and_600_is_the_default():
    assert GenerateSettings.for_videos(600) == GenerateSettings()
    small = GenerateSettings.for_videos(50, classes=12, seed=3)
    assert (small.weak_videos, small.dense_train, small.dense_test, small.dense_val) == (50, 4, 12, 2)
    assert small.weak_val_videos == 12  # one of each class, where the proportion would give 8


@pytest.mark.parametrize("videos", [-1, 11, 40_000])
def test_a_number_of_videos_out_of_range_is_named_as_it_was_given(videos):
    with pytest.raises(ConfigError, match=rf"^videos \({videos}\) must be between 12, one of each class, and 39996"):
        GenerateSettings.for_videos(videos)


def test_every_number_of_videos_in_range_gives_a_set():
    for videos in (12, 39_996):
        assert GenerateSettings.for_videos(videos).weak_videos == videos


def test_a_class_without_validation_clips_is_told(tmp_path):
    data = generate(tmp_path / "out", replace(TINY, weak_val_videos=3, dense_test=1, dense_train=1), workers=1)
    notes = load_generated(data.weak, None, "val").notes
    assert notes == (f"1 classes of 'val' have no clips ({TINY.weak_classes[3]}).",)
    assert load_generated(data.weak, None, "train").notes == ()


def test_training_and_test_videos_stay_what_they_were_before_there_was_a_validation_split(tiny):
    def digest(content):
        return hashlib.sha256(content).hexdigest()[:16]

    assert digest((tiny.dense / "train.csv").read_bytes()) == "0c5628b3925759ed"
    assert digest((tiny.dense / "test.csv").read_bytes()) == "efed42d597a88088"
    entries = json.loads(tiny.annotations.read_text())
    kept = {video_id: entry for video_id, entry in entries.items() if entry["subset"] != "validation"}
    assert digest(json.dumps(kept).encode()) == "34fa0073bc627165"
    assert plan_dense(TINY, "test")[1].entropy == (7, 3, 1)
    assert plan_dense(TINY, "val")[1].entropy == (7, 4, 1)


def test_a_set_of_before_the_validation_split_still_loads_and_says_what_stands_in(tiny, tmp_path):
    shutil.copytree(tiny.folder, tmp_path / "old")
    entries = json.loads(tiny.annotations.read_text())
    kept = {video_id: entry for video_id, entry in entries.items() if entry["subset"] != "validation"}
    (tmp_path / "old" / "dense" / "charades.json").write_text(json.dumps(kept))
    settings = json.loads((tmp_path / "old" / "settings.json").read_text())
    del settings["settings"]["dense_val"]
    (tmp_path / "old" / "settings.json").write_text(json.dumps(settings))
    loaded = load_generated(tmp_path / "old" / "dense", None, "val")
    assert len(loaded) == TINY.dense_test
    assert [note.endswith("has no 'val' split: val is the test split.") for note in loaded.notes] == [True]


def test_every_number_of_classes_gives_distinct_names():
    for classes in range(2, len(MOTIONS) - 2):
        names = GenerateSettings(classes=classes).dense_classes
        assert len(set(names)) == classes + 3


def test_the_generator_imports_no_torch():
    code = "import sys, ssdet_cli.data.generated; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
