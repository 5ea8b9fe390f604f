import shutil

import pytest

from ssdet_cli.data.flaws import tolerated
from ssdet_cli.data.hmdb51 import load_hmdb51
from ssdet_cli.data.ucf101 import load_ucf101
from ssdet_cli.errors import ConfigError, DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def held(videos):
    return {record.video_id: videos.classes[record.label] for record in videos.records}


@pytest.fixture
def ucf(tmp_path):
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 HandstandPushups\n")
    one, other = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g08_c02.avi"
    (lists / "trainlist01.txt").write_text(f"{one} 1\r\n{other} 2\r\n")
    (lists / "testlist01.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi\n")
    (lists / "trainlist02.txt").write_text("ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi 1\n")
    (lists / "testlist02.txt").write_text(f"{one}\n{other}\n")
    videos = touch(tmp_path / "UCF-101", one, other, "ApplyEyeMakeup/v_ApplyEyeMakeup_g02_c01.avi")
    return lists, videos


def test_ucf101_takes_the_first_split_of_a_folder_and_that_of_a_named_file(ucf):
    lists, videos = ucf
    first = load_ucf101(videos, lists, "train")
    assert first.classes == ("ApplyEyeMakeup", "HandstandPushups")
    assert held(first) == {
        "v_ApplyEyeMakeup_g01_c01": "ApplyEyeMakeup",
        "v_HandStandPushups_g08_c02": "HandstandPushups",
    }
    assert first.records[1].path == videos / "HandstandPushups" / "v_HandStandPushups_g08_c02.avi"
    assert first.notes == (
        f"{lists} holds several official splits: split 1 is read; name a file of another for that one.",
    )
    second = load_ucf101(videos, lists / "testlist02.txt", "train")
    assert held(second) == {"v_ApplyEyeMakeup_g02_c01": "ApplyEyeMakeup"} and second.notes == ()
    assert held(load_ucf101(videos, lists / "trainlist02.txt", "test")) == held(first)
    val = load_ucf101(None, lists / "trainlist02.txt", "val")
    assert held(val) == held(first) and "val is the test split" in val.notes[0]


def test_ucf101_as_frames_and_flat(ucf, tmp_path):
    lists, _ = ucf
    root = touch(tmp_path / "frames", *(f"v_ApplyEyeMakeup_g01_c01/img_{number:05d}.jpg" for number in (1, 2)))
    found = load_ucf101(root, lists / "trainlist01.txt", "train")
    assert found.records[0].path == root / "v_ApplyEyeMakeup_g01_c01"
    assert found.records[1].path is None
    assert found.notes == ("1 listed clips are not there (v_HandStandPushups_g08_c02).",)


def test_what_is_wrong_with_ucf101_is_named(ucf, tmp_path):
    lists, videos = ucf
    with pytest.raises(ConfigError, match="'ucf101' needs data.annotations .*ucfTrainTestlist"):
        load_ucf101(videos, None, "train")
    with pytest.raises(DataError, match=r"classInd\.txt is no list of an official split"):
        load_ucf101(videos, lists / "classInd.txt", "train")
    (lists / "trainlist01.txt").write_text("v_ApplyEyeMakeup_g01_c01 1\n")
    with pytest.raises(DataError, match=r"trainlist01\.txt, line 1: `Class/v_Class_g01_c01\.avi` is expected"):
        load_ucf101(videos, lists, "train")
    (lists / "trainlist01.txt").write_text("Makeup/v_Makeup_g01_c01.avi 1\n")
    with pytest.raises(DataError, match=r"line 1: 'Makeup' is none of the 2 classes"):
        load_ucf101(videos, lists, "train")
    with pytest.raises(DataError, match="holds none of the 1 listed clips, .* but no clip at all"):
        (tmp_path / "empty").mkdir()
        load_ucf101(tmp_path / "empty", lists / "trainlist02.txt", "train")
    (lists / "classInd.txt").unlink()
    with pytest.raises(DataError, match=r"holds no classInd\.txt"):
        load_ucf101(videos, lists, "train")


@pytest.fixture
def hmdb(tmp_path):
    lists = tmp_path / "testTrainMulti_7030_splits"
    lists.mkdir()
    names = {"brush_hair": "April_09_brush_hair_u_nm_np1_ba_goo_0.avi", "wave": "#20_Rhythm_wave_u_nm_np1_fr_goo_2.avi"}
    for fold, flags in ((1, "12"), (2, "21")):
        for flag, (kind, name) in zip(flags, names.items(), strict=True):
            text = f"{name} {flag} \n{kind}_unused.avi 0 \n{kind}_both.avi 1 \n"
            (lists / f"{kind}_test_split{fold}.txt").write_text(text)
    videos = touch(tmp_path / "hmdb51", *(f"{kind}/{name}" for kind, name in names.items()), "wave/wave_both.avi")
    return lists, videos


def test_hmdb51_flags_say_training_test_or_neither(hmdb):
    lists, videos = hmdb
    train = load_hmdb51(videos, lists, "train")
    assert held(train) == {
        "April_09_brush_hair_u_nm_np1_ba_goo_0": "brush_hair",
        "brush_hair_both": "brush_hair",
        "wave_both": "wave",
    }
    assert train.notes[1:] == ("1 listed clips are not there (brush_hair_both).",)
    assert held(load_hmdb51(videos, lists, "test")) == {"#20_Rhythm_wave_u_nm_np1_fr_goo_2": "wave"}
    second = load_hmdb51(videos, lists / "wave_test_split2.txt", "test")
    assert held(second) == {"April_09_brush_hair_u_nm_np1_ba_goo_0": "brush_hair"} and second.notes == ()


def test_what_is_wrong_with_hmdb51_is_named(hmdb, tmp_path):
    lists, videos = hmdb
    (lists / "wave_test_split1.txt").write_text("clip.avi 3\n")
    with pytest.raises(DataError, match=r"wave_test_split1\.txt, line 1: `<clip>\.avi <0, 1 or 2>` is expected"):
        load_hmdb51(videos, lists, "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no <class>_test_split1\.txt"):
        load_hmdb51(videos, tmp_path / "empty", "train")


def test_a_check_is_told_of_every_bad_line_of_the_lists(ucf, hmdb):
    (ucf[0] / "trainlist01.txt").write_text("v_ApplyEyeMakeup_g01_c01 1\nApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi\n")
    (hmdb[0] / "wave_test_split1.txt").write_text("clip.avi 3\nwave_both.avi 1\nanother.avi\nheld.avi 2\n")
    with tolerated(raw=True) as flaws:
        assert len(load_ucf101(None, ucf[0], "train")) == 1
        assert len(load_hmdb51(None, hmdb[0], "train")) == 3
    told = [flaw.message.partition(": ")[0].rpartition("/")[2] for flaw in flaws]
    assert told == ["trainlist01.txt, line 1", "wave_test_split1.txt, line 1", "wave_test_split1.txt, line 3"]


def test_optical_flow_beside_the_pictures_is_not_taken(ucf, tmp_path):
    lists, _ = ucf
    name = "v_ApplyEyeMakeup_g01_c01"
    copies = ("jpegs_256", "tvl1_flow/u", "tvl1_flow/v", "flow_x")
    root = touch(tmp_path / "all", *(f"{copy}/{name}/frame{number:06d}.jpg" for copy in copies for number in (1, 2)))
    found = load_ucf101(root, lists / "trainlist01.txt", "train")
    assert found.records[0].path == root / "jpegs_256" / name
    assert found.notes[0] == (
        "Folders of optical flow are passed over (flow_x, tvl1_flow/u, tvl1_flow/v); give one itself to read it."
    )
    asked = load_ucf101(root / "tvl1_flow" / "u", lists / "trainlist01.txt", "train")
    assert asked.records[0].path == root / "tvl1_flow" / "u" / name
    shutil.rmtree(root / "jpegs_256")
    with pytest.raises(DataError, match=r"but clips of optical flow alone \(flow_x, tvl1_flow/u, tvl1_flow/v\)"):
        load_ucf101(root, lists, "train")


def test_one_name_in_two_classes_is_two_clips(hmdb):
    lists, videos = hmdb
    (lists / "brush_hair_test_split1.txt").write_text("a_wave_1.avi 1\nwave_both.avi 2\n")
    (lists / "wave_test_split1.txt").write_text("a_wave_1.avi 1\nflat.avi 2\n")
    touch(videos, "wave/a_wave_1.avi", "flat.avi")
    train = load_hmdb51(videos, lists, "train")
    assert [(one.video_id, one.path) for one in train.records] == [
        ("brush_hair/a_wave_1", None),
        ("wave/a_wave_1", videos / "wave" / "a_wave_1.avi"),
    ]
    touch(videos, "brush_hair/a_wave_1.avi")
    assert load_hmdb51(videos, lists, "train").records[0].path == videos / "brush_hair" / "a_wave_1.avi"
    # What lies in the folder of another class is another clip; what lies in none is the listed one.
    test = load_hmdb51(videos, lists, "test")
    assert [one.path for one in test.records] == [None, videos / "flat.avi"]


def test_one_name_of_two_classes_without_folders_of_classes_is_neither(hmdb, tmp_path):
    lists, _ = hmdb
    for kind in ("brush_hair", "wave"):
        (lists / f"{kind}_test_split1.txt").write_text(f"a.avi 1\n{kind}.avi 1\nheld_{kind}.avi 2\n")
    found = load_hmdb51(touch(tmp_path / "flat", "a.avi", "wave.avi"), lists, "train")
    assert [one.video_id for one in found.records if one.path is not None] == ["wave"]
    assert found.notes[-1] == "3 listed clips are not there (brush_hair/a, brush_hair, wave/a)."


def test_names_agree_without_capitals_where_one_alone_does(ucf):
    lists, videos = ucf
    own = videos / "HandstandPushups"
    (own / "v_HandStandPushups_g08_c02.avi").rename(own / "v_HandstandPushups_g08_c02.avi")
    found = load_ucf101(videos, lists / "trainlist01.txt", "train")
    assert found.records[1].path == own / "v_HandstandPushups_g08_c02.avi" and found.notes == ()
    touch(own, "v_handstandpushups_g08_c02.avi")
    found = load_ucf101(videos, lists / "trainlist01.txt", "train")
    assert found.records[1].path is None
    assert found.notes == ("1 listed clips are not there (v_HandStandPushups_g08_c02).",)


def test_of_two_copies_the_fuller_one_is_read_and_told(ucf, tmp_path):
    lists, _ = ucf
    one, other = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g08_c02.avi"
    root = touch(tmp_path / "two", f"a_small/{one}", f"full/{one}", f"full/{other}")
    found = load_ucf101(root, lists / "trainlist01.txt", "train")
    assert [record.path for record in found.records] == [root / "full" / one, root / "full" / other]
    assert found.notes == ("1 listed clips are there more than once, in a_small, full: those in full are read.",)
