"""The clean list of `ssdet data check`, what it says of lists of clips, and what becomes of earlier lists."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.data import DATASETS
from ssdet_cli.data.folder import load_weak_folder
from ssdet_cli.data.generated import GenerateSettings, generate
from ssdet_cli.video.write import write_video


def video(path: Path, shade: int = 0) -> Path:
    """A file of 24 frames and two seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, np.full((24, 32, 32, 3), shade, np.uint8), 12)
    return path


def frames(folder: Path, count: int = 24) -> None:
    folder.mkdir(parents=True)
    for number in range(1, count + 1):
        Image.new("RGB", (32, 32)).save(folder / f"{number:05d}.jpg")


def check(ssdet, *words):
    answer = ssdet("data", "check", *words, "--output", "out", "--workers", 1)
    assert answer.code == 0, answer.err
    return answer, json.loads(Path("out/report.json").read_text())


def found(report: dict) -> dict[str, list[str]]:
    told: dict[str, list[str]] = {}
    for finding in report["findings"]:
        told.setdefault(finding["code"], []).append(finding["subject"])
    return told


def usable(report: dict) -> dict[str, int]:
    return {name: part["usable"] for name, part in report["splits"].items()}


def listed(split: str) -> list[str]:
    with open(f"out/clean/{split}.csv", newline="") as file:
        return [Path(row["path"]).name for row in csv.DictReader(file)]


def subsets() -> dict[str, str]:
    return {name: entry["subset"] for name, entry in json.loads(Path("out/clean/annotations.json").read_text()).items()}


def official_lists(folder: Path, dataset: str) -> Path:
    folder.mkdir()
    if dataset == "ucf101":
        (folder / "classInd.txt").write_text("1 Run\n2 Sit\n")
        (folder / "trainlist01.txt").write_text("Run/v_Run_g01_c01.avi 1\nSit/v_Sit_g01_c01.avi 2\n")
        (folder / "testlist01.txt").write_text("Run/v_Run_g02_c01.avi\n")
        return folder
    if dataset == "hmdb51":
        (folder / "run_test_split1.txt").write_text("a.avi 1\nb.avi 2\n")
        return folder
    path = folder / "kinetics.csv"
    path.write_text(
        "label,youtube_id,time_start,time_end,split\nrun,aaaaaaaaaaa,0,10,train\nrun,bbbbbbbbbbb,0,9,validate\n"
    )
    return path


@pytest.mark.parametrize("dataset", ["kinetics", "ucf101", "hmdb51"])
def test_annotations_alone_of_clips_make_no_list_and_say_so(ssdet, tmp_path, dataset):
    path = official_lists(tmp_path / "lists", dataset)
    answer, report = check(ssdet, "--dataset", dataset, "--annotations", path, "--annotations-only")
    assert "There is no clean list: it names the files of the clips, and no --videos was given." in answer.err
    assert "Next:" not in answer.err and not Path("out/clean").exists()
    assert usable(report) == dict.fromkeys(report["splits"], 0)


@pytest.mark.parametrize(
    ("dataset", "line", "clip", "told"),
    [
        (
            "kinetics",
            "fly,ccccccccccc,0,10,train\n",
            "ccccccccccc_000000_000010",
            "kinetics.csv, line 4: 'fly' is none of the 1 cl",
        ),
        ("ucf101", "Fly/v_Fly_g01_c01.avi 3\n", "v_Fly_g01_c01", "trainlist01.txt, line 3: 'Fly' is none of the 2 cl"),
    ],
)
def test_an_unknown_class_of_an_official_list_is_a_finding_and_stops_a_training(
    ssdet, tmp_path, dataset, line, clip, told
):
    path = official_lists(tmp_path / "lists", dataset)
    (tmp_path / "lists/classes.txt").write_text("run\n")
    video(tmp_path / "aaaaaaaaaaa_000000_000010.mp4")
    with open(path / "trainlist01.txt" if dataset == "ucf101" else path, "a") as file:
        file.write(line)
    _, report = check(ssdet, "--dataset", dataset, "--annotations", path, "--annotations-only")
    assert found(report)["unknown-class"] == [clip] and told in json.dumps(report["findings"])
    answer = ssdet("pretrain", "--dataset", dataset, "--annotations", path, "--data", ".", "--dry-run")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1) and told in answer.err


def test_annotations_alone_list_the_clips_that_are_there(ssdet, tmp_path):
    video(tmp_path / "a.mp4")
    (tmp_path / "train.csv").write_text("path,label\na.mp4,run\ngone.mp4,run\n")
    (tmp_path / "val.csv").write_text("path,label\na.mp4,run\n")
    answer, _ = check(ssdet, "--dataset", "folder", "--data", "train.csv", "--annotations-only")
    assert listed("train") == ["a.mp4"]
    assert "Next: ssdet pretrain --data out/clean/train.csv\n" in answer.err


@pytest.mark.parametrize("parts", [("",), ("train", "val"), ("train_256", "val_256")])
@pytest.mark.parametrize("inner", ["", "check"])
def test_the_folder_of_the_videos_may_be_that_of_the_check(ssdet, tmp_path, parts, inner):
    for part in parts:
        for number, name in enumerate(("archery", "run")):
            video(tmp_path / "clips" / part / name / "a.mp4", 20 * number)
            video(tmp_path / "clips" / part / name / "b.mp4", 20 * number + 10)
    before = load_weak_folder(tmp_path / "clips", None, "train")
    words = ("--dataset", "folder", "--data", "clips", "--fast", "--workers", 1, "--output", Path("clips") / inner)
    for _ in range(2):
        assert ssdet("data", "check", *words).code == 0
        assert (tmp_path / "clips" / inner / "clean" / "classes.txt").read_text() == "archery\nrun\n"
    (tmp_path / "clips" / "ssdet-data").mkdir()
    after = load_weak_folder(tmp_path / "clips", None, "train")
    assert (after.classes, after.records) == (before.classes, before.records)


def test_a_class_called_clean_stays_one_and_is_no_place_for_lists(ssdet, tmp_path):
    for name in ("clean", "run"):
        video(tmp_path / "clips" / name / "a.mp4")
        (tmp_path / "clips" / name / "classes.txt").touch()
        (tmp_path / "clips" / name / "train.csv").touch()
    assert load_weak_folder(tmp_path / "clips", None, "train").classes == ("clean", "run")
    answer = ssdet("data", "check", "--dataset", "folder", "--data", "clips", "--output", "clips")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert "the clean list would go to clips/clean, which holds a.mp4; give another folder" in answer.err


@pytest.mark.parametrize("dataset", ["csv", "charades"])
def test_json_of_one_long_line_in_the_place_of_a_table_is_one_line(ssdet, tmp_path, dataset):
    entry = {"subset": "training", "duration": 5.0, "actions": [[0, 1.0, 2.0]]}
    (tmp_path / "own.csv").write_text(json.dumps({f"video{number:05d}": entry for number in range(3000)}))
    commands = [("data", "check", "--dataset", dataset, "--annotations", "own.csv", "--annotations-only")]
    if dataset == "csv":
        commands.append(("data", "convert", "own.csv", "--from", "csv", "--output", "own.json"))
    for words in commands:
        answer = ssdet(*words)
        assert (answer.code, len(answer.err.splitlines())) == (2, 1)
        assert re.search(r"own\.csv, line 1: .* is expected, and this is JSON", answer.err)


@pytest.mark.parametrize(("dataset", "told"), [("csv", "a table with the columns"), ("charades", "the column 'id'")])
def test_a_line_longer_than_a_field_is_one_line(ssdet, tmp_path, dataset, told):
    (tmp_path / "own.csv").write_text("x" * 200_000)
    answer = ssdet("data", "check", "--dataset", dataset, "--annotations", "own.csv", "--annotations-only")
    assert (answer.code, len(answer.err.splitlines())) == (2, 1)
    assert f"own.csv, line 1: {told}" in answer.err


def test_bad_lines_of_a_list_of_clips_are_findings_and_the_rest_is_checked(ssdet, tmp_path):
    for number, name in enumerate("ab"):
        video(tmp_path / f"{name}.mp4", number * 50)
    (tmp_path / "list.csv").write_text(
        "path,label,start,end,split\na.mp4,run,,,train\na.mp4,run,1.5,0.5,train\nb.mp4,run,,,third\n"
        "b.mp4,run,soon,,val\nb.mp4,,,,val\nb.mp4,run,,,val\nb.mp4,run,1,1,val\n"
    )
    _, report = check(ssdet, "--dataset", "folder", "--data", "list.csv")
    told = {(one["code"], one["detail"].split(":")[0]) for one in report["findings"]}
    assert told == {
        ("segment-end-before-start", "list.csv, line 3"),
        *(("bad-annotation", f"list.csv, line {line}") for line in (4, 5, 6, 8)),
    }
    assert usable(report) == {"train": 1, "val": 1}
    assert (listed("train"), listed("val")) == (["a.mp4"], ["b.mp4"])


def test_bad_rows_of_kinetics_are_findings_and_stop_a_training(ssdet, tmp_path):
    head = "label,youtube_id,time_start,time_end,split\nrun,aaaaaaaaaaa,0,10,train\nrun,bbbbbbbbbbb,0,10,validate\n"
    (tmp_path / "k.csv").write_text(f"{head}run,ccccccccccc,20,10,train\nrun,ddddddddddd,abc,10,train\n")
    clip = {"subset": "train", "annotations": {"segment": [0, 10], "label": "run"}}
    turned = {"subset": "train", "annotations": {"segment": [20, 10], "label": "run"}}
    plain = {"aaaaaaaaaaa": clip, "bbbbbbbbbbb": clip | {"subset": "validate"}, "ccccccccccc": turned, "ddddddddddd": 7}
    (tmp_path / "k.json").write_text(json.dumps(plain))
    for name, place in (("k.csv", "line 4"), ("k.json", "'ccccccccccc'")):
        _, report = check(ssdet, "--dataset", "kinetics", "--annotations", name, "--annotations-only")
        assert found(report) == {"bad-annotation": ["ddddddddddd"], "segment-end-before-start": ["ccccccccccc"]}
        assert {split: part["annotated"] for split, part in report["splits"].items()} == {"train": 1, "val": 1}
        answer = ssdet("pretrain", "--dataset", "kinetics", "--annotations", name, "--data", ".", "--dry-run")
        assert (answer.code, len(answer.err.splitlines())) == (2, 1)
        assert place in answer.err and "the clip ends at 10 s and starts at 20 s" in answer.err


def test_a_frame_list_with_a_gap_loses_that_video_alone(ssdet, tmp_path):
    rows = ["original_vido_id video_id frame_id path labels"]
    for name, numbers in (("AAAAA", (0, 1, 3, 4, 5)), ("BBBBB", (0, 1, 2)), ("CCCCC", (0, 1))):
        labels = "200" if name == "CCCCC" else "3"
        rows += [f'{name} 0 {frame} {name}/{name}-{frame + 1:06d}.jpg "{labels}"' for frame in numbers]
    (tmp_path / "train.csv").write_text("\n".join(rows) + "\n")
    words = ("--dataset", "charades", "--annotations", "train.csv", "--annotations-only", "--split", "train")
    _, report = check(ssdet, *words)
    told = found(report)
    assert (told["bad-annotation"], told["unknown-class"]) == (["AAAAA"], ["CCCCC"])
    assert report["findings"][0]["detail"] == "train.csv, line 4: frame 2 of 'AAAAA' is expected, found frame 3."
    assert set(subsets()) == {"BBBBB", "CCCCC"}


def charades_lists(folder: Path, **splits: str) -> Path:
    folder.mkdir()
    for split, names in splits.items():
        lines = ["id,actions,length", *(f"{name},c000 0 1,2" for name in names)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_video_of_two_splits_stays_in_the_test_part_of_the_clean_list(ssdet, tmp_path):
    path = charades_lists(tmp_path / "lists", train="ab", test="bc")
    for number, name in enumerate("abc"):
        video(tmp_path / "videos" / f"{name}.mp4", 40 * number)
    answer, report = check(ssdet, "--dataset", "charades", "--annotations", path, "--videos", "videos", "--fast")
    assert subsets() == {"a": "training", "b": "testing", "c": "testing"}
    assert usable(report) == {"train": 1, "test": 2}
    assert (
        "train: 1 of 2 annotated videos can be used, 1 cannot. In another split as well, and kept there alone: 1."
        in answer.out
    )
    assert "test: all 2 annotated videos can be used." in answer.out
    kept = DATASETS.get("json")(tmp_path / "videos", Path("out/clean/annotations.json"), "test")
    assert [record.video_id for record in kept.records] == ["b", "c"]


@pytest.mark.parametrize("leave_out", [(), ("--leave-out", "duplicate-across-splits")])
def test_a_video_of_three_splits_stays_in_one(ssdet, tmp_path, leave_out):
    path = charades_lists(tmp_path / "lists", train="ax", val="bx", test="cx")
    words = ("--dataset", "charades", "--annotations", path, "--annotations-only")
    _, report = check(ssdet, *words, *leave_out)
    assert found(report)["duplicate-across-splits"] == ["x"]
    assert subsets() == {"a": "training", "b": "validation", "c": "testing", "x": "testing"}
    assert usable(report) == {"train": 1, "test": 2, "val": 1}


def test_a_clip_of_three_splits_leaves_all_but_one(ssdet, tmp_path):
    for number, name in enumerate("abcx"):
        video(tmp_path / f"{name}.mp4", 40 * number)
    for split, names in (("train", "ax"), ("val", "bx"), ("test", "cx")):
        (tmp_path / f"{split}.csv").write_text("path,label\n" + "".join(f"{name}.mp4,run\n" for name in names))
    words = ("--dataset", "folder", "--data", "train.csv", "--fast")
    _, report = check(ssdet, *words)
    assert usable(report) == {"train": 2, "test": 2, "val": 2}  # weak lists are files of their own
    _, report = check(ssdet, *words, "--leave-out", "duplicate-across-splits")
    assert usable(report) == {"train": 1, "test": 2, "val": 1}
    assert [listed(split) for split in ("train", "val", "test")] == [["a.mp4"], ["b.mp4"], ["c.mp4", "x.mp4"]]


def test_a_part_after_the_end_of_its_file_is_in_no_list(ssdet, tmp_path):
    video(tmp_path / "a.mp4")
    (tmp_path / "train.csv").write_text("path,label,start,end\na.mp4,run,0.5,1.5\na.mp4,run,2,3\na.mp4,run,9,11\n")
    (tmp_path / "val.csv").write_text("path,label\na.mp4,run\n")
    answer, report = check(ssdet, "--dataset", "folder", "--data", "train.csv")
    assert found(report)["segment-outside-video"] == ["a.mp4@2-3", "a.mp4@9-11"]
    assert "train: 1 of 3 annotated videos can be used, 2 cannot." in answer.out
    assert listed("train") == ["a.mp4"]


def test_folders_of_frames_can_be_used_where_their_rate_is_known(ssdet, tmp_path):
    frames(tmp_path / "clips" / "train" / "run" / "pictures")
    frames(tmp_path / "clips" / "val" / "run" / "pictures")
    video(tmp_path / "clips" / "train" / "run" / "film.mp4")
    words = ("--dataset", "folder", "--data", "clips")
    answer, report = check(ssdet, *words)
    assert usable(report) == {"train": 1, "val": 0}
    assert listed("train") == ["film.mp4"] and not Path("out/clean/val.csv").exists()
    answer, report = check(ssdet, *words, "data.frame_rate=12")
    assert usable(report) == {"train": 2, "val": 1}
    assert "data.frame_rate=12" in answer.err.splitlines()[-1]


def test_the_rate_of_annotated_folders_of_frames_is_kept_by_the_list(ssdet, tmp_path):
    for name in ("aaaaaaaaaaa", "bbbbbbbbbbb"):
        frames(tmp_path / "frames" / f"{name}_000000_000003")
    video(tmp_path / "frames" / "ccccccccccc_000000_000002.mp4")
    (tmp_path / "k.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nrun,aaaaaaaaaaa,0,3,train\nrun,ccccccccccc,0,2,train\n"
        "run,bbbbbbbbbbb,0,3,validate\n"
    )
    _, report = check(ssdet, "--dataset", "kinetics", "--annotations", "k.csv", "--videos", "frames")
    assert usable(report) == {"train": 2, "val": 1}
    kept = load_weak_folder(Path("out/clean/train.csv"), None, "train")
    assert {record.path.name[0]: record.duration_seconds for record in kept.records} == {"a": 3.0, "c": None}


def test_lists_of_an_earlier_check_go(ssdet, tmp_path):
    for part in ("train", "val"):
        video(tmp_path / "clips" / part / "run" / f"{part}.mp4")
    words = ("--dataset", "folder", "--data", "clips", "--fast")
    check(ssdet, *words)
    assert listed("val") == ["val.mp4"]
    (tmp_path / "clips" / "val" / "run" / "val.mp4").write_text("")
    check(ssdet, *words)
    assert not Path("out/clean/val.csv").exists() and listed("train") == ["train.mp4"]
    (tmp_path / "clips" / "train" / "run" / "train.mp4").write_text("")
    answer, _ = check(ssdet, *words)
    assert "Nothing is left" in answer.err
    assert not list(Path("out/clean").iterdir())


def test_the_other_half_of_a_generated_set_is_named(ssdet, tmp_path):
    settings = GenerateSettings(
        size=32, classes=4, weak_videos=4, weak_val_videos=4, dense_train=1, dense_test=1, dense_val=1, seconds=1.0
    )
    generate(tmp_path / "gen", settings, workers=1)
    sentence = "This is the weak half of the generated set; its dense half is checked with --data gen/dense."
    assert sentence in check(ssdet, "--dataset", "generated", "--data", "gen", "--fast")[0].out
    answer, report = check(ssdet, "--dataset", "generated", "--data", "gen/dense", "--fast")
    assert "half" not in answer.out
    assert {part["labels"] for part in report["splits"].values()} == {"frame"}
    assert not Path("out/clean/train.csv").exists()  # of the weak half


def test_times_keep_their_digits_and_parts_apart(ssdet, tmp_path):
    video(tmp_path / "a.mp4")
    (tmp_path / "train.csv").write_text(
        "path,label,start,end\na.mp4,run,0.1234567,1.7654321\na.mp4,run,0.1234568,1.7654321\na.mp4,run,0.5,1\n"
    )
    (tmp_path / "val.csv").write_text("path,label\na.mp4,run\n")
    check(ssdet, "--dataset", "folder", "--data", "train.csv")
    kept = load_weak_folder(Path("out/clean/train.csv"), None, "train").records
    times = [(record.start_seconds, record.end_seconds) for record in kept]
    assert times == [(0.1234567, 1.7654321), (0.1234568, 1.7654321), (0.5, 1.0)]


def test_what_is_said_of_a_truncated_file_says_it_once(ssdet, tmp_path):
    whole = video(tmp_path / "clips" / "train" / "run" / "a.mp4").read_bytes()
    (tmp_path / "clips" / "train" / "run" / "b.mp4").write_bytes(whole[: len(whole) // 2])
    shutil.copytree(tmp_path / "clips" / "train", tmp_path / "clips" / "val")
    answer, report = check(ssdet, "--dataset", "folder", "--data", "clips")
    details = [one["detail"] for one in report["findings"] if one["code"] == "truncated"]
    assert len(details) == 2 and not any("truncated" in detail for detail in details)
    assert "truncated: train/run/b.mp4 (train): " in answer.out


def test_labels_below_lengths_that_are_all_alike_do_not_overlap(ssdet, tmp_path):
    for number, part in enumerate(("train", "val")):
        video(tmp_path / "clips" / part / "run" / "a.mp4", 40 * number)
    check(ssdet, "--dataset", "folder", "--data", "clips")
    page = Path("out/report.html").read_text().partition("Lengths of videos")[2]
    places = re.findall(r'<text x="([\d.]+)"[^>]*>([^<]*)</text>', page)
    assert [text for _, text in places] == ["2", "2.02 s"] * 2
    assert float(places[1][0]) - float(places[0][0]) > 100


def test_the_clean_list_leads_to_the_very_files_that_were_checked(ssdet, tmp_path):
    for number, name in enumerate(("cam1/001", "cam2/001", "cam2/002", "cam1/003", "cam2/003")):
        video(tmp_path / f"videos/{name}.mp4", 40 * number)
    lines = ("cam1/001.mp4,run,0,1,train", "cam2/001.mp4,sit,0,1,train", "cam1/003.mp4,sit,0,1,val")
    Path("own.csv").write_text("\n".join(("video,label,start,end,subset", *lines)))
    _, report = check(ssdet, "--dataset", "csv", "--annotations", "own.csv", "--videos", "videos", "--fast")
    assert found(report) == {"class-never-seen": ["run"], "no-split": ["test"]}
    own = {}
    for split in ("train", "val"):
        for record in DATASETS.get("json")(Path("videos"), Path("out/clean/annotations.json"), split).records:
            own[record.video_id] = record.path.as_posix()
    assert own == {"cam1/001": "videos/cam1/001.mp4", "cam2/001": "videos/cam2/001.mp4", "003": "videos/cam1/003.mp4"}


@pytest.mark.parametrize("dataset", ["folder", "kinetics"])
def test_a_clip_with_two_labels_is_a_finding_and_told_by_a_training(ssdet, tmp_path, dataset):
    for number, name in enumerate(("a_000000_000010", "b_000000_000010", "c_000000_000010")):
        video(tmp_path / f"clips/{name}.mp4", 40 * number)
    path = tmp_path / "lists" / "own.csv"
    path.parent.mkdir()
    rows = ("run,a,0,10,train", "sit,a,0,10,train", "run,a,0,10,train", "sit,b,0,10,train", "sit,c,0,10,val")
    path.write_text("\n".join(("label,youtube_id,time_start,time_end,split", *rows)))
    if dataset == "folder":
        cells = [row.split(",") for row in rows]
        path.write_text("\n".join(("path,label,split", *(f"{c[1]}_000000_000010.mp4,{c[0]},{c[4]}" for c in cells))))
    words = ("--dataset", dataset, "--data", "clips", "--annotations", path, "--fast")
    _, report = check(ssdet, *words)
    told = [one for one in report["findings"] if one["code"] == "duplicate-within-split"]
    assert [one["subject"].partition("_")[0] for one in told] == ["a"]
    assert "own.csv, line 3: the clip has the label 'sit' here and 'run' elsewhere" in told[0]["detail"]
    loaded = DATASETS.get(dataset)(tmp_path / "clips", path, "train")
    assert any(note.startswith("1 of them ") and "the first one counts (a_" in note for note in loaded.notes)
    assert [record.label for record in loaded.records] == [0, 1]


def test_a_part_is_as_long_as_its_file_lets_it_be(ssdet, tmp_path):
    video(tmp_path / "long.mp4")
    Path("own.csv").write_text("path,label,start,end\nlong.mp4,run,0,1.5\nlong.mp4,run,1.5,3\nlong.mp4,run,2.5,3\n")
    _, report = check(ssdet, "--dataset", "folder", "--data", "own.csv", "--fast", "--min-frames", 12)
    told = {one["subject"]: one["detail"] for one in report["findings"] if one["code"] == "too-short"}
    assert told == {
        "long.mp4@1.5-3": "6 frames, a clip takes 12",
        "long.mp4@2.5-3": "0 frames, a clip takes 12",
    }


def test_few_classes_that_happen_together_are_drawn_no_larger_than_many(ssdet, tmp_path):
    names = [f"c{number}" for number in range(30)]
    for some in (names[:2], names):
        actions = [[name, 0.0, 2.0] for name in some]
        Path("own.json").write_text(json.dumps({"a": {"subset": "training", "duration": 2.0, "actions": actions}}))
        check(ssdet, "--dataset", "json", "--annotations", "own.json", "--annotations-only")
        page = Path("out/report.html").read_text()
        wide = int(re.search(r'class="wide heat" style="--wide:(\d+)px"', page)[1])
        units = float(re.search(r'class="wide heat".*?viewBox="0 0 (\d+)', page)[1])
        assert wide / units == pytest.approx(1.19, abs=0.01)
