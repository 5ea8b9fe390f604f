"""`ssdet predict` and `Detector` on tiny generated videos: numbers, files, what is wrong, and what has no end."""

import csv
import gc
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_runs import configured, ssdet

from ssdet_cli import Detector
from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.inputs import Source, find_sources
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.numbers import precision
from ssdet_cli.errors import CheckpointError, ConfigError, DataError, SsdetError
from ssdet_cli.evaluation.ensemble import sigmoid
from ssdet_cli.evaluation.thresholds import DEFAULT
from ssdet_cli.recipes import pretrain
from ssdet_cli.recipes.evaluate_checkpoints import restore
from ssdet_cli.recipes.live import LiveView
from ssdet_cli.recipes.scanner import Part
from ssdet_cli.recipes.scoring import whole_video_scores
from ssdet_cli.recipes.weights import convert
from ssdet_cli.video.decode import open_video
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.stream import AvStream
from ssdet_cli.video.transforms import Normalize
from ssdet_cli.video.write import write_image, write_video

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import foreign_layouts as foreign

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def videos(data):
    return sorted((data.dense / "videos").glob("*.mp4"))


@pytest.fixture(scope="module")
def detector(tuned):
    return Detector.from_run(tuned, device="cpu", window=16)


def predict(*words):
    return carry_out([str(word) for word in ("predict", "--device", "cpu", "--no-pictures", *words)])


def told(capfd):
    return capfd.readouterr().err.splitlines()


# --- numbers


def test_scores_are_those_of_evaluation(detector, tuned, videos):
    # At the rate of the training videos, sampling by time takes the frames that sampling by number takes.
    meta = load_checkpoint(tuned)["meta"]
    here, clip = Session(torch.device("cpu")), meta["clip"]
    records = tuple(VideoRecord(path.stem, path) for path in videos[:2])
    scores, failures = whole_video_scores(
        restore(load_checkpoint(tuned), here),
        VideoSet("two", tuple(meta["classes"]), records, videos[0].parent),
        DataConfig(backend="pyav", workers=0),
        spacing=Spacing(clip["stride"]),
        size=clip["size"],
        window=16,
        batch_size=2,
        normalize=Normalize(**meta["normalization"]),
        here=here,
        autocast=precision("auto", here.device),
    )
    assert not failures and all(len(score.seconds) > 16 for score in scores)
    for score in scores:
        found = detector.predict(next(path for path in videos if path.stem == score.video_id))
        np.testing.assert_allclose(found.times, score.seconds, atol=1e-9)
        np.testing.assert_allclose(found.scores, sigmoid(score.logits), atol=1e-5)
        assert found.duration == pytest.approx(score.duration_seconds)
        assert found.classes == meta["classes"] and found.scores.dtype == np.float32


def test_a_window_of_any_length_takes_a_short_video_in_one_pass(tuned, videos):
    auto, usual = (
        Detector.from_run(tuned, device="cpu", window=window).predict(videos[0]) for window in ("auto", None)
    )
    np.testing.assert_allclose(auto.scores, usual.scores, atol=1e-6)


def test_a_long_video_goes_exactly_through_a_network_that_looks_at_all_of_it(tuned, videos, tmp_path):
    one, cut = (Detector.from_run(tuned, device="cpu", window=window) for window in (512, 4))
    exact = Detector.from_run(tuned, device="cpu", window=4, exact=True)
    for part in ({}, {"start": 0.3, "end": 1.1}):
        whole, chunks, blended = (each.predict(videos[0], **part) for each in (one, exact, cut))
        assert len(whole.times) > 4 and chunks.times.tolist() == whole.times.tolist()
        np.testing.assert_allclose(chunks.scores, whole.scores, atol=1e-5)
        assert np.abs(blended.scores - whole.scores).max() > 1e-4
    words = [videos[0], "--checkpoint", tuned, "--output", tmp_path / "out", "inference.window=4"]
    assert predict(*words, "inference.exact=true") == 0
    with np.load(tmp_path / "out" / "scores.npz") as stored:
        np.testing.assert_allclose(stored["scores"], one.predict(videos[0]).scores, atol=1e-5)


def test_thresholds_are_the_best_of_the_last_validation_and_older_checkpoints_have_a_half(tuned, videos, tmp_path):
    state = load_checkpoint(tuned)
    validated = state["meta"]["validated"]
    assert Detector.from_run(tuned, device="cpu").thresholds.tolist() == validated["thresholds"] != [DEFAULT] * 5
    with open_video(videos[0]) as reader:
        assert validated["frame_seconds"] == pytest.approx(state["meta"]["clip"]["stride"] / reader.frame_rate)
    del state["meta"]["validated"]
    torch.save(state, tmp_path / "old.pt")
    old = Detector.from_run(tmp_path / "old.pt", device="cpu", window=16)
    assert old.thresholds.tolist() == [DEFAULT] * 5
    # It samples by number, since it does not know the time between its frames.
    np.testing.assert_allclose(old.predict(videos[0]).times, np.arange(len(old.predict(videos[0]).times)) / 8)


def test_another_frame_rate_is_sampled_at_the_same_times(detector, videos, tmp_path):
    with open_video(videos[0]) as reader:
        frames, rate = reader.frames(np.arange(reader.num_frames)), reader.frame_rate
    write_video(tmp_path / "thrice.mp4", np.repeat(frames, 3, axis=0), 3 * rate, crf=1)
    write_video(tmp_path / "once.mp4", frames, rate, crf=1)
    once, thrice = (detector.predict(tmp_path / f"{name}.mp4") for name in ("once", "thrice"))
    np.testing.assert_allclose(once.times, thrice.times)
    np.testing.assert_allclose(once.scores, thrice.scores, atol=0.02)


def test_a_part_has_the_times_of_the_whole(detector, videos):
    whole, part = detector.predict(videos[0]), detector.predict(videos[0], start=0.5, end=1.5)
    assert part.times.tolist() == [time for time in whole.times if 0.5 <= time < 1.5] and part.duration == 1.5
    assert all(0.5 <= segment.start < segment.end <= 1.5 for segment in part.segments)


def test_what_is_asked_for_decides_what_is_found(detector, videos):
    whole = detector.predict(videos[0], threshold=0.0)
    assert [(one.start, one.end) for one in whole.segments] == [(0.0, whole.duration)] * 5
    assert detector.predict(videos[0], threshold=1.0).segments == []
    some = detector.predict(videos[0], classes=["move-up", "move-down"], threshold=0.0)
    assert some.classes == ["move-down", "move-up"]
    columns = [whole.classes.index(name) for name in some.classes]
    assert np.array_equal(some.scores, whole.scores[:, columns])
    assert [(one.label, one.class_index) for one in some.segments] == list(zip(some.classes, columns, strict=True))
    assert (whole.thresholds_from, detector.predict(videos[0]).thresholds_from) == ("given", "validation")
    top = detector.predict(videos[0], threshold=0.0, top_k=2)
    best = set(np.argsort(-whole.scores.max(axis=0))[:2])
    assert {one.class_index for one in top.segments} == best and top.scores.shape == whole.scores.shape
    assert detector.predict(videos[0], threshold=0.0, min_length=99).segments == []


def test_a_pretrained_network_says_nothing_of_background(pretrained, videos, data, tmp_path):
    found = Detector.from_run(pretrained, device="cpu").predict(videos[0])
    assert len(found.classes) == found.scores.shape[1] == 4 and "background" not in found.classes
    assert (found.scores.sum(axis=1) < 1).all()  # the rest is background
    pretrain.run(configured(PretrainConfig, data.weak, tmp_path / "run", "augment.methods=none", "loop.steps=2"))
    with pytest.raises(CheckpointError, match="is a classifier of whole clips .* and says nothing about frames"):
        Detector.from_run(tmp_path / "run", device="cpu")


def test_a_video_of_any_length_is_never_held(detector, tmp_path):
    """However long it is, there are the frames of a window, those decoded ahead, and a few on their way."""
    write_video(tmp_path / "long.mp4", (np.full((40, 40, 3), index % 250, np.uint8) for index in range(400)), 8)
    most, rows = [], 0

    def sink(seconds, scores):
        nonlocal rows
        rows += len(seconds)
        if rows > 20 * (len(most) + 1):
            most.append(sum(type(each) is torch.Tensor and each.shape == (3, 32, 32) for each in gc.get_objects()))
        assert len(seconds) <= 16

    detector.scanner.scan(Source("long", str(tmp_path / "long.mp4")), Part(), range(5), sink)
    assert rows == 400 and len(most) > 10
    assert max(most) <= 16 + 1 + 32 + 4


# --- files


def test_one_video_leaves_all_its_files(detector, tuned, videos, tmp_path, capfd):
    out = tmp_path / "out"
    words = [videos[0], "--checkpoint", tuned, "--output", out, "inference.window=16"]
    assert predict(*words) == 0
    name = videos[0].stem
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["config.yaml", "scores.npz", "segments.csv", "segments.json", f"{name}.srt", f"{name}.vtt"]
    )
    said = capfd.readouterr().err
    assert "5 classes, thresholds from its validation, on cpu." in said and "segments, written to" in said
    found = detector.predict(videos[0])
    with np.load(out / "scores.npz") as stored:
        assert np.array_equal(stored["scores"], found.scores) and np.array_equal(stored["times"], found.times)
        assert stored["classes"].tolist() == found.classes
    content = json.loads((out / "segments.json").read_text())
    assert content["thresholds"] == detector.thresholds.tolist() and content["thresholds_from"] == "validation"
    assert content["duration"] == found.duration
    assert [one["class"] for one in content["segments"]] == [one.label for one in found.segments] != []
    rows = list(csv.DictReader(io.StringIO((out / "segments.csv").read_text())))
    assert [float(row["start"]) for row in rows] == [one["start"] for one in content["segments"]]
    assert (out / f"{name}.vtt").read_text().startswith("WEBVTT\n\n00:00:0")
    # The same folder may be written again, and its configuration says it all.
    assert predict("--config", out / "config.yaml", "--threshold", 1) == 0
    again = json.loads((out / "segments.json").read_text())
    assert again["segments"] == [] and again["thresholds_from"] == "given"
    assert predict(*words, "--threshold", 0, "--classes", found.classes[3]) == 0
    (only,) = json.loads((out / "segments.json").read_text())["segments"]
    assert (only["class"], only["class_index"]) == (found.classes[3], 3)
    assert "1 classes, threshold 0.0, on cpu." in capfd.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    for folder, text in ((tmp_path / "other", "holds something else than"), (tuned, "is a training run")):
        assert predict(*words[:4], folder) == 2
        assert text in told(capfd)[-1]


def test_one_bad_video_of_several_loses_no_other(tuned, videos, tmp_path, capfd):
    folder = tmp_path / "films"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(videos[0], folder / "one.mp4")
    shutil.copy(videos[1], folder / "sub" / "two.mp4")
    (folder / "bad.mp4").write_text("no video")
    assert predict(folder, videos[0], "--checkpoint", tuned, "--output", tmp_path / "out", "--end", "0:01") == 1
    said = told(capfd)
    assert sum(line.startswith("Not predicted:") and "bad.mp4" in line for line in said) == 1
    assert said[-1].startswith("ssdet: error: 1 of 4 videos failed and all others are done; the first: ")
    made = {path.parent.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("segments.json")}
    assert made == {"one", "sub/two", videos[0].stem}
    assert not list((tmp_path / "out").rglob(".unfinished*")) and not (tmp_path / "out" / "bad").exists()


def test_two_processes_share_the_videos(tuned, videos, tmp_path):
    words = ["predict", *videos[:3], "--checkpoint", tuned, "--no-pictures", "--nproc", 2, "--device", "cpu"]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        ssdet(*words, "--output", "out"), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert {path.parent.name for path in tmp_path.rglob("segments.json")} == {path.stem for path in videos[:3]}


# --- what is looked at


def test_files_folders_frames_and_addresses_are_sources(videos, tmp_path):
    for number in range(3):
        write_image(tmp_path / "jpegs" / f"{number}.jpg", np.zeros((32, 32, 3), np.uint8))
    shutil.copy(videos[0], tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "pipe.ts")
    places = [tmp_path / "a.mp4", tmp_path / "jpegs", "rtsp://cam.local:554/live/door.sdp?x=1", tmp_path / "pipe.ts"]
    found = find_sources([*map(str, places), f"file://{tmp_path}/a.mp4", "udp://@:1234"], 10.0)
    assert [source.video_id for source in found] == ["a", "jpegs", "door", "pipe", "stream"]
    assert [source.file is not None for source in found] == [True, False, False, False, False]
    with pytest.raises(ConfigError, match="is a folder of frames; say how many there are per second with --frame-rate"):
        find_sources([str(tmp_path / "jpegs")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no videos"):
        find_sources([str(tmp_path / "empty")])


def test_what_is_passed_over_in_a_folder_is_said(videos, tmp_path):
    clips = tmp_path / "clips"
    write_image(clips / "thumbs" / "a.jpg", np.zeros((32, 32, 3), np.uint8))
    said = []
    with pytest.raises(ConfigError, match="say how many there are per second"):
        find_sources([str(clips)])
    for name in ("a.mp4", "a.avi", "b.m4v"):
        shutil.copy(videos[0], clips / name)
    assert [source.video_id for source in find_sources([str(clips)], say=said.append)] == ["a", "b"]
    assert said == [
        "1 videos are there twice, and one file of each is taken (a).",
        f"1 folders of pictures in {clips} are passed over, --frame-rate X reads them (thumbs).",
    ]
    assert [source.video_id for source in find_sources([str(clips)], 10.0)] == ["a", "b", "thumbs"]


def test_a_prediction_is_no_video_and_two_never_mix(tuned, videos, tmp_path, capfd):
    clips, out = tmp_path / "clips", tmp_path / "clips" / "out"
    clips.mkdir()
    shutil.copy(videos[0], clips / "a.mp4")
    words = ["--checkpoint", tuned, "--end", "0:01", "--output", out]
    assert carry_out([*map(str, ("predict", clips / "a.mp4", *words))]) == 0
    assert {"a.png", "a.overlay.mp4", "a.srt"} <= {path.name for path in out.iterdir()}
    assert [source.video_id for source in find_sources([str(clips)])] == ["a"]
    assert predict(videos[1], *words) == 0  # without pictures
    assert not list(out.glob("a.*")) and (out / f"{videos[1].stem}.srt").is_file()


def test_scores_that_are_no_numbers_are_told(tuned, videos, tmp_path):
    detector = Detector.from_run(tuned)
    for parameter in detector.scanner._network.parameters():
        parameter.data.fill_(np.nan)
    with pytest.raises(SsdetError, match="its weights are broken"):
        detector.predict(videos[0])


def test_a_folder_of_frames_is_a_video(detector, videos, tmp_path):
    with open_video(videos[0]) as reader:
        frames, rate = reader.frames(np.arange(16)), reader.frame_rate
    for number, frame in enumerate(frames):
        write_image(tmp_path / f"{number:03d}.jpg", frame)
    write_video(tmp_path / "clip" / "clip.mp4", frames, rate, crf=1)
    film, folder = detector.predict(tmp_path / "clip" / "clip.mp4"), detector.predict(tmp_path, frame_rate=rate)
    np.testing.assert_allclose(folder.times, film.times)
    np.testing.assert_allclose(folder.scores, film.scores, atol=0.05)


def endless(pipe, leave):
    """Write noise into a pipe as MPEG-TS; PyAV itself would wait for a reader with the GIL held."""
    draw = np.random.default_rng(0)
    try:
        with open(pipe, "wb") as file, av.open(file, "w", format="mpegts") as container:
            stream = container.add_stream("mpeg2video", rate=8)
            stream.width = stream.height = 48
            stream.pix_fmt = "yuv420p"
            while not leave.is_set():
                frame = np.kron(draw.integers(0, 256, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                leave.wait(0.001)
    except (OSError, av.FFmpegError):
        return


def test_what_has_no_end_runs_until_ctrl_c_and_then_writes_what_it_saw(tuned, tmp_path):
    pipe, leave = tmp_path / "pipe.ts", threading.Event()
    os.mkfifo(pipe)
    writer = threading.Thread(target=endless, args=(pipe, leave), daemon=True)
    writer.start()
    words = ["predict", pipe, "--checkpoint", tuned, "--device", "cpu", "--no-pictures", "--output", "out"]
    with subprocess.Popen(ssdet(*words), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        said = process.stderr.readline() + process.stderr.readline()
        assert "has no end: Ctrl-C ends it" in said
        rows = None
        for _ in range(300):  # until scores are on disk
            rows = next((tmp_path / "out").rglob("scores.f32"), rows)
            if rows is not None and rows.exists() and rows.stat().st_size > 0:
                break
            leave.wait(0.1)
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
        code = process.wait(60)
    leave.set()
    writer.join(10)
    assert code == 0, said
    content = json.loads((tmp_path / "out" / "segments.json").read_text())
    with np.load(tmp_path / "out" / "scores.npz") as stored:
        assert len(stored["times"]) == content["frames"] >= 8
        np.testing.assert_allclose(np.diff(stored["times"]), 1 / 8)
    assert not list((tmp_path / "out").glob(".unfinished*")) and not writer.is_alive()


def test_ctrl_c_on_a_file_keeps_what_was_seen_and_says_that_it_is_a_part(tuned, tmp_path):
    write_video(tmp_path / "long.mp4", (np.full((40, 40, 3), index % 250, np.uint8) for index in range(6000)), 8)
    words = ["predict", "long.mp4", "--checkpoint", tuned, "--device", "cpu", "--output", "out", "inference.window=4"]
    with subprocess.Popen(ssdet(*words), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):  # until scores are on disk
            rows = next((tmp_path / "out").rglob("scores.f32"), None) if (tmp_path / "out").exists() else None
            if rows is not None and rows.stat().st_size > 0:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, code = process.stderr.read(), process.wait(60)
    assert code == 130 and said.endswith("ssdet: interrupted.\n"), said
    assert "Interrupted: what was seen is scored and written; another Ctrl-C ends at once." in said
    content = json.loads((tmp_path / "out" / "segments.json").read_text())
    with np.load(tmp_path / "out" / "scores.npz") as stored:
        assert 0 < len(stored["times"]) == content["frames"] < 6000
        np.testing.assert_allclose(np.diff(stored["times"]), 1 / 8)
        assert content["partial"] is True and content["duration"] == pytest.approx(stored["times"][-1] + 1 / 8)
    assert all(one["end"] <= content["duration"] for one in content["segments"])
    assert (tmp_path / "out" / "long.png").is_file() and not list((tmp_path / "out").glob("*.overlay.mp4"))
    assert not list((tmp_path / "out").glob(".unfinished*"))


def test_ctrl_c_while_pictures_are_made_keeps_the_scores(tuned, videos, tmp_path, capfd, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ssdet_cli.viz.overlay.write_overlay", interrupted)
    words = ("predict", videos[0], videos[1], "--checkpoint", tuned, "--device", "cpu", "--output", tmp_path / "out")
    assert carry_out([str(word) for word in words]) == 130
    said = told(capfd)
    assert any("interrupted while its pictures were made; its scores are written." in line for line in said)
    assert said[-1] == "ssdet: interrupted."
    content = json.loads((tmp_path / "out" / videos[0].stem / "segments.json").read_text())
    assert content["partial"] is False and not (tmp_path / "out" / videos[1].stem).exists()


def test_an_end_ends_what_has_none(detector, tmp_path):
    pipe, leave = tmp_path / "pipe.ts", threading.Event()
    os.mkfifo(pipe)
    writer = threading.Thread(target=endless, args=(pipe, leave), daemon=True)
    writer.start()
    found = detector.predict(pipe, end=3.0)
    leave.set()
    writer.join(10)
    np.testing.assert_allclose(found.times, np.arange(24) / 8)
    assert found.duration == 3.0


def test_what_has_no_end_cannot_be_taken_exactly(tuned, tmp_path):
    exact = Detector.from_run(tuned, device="cpu", exact=True)
    pipe, leave = tmp_path / "pipe.ts", threading.Event()
    os.mkfifo(pipe)
    writer = threading.Thread(target=endless, args=(pipe, leave), daemon=True)
    writer.start()
    with pytest.raises(DataError, match=r"pipe\.ts has no end, which inference\.exact needs; leave it out\."):
        exact.predict(pipe)
    leave.set()
    writer.join(10)


# --- what is wrong


def test_wrong_input_is_one_line(tuned, videos, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "half.mp4").write_bytes(videos[0].read_bytes()[:-500])
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    film, run = videos[0], ["--checkpoint", tuned]
    for words, text in (
        (["none.mp4", *run], "error: none.mp4: there is no such file or folder."),
        (["text.mp4", *run], "text.mp4: not a readable video file"),
        (["half.mp4", *run], "half.mp4: truncated"),
        (["empty", *run], "empty holds no videos"),
        ([film], "Nothing to predict with: no run with a checkpoint under runs/"),
        ([film, "--checkpoint", "weights.pt"], "weights.pt"),
        ([film, *run, "--classes", "move-upp"], "Unknown class 'move-upp' (classes). Did you mean 'move-up'? Known:"),
        ([film, *run, "--start", "5", "--end", "0:03"], "end (3 s) must be after start (5 s)."),
        ([film, *run, "--start", "1:00:00"], "s; the start (3600 s) is beyond that."),
        ([film, *run, "--start", "soon"], "start='soon'"),
        ([film, *run, "--threshold", "2"], "threshold=2.0"),
        ([film, *run, "--fine", tuned], f"--fine {tuned} is for Coarse-Fine checkpoints, and {tuned} is none."),
        ([film, *run, "data.vidoes=1"], "unknown key 'data.vidoes'. Did you mean 'data.videos'?"),
        (["http://127.0.0.1:9/a.mp4", *run], "http://127.0.0.1:9/a.mp4: cannot be opened as video ("),
        (run, "predict needs a video: ssdet predict VIDEO"),
    ):
        assert predict(*words) == 2, words
        lines = [line for line in told(capfd) if not line.startswith("1 video through")]
        assert len(lines) == 1 and lines[0].startswith("ssdet: error: ") and text in lines[0], lines
    assert not (tmp_path / "runs").exists() and not list(tmp_path.rglob("segments.json"))


def test_a_start_near_the_end_says_that_no_frame_lies_there(detector, videos):
    end = detector.predict(videos[0]).duration
    with pytest.raises(DataError, match=rf"looks at no frame from {end - 0.01:g} s to its end; give an earlier start"):
        detector.predict(videos[0], start=end - 0.01)
    with pytest.raises(DataError, match="looks at no frame from 0.3 s to 0.31 s; give an earlier start or a later end"):
        detector.predict(videos[0], start=0.3, end=0.31)
    with pytest.raises(DataError, match=rf"ends at {end:.2f} s; the start \({end + 1:g} s\) is beyond that"):
        detector.predict(videos[0], start=end + 1)


def test_arguments_of_the_library_are_checked_like_options(detector, tuned, videos):
    film = videos[0]
    for asked, text in (
        ({"start": 2.0, "end": 1.0}, "Detector.predict: end (1 s) must be after start (2 s)."),
        ({"top_k": -1}, "Detector.predict: top_k=-1: input should be greater than or equal to 1."),
        ({"threshold": float("nan")}, "threshold=nan: input should be a finite number."),
        ({"min_length": float("inf")}, "min_length=inf: input should be a finite number."),
        ({"start": "soon"}, "start='soon': "),
        ({"classes": "move-upp"}, "Unknown class 'move-upp' (classes). Did you mean 'move-up'?"),
        ({"frame_rate": 0}, "data.frame_rate=0: "),
    ):
        with pytest.raises(ConfigError) as told:
            detector.predict(film, **asked)
        assert text in str(told.value) and "\n" not in str(told.value)
    for asked, text in (
        (
            {"window": 1},
            "Detector.from_run: inference.window=1: it must be a number of input frames, at least 2, or auto.",
        ),
        ({"stride": "two"}, "inference.stride='two': "),
        ({"fine": "a", "features": "b"}, "are two sources of one fine stream; give one of them."),
        ({"device": "gpu"}, "run.device=gpu is not a device; choose auto, cpu, cuda or cuda:N."),
    ):
        with pytest.raises(ConfigError) as told:
            Detector.from_run(tuned, **asked)
        assert text in str(told.value) and "\n" not in str(told.value)
    clock = detector.predict(film, start="0:00.5", end="00:00:01", classes="move-up,move-down")
    same = detector.predict(film, start=0.5, end=1.0, classes=["move-down", "move-up"])
    assert clock.classes == same.classes and np.array_equal(clock.scores, same.scores) and len(clock.times) > 2


def test_a_stream_that_breaks_off_keeps_what_was_seen(detector, videos, monkeypatch):
    pictures = AvStream.pictures

    def breaking(video, start=0.0):
        video.live = True
        for number, picture in enumerate(pictures(video, start)):
            if number == 9:
                raise DataError("the cable was pulled")
            yield picture

    monkeypatch.setattr(AvStream, "pictures", breaking)
    found = detector.predict(videos[0])
    assert found.broken == "the cable was pulled" and len(found.times) == len(found.scores) >= 8


def test_weights_of_other_origin_are_taken_as_evaluate_takes_them(detector, tuned, pretrained, videos, tmp_path, capfd):
    for run in (tuned, pretrained):
        convert(run, tmp_path / "converted.safetensors", force=True)
        ours, theirs = (
            Detector.from_run(path, device="cpu", window=16) for path in (run, tmp_path / "converted.safetensors")
        )
        assert theirs.classes == ours.classes and np.array_equal(theirs.thresholds, ours.thresholds)
        assert np.array_equal(theirs.predict(videos[0]).scores, ours.predict(videos[0]).scores)
    torch.save({"model_state": foreign.write_authors(foreign.random_x3d(foreign.TINY, 3), 4)}, tmp_path / "authors.pt")
    words = ["--checkpoint", tmp_path / "authors.pt", "--output", tmp_path / "out", "--end", "0:01"]
    assert predict(videos[0], *words, "inference.size=32", "inference.stride=2") == 0
    said = capfd.readouterr().err
    assert "does not name its 3 classes: they are class-0 to class-2." in said
    assert "3 classes, threshold 0.5, since it knows none, on cpu." in said
    assert json.loads((tmp_path / "out" / "segments.json").read_text())["thresholds_from"] == "default"


def test_without_a_checkpoint_the_newest_run_is_taken_and_named(tuned, videos, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tuned, tmp_path / "runs" / "mine")
    assert predict(videos[0]) == 0
    said = told(capfd)
    assert said[0] == "No --checkpoint is given: using the newest run that fits, runs/mine."
    assert re.search(r"written to runs/predict-mine-\d{8}-\d{6}$", said[-1])


# --- on the screen, and as a library


def test_top_classes_are_on_the_screen():
    seconds, scores = np.array([61.0]), np.array([[0.2, 0.9, 0.1]])
    screen, lines = io.StringIO(), io.StringIO()
    with LiveView(Console(file=screen, force_terminal=True, width=80), "film", ["a", "b", "c"], 2, 120.0) as view:
        view.show(seconds, scores)
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "film  1:01 of 2:00" in drawn and drawn.index("b ") < drawn.index("a ") and "c " not in drawn
    now = iter([0.0, 5.0, 11.0, 11.0, 12.0])
    with LiveView(Console(file=lines), "film", ["a", "b", "c"], 2, None, clock=lambda: next(now)) as view:
        for _ in range(3):
            view.show(seconds, scores)
    assert lines.getvalue() == "film: 1:01  b 0.90, a 0.20\n"


class Recorder:
    """Watches a video and wants scores at every frame."""

    def __init__(self):
        self.times, self.shown, self.rows = [], {}, []

    def reach(self, seconds):
        self.times.append(seconds)

    def wants_scores(self):
        return not self.shown

    def show(self, seconds, scores, remark=""):
        assert not self.rows  # before the window is complete
        self.shown[float(seconds[-1])] = scores[-1], remark


def test_a_file_shorter_than_a_window_shows_its_place_and_preliminary_scores(tuned, videos):
    """Those of the latest frames alone, as many as a clip of training has; what is written does not change."""
    detector, watch = Detector.from_run(tuned, device="cpu"), Recorder()
    scanner, source = detector.scanner, Source("film", str(videos[0]))
    scanner.scan(source, Part(), [3, 1], lambda *rows: watch.rows.append(rows), opened=lambda _: watch)
    (seconds, scores) = (np.concatenate(part) for part in zip(*watch.rows, strict=True))
    whole = detector.predict(videos[0])
    assert watch.times == seconds.tolist() == whole.times.tolist()
    np.testing.assert_array_equal(scores, whole.scores[:, [3, 1]])
    ((at, (early, remark)),) = watch.shown.items()
    clip = detector.predict(videos[0], end=at + 0.01)
    assert remark == "preliminary, from 8 frames" and len(clip.times) == 8 and clip.times[-1] == at
    np.testing.assert_allclose(early, clip.scores[-1, [3, 1]], atol=1e-6)


def test_the_place_in_the_video_is_shown_before_there_are_scores():
    now = [0.0]
    screen, lines = io.StringIO(), io.StringIO()
    words = (["a", "b"], 2, 130.0, 10.0)
    with LiveView(Console(file=screen, force_terminal=True, width=80), "film", *words, clock=lambda: now[0]) as view:
        now[0] = 2.0
        view.reach(40.0)
        assert view.wants_scores()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "film  0:10 of 2:10 (0%)" in drawn  # at once
    assert "film  0:40 of 2:10 (25%, 15.0 times as fast as it plays)" in drawn and "no scores yet, 0:02" in drawn
    now[0] = 0.0
    with LiveView(Console(file=lines), "film", *words, clock=lambda: now[0]) as view:
        for now[0], seconds in ((1.0, 20.0), (10.0, 60.0), (12.0, 70.0), (20.0, 130.0)):
            view.reach(seconds)
            if now[0] == 12.0:
                assert not view.wants_scores()
                view.show(np.array([70.0]), np.array([[0.2, 0.9]]), "preliminary, from 8 frames")
    assert lines.getvalue().splitlines() == [
        "film: 1:00 of 2:10 (42%, 5.0 times as fast as it plays)",
        "film: 2:10 of 2:10 (100%, 6.0 times as fast as it plays)  "
        "at 1:10: b 0.90, a 0.20 (preliminary, from 8 frames)",
    ]


def test_a_terminal_shows_the_place_of_a_short_film_and_its_classes(tuned, videos, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    assert predict(videos[0], "--checkpoint", tuned, "--output", tmp_path / "out") == 0
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capfd.readouterr().err)
    assert f"{videos[0].stem}  0:00 of 0:0" in drawn and "no scores yet" in drawn and "move-" in drawn


def test_a_terminal_wants_its_first_scores_at_once_and_lines_only_when_one_is_due():
    screen = Console(file=io.StringIO(), force_terminal=True)
    with LiveView(screen, "film", ["a"], 1, 10.0) as view:
        assert view.wants_scores()
        view.show(np.array([1.0]), np.array([[0.5]]))
        assert not view.wants_scores()
    with LiveView(Console(file=io.StringIO()), "film", ["a"], 1, 10.0) as view:
        assert not view.wants_scores()
    with LiveView(None, "film", ["a"], 1, 10.0) as view:
        view.reach(1.0)
        assert not view.wants_scores()


def test_the_package_is_light_and_the_detector_is_there_when_asked_for():
    code = "import sys, ssdet_cli; print('torch' in sys.modules, 'numpy' in sys.modules); ssdet_cli.Detector"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_worked_example_of_the_documentation_runs(tuned, videos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tuned, tmp_path / "runs" / "x")
    shutil.copy(videos[0], tmp_path / "video.mp4")
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / "predict.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, "docs/predict.md", "exec"), {})
    assert "move-" in capsys.readouterr().out
