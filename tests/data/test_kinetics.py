import json
import time

import numpy as np
import pytest

from ssdet_cli.data.class_names import normal_form
from ssdet_cli.data.kinetics import load_kinetics, load_kinetics400
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.write import write_video

HEADER = "label,youtube_id,time_start,time_end,split"
ROWS = (
    ("petting animal (not cat)", "AbCdEfGhIjK", 10, 20, "train"),
    ("massaging person's head", "-bCdEfGhIj_", 3, 13, "train"),
    ("air drumming", "0bCdEfGhIjK", 83, 93, "train"),
    ("air drumming", "zzCdEfGhIjK", 5, 15, "validate"),
)
CLASSES = ("air drumming", "massaging person's head", "petting animal (not cat)")


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def frames(root, *names):
    return touch(root, *(f"{name}/frame_{number:05d}.jpg" for name in names for number in (1, 2, 3)))


def csv_file(path, rows=ROWS, header=HEADER):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def json_file(path, rows=ROWS, *, listed=False):
    entries = {}
    for label, youtube_id, start, end, split in rows:
        note = {"segment": [float(start), float(end)], "label": label}
        entries[youtube_id] = {"subset": split, "duration": 10.0, "annotations": [note] if listed else note, "url": ""}
    path.write_text(json.dumps(entries))
    return path


def places(videos, root):
    return {record.video_id: record.path and record.path.relative_to(root).as_posix() for record in videos.records}


IDS = ("AbCdEfGhIjK_000010_000020", "-bCdEfGhIj__000003_000013", "0bCdEfGhIjK_000083_000093")
LAYOUTS = {
    "flat, as Kinetics' own downloader": [f"{name}.mp4" for name in IDS],
    "folder per class, underscores": [
        *(
            f"petting_animal_(not_cat)/{IDS[0]}.mp4",
            f"massaging_person's_head/{IDS[1]}.mkv",
            f"air_drumming/{IDS[2]}.webm",
        )
    ],
    "torchvision": [
        *(f"train/petting_animal_not_cat/{IDS[0]}.mp4", f"train/massaging_persons_head/{IDS[1]}.avi"),
        *(f"train/air_drumming/{IDS[2]}.mp4", "val/air_drumming/zzCdEfGhIjK_000005_000015.mp4"),
    ],
    "gsig, without leading zeros": [
        *("petting animal (not cat)/AbCdEfGhIjK_10_20.mp4", "massaging person's head/-bCdEfGhIj__3_13.mp4"),
        "air drumming/0bCdEfGhIjK_83_93.mp4",
    ],
    "parts below splits": [f"train/part_{number}/{name}.mp4" for number, name in enumerate(IDS)],
}


@pytest.mark.parametrize("form", [csv_file, json_file])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_clips_are_found_in_every_layout(tmp_path, layout, form):
    root = touch(tmp_path / "k", *layout)
    found = load_kinetics(root, form(tmp_path / f"train.{form.__name__.removesuffix('_file')}"), "train")
    assert found.classes == CLASSES
    assert places(found, root) == dict(zip(IDS, layout, strict=False))
    assert [found.classes[record.label] for record in found.records] == [row[0] for row in ROWS[:3]]
    assert all((record.start_seconds, record.end_seconds) == (0.0, None) for record in found.records)
    assert not any("not there" in note for note in found.notes)


def test_the_authors_frames_of_training_and_validation(tmp_path):
    root = frames(tmp_path / "k", f"train/petting_animal_(not_cat)/{IDS[0]}", "val/air_drumming/zzCdEfGhIjK")
    path = json_file(tmp_path / "kinetics.json")
    train, val = load_kinetics(root, path, "train"), load_kinetics(root, path, "val")
    assert places(train, root)[IDS[0]] == f"train/petting_animal_(not_cat)/{IDS[0]}"
    assert train.notes == (f"2 annotated clips are not there ({IDS[1]}, {IDS[2]}).",)
    assert places(val, root) == {"zzCdEfGhIjK_000005_000015": "val/air_drumming/zzCdEfGhIjK"}
    # Frames hold the annotated part alone, and its length gives their rate.
    assert (val.records[0].start_seconds, val.records[0].duration_seconds) == (0.0, 10.0)


def test_annotations_may_be_a_list_of_one(tmp_path):
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    assert load_kinetics(None, json_file(one), "train").records == (
        load_kinetics(None, json_file(other, listed=True), "train").records
    )


def test_the_files_of_the_splits_stand_beside_each_other(tmp_path):
    csv_file(tmp_path / "kinetics_train.csv", [row[:4] for row in ROWS[:3]], "label,youtube_id,time_start,time_end")
    csv_file(tmp_path / "kinetics_validate.csv", [(*ROWS[3][:4], "", 1)], f"{HEADER},is_cc")
    for given in (tmp_path, tmp_path / "kinetics_train.csv", tmp_path / "kinetics_validate.csv"):
        assert len(load_kinetics(None, given, "train")) == 3
        val = load_kinetics(None, given, "val")
        assert [record.video_id for record in val.records] == ["zzCdEfGhIjK_000005_000015"]
        assert val.classes == CLASSES and val.source.name == "kinetics_validate.csv"


def test_a_test_file_without_labels_is_told_and_left_out(tmp_path):
    csv_file(tmp_path / "train.csv")
    csv_file(tmp_path / "test.csv", [("QQCdEfGhIjK", 1, 11, "test")], "youtube_id,time_start,time_end,split")
    found = load_kinetics(None, tmp_path / "train.csv", "train")
    assert len(found) == 3
    assert found.notes == ("1 clips have no label (as in Kinetics' test set) and are left out.",)
    (tmp_path / "train.csv").unlink()
    with pytest.raises(DataError, match=r"test\.csv labels no clip"):
        load_kinetics(None, tmp_path / "test.csv", "test")


def test_the_class_order_is_that_of_a_label_file(tmp_path):
    path = csv_file(tmp_path / "train.csv")
    (tmp_path / "label_map_k400.txt").write_text("massaging person's head\nair drumming\npetting animal (not cat)\n")
    found = load_kinetics(None, path, "train")
    assert found.classes == ("massaging person's head", "air drumming", "petting animal (not cat)")
    assert [record.label for record in found.records] == [2, 0, 1]


@pytest.mark.parametrize(
    "text", ['["b c", "a"]', '{"\\"b c\\"": 0, "a": 1}', "0 b c\n1 a\n", "id,name\n0,b c\n1,a\n", "b c\na\n"]
)
def test_class_lists_come_in_several_forms(tmp_path, text):
    path = csv_file(
        tmp_path / "train.csv", [("a", "AbCdEfGhIjK", 0, 10, "train"), ("B_C", "BbCdEfGhIjK", 0, 10, "train")]
    )
    csv_file(tmp_path / "val.csv", [("a", "CbCdEfGhIjK", 0, 10, "val")])
    (tmp_path / "classes.txt").write_text(text)
    found = load_kinetics(None, path, "train")
    assert found.classes == ("b c", "a") and [record.label for record in found.records] == [1, 0]


def test_folders_alone_take_their_order_from_a_list_of_classes(tmp_path):
    root = touch(
        tmp_path / "k", "train/petting_animal_not_cat/a.mp4", "train/air_drumming/b.mp4", "val/air_drumming/c.mp4"
    )
    touch(root, "train/replacement/d.mp4")
    names = tmp_path / "label_map.txt"
    names.write_text("petting animal (not cat)\nair drumming\n")
    found = load_kinetics(root, names, "train")
    assert found.classes == ("petting animal (not cat)", "air drumming")
    assert {record.video_id: record.label for record in found.records} == {
        "train/petting_animal_not_cat/a.mp4": 0,
        "train/air_drumming/b.mp4": 1,
    }
    assert found.notes[0] == "1 folders are none of the 2 classes and are left out (replacement)."
    assert [record.video_id for record in load_kinetics(root, names, "val").records] == ["val/air_drumming/c.mp4"]
    assert load_kinetics(root, None, "train").classes == ("air_drumming", "petting_animal_not_cat", "replacement")


def test_splits_may_be_named_as_slowfast_and_mmaction_name_them(tmp_path):
    root = touch(tmp_path, "train_256/run/a.mp4", "val_256/run/b.mp4")
    assert [record.video_id for record in load_kinetics(root, None, "val").records] == ["val_256/run/b.mp4"]


def test_slowfast_lists_with_a_class_list_beside(tmp_path):
    root = touch(tmp_path / "k", "v/air_drumming/a.mp4", "v/run/b.mp4")
    (tmp_path / "train.csv").write_text("v/air_drumming/a.mp4 0\nv/run/b.mp4 1\nv/run/gone.mp4 1\n")
    (tmp_path / "val.csv").write_text("v/run/b.mp4 1\n")
    (tmp_path / "classes.txt").write_text("air drumming\nrun\n")
    found = load_kinetics(root, tmp_path / "train.csv", "train")
    assert found.classes == ("air drumming", "run") and [record.label for record in found.records] == [0, 1, 1]
    assert found.records[2].path is None and found.notes == ("1 clips are not there (v/run/gone.mp4).",)
    assert len(load_kinetics(root, tmp_path / "train.csv", "val")) == 1


def test_names_and_numbers_are_a_list_of_clips_and_no_list_of_classes(tmp_path):
    root = touch(tmp_path / "k", "a.mp4", "b.mp4")
    (tmp_path / "train.txt").write_text("a 0\nb 1\n")
    (tmp_path / "val.txt").write_text("a 0\n")
    found = load_kinetics(root, tmp_path / "train.txt", "train")
    assert {record.path.name: record.label for record in found.records} == {"a.mp4": 0, "b.mp4": 1}


def test_another_number_of_classes_is_told(tmp_path):
    found = load_kinetics400(None, csv_file(tmp_path / "train.csv"), "train")
    assert found.notes[0] == (
        f"kinetics400 has 400 classes and {tmp_path / 'train.csv'} 3: labels are numbered among these."
    )


@pytest.mark.parametrize(("seconds", "whole"), [(12, True), (2, False)])
def test_a_file_named_by_the_id_alone_is_a_whole_video_unless_it_ends_too_early(tmp_path, seconds, whole):
    (tmp_path / "k").mkdir()
    write_video(tmp_path / "k" / "AbCdEfGhIjK.mp4", np.zeros((seconds * 5, 32, 32, 3), np.uint8), 5)
    rows = [("run", "AbCdEfGhIjK", 2, 12, "train"), ("sit", "BbCdEfGhIjK", 0, 10, "train")]
    csv_file(tmp_path / "val.csv", [("run", "CbCdEfGhIjK", 0, 10, "val")])
    found = load_kinetics(tmp_path / "k", csv_file(tmp_path / "train.csv", rows), "train")
    assert (found.records[0].start_seconds, found.records[0].end_seconds) == ((2.0, 12.0) if whole else (0.0, None))
    assert any("1 clips are whole videos <id>.mp4" in note for note in found.notes) == whole


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", f"{HEADER}\nrun,AbCdEfGhIjK,soon,10,train\n", r"a\.csv, line 2: start 'soon' is not a number"),
        (
            "a.json",
            '{"AbCdEfGhIjK": {"subset": "train", "annotations": {"segment": [0, 1]}}}',
            "'AbCdEfGhIjK' must be an",
        ),
        (
            "a.json",
            '{"AbCdEfGhIjK": {"subset": "train", "annotations": {"segment": ["x", 1], "label": "a"}}}',
            "must be an",
        ),
        ("a.json", f"{HEADER}\n", "is a table whose first line is label, youtube_id, .* where JSON is expected"),
        ("a.csv", '{"a": 1}', r"a\.csv is JSON; needed: the official CSV"),
        (
            "a.csv",
            f"{HEADER}\nrun,AbCdEfGhIjK,0,10,trian\n",
            "line 2: has the split 'trian', which is none of train, val",
        ),
        ("a.csv", f"{HEADER}\nrun,,0,10,train\n", "line 2: there is no id of a video"),
        ("a.csv", f"{HEADER}\nrun\n", "line 2: there is no id of a video"),
        (
            "a.json",
            '{"AbCdEfGhIjK": {"subset": "trian", "annotations": {"segment": [0, 1], "label": "a"}}}',
            "'AbCdEfGhIjK' has the split 'trian', which is none of train",
        ),
    ],
)
def test_wrong_annotations_are_named(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=complaint):
        load_kinetics(None, tmp_path / name, "train")


def test_no_clip_at_all_is_an_error_that_says_what_is_there(tmp_path):
    path = csv_file(tmp_path / "train.csv")
    root = touch(tmp_path / "k", "other.mp4")
    with pytest.raises(
        DataError, match=r"holds none of the 3 annotated clips, such as AbC.*\.mp4, but 1 others, such as other"
    ):
        load_kinetics(root, path, "train")
    (root / "other.mp4").unlink()
    with pytest.raises(DataError, match="but no clip at all"):
        load_kinetics(root, path, "train")
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_kinetics(tmp_path / "nowhere", path, "train")
    with pytest.raises(ConfigError, match="'kinetics' needs data.videos"):
        load_kinetics(None, None, "train")
    with pytest.raises(DataError, match=r"a file; the folder of the clips"):
        load_kinetics(path, path, "train")


def test_a_set_of_thousands_is_listed_in_a_moment(tmp_path):
    rows = [(f"class {number % 20}", f"{number:011d}", 0, 10, "train") for number in range(4000)]
    for label in range(20):
        (tmp_path / "k" / f"class_{label}").mkdir(parents=True)
    for label, youtube_id, *_ in rows:
        (tmp_path / "k" / label.replace(" ", "_") / f"{youtube_id}_000000_000010.mp4").touch()
    path = csv_file(tmp_path / "train.csv", rows)
    csv_file(tmp_path / "val.csv", [("class 0", "AbCdEfGhIjK", 0, 10, "val")])
    begun = time.process_time()
    found = load_kinetics(tmp_path / "k", path, "train")
    assert len(found) == 4000 and all(record.path is not None for record in found.records)
    assert time.process_time() - begun < 1.0


@pytest.mark.needs_shared_data
def test_the_real_labels_differ_in_their_normal_form(shared_data, tmp_path):
    names = (shared_data / "kinetics" / "label_map_k400.txt").read_text().splitlines()
    assert len(names) == 400 == len({normal_form(name) for name in names})
    stripped = [name.translate(str.maketrans(" ", "_", "'()")) for name in names]
    root = touch(tmp_path, *(f"train/{name}/a.mp4" for name in stripped), "val/abseiling/b.mp4")
    found = load_kinetics400(root, shared_data / "kinetics" / "label_map_k400.txt", "train")
    assert list(found.classes) == names and [record.label for record in found.records] == list(range(400))
    assert [note[:36] for note in found.notes] == ["399 classes of 'val' have no videos "]


@pytest.mark.parametrize(("short", "whole"), [(1, True), (2, False)])
def test_files_named_by_the_id_alone_vote_on_what_they_are(tmp_path, short, whole):
    (tmp_path / "k").mkdir()
    rows = [
        ("run", f"{letter}bCdEfGhIjK", start, start + 2, "train")
        for letter, start in zip("ABC", (4, 3, 2), strict=True)
    ]
    for number, (_, name, *_) in enumerate(rows):
        seconds = 2 if number < short else 7
        write_video(tmp_path / "k" / f"{name}.mp4", np.zeros((seconds * 2, 32, 32, 3), np.uint8), 2)
    csv_file(tmp_path / "val.csv", [("sit", "DbCdEfGhIjK", 0, 10, "val")])
    found = load_kinetics(tmp_path / "k", csv_file(tmp_path / "train.csv", rows), "train")
    assert [record.start_seconds for record in found.records] == ([4.0, 3.0, 2.0] if whole else [0.0] * 3)
    told = (
        "3 clips are whole videos <id>.mp4: the annotated part of each is used (2 of 3 that were looked at reach so "
        "far)."
        if whole
        else "3 clips are files <id>.mp4 that are taken as the annotated part alone: 2 of 3 that were looked at end "
        "before that part would."
    )
    assert told in found.notes


@pytest.mark.parametrize("form", [csv_file, json_file])
def test_times_that_are_no_whole_numbers_are_cut_off_in_names(tmp_path, form):
    row = ("air drumming", "AbCdEfGhIjK", 10.9, 20.96, "train")
    root = frames(tmp_path / "k", "air_drumming/AbCdEfGhIjK_000010_000020")
    path = form(tmp_path / f"train.{form.__name__[:-5]}", [row, (*ROWS[3][:4], "val")])
    found = load_kinetics(root, path, "train")
    assert places(found, root) == {"AbCdEfGhIjK_000010_000020": "air_drumming/AbCdEfGhIjK_000010_000020"}
    assert found.records[0].duration_seconds == pytest.approx(10.06)


def test_the_authors_cache_in_the_root_of_the_frames_is_not_read(tmp_path):
    root = frames(tmp_path / "k", f"train/air_drumming/{IDS[2]}", "val/air_drumming/zzCdEfGhIjK")
    for folder in (root, root / "train"):
        for name in ("labeldata_80.npy", "labeldata_80_weaklySup.npy"):
            (folder / name).write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # unpickling it would run a command
    path = json_file(tmp_path / "kinetics.json", ROWS[2:])
    assert places(load_kinetics(root, path, "train"), root) == {IDS[2]: f"train/air_drumming/{IDS[2]}"}
    assert [record.path.name for record in load_kinetics(root, None, "val").records] == ["zzCdEfGhIjK"]
