"""`ssdet data check` on real files: what it finds, writes and survives."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from PIL import Image

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data import DATASETS
from ssdet_cli.data.folder import load_weak_folder
from ssdet_cli.data.index import without_unusable
from ssdet_cli.data.multithumos import MULTITHUMOS_CLASSES
from ssdet_cli.video._decord import import_decord
from ssdet_cli.video.write import write_video


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weakly labelled set with one file of every kind of fault."""
    root = tmp_path_factory.mktemp("set") / "clips"
    rng = np.random.default_rng(0)
    names = [
        "train/run/good.mp4",
        "train/run/short.mp4",
        "train/walk/long.mp4",
        "val/run/held.mp4",
        "val/walk/held.mp4",
    ]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        count = 3 if "short" in name else 24
        write_video(root / name, rng.integers(0, 255, (count, 48, 48, 3), dtype=np.uint8), 12)
    whole = (root / "train/walk/long.mp4").read_bytes()
    (root / "train/walk/truncated.mp4").write_bytes(whole[: len(whole) // 2])
    middle = len(whole) // 2
    (root / "train/walk/damaged.mp4").write_bytes(whole[:middle] + b"\xff" * 4000 + whole[middle + 4000 :])
    (root / "train/walk/empty.mp4").touch()
    (root / "train/run/text.mp4").write_text("no video\n" * 20)
    (root / "train/run/copy.mp4").write_bytes((root / "val/run/held.mp4").read_bytes())
    (root / "train/rest/gaps").mkdir(parents=True)
    for number in (1, 2, 4):
        Image.new("RGB", (32, 32)).save(root / f"train/rest/gaps/{number:05d}.jpg")
    return root


def codes(report: dict) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["code"], []).append(finding["subject"])
    return found


def check(ssdet, *words):
    answer = ssdet("data", "check", *words)
    return answer, json.loads(Path("out/report.json").read_text())


def test_every_fault_is_named_the_good_are_listed_and_a_second_look_is_spared(ssdet, clips, monkeypatch):
    words = ("--data", clips, "--output", "out", "--min-frames", 10, "--workers", 1)
    answer, report = check(ssdet, *words)
    assert answer.code == 0
    found = codes(report)
    assert found == {
        "empty": ["train/walk/empty.mp4"],
        "unreadable": ["train/run/text.mp4"],
        "truncated": ["train/walk/truncated.mp4"],
        "damaged": ["train/walk/damaged.mp4"],
        "missing-frames": ["train/rest/gaps"],
        "too-short": ["train/run/short.mp4"],
        "duplicate-across-splits": ["train/run/copy.mp4"],
        "class-never-seen": ["rest"],
    }
    for subject in (name for names in found.values() for name in names):
        assert subject in answer.out
    assert "train: 4 of 9 annotated videos can be used, 5 cannot." in answer.out
    assert "val: all 2 annotated videos can be used." in answer.out
    assert answer.err.splitlines()[-1].startswith("Next: ssdet pretrain --data out/clean/train.csv data.index=out/")

    kept = load_weak_folder(Path("out/clean/train.csv"), None, "train")
    names = [record.path.relative_to(clips).as_posix() for record in kept.records]
    assert names == ["train/run/copy.mp4", "train/run/good.mp4", "train/run/short.mp4", "train/walk/long.mp4"]
    assert kept.classes == ("rest", "run", "walk")  # also the class that lost its only video
    assert [record.label for record in kept.records] == [1, 1, 1, 2]
    assert len(load_weak_folder(Path("out/clean/train.csv"), None, "val")) == 2

    page = Path("out/report.html").read_text()
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"(src|href)=|url\(|@import", page)  # needs nothing else

    def never(*_, **__):
        raise AssertionError("a file is looked at again")
        yield

    with monkeypatch.context() as patched:
        patched.setattr("ssdet_cli.data.isolated._start", never)
        again, second = check(ssdet, *words, "--strict", "--leave-out", "too-short,duplicate-across-splits")
    assert again.code == 1
    assert (second["files"]["all"], second["files"]["known_before"]) == (11, 11)
    assert second["findings"] == report["findings"]
    assert len(load_weak_folder(Path("out/clean/train.csv"), None, "train")) == 2


def test_headers_alone_do_not_see_damage_and_a_deeper_look_is_not_spared(ssdet, clips):
    words = ("--dataset", "folder", "--data", clips, "--output", "out", "--split", "train", "--workers", 1)
    _, report = check(ssdet, *words, "--fast")
    assert "damaged" not in codes(report)
    answer, report = check(ssdet, *words, "--decode", "all", "--strict")
    assert (answer.code, codes(report)["damaged"]) == (1, ["train/walk/damaged.mp4"])
    assert report["files"]["known_before"] == 0


def test_a_trainings_configuration_says_what_is_too_short(ssdet, clips, tmp_path):
    (tmp_path / "run.yaml").write_text(
        f"data: {{dataset: folder, videos: {clips}}}\nclip: {{frames: 8, stride: 2}}\noptim: {{lr: 0.5}}\n"
    )
    words = ("--config", "run.yaml", "--output", "out", "--fast", "--split", "val", "--workers", 1)
    assert "too-short" not in codes(check(ssdet, *words)[1])
    assert codes(check(ssdet, *words, "clip.stride=4")[1])["too-short"] == ["val/run/held.mp4", "val/walk/held.mp4"]


def test_a_folder_of_frames_needs_a_rate_that_fits_its_annotation(ssdet, tmp_path):
    for name in ("a", "b"):
        (tmp_path / "frames" / "x" / name).mkdir(parents=True)
        for number in range(12 if name == "a" else 30):
            Image.new("RGB", (32, 32)).save(tmp_path / "frames" / "x" / name / f"{number:03d}.jpg")
    words = ("--videos", "frames", "--output", "out", "--split", "train", "--fast", "--workers", 1)
    weak = check(ssdet, "--dataset", "folder", *words)[1]
    assert "a folder of frames says no rate itself" in weak["findings"][0]["detail"]
    path = annotations(tmp_path, a=(1.0, [[0, 0.0, 1.0]]), b=(1.0, [[1, 0.0, 1.0]]))
    words = ("--dataset", "json", "--annotations", path, *words[:1], "frames/x", *words[2:], "data.frame_rate=12")
    assert codes(check(ssdet, *words)[1])["frame-rate"] == ["b"]


def annotations(folder: Path, **videos: object) -> Path:
    path = folder / "set.json"
    plain = {name: {"subset": "training", "duration": one[0], "actions": one[1]} for name, one in videos.items()}
    path.write_text(json.dumps(plain))
    (folder / "classes.txt").write_text("sit\nstand\nfly\n")
    return path


def test_frame_labels_are_checked_against_themselves_and_the_files(ssdet, clips, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("a", "b"):
        shutil.copy(clips / "train/run/good.mp4", videos / f"{name}.mp4")
    shutil.copy(clips / "train/walk/empty.mp4", videos / "e.mp4")
    path = annotations(
        tmp_path,
        a=(2.0, [[0, 0.5, 3.0], [1, 1.5, 0.5], [7, 0.0, 1.0], ["sit", 1.0, 1.0], [1, "x", 2.0]]),
        b=(9.0, [[1, 8.0, 60.0]]),
        c=(4.0, []),
        e=(2.0, [[0, 0.0, 1.0]]),
    )
    answer, report = check(
        ssdet, "--dataset", "json", "--annotations", path, "--videos", videos, "--output", "out", "--workers", 1
    )
    assert answer.code == 0
    assert codes(report) == {
        "missing": ["c"],
        "empty": ["e"],
        "bad-annotation": ["a"],
        "unknown-class": ["a"],
        "duplicate-within-split": ["b"],
        "segment-end-before-start": ["a"],
        "segment-outside-video": ["b"],
        "duration": ["b"],
        "no-split": ["test", "val"],
        "class-never-seen": ["fly"],
        "zero-length-segment": ["a"],
        "segment-past-end": ["a"],
        "no-actions": ["c"],
    }
    assert report["splits"]["train"]["statistics"]["segments"] == 5
    assert "train: 2 of 4 annotated videos can be used, 2 cannot." in answer.out
    kept = DATASETS.get("json")(videos, Path("out/clean/annotations.json"), "train")
    assert [(record.video_id, len(record.segments)) for record in kept.records] == [("a", 2), ("b", 1)]
    assert kept.classes == ("sit", "stand", "fly")


def test_actions_are_held_against_the_file_where_no_duration_is_told(ssdet, clips, tmp_path):
    (tmp_path / "videos").mkdir()
    for name in "abc":
        write_video(tmp_path / "videos" / f"{name}.mp4", np.full((24, 48, 48, 3), ord(name), np.uint8), 12)
    actions = {
        "a": [["sit", 0.5, 2.05], ["sit", 0.1, 2.0]],  # rounded up in the second decimal
        "b": [["sit", 0.5, 2.9], ["stand", 1.0, 9.0]],
        "c": [["stand", 2.5, 3.0]],
    }
    plain = {name: {"subset": "training", "actions": one} for name, one in actions.items()}
    (tmp_path / "set.json").write_text(json.dumps(plain))
    words = ("--dataset", "json", "--annotations", "set.json", "--output", "out", "--split", "train")
    _, report = check(ssdet, *words, "--videos", "videos", "--workers", 1)
    assert codes(report) == {"segment-outside-video": ["b", "c"], "segment-past-end": ["b"]}
    told = {finding["subject"]: finding["detail"] for finding in report["findings"] if "outside" in finding["code"]}
    assert told == {"b": "stand, 1 to 9 s of a file of 2 s", "c": "stand, 2.5 to 3 s of a file of 2 s"}
    assert report["splits"]["train"]["statistics"]["end_after_video"]["segments"] == 4
    assert not check(ssdet, *words, "--annotations-only")[1]["findings"]


def frames(folder: Path, *numbers: int) -> None:
    folder.mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", (32, 32)).save(folder / f"{folder.name}-{number:06d}.jpg")


def test_folders_of_frames_that_begin_late_or_lack_their_end_are_told(ssdet, tmp_path):
    whole = range(1, 41)
    for name in "abc":
        frames(tmp_path / "frames" / name, *whole)
    frames(tmp_path / "frames" / "zero", *range(40))
    frames(tmp_path / "frames" / "late", *whole[9:])
    frames(tmp_path / "frames" / "cut", *whole[:30])
    frames(tmp_path / "frames" / "rounded", *whole[:38])
    names = ("a", "b", "c", "zero", "late", "cut", "rounded")
    path = annotations(tmp_path, **{name: (4.0, [[0, 0.0, 1.0], [1, 2.0, 3.0], [2, 3.0, 3.5]]) for name in names})
    words = ("--dataset", "json", "--annotations", path, "--videos", "frames", "--output", "out", "--split", "train")
    expected = {"late-start": ["late"], "frame-rate": ["late", "cut"]}
    for rate, told in (((), "its set has 10/s"), (("data.frame_rate=10",), "data.frame_rate=10")):
        _, report = check(ssdet, *words, "--fast", "--workers", 1, *rate)
        assert codes(report) == expected
        details = {(one["code"], one["subject"]): one["detail"] for one in report["findings"]}
        assert details["late-start", "late"] == "its first frame has the number 10, 31 are there"
        assert (
            details["frame-rate", "cut"]
            == f"30 frames in 4 s are 7.5/s, and {told}: another rate, or 10 frames are missing"
        )


def test_bad_lines_of_text_files_are_findings_and_the_rest_is_checked(ssdet, tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for name in MULTITHUMOS_CLASSES:
        (texts / f"{name}.txt").write_text("video_validation_0000001 1.0 2.0\nvideo_test_0000001 3.0 2.0\n")
    (texts / "Walk.txt").write_text("video_validation_0000001 1.0 2.0\n\nkitchen 1.0 2.0\nvideo_test_0000001 nan 1\n")
    words = ("--annotations-only", "--output", "out")
    answer, report = check(ssdet, "--dataset", "multithumos", "--annotations", "texts", *words)
    assert answer.code == 0
    bad = [one["detail"] for one in report["findings"] if one["code"] == "bad-annotation"]
    assert [detail.partition(": ")[0] for detail in bad] == ["texts/Walk.txt, line 3", "texts/Walk.txt, line 4"]
    assert (report["codes"]["bad-annotation"]["count"], report["codes"]["bad-annotation"]["subjects"]) == (2, 2)
    assert report["codes"]["segment-end-before-start"]["count"] == 64
    assert report["splits"]["train"]["statistics"]["segments"] == 65

    for name, rows in (("P02T01C06", "Enter,170,187\nFly,1,2\nWalk,x,9\nWalk,1\n"), ("P03T02C01", "Walk,25,50\n")):
        (tmp_path / "tsu" / name[:3]).mkdir(parents=True)
        (tmp_path / "tsu" / name[:3] / f"{name}.csv").write_text(f"event,start_frame,end_frame\n{rows}")
    (tmp_path / "tsu" / "P02" / "P02T01C07.csv").write_text("no table\n")
    answer, report = check(ssdet, "--dataset", "tsu", "--annotations", "tsu", *words)
    assert answer.code == 0
    found = [(one["code"], one["detail"].partition("/P02/")[2]) for one in report["findings"]][:4]
    assert (report["codes"]["bad-annotation"]["count"], report["codes"]["bad-annotation"]["subjects"]) == (3, 2)
    assert found == [
        ("bad-annotation", "P02T01C06.csv, line 4: start_frame 'x' is not a number of frames from 0."),
        ("bad-annotation", "P02T01C06.csv, line 5: end_frame '' is not a number of frames from 0."),
        ("bad-annotation", "P02T01C07.csv, line 1: the columns event, start_frame and end_frame are expected."),
        ("unknown-class", "P02T01C06.csv, line 3: class 'Fly' is not among the 51 known."),
    ]
    assert {name: part["statistics"]["segments"] for name, part in report["splits"].items()} == {"train": 1, "test": 1}


def test_videos_of_a_json_that_are_none_are_findings(ssdet, tmp_path):
    good = {"subset": "training", "duration": 4.0, "actions": [["sit", 0, 1], ["sit", 1]]}
    plain = {"a": good, "b": 7, "c": {"subset": "training", "actions": "none"}, "d": good | {"subset": "testing"}}
    (tmp_path / "set.json").write_text(json.dumps(plain))
    words = ("--dataset", "json", "--annotations", "set.json", "--annotations-only", "--output", "out")
    answer, report = check(ssdet, *words)
    assert answer.code == 0
    bad = [(one["split"], one["subject"]) for one in report["findings"] if one["code"] == "bad-annotation"]
    assert bad == [("train", "b"), ("train", "c"), ("train", "a"), ("test", "d")]
    assert {name: part["annotated"] for name, part in report["splits"].items()} == {"train": 1, "test": 1}


@pytest.mark.skipif(import_decord() is None, reason="decord has no wheel for this platform")
def test_what_decord_refuses_is_found_for_decord_alone(ssdet, clips, tmp_path):
    (tmp_path / "set" / "train" / "run").mkdir(parents=True)
    shutil.copytree(clips / "val" / "run", tmp_path / "set" / "val" / "run")
    # Three to two, which scales to a width of 24 where one looks at small pictures, and decord cannot return that.
    write_video(tmp_path / "set" / "train" / "run" / "good.mp4", np.full((24, 96, 144, 3), 90, np.uint8), 12)
    with av.open("set/train/run/other.avi", "w") as made:
        stream = made.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 144, 96, "yuv420p"
        for _ in range(24):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((96, 144, 3), 9, np.uint8), format="rgb24")))
        made.mux(stream.encode(None))
    words = ("--dataset", "folder", "--data", "set", "--output", "out", "--split", "train", "--workers", 1)
    assert codes(check(ssdet, *words)[1]) == {}
    _, report = check(ssdet, *words, "data.backend=decord")
    assert codes(report) == {"unreadable": ["train/run/other.avi"]}
    assert "decord is not reliable on avi files" in report["findings"][0]["detail"]
    videos = load_weak_folder(Path("set"), None, "train")
    index = DataConfig(videos=Path("set"), index=Path("out/ssdet-index.jsonl"))
    assert without_unusable(videos, index) == (videos, "")
    kept, _ = without_unusable(videos, index.model_copy(update={"backend": "decord"}))
    assert [record.video_id for record in kept.records] == ["train/run/good.mp4"]
    # The usual reader looks at it again.
    assert codes(check(ssdet, *words)[1]) == {}


def test_a_duplicate_of_a_test_video_leaves_the_training_split(ssdet, tmp_path):
    path = tmp_path / "train.csv"
    for name in ("train", "test"):
        lines = ["a,c000 0 1,5", "b,c001 0 1,5"] if name == "train" else ["b,c001 0 1,5"]
        (tmp_path / f"{name}.csv").write_text("\n".join(["id,actions,length", *lines]) + "\n")
    words = ("--dataset", "charades", "--annotations", path, "--annotations-only", "--output", "out")
    answer, report = check(ssdet, *words, "--leave-out", "duplicate-across-splits")
    assert answer.code == 0
    assert codes(report)["duplicate-across-splits"] == ["b"]
    assert {name: part["usable"] for name, part in report["splits"].items()} == {"train": 1, "test": 1}
    assert report["files"] is None


@pytest.mark.needs_shared_data
def test_the_real_annotations_give_the_known_counts(ssdet, shared_data):
    for dataset, expected in (
        ("charades", {"segment-end-before-start": (7, 4), "segment-past-end": (19618, 7431), "no-actions": (223, 223)}),
        (
            "multithumos",
            {"segment-outside-video": (64, 11), "segment-past-end": (1, 1), "zero-length-segment": (7, 4)},
        ),
    ):
        words = ("--dataset", dataset, "--annotations", shared_data / dataset, "--annotations-only", "--output", "out")
        answer, report = check(ssdet, *words)
        assert answer.code == 0
        assert {code: (row["count"], row["subjects"]) for code, row in report["codes"].items()} == expected


@pytest.mark.needs_shared_data
def test_the_real_clips_are_told_apart(ssdet, shared_data, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "clips").symlink_to(shared_data / "clips")
    _, report = check(ssdet, "--dataset", "folder", "--data", "set", "--output", "out", "--workers", 1)
    found = {code: subjects for code, subjects in codes(report).items() if code != "class-never-seen"}
    assert found == {
        "damaged": ["clips/corrupted.mp4"],
        "variable-frame-rate": ["clips/fullhd_72frames.mp4"],
        "no-index": ["clips/flipping_a_pancake.mkv"],
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "data.dataset: name the kind of dataset with --dataset"),
        (("--dataset", "folder"), "data.videos: give the videos with --videos DIR"),
        (("--data", ".", "data.dataset=charades"), "The dataset 'charades' needs data.annotations"),
        (("--dataset", "charade", "--data", "."), "Unknown dataset 'charade'. Did you mean 'charades'?"),
        (("--dataset", "folder", "--data", "nowhere"), "nowhere does not exist"),
        (("--dataset", "folder", "--data", "hollow"), "hollow holds no folders of classes"),
        (("--dataset", "folder", "--data", ".", "--videos", "."), "--videos and --data are the same"),
        (("--dataset", "folder", "--data", ".", "--fast", "--decode", "all"), "contradict each other"),
        (("--dataset", "folder", "--data", "clips", "--leave-out", "ugly"), "there is no such code"),
        (("--dataset", "folder", "--data", "clips", "--output", "file"), "--output=file is a file"),
        (("--dataset", "folder", "--data", "clips", "data.frame_rat=3"), "Did you mean 'data.frame_rate'?"),
        (("--dataset", "json", "--annotations-only"), "needs data.annotations"),
        (("--dataset", "folder", "--data", "clips", "--timeout", "0"), "timeout"),
        (("--dataset", "folder", "--data", "clips", "--workers", "2", "workers=2"), "as a flag and as workers=..."),
    ],
)
def test_wrong_use_is_one_line(ssdet, tmp_path, words, told):
    (tmp_path / "hollow").mkdir()
    (tmp_path / "clips" / "a").mkdir(parents=True)
    (tmp_path / "file").touch()
    answer = ssdet("data", "check", *words)
    assert answer.code == 2
    assert told in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_what_would_be_checked_is_printed(ssdet, clips, tmp_path):
    words = ("--dataset", "folder", "--data", clips, "--min-frames", 10, "--fast", "--split", "val")
    answer = ssdet("data", "check", *words, "memory=2", "--print-config")
    assert answer.code == 0
    assert not Path("ssdet-data").exists()
    shown = yaml.safe_load(answer.out)
    assert (shown["data"]["videos"], shown["min_frames"], shown["decode"]) == (str(clips), 10, "headers")
    assert (shown["split"], shown["memory"], shown["annotations_only"]) == ("val", 2, False)


@pytest.mark.skipif(os.name != "posix", reason="named pipes and signals")
def test_an_interrupted_check_keeps_what_it_knew(clips, tmp_path):
    root = tmp_path / "clips"
    for name in ("train/run/a.mp4", "train/run/b.mp4", "train/walk/c.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clips / "train/run/good.mp4", root / name)
    (root / "train/walk/hangs").mkdir()
    for number in (1, 3):
        Image.new("RGB", (32, 32)).save(root / f"train/walk/hangs/{number}.jpg")
    os.mkfifo(root / "train/walk/hangs/2.jpg")
    words = ["data", "check", "--dataset", "folder", "--data", "clips", "--split", "train", "--output", "out"]
    index = tmp_path / "out" / "ssdet-index.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "ssdet_cli", *words, "--workers", "1", "--timeout", "500"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while process.poll() is None and (not index.exists() or index.read_text().count("\n") < 3):
            time.sleep(0.05)
        time.sleep(0.3)  # the pipe is being waited for
        os.killpg(process.pid, signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(30) == 130, said
    assert said == "ssdet: interrupted.\n"
    assert index.read_text().count('"frames": 24') >= 2
