import csv
import hashlib
import json

import pytest

from ssdet_cli.data.annotations import Segment
from ssdet_cli.data.charades import load_charades
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.frame_splits import read_as_named
from ssdet_cli.data.segment_table import load_csv
from ssdet_cli.errors import ConfigError, DataError

COLUMNS = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length".split(",")
#: Ids that would change if they were read as numbers, quoted commas, empty fields, an action after the end.
ROWS = (
    ("00607", "c092 11.90 21.20;c147 0.00 30.60", "24.83"),
    ("150E6", "", "30.25"),
    ("07E49", "c000 5.00 5.00", "9.00"),
)


def write_csv(path, rows=ROWS, scene="Kitchen"):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)  # CRLF, quotes where they are needed
        writer.writerow(COLUMNS)
        for video_id, actions, length in rows:
            texts = ["S001", scene, "", "7", "Yes", "A person cooks, then leaves.", "stove", 'Says "hello".']
            writer.writerow([video_id, *texts, actions, length])
    return path


def write_json(path, rows=ROWS, subset="testing"):
    entries = {}
    for video_id, actions, length in rows:
        triples = [triple.split() for triple in actions.split(";") if triple]
        numbers = [[int(name[1:]), float(start), float(end)] for name, start, end in triples]
        entries[video_id] = {"subset": subset, "duration": float(length), "actions": numbers}
    path.write_text(json.dumps(entries))
    return path


def test_a_csv_is_read_with_text_ids_and_empty_videos(tmp_path):
    path = write_csv(tmp_path / "Charades_v1_test.csv")
    videos = load_charades(None, path, "test")
    assert [record.video_id for record in videos.records] == ["00607", "150E6", "07E49"]
    assert videos.records[0].segments == (Segment(92, 11.9, 21.2), Segment(147, 0.0, 30.6))
    assert videos.records[1].segments == () and videos.records[1].duration_seconds == 30.25
    assert videos.records[2].segments == (Segment(0, 5.0, 5.0),)
    assert videos.classes[0] == "c000" and len(videos.classes) == 157
    assert videos.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert videos.notes == ()


def test_csv_and_json_give_equal_records(tmp_path):
    from_csv = load_charades(None, write_csv(tmp_path / "Charades_v1_test.csv"), "test")
    from_json = load_charades(None, write_json(tmp_path / "charades.json"), "test")
    assert from_csv.records == from_json.records and from_csv.classes == from_json.classes


def test_an_action_that_ends_before_it_starts_is_left_out_and_told(tmp_path):
    rows = (("AKKWU", "c001 38.00 13.00;c002 1.00 2.00", "12.20"), ROWS[1])
    for path in (write_csv(tmp_path / "a_test.csv", rows), write_json(tmp_path / "a.json", rows)):
        videos = load_charades(None, path, "test")
        assert videos.records[0].segments == (Segment(2, 1.0, 2.0),)
        assert videos.notes == ("1 actions end before they start and are left out (AKKWU).",)


def test_class_names_are_read_beside_the_file(tmp_path):
    path = write_csv(tmp_path / "labels.csv", [("a", "c001 0 1", "2")])
    (tmp_path / "classes.txt").write_text("c000 sitting down\nc001 running\n")
    assert load_charades(None, path, "test").classes == ("sitting down", "running")
    (tmp_path / "labels_classes.txt").write_text("sit\nrun\nfall\n")
    assert load_charades(None, path, "test").classes == ("sit", "run", "fall")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("c000 a\nc002 b\n", "line 2: class c002 stands where c001 should"), ("a\nb\na\n", "the class 'a' twice")],
)
def test_wrong_class_files_are_refused(tmp_path, text, complaint):
    path = write_csv(tmp_path / "labels.csv")
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=complaint):
        load_charades(None, path, "test")


def test_a_folder_or_either_file_leads_to_the_asked_split(tmp_path):
    write_csv(tmp_path / "Charades_v1_train.csv", [ROWS[0]])
    test = write_csv(tmp_path / "Charades_v1_test.csv", [ROWS[1]])
    for annotations in (tmp_path, test, tmp_path / "Charades_v1_train.csv"):
        for split, video_id in (("train", "00607"), ("test", "150E6"), ("val", "150E6")):
            videos = load_charades(None, annotations, split)
            assert [record.video_id for record in videos.records] == [video_id]
            assert videos.name == ("charades train" if split == "train" else "charades test")


def test_a_file_that_is_named_is_read_and_else_the_one_beside_it_is_told(tmp_path):
    files = {
        split: write_csv(tmp_path / f"{split}.csv", [row])
        for split, row in zip(("train", "val", "test"), ROWS, strict=True)
    }
    with read_as_named(True):
        found = load_charades(None, files["val"], "test")
        assert [record.video_id for record in found.records] == ["150E6"]
        assert (found.source, found.name) == (files["val"], "charades val")
        assert found.notes == (
            f"{files['val']} is the val split; it is what was named, so it is read, and not the test split.",
        )
        assert load_charades(None, files["test"], "test").notes == load_charades(None, tmp_path, "test").notes == ()
        files["test"].unlink()
        assert load_charades(None, files["val"], "test").records == found.records
    write_csv(files["test"], [ROWS[2]])
    beside = load_charades(None, files["train"], "test")
    assert [record.video_id for record in beside.records] == ["07E49"]
    assert beside.notes == (f"{files['test']} is read for the split 'test' instead of train.csv.",)
    assert load_charades(None, tmp_path, "test").notes == ()


def test_tables_and_lists_of_a_split_are_read_as_named_too(tmp_path):
    for name in ("train", "val"):
        (tmp_path / f"{name}.csv").write_text(f"video,label,start,end\n{name},run,0,1\n")
    (tmp_path / "one" / "own_val.json").parent.mkdir()
    (tmp_path / "one" / "own_val.json").write_text('{"x": {"duration": 2, "actions": [["run", 0, 1]]}}')
    with read_as_named(True):
        found = load_csv(None, tmp_path / "val.csv", "test")
        assert [record.video_id for record in found.records] == ["val"] and "it is what was named" in found.notes[-1]
        one = load_json(None, tmp_path / "one" / "own_val.json", "test")
        assert len(one) == 1 and "is the val split; it is what was named" in one.notes[0]
    train = load_csv(None, tmp_path / "val.csv", "train")
    assert train.records[0].video_id == "train"
    assert train.notes == (f"{tmp_path / 'train.csv'} is read for the split 'train' instead of val.csv.",)


def test_a_lone_test_file_is_not_taken_for_training(tmp_path):
    path = write_csv(tmp_path / "Charades_v1_test.csv")
    with pytest.raises(DataError, match=r"is the 'test' split and Charades_v1_train\.csv .* not beside it"):
        load_charades(None, path, "train")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("a", "c157 0 1", "5"), r"line 3: class 157 is not a number from 0 to 156"),
        (("a", "c001 0", "5"), r"line 3: an action must be `cNNN start end`, got 'c001 0'"),
        (("a", "run 0 1", "5"), r"line 3: an action must be"),
        (("a", "c001 0 x", "5"), r"line 3: end 'x' is not a number of seconds"),
        (("a", "c001 -1 2", "5"), r"line 3: start '-1' is not"),
        (("a", "", ""), r"line 3: length '' is not"),
        (("", "", "5"), r"line 3: the line has too few fields or no id"),
        (("00607", "", "5"), r"line 3: the id '00607' stands in line 2 already"),
    ],
)
def test_a_wrong_csv_line_is_named(tmp_path, row, complaint):
    path = write_csv(tmp_path / "wrong.csv", [ROWS[0], row])
    with pytest.raises(DataError, match=rf"wrong\.csv, {complaint}"):
        load_charades(None, path, "test")


def test_a_csv_without_the_columns_is_refused(tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("id,label\nx,1\n")
    with pytest.raises(DataError, match="line 1: the column 'actions' is missing"):
        load_charades(None, path, "test")


def test_missing_annotations_are_told_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="needs data.annotations"):
        load_charades(None, None, "test")
    with pytest.raises(DataError, match="nothing.csv do not exist"):
        load_charades(None, tmp_path / "nothing.csv", "test")
    with pytest.raises(DataError, match="holds no annotations of the split 'train'"):
        load_charades(None, tmp_path, "train")
    with pytest.raises(ConfigError, match="split 'testing' is unknown"):
        load_charades(None, tmp_path, "testing")


def test_json_classes_may_be_names_and_subsets_have_several_spellings(tmp_path):
    path = tmp_path / "own.json"
    entry = {"duration": 5, "actions": [["run", 0, 1], [0, 2.5, 3]]}
    path.write_text(json.dumps({"a": {**entry, "subset": "train"}, "b": {**entry, "subset": "validation"}}))
    (tmp_path / "classes.txt").write_text("sit\nrun\n")
    videos = load_json(None, path, "val")
    assert [record.video_id for record in videos.records] == ["b"]
    assert videos.records[0].segments == (Segment(1, 0.0, 1.0), Segment(0, 2.5, 3.0))
    with pytest.raises(DataError, match="no videos of the split 'test'; its subsets: train, validation"):
        load_json(None, path, "test")


def test_json_without_class_names_counts_over_all_splits(tmp_path):
    path = write_json(tmp_path / "own.json", [("a", "c002 0 1", "5")], subset="testing")
    entries = json.loads(path.read_text())
    entries["b"] = {"subset": "training", "duration": 3, "actions": [[7, 0, 1]]}
    path.write_text(json.dumps(entries))
    assert load_json(None, path, "test").classes == load_json(None, path, "train").classes
    assert len(load_json(None, path, "test").classes) == 8


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "must hold an object"),
        ('{"a": ', "line 1: no valid JSON"),
        ('{"a": {"subset": "testing"}}', "'a' must be an object with subset, duration and actions"),
        ('{"a": {"subset": "testing", "duration": 5, "actions": [[0, 1]]}}', r"video 'a': an action must be \[class"),
        ('{"a": {"subset": "testing", "duration": 5, "actions": [[9, 0, 1]]}}', "video 'a': class 9 is not a number"),
        ('{"a": {"subset": "testing", "duration": 5, "actions": [["rum", 0, 1]]}}', "'rum' .*Did you mean 'run'"),
        ('{"a": {"subset": "testing", "duration": "x", "actions": []}}', "video 'a': duration 'x' is not"),
        ('{"a": {"subset": "testing", "duration": NaN, "actions": []}}', "video 'a': duration nan is not"),
        ('{"a": {"subset": "testing", "duration": 5, "actions": 3}}', "video 'a': "),
    ],
)
def test_wrong_json_is_named(tmp_path, content, complaint):
    path = tmp_path / "wrong.json"
    path.write_text(content)
    (tmp_path / "classes.txt").write_text("sit\nrun\n")
    with pytest.raises(DataError, match=complaint):
        load_json(None, path, "test")


def test_names_without_a_class_file_are_sorted_over_all_splits(tmp_path):
    path = tmp_path / "own.json"
    entries = {
        "a": {"subset": "testing", "duration": 5, "actions": [["run", 0, 1]]},
        "b": {"subset": "training", "duration": 5, "actions": [["fall", 0, 1]]},
    }
    path.write_text(json.dumps(entries))
    assert load_json(None, path, "test").classes == load_json(None, path, "train").classes == ("fall", "run")
    entries["b"]["actions"][0][0] = 3
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"video 'a': class 'run' is not a number as others are, and no classes\.txt"):
        load_json(None, path, "test")


def test_videos_are_found_by_id_and_the_absent_are_told(tmp_path):
    annotations = write_csv(tmp_path / "test.csv")
    videos = tmp_path / "videos"
    (videos / "150E6").mkdir(parents=True)
    for name in ("00607.avi", "00607.mp4", "00607.txt", ".07E49.mp4"):
        (videos / name).touch()
    found = load_charades(videos, annotations, "test")
    assert [record.path for record in found.records] == [videos / "00607.mp4", videos / "150E6", None]
    assert found.notes == ("1 videos have no file in the video folder (07E49).",)


def test_a_folder_of_other_videos_is_refused(tmp_path):
    annotations = write_csv(tmp_path / "test.csv")
    (tmp_path / "videos").mkdir()
    with pytest.raises(DataError, match="holds none of the 3 annotated videos, such as 00607.mp4"):
        load_charades(tmp_path / "videos", annotations, "test")
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_charades(tmp_path / "nowhere", annotations, "test")


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(("split", "videos", "segments"), [("train", 7985, 49_809 - 7), ("test", 1863, 16_691)])
def test_the_real_csv_and_json_agree(shared_data, split, videos, segments):
    from_csv = load_charades(None, shared_data / "charades", split)
    from_json = load_charades(None, shared_data / "charades" / "charades.json", split)
    assert len(from_csv) == videos
    assert sum(len(record.segments) for record in from_csv.records) == segments
    assert {record.video_id: record for record in from_csv.records} == {
        record.video_id: record for record in from_json.records
    }
    assert from_csv.classes == from_json.classes and from_csv.classes[0] == "Holding some clothes"
    assert {"83654", "00607", "07E49", "150E6"} <= {
        record.video_id
        for part in ("train", "test")
        for record in load_charades(None, shared_data / "charades", part).records
    }
    odd = "7 actions end before they start and are left out (00SL4, AKKWU, IOL8Q, LEOL6)."
    assert from_csv.notes == ((odd,) if split == "train" else ())


def test_the_test_split_that_stands_in_for_validation_is_told(tmp_path):
    path = write_csv(tmp_path / "Charades_v1_test.csv")
    for place in (path, tmp_path):
        loaded = load_charades(None, place, "val")
        assert loaded.notes == (f"{path} has no 'val' split: val is the test split.",)
    (tmp_path / "json").mkdir()
    path = write_json(tmp_path / "json" / "charades.json")
    assert load_charades(None, path, "val").notes == (f"{path} has no 'val' split: val is the test split.",)
    assert load_charades(None, path, "test").notes == ()
    entries = json.loads(path.read_text())
    next(iter(entries.values()))["subset"] = "validation"
    path.write_text(json.dumps(entries))
    own = load_charades(None, path, "val")
    assert (len(own), own.notes) == (1, ())


def test_one_copy_of_the_videos_is_read_for_all_and_told(tmp_path):
    path = write_csv(tmp_path / "Charades_v1_test.csv")
    held = {"Charades_v1": ("00607", "07E49", "other"), "Charades_v1_480": ("00607", "150E6"), "part": ()}
    for name, videos in held.items():
        (tmp_path / "videos" / name).mkdir(parents=True)
        for video in videos:
            (tmp_path / "videos" / name / f"{video}.mp4").touch()
    (tmp_path / "videos" / "Charades_v1_480" / "07E49.mp4").touch()
    (tmp_path / "videos" / "Charades_v1_480" / "other2.mp4").touch()
    found = load_charades(tmp_path / "videos", path, "test")
    assert {record.path.parent.name for record in found.records} == {"Charades_v1_480"}
    (tmp_path / "videos" / "Charades_v1_480" / "150E6.mp4").rename(tmp_path / "videos" / "part" / "150E6.mp4")
    for video in ("other3", "other4"):
        (tmp_path / "videos" / "Charades_v1" / f"{video}.mp4").touch()
    found = load_charades(tmp_path / "videos", path, "test")
    assert [record.path.parent.name for record in found.records] == ["Charades_v1", "part", "Charades_v1"]
    assert found.notes == (
        f"{tmp_path / 'videos'} holds some videos more than once, in Charades_v1, Charades_v1_480: 2 from Charades_v1, "
        "0 from Charades_v1_480 are read.",
    )


@pytest.mark.parametrize(
    "scene", ["Home Office / Study (A room in a house used for work)", 'Kitchen, "open", (large)', "Hall; stairs, door"]
)
def test_scenes_with_commas_and_parentheses_shift_no_column(tmp_path, scene):
    plain = load_charades(None, write_csv(tmp_path / "Charades_v1_test.csv"), "test")
    other = load_charades(None, write_csv(tmp_path / "Charades_v1_test.csv", scene=scene), "test")
    assert other.records == plain.records
    assert scene.partition(",")[0].split('"')[0] in (tmp_path / "Charades_v1_test.csv").read_text()
