"""Resized copies: the same frames at the same times, from any kind of video, and never of another state of the file."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from unruly import unruly

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.apart import each_apart
from ssdet_cli.data.clips import ClipReader, FrameLabelledClips
from ssdet_cli.data.copies import CopySettings, copy_path, is_copied, make_copy, note_on_copies
from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.recipes import cache
from ssdet_cli.video.write import write_timed_video, write_video


def scene(number, height=60, width=80):
    """A smooth picture that moves, as JPEG likes it."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin((rows * a + columns * b + 5 * number) / 25) for a, b in ((1, 0), (0, 1), (1, 1))]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A constant rate, a varying one in Matroska's ticks, and a folder of frames."""
    folder = tmp_path_factory.mktemp("films")
    write_video(folder / "even.mp4", (scene(number) for number in range(50)), 30000 / 1001, crf=10)
    times = np.cumsum([0.0, *([0.04, 0.1, 0.033] * 10)])
    write_timed_video(folder / "varying.mp4", ((t, 0.05, scene(n)) for n, t in enumerate(times)), 25, crf=10)
    (folder / "frames").mkdir()
    for number in range(20):
        Image.fromarray(scene(number)).save(folder / "frames" / f"{number + 1:06d}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def settings(films, tmp_path_factory):
    made = CopySettings(tmp_path_factory.mktemp("cache"), short_side=48, frame_rate=12)
    for path in films.iterdir():
        assert make_copy(path, made) == copy_path(made.folder, path).stat().st_size
    return made


def read(path, folder=None, side=48):
    return ClipReader(DataConfig(cache=folder, frame_rate=12, backend="auto"), side).open(VideoRecord("v", path))


def psnr(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


@pytest.mark.parametrize("name", ["even.mp4", "varying.mp4", "frames"])
def test_a_copy_has_the_frames_of_the_video_at_their_times(films, settings, name):
    with read(films / name) as video, read(films / name, settings.folder) as copy:
        assert copy.backend == "copy" != video.backend
        assert (len(copy), copy.width, copy.height) == (len(video), video.width, video.height) == (len(video), 64, 48)
        assert copy.frame_rate == video.frame_rate and copy.duration_seconds == video.duration_seconds
        assert np.array_equal(copy.seconds(), video.seconds())
        beyond = [-2, 0, len(video) - 1, len(video), len(video) + 7]
        assert np.array_equal(copy.seconds(beyond), video.seconds(beyond))
        assert np.array_equal(copy.indices_at(video.seconds()), np.arange(len(video)))
        wanted = [3, 19, 4, 4, 11]
        assert psnr(copy.frames(wanted), video.frames(wanted)) > 36
        assert copy.path == films / name


def test_labels_of_a_clip_are_those_of_the_video(films, settings):
    record = VideoRecord("varying", films / "varying.mp4", segments=(Segment(0, 0.3, 1.0),))
    videos = VideoSet("one", ("a",), (record,), films)
    clip = ClipConfig(frames=5, stride=4, size=40, scales=(0.875,))
    original, copied = (
        FrameLabelledClips(videos, DataConfig(cache=folder), clip, seed=1, training=True)[(2, 0)]
        for folder in (None, settings.folder)
    )
    assert np.array_equal(original.labels, copied.labels) and np.array_equal(original.valid, copied.valid)
    assert np.array_equal(original.frame_seconds, copied.frame_seconds)
    assert psnr(original.frames.numpy(), copied.frames.numpy()) > 34


def test_what_has_no_copy_of_its_present_state_or_too_small_a_one_is_read_itself(films, settings, tmp_path, caplog):
    source = tmp_path / "even.mp4"
    shutil.copy(films / "even.mp4", source)
    assert read(source, settings.folder).backend != "copy"
    make_copy(source, settings)
    assert read(source, settings.folder).backend == "copy" and is_copied(settings, source)
    assert read(source, settings.folder, side=40).backend == "copy"
    assert read(source, settings.folder, side=56).backend != "copy"
    assert "have 48 pixels on the short side and 56 are needed" in caplog.text
    os.utime(source, ns=(0, 1))
    assert read(source, settings.folder).backend != "copy" and not is_copied(settings, source)
    assert "has changed since it was copied" in caplog.text
    make_copy(source, settings)
    assert is_copied(settings, source)
    copy = copy_path(settings.folder, source)
    copy.write_bytes(copy.read_bytes()[:-10])
    assert read(source, settings.folder).backend != "copy" and not is_copied(settings, source)


def test_a_small_video_is_not_enlarged_and_its_copy_is_large_enough_for_all(films, tmp_path):
    large = CopySettings(tmp_path / "large", short_side=256)
    large.folder.mkdir()
    make_copy(films / "even.mp4", large)
    for side in (512, 60, 32):
        with read(films / "even.mp4", large.folder, side=side) as copy:
            assert copy.backend == "copy" and min(copy.height, copy.width) == min(60, side)


def test_other_settings_ask_for_another_copy(films, settings):
    assert is_copied(settings, films / "even.mp4")
    assert not is_copied(CopySettings(settings.folder, 40), films / "even.mp4")
    assert not is_copied(CopySettings(settings.folder, 48, quality=80), films / "even.mp4")
    assert is_copied(settings, films / "frames")
    assert not is_copied(CopySettings(settings.folder, 48, frame_rate=24), films / "frames")


def test_how_many_videos_have_a_copy_is_said(films, settings, tmp_path):
    videos = VideoSet("two", (), (VideoRecord("a", films / "even.mp4"), VideoRecord("b", tmp_path / "b.mp4")), films)
    assert note_on_copies(None, videos) is None
    said = note_on_copies(settings.folder, videos)
    assert said == f"two: 1 of 2 videos have a copy in {settings.folder}; the others are read themselves."
    with pytest.raises(DataError, match=r"data.cache=.*none: no such folder of copies .* `ssdet data cache --output"):
        note_on_copies(tmp_path / "none", videos)


def test_the_command_copies_names_what_it_cannot_read_and_goes_on_where_it_stopped(films, tmp_path, capfd):
    folder, out = tmp_path / "videos", tmp_path / "copies"
    folder.mkdir()
    for name in ("a", "b"):
        shutil.copy(films / "even.mp4", folder / f"{name}.mp4")
    (folder / "broken.mp4").write_bytes(b"no video" * 100)
    words = ["data", "cache", "--data", str(folder), "--output", str(out), "--short-side", "32", "--workers", "1"]
    assert carry_out([*words, "--videos", str(folder)]) == 2
    assert "--videos and --data are the same; give one of them." in capfd.readouterr().err
    assert carry_out(words) == 0
    told = capfd.readouterr()
    assert "copies made" in told.out and "2 copies" in told.out and "1 could not be read" in told.out
    assert "Passed over: " in told.err and "broken.mp4: not a readable video file" in told.err
    assert (out / "failed.txt").read_text().startswith(f"{folder / 'broken.mp4'}\t")
    (folder / "broken.mp4").unlink()
    first = copy_path(out, folder / "a.mp4")
    written = first.stat().st_mtime_ns
    copy_path(out, folder / "b.mp4").unlink()
    (out / ".half.frames.1.tmp").write_bytes(b"left by a killed process")
    assert carry_out(words) == 0
    assert "1 copies made" in capfd.readouterr().out
    assert first.stat().st_mtime_ns == written and not list(out.glob(".*")) and not (out / "failed.txt").exists()


def test_a_list_of_clips_is_copied_like_the_set_that_it_is(films, tmp_path, capfd):
    for name in ("a", "b", "left out"):
        shutil.copy(films / "even.mp4", tmp_path / f"{name}.mp4")
    (tmp_path / "clips.csv").write_text("path,label\na.mp4,sit\nb.mp4,run\n")
    words = ["data", "cache", "--data", str(tmp_path / "clips.csv"), "--output", str(tmp_path / "copies")]
    assert carry_out([*words, "--short-side", "32", "--workers", "1"]) == 0
    assert "2 copies made" in capfd.readouterr().out
    assert copy_path(tmp_path / "copies", tmp_path / "a.mp4").exists()


def test_too_little_room_is_told_before_anything_is_written(films, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 1 << 10))
    with pytest.raises(SsdetError, match=r"The copies need about .* has 0.0 MiB free; make room, .*--short-side"):
        cache.run([films / "even.mp4"], CopySettings(tmp_path / "out"), workers=1)
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_kills_or_holds_up_its_reader_is_named_and_the_others_go_on():
    began = time.monotonic()
    outcomes = {
        each.item: each
        for each in each_apart(unruly, ["die", "a", "hang", "bad", "slow", "b"], workers=2, patience=1.2)
    }
    assert time.monotonic() - began < 60
    done = {item: each.result for item, each in outcomes.items() if each.result}
    assert done == {"a": "A", "b": "B", "slow": "SLOW"}
    assert outcomes["die"].failure == "die: the decoder was ended by SIGKILL while reading it."
    assert outcomes["hang"].failure == "hang: nothing could be read of it for 1.2 s."
    assert outcomes["bad"].failure == "bad.mp4: damaged."
    with pytest.raises(SsdetError, match="The disk is full"):
        list(each_apart(unruly, ["full", "a"], workers=1))


def test_annotated_folders_of_frames_need_no_rate(films, tmp_path, capfd):
    shutil.copytree(films / "frames", tmp_path / "videos" / "a")
    count = len(list((films / "frames").iterdir()))
    path = tmp_path / "own.json"
    words = ["data", "cache", "--dataset", "json", "--annotations", str(path), "--videos", str(tmp_path / "videos")]
    words += ["--output", str(tmp_path / "copies"), "--workers", "1"]
    path.write_text('{"a": {"subset": "training", "actions": [["run", 0, 1]]}}')
    assert carry_out(words) == 2
    assert "a is a folder of frames; say how many there are per second" in capfd.readouterr().err
    for seconds, told in ((count / 8, "1 copies made"), (count / 8, "0 copies made"), (count / 4, "1 copies made")):
        entry = {"subset": "training", "duration": seconds, "actions": [["run", 0, 1]]}
        path.write_text(json.dumps({"a": entry}))
        assert carry_out(words) == 0
        assert told in capfd.readouterr().out
        record = VideoRecord("a", tmp_path / "videos" / "a", seconds)
        with ClipReader(DataConfig(cache=tmp_path / "copies"), 32).open(record) as copy:
            assert copy.backend == "copy" and copy.duration_seconds == pytest.approx(seconds)
