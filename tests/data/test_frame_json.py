import json

import pytest

from ssdet_cli.data.annotations import Segment
from ssdet_cli.data.charades import load_charades
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.multithumos import load_multithumos
from ssdet_cli.errors import DataError


def write(tmp_path, document, name="own.json"):
    (tmp_path / name).write_text(json.dumps(document))
    return tmp_path / name


def test_activitynets_form_is_read(tmp_path):
    notes = [{"label": "run", "segment": [0.5, 2]}, {"label": "fall", "segment": ["0:01", 3.5]}]
    database = {
        "v_a": {"subset": "training", "duration": 9, "annotations": notes, "url": "x", "resolution": "1x1"},
        "v_b": {"subset": "validation", "duration": 9, "annotations": []},
    }
    found = load_json(None, write(tmp_path, {"version": "1.3", "taxonomy": [], "database": database}), "train")
    assert found.classes == ("fall", "run")
    assert found.records[0].segments == (Segment(1, 0.5, 2.0), Segment(0, 1.0, 3.5))


def test_durations_and_subsets_may_be_absent(tmp_path):
    path = write(tmp_path, {f"v{number}": {"actions": [["run", 0, 1]]} for number in range(30)})
    train, val = load_json(None, path, "train"), load_json(None, path, "val")
    assert train.records[0].duration_seconds is None and len(train) + len(val) == 30 and len(val) >= 1
    assert train.notes == (
        f"{path} has no subsets: {len(val)} of its 30 videos are held out, for validation and test.",
    )


def test_one_class_for_each_clip_is_no_set_of_frame_labels(tmp_path):
    entry = {"subset": "train", "annotations": {"segment": [0, 10], "label": "run"}}
    with pytest.raises(DataError, match=r"'AbC' has one class for the whole clip.*`ssdet pretrain --dataset kinetics`"):
        load_json(None, write(tmp_path, {"AbC": entry}), "train")


def test_multithumos_is_not_read_as_charades_nor_charades_as_multithumos(tmp_path):
    entry = {"subset": "testing", "duration": 9, "actions": [[1, 0, 1]]}
    ours = write(tmp_path, {"video_test_0000001": entry})
    with pytest.raises(DataError, match="give --dataset multithumos"):
        load_charades(None, ours, "test")
    theirs = write(tmp_path, {"AB12C": entry}, "charades.json")
    with pytest.raises(
        DataError, match="such as AB12C, .* of charades and not of multithumos; give --dataset charades"
    ):
        load_multithumos(None, theirs, "test")


#: As the i3d_train.json and vgg_train.json of tgm-icml19.
COUNTED = {
    "AB12C": {"actions": [[92, 35, 63], [147, 0, 37]], "len": 24.83, "num_frames": 74},
    "00607": {"actions": [], "len": 30.25, "num_frames": 90},
}


@pytest.mark.parametrize("load", [load_charades, load_json])
def test_numbers_of_features_are_not_read_as_seconds(tmp_path, load):
    path = write(tmp_path, COUNTED, "i3d_train.json")
    with pytest.raises(
        DataError, match=r"i3d_train\.json: its actions count features .* seconds are expected"
    ) as error:
        load(None, path, "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"duration": 24.83},
        {"actions": [[92, 11.9, 21.2]]},
        {"len": None},
    ],
)
def test_seconds_beside_a_number_of_frames_are_seconds(tmp_path, change):
    entry = {key: value for key, value in (COUNTED["AB12C"] | change).items() if value is not None}
    found = load_charades(None, write(tmp_path, {"AB12C": entry}), "train")
    assert found.records[0].segments[0] == Segment(92, *entry["actions"][0][1:])


@pytest.mark.needs_shared_data
@pytest.mark.parametrize("name", ["charades", "multithumos"])
def test_the_real_files_count_seconds(shared_data, name):
    load = {"charades": load_charades, "multithumos": load_multithumos}[name]
    assert len(load(None, shared_data / name / f"{name}.json", "train")) > 100


def test_an_id_may_have_folders_and_a_suffix(tmp_path):
    root = tmp_path / "videos"
    for name in ("cam1/001.mp4", "cam2/001.mkv", "cam2/002.MP4", "cam2/part.ts.mp4", "cam2/part.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    ids = ("cam1/001", "cam2/001.mkv", "002.mp4", "part.ts")
    path = tmp_path / "own.json"
    path.write_text(json.dumps({one: {"actions": [["run", 0, 1]]} for one in ids}))
    found = [one for split in ("train", "val") for one in load_json(root, path, split).records]
    where = {one.video_id: one.path.relative_to(root).as_posix() for one in found}
    assert where == {
        "cam1/001": "cam1/001.mp4",
        "cam2/001.mkv": "cam2/001.mkv",
        "002.mp4": "cam2/002.MP4",
        "part.ts": "cam2/part.ts.mp4",
    }


def test_a_duration_of_zero_is_none(tmp_path):
    path = tmp_path / "own.json"
    path.write_text('{"a": {"duration": 0, "subset": "train", "actions": [["run", 0, 1]]}}')
    assert load_json(None, path, "train").records[0].duration_seconds is None
