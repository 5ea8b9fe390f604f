import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment
from ssdet_cli.data.convert import convert
from ssdet_cli.data.flaws import tolerated
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.frame_splits import read_as_named
from ssdet_cli.data.segment_table import load_csv
from ssdet_cli.data.tables import seconds_of
from ssdet_cli.errors import ConfigError, DataError

TABLE = """video,label,start,end,subset,duration
kitchen_01.mp4,open fridge,2.5,9.0,training,31.2
kitchen_01.mp4,pour water,0:00:04,0:00:06.25,training,
kitchen_02,,,,training,
hall/kitchen_03.mkv,pour water,1:02:03,1:02:04.5,testing,4000
"""


def write(tmp_path, text, name="own.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_line_for_each_action(tmp_path):
    path = write(tmp_path, TABLE)
    train = load_csv(None, path, "train")
    assert train.classes == ("open fridge", "pour water")
    assert [(one.video_id, one.duration_seconds, one.segments) for one in train.records] == [
        ("kitchen_01", 31.2, (Segment(0, 2.5, 9.0), Segment(1, 4.0, 6.25))),
        ("kitchen_02", None, ()),
    ]
    assert train.notes == () and len(train.sha256) == 64
    test = load_csv(None, path, "val")
    assert test.records[0].segments == (Segment(1, 3723.0, 3724.5),)
    assert test.notes == (f"{path} has no 'val' split: val is the test split.",)


@pytest.mark.parametrize(
    "text",
    [
        "Filename;Activity;Start (s);End (s);Split\na.mp4;run;0,5;1,25;train\nb.mp4;run;0;1;test\n",
        "video_id\tclass\tbegin\tstop\tset\na\trun\t0.5\t00:01.25\ttrain\nb\trun\t0\t1\ttest\n",
        "video,event,start_frame,end_frame,fps,subset\na,run,10,25,20,train\nb,run,0,20,20,test\n",
        "path,category,from,to,partition\nx/a.avi,run,0.5 s,1.25 s,train\nx/b.avi,run,0,1,test\n",
    ],
)
def test_other_columns_separators_and_times(tmp_path, text):
    found = load_csv(None, write(tmp_path, text), "train")
    assert found.records[0].segments == (Segment(0, 0.5, 1.25),) and found.records[0].video_id == "a"
    assert found.notes[0].startswith("own.csv is read as a table: ")


def test_without_subsets_a_tenth_is_held_out(tmp_path):
    rows = "".join(f"v{number},run,0,1\n" for number in range(50))
    path = write(tmp_path, f"video,label,start,end\n{rows}")
    train, val, test = (load_csv(None, path, split) for split in ("train", "val", "test"))
    ids = {split.name: {record.video_id for record in split.records} for split in (train, val, test)}
    assert not ids["csv train"] & ids["csv val"] and len(train) + len(val) == 50 and ids["csv test"] == ids["csv val"]
    assert train.notes == (
        f"{path} has no subsets: {len(val)} of its 50 videos are held out, for validation and test.",
    )


def test_a_table_for_each_split(tmp_path):
    path = write(tmp_path, "video,label,start,end\na,run,0,1\n", "train.csv")
    write(tmp_path, "video,label,start,end\nb,sit,0,1\n", "test.csv")
    assert load_csv(None, path, "train").classes == ("run", "sit")
    val = load_csv(None, path, "val")
    assert val.records[0].segments == (Segment(1, 0.0, 1.0),) and "val is the test split" in val.notes[0]
    (tmp_path / "test.csv").rename(tmp_path / "val.csv")
    with pytest.raises(DataError, match="no videos of the split 'test'; beside it are: train, val"):
        load_csv(None, path, "test")


def test_a_lone_file_of_one_split_is_that_split_and_no_other(tmp_path):
    path = write(
        tmp_path, "video,label,start,end\n" + "".join(f"v{number},run,0,1\n" for number in range(20)), "test.csv"
    )
    assert len(load_csv(None, path, "test")) == len(load_csv(None, path, "val")) == 20
    with pytest.raises(DataError, match=r"test\.csv holds no videos of the split 'train'; its subsets: test"):
        load_csv(None, path, "train")
    alone = path.rename(tmp_path / "train.csv")
    assert len(load_csv(None, alone, "train")) + len(load_csv(None, alone, "val")) == 20


def test_classes_beside_the_table_decide_names_and_numbers(tmp_path):
    path = write(tmp_path, "video,label,start,end\na,1,0,1\nb,run,0,1\n")
    (tmp_path / "classes.txt").write_text("run\nsit\n")
    found = [record for split in ("train", "val") for record in load_csv(None, path, split).records]
    assert {record.video_id: record.segments[0].label for record in found} == {"a": 1, "b": 0}
    (tmp_path / "classes.txt").write_text("runs\nsit\n")
    with pytest.raises(
        DataError, match=r"video 'b': class 'run' is not among the 2 known, those of classes\.txt\. Did you mean 'runs'"
    ):
        for split in ("train", "val"):
            load_csv(None, path, split)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "video,label,start,end\na,run,soon,1\n",
            "line 2: start 'soon' is not a number of seconds from 0, nor h:mm:ss",
        ),
        ("video,label,start,end\na,run,,1\n", "line 2: label, start and end are needed, or none"),
        ("video,label,start,end\n,run,0,1\n", "line 2: there is no video"),
        (
            "video,label,start,end,subset\na,run,0,1,train\na,run,0,1,test\n",
            "line 3: 'a' is in the subset 'test' here and",
        ),
        ("video,label,start,end,subset\na,run,0,1,train\nb,run,0,1,\n", "video 'b': it has no subset, and others have"),
        ("video,label,start,end,subset\na,run,0,1,other\n", "no videos of the split 'train'; its subsets: other"),
        ('video,label,start,end,subset\na,run,0,1,"o\nther"\n', "no videos of the split 'train'; its subsets: o ther"),
        (
            "video,label,start,end,duration\na,run,0,1,1\na,run,2,5,3\n",
            "line 3: 'a' has the duration 3 s here and 1 s above; the column is that of whole videos",
        ),
        ("video,label,start_frame,end_frame\na,run,0,1\n", "line 2: start_frame counts frames: a column fps is needed"),
        ("video,label\na,run\n", r"line 1: a table with the columns video,label,.* is expected, and this is a table"),
        ("video,label,start,end\n", "lists no videos"),
        ("video,label,start,end\na,,,\n", "holds no actions and no classes.txt"),
        ('{"a": 1}', "is expected, and this is JSON"),
        ('video,label,start,end\n"a,run,0,1\n', r"line \d: unexpected end of data"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, complaint):
    with pytest.raises(DataError, match=complaint):
        load_csv(None, write(tmp_path, text), "train")


def test_no_table_is_told(tmp_path):
    with pytest.raises(ConfigError, match="'csv' needs data.annotations"):
        load_csv(None, None, "train")
    with pytest.raises(DataError, match="is a folder; 'csv' needs a table"):
        load_csv(None, tmp_path, "train")


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_clock_times_and_seconds_agree(hours, minutes, seconds, thousandths):
    told = {"start": f"{hours}:{minutes:02d}:{seconds:02d}.{thousandths:03d}"}
    assert seconds_of(told, "start") == pytest.approx(hours * 3600 + minutes * 60 + seconds + thousandths / 1000)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1:60:00", "1:2:3:4", "1e400", "::", "1:"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a number of seconds from 0, nor h:mm:ss"):
        seconds_of({"start": text}, "start")


def placed(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def found_at(found, root):
    return {one.video_id: one.path and one.path.relative_to(root).as_posix() for one in found.records}


CAMERAS = "video,label,start,end,subset\ncam1/001.mp4,a,0,1,train\ncam2\\001.mp4,b,1,2,train\ncam1/002.mp4,b,1,2,test\n"


def test_videos_of_one_name_in_several_folders_stay_apart(tmp_path):
    root = placed(tmp_path / "footage", "cam1/001.mp4", "cam2/001.mp4", "cam2/002.mp4", "cam2/003.mp4", "cam1/002.mp4")
    path = write(tmp_path, CAMERAS)
    train, test = load_csv(root, path, "train"), load_csv(root, path, "test")
    assert found_at(train, root) == {"cam1/001": "cam1/001.mp4", "cam2/001": "cam2/001.mp4"}
    assert [one.segments for one in train.records] == [(Segment(0, 0.0, 1.0),), (Segment(1, 1.0, 2.0),)]
    # Its name alone would be found in the fuller folder.
    assert found_at(test, root) == {"002": "cam1/002.mp4"} and train.notes == ()
    same = convert([path], tmp_path / "made" / "own.json").annotations
    assert found_at(load_json(root, same, "train"), root) == found_at(train, root)
    assert found_at(load_json(root, same, "test"), root) == {"002": "cam1/002.mp4"}
    same = convert([path], tmp_path / "made" / "own.csv").annotations
    assert found_at(load_csv(root, same, "test"), root) == {"002": "cam1/002.mp4"}


def test_a_name_of_two_videos_tells_neither_where_their_folders_are_not_there(tmp_path):
    root = placed(tmp_path / "footage", "cam1/001.mp4", "002.mp4")
    with pytest.raises(DataError, match=r"none of the 1 annotated videos, such as cam2/001.mp4"):
        load_csv(root, write(tmp_path, CAMERAS.replace("cam1/001", "cam3/001").replace("train", "test", 1)), "train")
    found = load_csv(root, write(tmp_path, CAMERAS), "train")
    assert found_at(found, root) == {"cam1/001": "cam1/001.mp4", "cam2/001": None}


def test_tables_of_the_splits_give_one_name_in_two_folders_two_ids(tmp_path):
    root = placed(tmp_path / "footage", "cam1/001.mp4", "cam2/001.mp4")
    path = write(tmp_path, "video,label,start,end\ncam1/001.mp4,a,0,1\n", "train.csv")
    write(tmp_path, "video,label,start,end\ncam2/001.mp4,a,0,1\n", "val.csv")
    assert found_at(load_csv(root, path, "train"), root) == {"cam1/001": "cam1/001.mp4"}
    assert found_at(load_csv(root, path, "val"), root) == {"cam2/001": "cam2/001.mp4"}


@pytest.mark.parametrize("written", ["footage/cam1/001.mp4", "cam1/001", "other/cam1/001.mp4", "{root}/cam1/001.mp4"])
def test_a_path_may_begin_before_the_video_folder(tmp_path, written):
    root = placed(tmp_path / "footage", "cam1/001.mp4", "cam2/001.mp4", "cam2/002.mp4")
    text = f"video,label,start,end,subset\n{written.format(root=root)},a,0,1,train\n"
    assert found_at(load_csv(root, write(tmp_path, text), "train"), root) == {"001": "cam1/001.mp4"}


def test_a_column_for_the_split_counts_before_a_file_beside_it(tmp_path):
    path = write(tmp_path, "video,label,start,end,subset\na,run,0,1,train\nb,run,0,1,test\nc,run,0,1,val\n")
    write(tmp_path, "video,label,start,end\nd,run,0,1\n", "own_test.csv")
    ids = {split: [one.video_id for one in load_csv(None, path, split).records] for split in ("train", "val", "test")}
    assert ids == {"train": ["a"], "val": ["c"], "test": ["b"]}


def test_files_of_the_splits_may_have_the_column_too(tmp_path):
    path = write(tmp_path, "video,label,start,end,subset\na,run,0,1,train\n", "train.csv")
    write(tmp_path, "video,label,start,end,subset\nb,run,0,1,val\nx,run,0,1,train\n", "val.csv")
    ids = {split: [one.video_id for one in load_csv(None, path, split).records] for split in ("train", "val")}
    assert ids == {"train": ["a"], "val": ["b"]}
    with read_as_named(True):
        found = load_csv(None, tmp_path / "val.csv", "test")
    assert [one.video_id for one in found.records] == ["b"] and "is the val split; it is what was named" in found.notes[
        0
    ]


def test_a_subset_that_is_none_is_told_and_a_finding(tmp_path):
    path = write(tmp_path, "video,label,start,end,subset\na,run,0,1,train\nb,run,0,1,trian\nc,run,0,1,\n")
    with tolerated(raw=True) as flaws:
        assert [one.video_id for one in load_csv(None, path, "train").records] == ["a"]
    assert [(one.code, one.video_id) for one in flaws] == [("bad-annotation", "c"), ("bad-annotation", "b")]
    assert "its subset 'trian' is none of training, validation and testing" in flaws[1].message
    path.write_text(path.read_text().replace("c,run,0,1,\n", ""))
    told = "1 videos are left out, whose subset is none of training, validation and testing (b)."
    assert told in load_csv(None, path, "train").notes
