"""Files as VIA, CVAT and ELAN write them, turned into our own forms."""

import json
from fractions import Fraction

import numpy as np
import pytest

from ssdet_cli.data.annotations import Segment, rasterize
from ssdet_cli.data.convert import convert, form_of
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.segment_table import load_csv
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.write import write_timed_video, write_video

ATTRIBUTES = {
    "1": {
        "aname": "Activity",
        "anchor_id": "FILE1_Z2_XY0",
        "type": 4,
        "desc": "",
        "options": {"1": "Break Egg", "2": "Pour Liquid", "3": "Mix"},
        "default_option_id": "",
    },
    "2": {"aname": "Who", "anchor_id": "FILE1_Z2_XY0", "type": 1, "desc": "", "options": {}, "default_option_id": ""},
}
PIECES = {
    "1_glfwaaXe": {"vid": "1", "flg": 0, "z": [2, 6.5], "xy": [], "av": {"1": "2", "2": ""}},
    "1_mHHT0tga": {"vid": "1", "flg": 0, "z": [9.25, 20], "xy": [], "av": {"1": "1"}},
    "1_still000": {"vid": "1", "flg": 0, "z": [0.917], "xy": [], "av": {"1": "1"}},
    "1_box00000": {"vid": "1", "flg": 0, "z": [0.917], "xy": [2, 263, 184, 17, 13], "av": {"1": "1"}},
    "1_empty000": {"vid": "1", "flg": 0, "z": [1, 2], "xy": [], "av": {"1": ""}},
}


def via_project(path, attributes=ATTRIBUTES, pieces=PIECES):
    files = {
        "1": {"fid": 1, "fname": "Alioli.ogv.mp4", "type": 4, "loc": 2, "src": "https://x.org/Alioli.ogv.mp4"},
        "2": {"fid": 2, "fname": "mouse.mp4", "type": 4, "loc": 3, "src": "/home/tlm/mouse.mp4"},
    }
    project = {
        "project": {"pid": "__VIA_PROJECT_ID__", "pname": "Sample", "vid_list": ["1", "2"]},
        "config": {"file": {"loc_prefix": {"1": ""}}},
        "attribute": attributes,
        "file": files,
        "view": {"1": {"fid_list": [1]}, "2": {"fid_list": [2]}},
        "metadata": pieces,
    }
    path.write_text(json.dumps(project))
    return path


def via_csv(path):
    lines = ["# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)", "# Notes:"]
    lines.append(f"# ATTRIBUTE = {json.dumps(ATTRIBUTES)}")
    lines.append("# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata")
    for key, piece in PIECES.items():
        cells = (["Alioli.ogv.mp4"], piece["flg"], piece["z"], piece["xy"], piece["av"])
        quoted = [
            str(cell) if isinstance(cell, int) else '"' + json.dumps(cell).replace('"', '""') + '"' for cell in cells
        ]
        lines.append(",".join([f'"{key}"', *quoted]))
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("write", [via_project, via_csv])
def test_via_segments_with_their_options_as_classes(tmp_path, write):
    source = write(tmp_path / "via_export")
    assert form_of(source) == "via"
    made = convert([source], tmp_path / "out" / "own.json")
    assert made.names == ("Break Egg", "Pour Liquid", "Mix")
    assert made.classes.read_text() == "Break Egg\nPour Liquid\nMix\n"
    entries = json.loads(made.annotations.read_text())
    assert entries["Alioli.ogv"] == {"actions": [[1, 2, 6.5], [0, 9.25, 20]]}
    assert list(entries) == (["Alioli.ogv", "mouse"] if write is via_project else ["Alioli.ogv"])
    assert made.notes[:2] == (
        "1 annotations mark single frames and are left out.",
        "1 annotations have no class and are left out.",
    )


def test_several_attributes_of_via_are_told_and_one_can_be_chosen(tmp_path):
    pieces = {"1_a": {"vid": "1", "flg": 0, "z": [0, 1], "xy": [], "av": {"1": "3", "2": "Ann"}}}
    checkbox = {"1": {**ATTRIBUTES["1"], "type": 2}, "2": ATTRIBUTES["2"]}
    source = via_project(tmp_path / "p.json", checkbox, {**pieces, "1_b": {**pieces["1_a"], "av": {"1": "1,2"}}})
    made = convert([source], tmp_path / "all.json")
    assert "values of Activity, Who; name those to take with --tier" in made.notes[-1] and made.actions == 4
    chosen = convert([source], tmp_path / "one" / "own.csv", tiers=["Activity"])
    assert chosen.annotations.read_text().splitlines()[1:] == [
        *("Alioli.ogv,Mix,0,1,,", "Alioli.ogv,Break Egg,0,1,,", "Alioli.ogv,Pour Liquid,0,1,,", "mouse,,,,,")
    ]
    with pytest.raises(ConfigError, match="has no attribute 'Whom'; it has: Activity, Who"):
        convert([source], tmp_path / "x.json", tiers=["Whom"])


META = """<meta><task><id>5</id><name>kitchen task</name><size>100</size><mode>interpolation</mode>
<start_frame>0</start_frame><stop_frame>99</stop_frame><frame_filter>{filter}</frame_filter>
<labels><label><name>run</name><color>#1</color></label><label><name>fall</name></label></labels>
<source>kitchen_01.mp4</source></task><dumped>2024-01-01</dumped></meta>"""


def cvat(path, body, *, filter=""):
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    path.write_text(f"{head}{META.format(filter=filter)}\n{body}</annotations>")
    return path


def track(label, *shapes):
    """Shapes of a track: (frame, outside)."""
    box = '<box frame="{}" outside="{}" occluded="0" keyframe="1" xtl="1" ytl="1" xbr="2" ybr="2" z_order="0"></box>'
    return f'<track id="0" label="{label}" source="manual">{"".join(box.format(*shape) for shape in shapes)}</track>'


def frames_of(made, label, fps, count=100):
    """Frames that the written annotations label."""
    seen = {}
    for split in ("train", "val"):
        for record in load_json(None, made.annotations, split).records:
            seen[record.video_id] = rasterize(record.segments, np.arange(count) / fps, len(made.names))
    return np.flatnonzero(seen["kitchen_01"][made.names.index(label)]).tolist()


@pytest.mark.parametrize("fps", [25, 29.97, 60])
def test_cvat_tracks_label_exactly_their_frames(tmp_path, fps):
    every = [(frame, 0) for frame in range(3, 8)]
    body = track("fall", *every, (8, 1)) + track("run", (10, 0), (20, 1), (50, 0)) + track("run", (30, 0), (31, 1))
    source = cvat(tmp_path / "annotations.xml", body)
    assert form_of(source) == "cvat"
    made = convert([source], tmp_path / "own.json", frame_rate=fps, subset="train")
    assert made.names == ("run", "fall") and made.actions == 4
    entry = json.loads(made.annotations.read_text())["kitchen_01"]
    assert entry["subset"] == "training" and entry["actions"][0] == [1, round(2.5 / fps, 4), round(7.5 / fps, 4)]
    entries = {"kitchen_01": entry, "other": {**entry, "subset": "testing"}}
    made.annotations.write_text(json.dumps(entries))
    assert frames_of(made, "fall", fps) == [3, 4, 5, 6, 7]
    assert frames_of(made, "run", fps) == [*range(10, 20), 30, *range(50, 100)]


def test_cvat_tags_of_every_second_frame_are_joined(tmp_path):
    tags = "".join(
        f'<image id="{frame}" name="f{frame}" width="9" height="9"><tag label="run" source="manual"/></image>'
        for frame in (4, 6, 8, 20)
    )
    source = cvat(
        tmp_path / "annotations.xml", f'{tags}<image id="22" name="f22" width="9" height="9"></image>', filter="step=2"
    )
    made = convert([source], tmp_path / "own.csv", frame_rate=10)
    assert made.annotations.read_text().splitlines()[1:] == ["kitchen_01,run,0.3,0.9,,", "kitchen_01,run,1.9,2.1,,"]


def test_the_frame_rate_of_cvat_is_asked_for_or_read_from_the_video(tmp_path):
    source = cvat(tmp_path / "annotations.xml", track("run", (10, 0), (20, 1)))
    with pytest.raises(
        ConfigError, match=r"counted in 'kitchen_01': give its frame rate with --fps X \(--videos DIR, which"
    ):
        convert([source], tmp_path / "own.json")
    (tmp_path / "videos").mkdir()
    with pytest.raises(ConfigError, match=r"--fps X \(.*videos holds no kitchen_01\.\*\)"):
        convert([source], tmp_path / "own.json", videos=tmp_path / "videos")
    write_video(tmp_path / "videos" / "kitchen_01.mp4", np.zeros((30, 32, 32, 3), np.uint8), 5)
    made = convert([source], tmp_path / "own.json", videos=tmp_path / "videos")
    entry = json.loads(made.annotations.read_text())["kitchen_01"]
    assert entry == {"duration": 6.0, "actions": [[0, 1.9, 3.9]]}


def test_frames_of_cvat_have_the_times_of_a_video_whose_rate_varies(tmp_path):
    starts = [*(number / 20 for number in range(20)), *(1 + number / 4 for number in range(8))]
    picture, ends = np.zeros((32, 32, 3), np.uint8), [*starts[1:], 3.0]
    frames = [(start, end - start, picture) for start, end in zip(starts, ends, strict=True)]
    (tmp_path / "videos").mkdir()
    write_timed_video(tmp_path / "videos" / "kitchen_01.mp4", frames, Fraction(20))
    body = track("run", (4, 0), (12, 1)) + track("fall", (22, 0), (28, 1))
    source = cvat(tmp_path / "annotations.xml", body)
    made = convert([source], tmp_path / "own.json", videos=tmp_path / "videos")
    entry = json.loads(made.annotations.read_text())["kitchen_01"]
    assert entry == {"duration": 3.0, "actions": [[0, 0.175, 0.575], [1, 1.375, 2.875]]}
    made = convert([source], tmp_path / "own.json", videos=tmp_path / "videos", frame_rate=10, force=True)
    assert json.loads(made.annotations.read_text())["kitchen_01"]["actions"] == [[0, 0.35, 1.15], [1, 2.15, 2.75]]


def test_what_is_wrong_with_a_file_of_cvat_is_named(tmp_path):
    two = tmp_path / "project.xml"
    two.write_text("<annotations><meta><project><tasks><task/><task/></tasks></project></meta></annotations>")
    with pytest.raises(DataError, match="export of a project with 2 tasks; export each task on its own"):
        convert([two], tmp_path / "x.json", frame_rate=5)
    (tmp_path / "cut.xml").write_text("<annotations><meta>")
    with pytest.raises(DataError, match=r"cut\.xml, line 1: no valid XML"):
        convert([tmp_path / "cut.xml"], tmp_path / "x.json", frame_rate=5)
    source = cvat(tmp_path / "a.xml", track("run", ("ten", 0)))
    with pytest.raises(DataError, match=r"a\.xml: a frame or a label is missing or no number"):
        convert([source], tmp_path / "x.json", frame_rate=5)
    with pytest.raises(ConfigError, match="has no label 'jump'; it has: run, fall"):
        convert([source], tmp_path / "x.json", frame_rate=5, tiers=["jump"])


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
<HEADER MEDIA_FILE="" TIME_UNITS="{units}">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/rec/sound.wav" MIME_TYPE="audio/x-wav"/>
<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/rec/my%20{name}.mp4" MIME_TYPE="video/mp4"
 RELATIVE_MEDIA_URL="./my%20{name}.mp4"{origin}/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2500"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="3000"/><TIME_SLOT TIME_SLOT_ID="ts4"/><TIME_SLOT TIME_SLOT_ID="ts5"/>
<TIME_SLOT TIME_SLOT_ID="ts6" TIME_VALUE="6000"/></TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="action">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>run</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts6">
<ANNOTATION_VALUE></ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="parts" PARENT_REF="action" TIER_ID="parts">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>one</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
<ANNOTATION_VALUE>two</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a5" TIME_SLOT_REF1="ts5" TIME_SLOT_REF2="ts6">
<ANNOTATION_VALUE>three</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER>
<TIER LINGUISTIC_TYPE_REF="gloss" PARENT_REF="action" TIER_ID="gloss">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>quickly</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def elan(path, name="talk", *, units="milliseconds", origin=""):
    path.write_text(EAF.format(name=name, units=units, origin=origin))
    return path


def rows(made):
    return [line.split(",")[:4] for line in made.annotations.read_text().splitlines()[1:]]


def test_elan_tiers_and_their_times(tmp_path):
    source = elan(tmp_path / "a.eaf")
    assert form_of(source) == "elan"
    made = convert([source], tmp_path / "own.csv", tiers=["action"])
    assert rows(made) == [["my talk", "run", "1", "2.5"], ["my talk", "action", "3", "6"]]
    assert made.names == ("action", "run") and made.notes == ()
    shared = convert([source], tmp_path / "parts" / "own.csv", tiers=["parts", "gloss"])
    assert rows(shared) == [
        *(["my talk", "quickly", "1", "2.5"], ["my talk", "one", "3", "4"], ["my talk", "two", "4", "5"]),
        ["my talk", "three", "5", "6"],
    ]
    whole = convert([source], tmp_path / "whole" / "own.csv")
    assert len(rows(whole)) == 5 and "values of the tiers action, parts; name those to take" in whole.notes[0]


def test_a_folder_of_elan_files_and_the_origin_of_their_time(tmp_path):
    (tmp_path / "eaf").mkdir()
    elan(tmp_path / "eaf" / "a.eaf", "a", origin=' TIME_ORIGIN="500"')
    elan(tmp_path / "eaf" / "b.eaf", "b")
    made = convert([tmp_path / "eaf"], tmp_path / "own.csv", tiers=["action"])
    assert [row[0] for row in rows(made)] == ["my a", "my a", "my b", "my b"]
    assert rows(made)[0][2:] == ["1.5", "3"]


def test_what_is_wrong_with_a_file_of_elan_is_named(tmp_path):
    with pytest.raises(ConfigError, match="has no tier 'actions'; it has: action, parts, gloss"):
        convert([elan(tmp_path / "a.eaf")], tmp_path / "x.json", tiers=["actions"])
    with pytest.raises(DataError, match="counts in PAL-frames, and milliseconds are expected"):
        convert([elan(tmp_path / "b.eaf", units="PAL-frames")], tmp_path / "x.json")
    with pytest.raises(DataError, match=r"a\.eaf is XML and no export of CVAT: it begins with <ANNOTATION_DOCUMENT>"):
        convert([tmp_path / "a.eaf"], tmp_path / "x.json", form="cvat", frame_rate=5)


# Between our own forms


def test_json_and_csv_of_ours_hold_the_same(tmp_path):
    (tmp_path / "in").mkdir()
    first = tmp_path / "in" / "own.json"
    entries = {
        "a": {"subset": "training", "duration": 31.2, "actions": [[1, 2.5, 9.25], [0, 4, 6]]},
        "b": {"subset": "testing", "actions": []},
    }
    first.write_text(json.dumps(entries))
    (tmp_path / "in" / "classes.txt").write_text("sit\nrun\nnever\n")
    table = convert([first], tmp_path / "csv" / "own.csv")
    assert table.names == ("sit", "run", "never")
    back = convert([table.annotations], tmp_path / "json" / "own.json")
    assert json.loads(back.annotations.read_text()) == entries
    for split in ("train", "test"):
        assert load_csv(None, table.annotations, split).records == load_json(None, first, split).records


def test_classes_that_are_beside_the_output_decide_the_order(tmp_path):
    source = elan(tmp_path / "a.eaf")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "classes.txt").write_text("walk\nrun\naction\n")
    made = convert([source], tmp_path / "out" / "own.json", tiers=["action"])
    assert made.names == ("walk", "run", "action")
    (tmp_path / "out" / "classes.txt").write_text("walk\n")
    apart = convert([source], tmp_path / "out" / "other.json", tiers=["action"])
    assert apart.classes.name == "other_classes.txt" and apart.names == ("action", "run")
    assert load_json(None, apart.annotations, "train").records[0].segments == (
        Segment(1, 1.0, 2.5),
        Segment(0, 3.0, 6.0),
    )


def test_what_cannot_be_converted_is_told(tmp_path):
    source = elan(tmp_path / "a.eaf")
    with pytest.raises(ConfigError, match=r"its suffix must be \.json or \.csv"):
        convert([source], tmp_path / "own.txt")
    with pytest.raises(ConfigError, match="Unknown form 'ellan'. Did you mean 'elan'"):
        convert([source], tmp_path / "own.json", form="ellan")
    (tmp_path / "own.json").touch()
    with pytest.raises(ConfigError, match="exists already; name another file, or give --force"):
        convert([source], tmp_path / "own.json")
    with pytest.raises(DataError, match="nothing.eaf does not exist"):
        convert([tmp_path / "nothing.eaf"], tmp_path / "x.json")
    (tmp_path / "page.html").write_text("<html></html>")
    with pytest.raises(DataError, match=r"is a web page \(HTML\).*of no form that is known: via, cvat, elan, charades"):
        convert([tmp_path / "page.html"], tmp_path / "x.json")
    with pytest.raises(ConfigError, match="--tier chooses among the tiers of a tool's file"):
        (tmp_path / "t.csv").write_text("video,label,start,end\na,run,0,1\n")
        convert([tmp_path / "t.csv"], tmp_path / "x.json", tiers=["action"])


@pytest.mark.needs_shared_data
def test_the_real_charades_survives_the_way_through_both_forms(shared_data, tmp_path):
    made = convert([shared_data / "charades" / "Charades_v1_test.csv"], tmp_path / "a" / "own.csv")
    assert (made.videos, made.actions, len(made.names)) == (1863, 16_691, 157)
    theirs = load_json(None, shared_data / "charades" / "charades.json", "test")
    ours = load_csv(None, made.annotations, "test")
    assert ours.classes == theirs.classes
    assert {one.video_id: one for one in ours.records} == {one.video_id: one for one in theirs.records}


@pytest.mark.parametrize("write", [via_project, via_csv])
def test_regions_of_via_are_left_out_and_told(tmp_path, write):
    made = convert([write(tmp_path / "via_export")], tmp_path / "own.json")
    assert "1 annotations mark a region of the picture and are left out." in made.notes


@pytest.mark.parametrize("write", [via_project, via_csv])
def test_videos_of_via_with_one_name_in_two_folders_stay_apart(tmp_path, write):
    source = write(tmp_path / "via_export")
    text = source.read_text().replace("Alioli.ogv.mp4", "cam1/001.mp4").replace("mouse.mp4", "cam2/001.mp4")
    if write is via_csv:
        line = next(line for line in text.splitlines() if line.startswith('"1_mHHT0tga"'))
        text += "\n" + line.replace("cam1", "cam2").replace("1_mHHT0tga", "2_mHHT0tga")
    source.write_text(text)
    made = convert([source], tmp_path / "own.json")
    entries = json.loads(made.annotations.read_text())
    assert {name: len(entry["actions"]) for name, entry in entries.items()} == {
        "cam1/001": 2,
        "cam2/001": 1 if write is via_csv else 0,
    }


def test_two_files_that_mean_two_videos_of_one_name_are_refused(tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}.csv").write_text(f"video,label,start,end\ncam{number}/001.mp4,run,0,1\n")
    with pytest.raises(DataError, match=r"'001' is cam1/001\.mp4 in one file and cam2/001\.mp4 in another: convert"):
        convert([tmp_path / "1.csv", tmp_path / "2.csv"], tmp_path / "own.json")


@pytest.mark.parametrize(
    ("write", "old", "new"),
    [
        (via_csv, "# ATTRIBUTE = ", "# ATTRIBUTE "),
        (via_csv, '{""1"": ""1""}', "7"),
        (via_project, "[9.25, 20]", '["soon", 20]'),
        (via_project, '"fid_list": [2]', '"fid_list": []'),
    ],
)
def test_a_broken_file_of_via_is_one_line(tmp_path, write, old, new):
    source = write(tmp_path / "via_export")
    assert old in source.read_text()
    source.write_text(source.read_text().replace(old, new))
    with pytest.raises(DataError, match=r"via_export is no whole project or export of VIA 3 \(.*\)\.$"):
        convert([source], tmp_path / "own.json")


def test_an_encoding_that_is_none_is_one_line(tmp_path):
    source = cvat(tmp_path / "annotations.xml", track("run", (10, 0), (20, 1)))
    source.write_text(source.read_text().replace('encoding="utf-8"', 'encoding="utf-9"'))
    with pytest.raises(DataError, match=r"annotations\.xml, line 1: no valid XML \(unknown encoding: utf-9\)"):
        convert([source], tmp_path / "own.json", frame_rate=25)
