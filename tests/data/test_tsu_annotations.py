import json

import pytest

from ssdet_cli.data.annotations import Segment
from ssdet_cli.data.charades import load_charades
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.tsu import TSU_CLASSES, load_tsu
from ssdet_cli.errors import DataError

ENTRIES = {
    "P02T01C06": {"subset": "testing", "duration": 22760, "actions": [[27, 77, 987], [50, 1000, 1025]]},
    "P03T01C02": {"subset": "training", "duration": 500, "actions": [[0, 25, 50], [1, 60, 50]]},
}


def write(tmp_path, entries=ENTRIES):
    path = tmp_path / "smarthome_CS_51.json"
    path.write_text(json.dumps(entries))
    return path


def test_there_are_51_classes_in_the_order_of_the_action_list():
    assert len(set(TSU_CLASSES)) == len(TSU_CLASSES) == 51
    known = {0: "Enter", 4: "Make_coffee.Pour_water", 12: "Stir_coffee/tea", 27: "Use_laptop", 50: "Pour.From_can"}
    assert {number: TSU_CLASSES[number] for number in known} == known


def test_frames_become_seconds(tmp_path):
    path = write(tmp_path)
    test = load_tsu(None, path, "test").records[0]
    assert test.duration_seconds == 22760 / 25 and test.video_id == "P02T01C06"
    assert test.segments == (Segment(27, 77 / 25, 987 / 25), Segment(50, 40.0, 41.0))
    train = load_tsu(None, path, "train")
    assert train.records[0].segments == (Segment(0, 1.0, 2.0),)
    assert train.notes == ("1 actions end before they start and are left out (P03T01C02).",)
    assert load_tsu(None, path, "val").records == (test,)


def test_a_file_that_was_turned_into_seconds_is_told(tmp_path):
    entry = {"subset": "testing", "duration": 910.4, "actions": [[27, 3.08, 39.48]]}
    found = load_tsu(None, write(tmp_path, {"P02T01C06": entry}), "test")
    assert found.records[0].segments == (Segment(27, 3.08, 39.48),) and found.records[0].duration_seconds == 910.4
    assert "taken as seconds, not as frames" in found.notes[0]


def test_the_csvs_of_the_release_are_split_by_subject(tmp_path):
    for name, rows in (("P02/P02T01C06", "Enter,170,187\nMake_coffee.Get_water,236,502\n"), ("P03/P03T02C01", "")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / f"{name}.csv").write_text(f"event,start_frame,end_frame\n{rows}")
    test, train = load_tsu(None, tmp_path, "test"), load_tsu(None, tmp_path, "train")
    assert [record.video_id for record in train.records] == ["P03T02C01"]
    assert test.records[0].segments == (Segment(0, 170 / 25, 187 / 25), Segment(3, 236 / 25, 502 / 25))
    (tmp_path / "P02/P02T01C06.csv").write_text("event,start_frame,end_frame\nFly,1,2\n")
    with pytest.raises(DataError, match=r"P02T01C06\.csv, line 2: class 'Fly' is not among the 51"):
        load_tsu(None, tmp_path, "test")
    (tmp_path / "P02/P02T01C06.csv").write_text("event\nEnter\n")
    with pytest.raises(DataError, match="line 1: the columns event, start_frame and end_frame are expected"):
        load_tsu(None, tmp_path, "test")


def test_annotations_of_one_benchmark_are_refused_under_the_name_of_another(tmp_path):
    path = write(tmp_path)
    with pytest.raises(DataError, match=r"videos such as P02T01C06, .* of tsu and not of charades; give --dataset tsu"):
        load_charades(None, path, "test")
    note = load_json(None, path, "test").notes[0]
    assert note.endswith("which are named as those of tsu: --dataset tsu knows its class names and numbers.")
    with pytest.raises(DataError, match=r"class 51 is not a number from 0 to 50"):
        entry = {"subset": "testing", "duration": 5, "actions": [[51, 0, 1]]}
        load_tsu(None, write(tmp_path, {"P02T01C06": entry}), "test")


def test_a_split_of_whole_numbers_is_seconds_where_another_has_fractions(tmp_path):
    entries = {**ENTRIES, "P03T01C02": {"subset": "training", "duration": 500, "actions": [[0, 25, 50.5]]}}
    found = load_tsu(None, write(tmp_path, entries), "test")
    assert found.records[0].segments[0] == Segment(27, 77.0, 987.0) and found.records[0].duration_seconds == 22760.0
    assert "taken as seconds, not as frames" in found.notes[0]
    entries["P03T01C02"] = {"subset": "training", "duration": 500.25, "actions": []}
    assert load_tsu(None, write(tmp_path, entries), "test").records == found.records
