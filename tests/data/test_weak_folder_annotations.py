import pytest

from ssdet_cli.data.clip_tree import list_folder
from ssdet_cli.data.folder import load_weak_folder
from ssdet_cli.data.lookup import is_frame_folder
from ssdet_cli.data.weak_splits import held_out
from ssdet_cli.errors import ConfigError, DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def labels(videos):
    return {record.video_id: videos.classes[record.label] for record in videos.records}


def test_a_folder_per_class_within_splits(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "train/sit/b.AVI", "train/run/notes.txt", "train/run/.c.mp4", "val/run/d.webm")
    touch(tmp_path, "val/fall/e/frame_00001.jpg")
    (tmp_path / "val" / "fall" / "empty").mkdir()
    train, val = load_weak_folder(tmp_path, None, "train"), load_weak_folder(tmp_path, None, "val")
    assert train.classes == val.classes == ("fall", "run", "sit")
    assert labels(train) == {"train/run/a.mp4": "run", "train/sit/b.AVI": "sit"}
    assert labels(val) == {"val/run/d.webm": "run", "val/fall/e": "fall"}
    assert train.records[0].path == tmp_path / "train/run/a.mp4"
    assert labels(load_weak_folder(tmp_path, None, "test")) == labels(val)
    assert train.notes[0] == "1 classes of 'train' have no videos (fall)."


def test_without_a_validation_split_a_tenth_is_held_out(tmp_path):
    touch(tmp_path, *(f"{kind}/{number:03d}.mp4" for kind in ("run", "sit") for number in range(200)))
    train, val = load_weak_folder(tmp_path, None, "train"), load_weak_folder(tmp_path, None, "val")
    assert train.classes == ("run", "sit")
    assert not set(labels(train)) & set(labels(val)) and len(train) + len(val) == 400
    assert 20 <= len(val) <= 60
    assert labels(load_weak_folder(tmp_path, None, "test")) == labels(val)


def test_the_held_out_part_is_the_same_everywhere_and_never_empty():
    names = [f"run/{number}.mp4" for number in range(30)]
    assert held_out(names) == held_out(reversed(names))
    assert held_out(["only", "two"]) in ({"only"}, {"two"})
    assert held_out(names) - held_out([*names, "run/new.mp4"]) == set()


def test_a_csv_with_header_names_parts_of_files(tmp_path):
    touch(tmp_path, "clips/a b.mp4")
    path = tmp_path / "train.csv"
    path.write_text(
        "label,path,start,end\r\nrun,clips/a b.mp4,1.5,3\r\n\r\nsit,clips/a b.mp4,,\r\nrun,clips/a b.mp4,1.5,3\r\n"
    )
    (tmp_path / "val.csv").write_text("path,label\nclips/a b.mp4,fall\n")
    train = load_weak_folder(path, None, "train")
    assert train.classes == ("fall", "run", "sit")
    assert labels(train) == {"clips/a b.mp4@1.5-3": "run", "clips/a b.mp4": "sit"}
    assert (train.records[0].start_seconds, train.records[0].end_seconds) == (1.5, 3.0)
    assert (train.records[1].start_seconds, train.records[1].end_seconds) == (0.0, None)
    assert train.records[0].path == tmp_path / "clips/a b.mp4"
    assert train.notes == ("1 lines repeat a clip and are left out (clips/a b.mp4@1.5-3).",)
    assert len(train.sha256) == 64
    val = load_weak_folder(path, None, "val")
    assert labels(val) == {"clips/a b.mp4": "fall"} and val.source == tmp_path / "val.csv"
    assert labels(load_weak_folder(tmp_path / "val.csv", None, "train")) == labels(train)


def test_lines_of_path_and_number_keep_the_numbers(tmp_path):
    videos = touch(tmp_path / "videos", "my clip.mp4", "b.mp4", "c.mp4")
    path = tmp_path / "list.txt"
    path.write_text("my clip.mp4 3\nb.mp4 0\n\nc.mp4\t0\n")
    parts = [load_weak_folder(videos, path, split) for split in ("train", "val")]
    assert parts[0].classes == parts[1].classes == ("0", "1", "2", "3")
    assert {**labels(parts[0]), **labels(parts[1])} == {"my clip.mp4": "3", "b.mp4": "0", "c.mp4": "0"}
    (tmp_path / "classes.txt").write_text("sit\nrun\nfall\nwave\n")
    named = {**labels(load_weak_folder(videos, path, "train")), **labels(load_weak_folder(videos, path, "val"))}
    assert named == {"my clip.mp4": "wave", "b.mp4": "sit", "c.mp4": "sit"}


def test_the_list_of_validation_clips_may_carry_the_name_of_the_list(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "weak.csv").write_text("path,label\na.mp4,run\n")
    (tmp_path / "weak_val.csv").write_text("path,label\nb.mp4,run\n")
    assert set(labels(load_weak_folder(tmp_path / "weak.csv", None, "val"))) == {"b.mp4"}
    assert set(labels(load_weak_folder(tmp_path / "weak_val.csv", None, "train"))) == {"a.mp4"}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.csv", "path,label\nx.mp4,\n", r"a\.csv, line 2: there is no path or no label"),
        ("a.csv", "path,label,start,end\nx.mp4,run,soon,3\n", r"line 2: start 'soon' is not a number of seconds"),
        ("a.csv", "path,label,start,end\nx.mp4,run,3,3\n", r"line 2: the clip ends at 3 s and starts at 3 s"),
        ("a.csv", "label,youtube_id,time_start,time_end,split\nrun,x,0,10,train\n", r"line 1: .*a folder per class"),
        ("a.txt", "x.mp4 run\ny.mp4\n", r"line 2: there is no path or no label"),
        (
            "a.csv",
            "movie,mood\nx.mp4,glad\n",
            r"line 1: 'movie,mood' looks like a header, and its columns are not known",
        ),
        ("a.csv", "path,label,split\nx.mp4,run,third\n", r"line 2: the split 'third' is none of train, val and test"),
        ("a.txt", "\n", "lists no clips"),
        ("a.txt", "x.mp4 run\ny.mp4 sit\n", r"first clip .* does not exist; paths start from"),
    ],
)
def test_a_wrong_list_is_named(tmp_path, name, text, complaint):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=complaint):
        load_weak_folder(path, None, "train")


def test_an_unknown_label_is_named_with_the_nearest(tmp_path):
    path = touch(tmp_path, "x.mp4") / "list.csv"
    path.write_text("path,label\nx.mp4,runing\n")
    (tmp_path / "classes.txt").write_text("sitting\nrunning\n")
    with pytest.raises(DataError, match="line 2: 'runing' is none of the 2 classes. Did you mean 'running'"):
        load_weak_folder(path, None, "train")


def test_folders_without_clips_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="needs data.videos"):
        load_weak_folder(None, None, "train")
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_weak_folder(tmp_path / "nowhere", None, "train")
    with pytest.raises(DataError, match="holds no folders of classes"):
        load_weak_folder(tmp_path, None, "train")
    touch(tmp_path, "run/readme.txt")
    with pytest.raises(DataError, match="holds no videos .* in its 1 class folders"):
        load_weak_folder(tmp_path, None, "train")
    touch(tmp_path, "run/a.mp4")
    with pytest.raises(DataError, match="at least 2 are needed"):
        load_weak_folder(tmp_path, None, "train")


def test_a_split_that_stands_in_for_another_is_told(tmp_path):
    touch(tmp_path, "train/run/a.mp4", "test/run/b.mp4")
    assert load_weak_folder(tmp_path, None, "val").notes == (f"{tmp_path} has no 'val' split: val is the test split.",)
    assert load_weak_folder(tmp_path, None, "test").notes == ()
    assert load_weak_folder(tmp_path, None, "train").notes == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            "Filename;Action;Split\na.mp4;run;train\nb.mp4;sit;validation\n",
            "path is 'Filename', label is 'Action', split is",
        ),
        ("video_name\tcategory\tsubset\na\trun\ttraining\nb\tsit\tval\n", "separated by a tab"),
        ("index,file,class,set\n0,a.mp4,run,train\n1,b,sit,val\n", "path is 'file', label is 'class', split is 'set'"),
    ],
)
def test_any_table_with_paths_and_labels_is_read_and_told(tmp_path, text, note):
    path = touch(tmp_path, "a.mp4", "b.mp4") / "clips.csv"
    path.write_text(text)
    train, val = (load_weak_folder(path, None, split) for split in ("train", "val"))
    assert train.classes == val.classes == ("run", "sit")
    assert [record.path for record in (*train.records, *val.records)] == [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert note in train.notes[0] and train.notes[0].startswith("clips.csv is read as a table: ")


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("a.mp4,run\nb.mp4,sit\n", ("run", "sit")),
        ("a.mp4;0\nb.mp4;2\n", ("0", "1", "2")),
        ("a.mp4 300 0\nb.mp4 250 1\n", ("0", "1")),
        ("a.mp4\nb.mp4\n", ("0",)),
        ("a.mp4 jump rope\nb.mp4 sit\n", ("jump rope", "sit")),
    ],
)
def test_lines_of_one_two_and_three_fields(tmp_path, text, classes):
    path = touch(tmp_path, "a.mp4", "b.mp4") / "list.txt"
    path.write_text(text)
    parts = [load_weak_folder(path, None, split) for split in ("train", "val")]
    assert parts[0].classes == classes
    assert {record.path.name for part in parts for record in part.records} == {"a.mp4", "b.mp4"}


def test_clips_that_are_not_there_are_told_and_have_no_path(tmp_path):
    path = touch(tmp_path, "a.mp4") / "train.csv"
    path.write_text("path,label\na.mp4,run\ngone.mp4,run\n")
    (tmp_path / "val.csv").write_text("path,label\na.mp4,run\n")
    found = load_weak_folder(path, None, "train")
    assert [record.path for record in found.records] == [tmp_path / "a.mp4", None]
    assert found.notes == ("1 clips are not there (gone.mp4).",)


def test_a_list_of_kinetics_is_sent_to_its_own_dataset(tmp_path):
    (tmp_path / "a.csv").write_text("label,youtube_id,time_start,time_end,split\nrun,x,0,10,train\n")
    with pytest.raises(DataError, match=r"`--dataset kinetics` reads"):
        load_weak_folder(tmp_path / "a.csv", None, "train")


def test_pictures_beside_clips_make_no_frame_folder(tmp_path):
    touch(
        tmp_path, *(f"run/{name}{number}.{suffix}" for name in "ab" for number in (1, 2) for suffix in ("jpg", "mp4"))
    )
    found = [load_weak_folder(tmp_path, None, split) for split in ("train", "val")]
    assert found[0].classes == ("run",) and sum(map(len, found)) == 4


def test_a_line_that_can_be_no_path_is_a_clip_that_is_not_there(tmp_path):
    path = touch(tmp_path, "a.mp4") / "train.csv"
    path.write_text(f"path,label\na.mp4,run\n{'x' * 300}/{'y' * 5000}.mp4,run\nb\0/c.mp4,run\n")
    (tmp_path / "val.csv").write_text("path,label\na.mp4,run\n")
    found = load_weak_folder(path, None, "train")
    assert [record.path for record in found.records] == [tmp_path / "a.mp4", None, None]


def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match="Cannot read the folder .*: File name too long"):
        list_folder(tmp_path / ("x" * 300))
    with pytest.raises(DataError, match="Cannot read the folder .*: No such file"):
        is_frame_folder(tmp_path / "gone")


def test_a_list_without_labels_is_told_only_where_it_is_read(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    (tmp_path / "train.csv").write_text("a.mp4 0\nb.mp4 1\n")
    (tmp_path / "val.csv").write_text("b.mp4 1\n")
    (tmp_path / "test.csv").write_text("c.mp4\n")
    assert load_weak_folder(tmp_path / "train.csv", None, "train").notes == ()
    assert load_weak_folder(tmp_path / "train.csv", None, "test").notes == (
        "test.csv lists no labels: all its clips are class 0.",
    )


def test_folders_that_differ_in_signs_alone_are_told(tmp_path):
    for name in ("train/petting_(not_cat)/a.mp4", "train/run/b.mp4", "val/petting_not_cat/c.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    told = "2 folders differ in signs alone and are classes of their own (petting_(not_cat), petting_not_cat)."
    found = load_weak_folder(tmp_path, None, "train")
    assert told in found.notes and len(found.classes) == 3
    (tmp_path / "classes.txt").write_text("petting (not cat)\nrun\n")
    found = load_weak_folder(tmp_path, None, "val")
    assert [record.label for record in found.records] == [0] and not any("signs" in note for note in found.notes)
