"""Folders of JPEG frames behind the same reader."""

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.decode import open_video


@pytest.fixture
def folder(tmp_path, pictured):
    def make(pattern: str, wanted=range(1, 13)):
        place = tmp_path / "frames"
        place.mkdir()
        for number in wanted:
            Image.fromarray(pictured(number)).save(place / pattern.format(number), quality=95)
        return place

    return make


@pytest.mark.parametrize("pattern", ["AB12C-{:06d}.jpg", "frame_{:05d}.jpg", "{}.jpeg", "img{:d}.JPG"])
def test_frames_are_numbered_from_the_lowest_in_natural_order(folder, numbers, pattern):
    with open_video(folder(pattern), frame_rate=24) as video:
        assert (video.backend, video.num_frames, video.duration_seconds) == ("frames", 12, 0.5)
        assert (video.height, video.width) == (48, 64)
        assert numbers(video.frames([0, 11, 4, 4])) == [1, 12, 5, 5]
        assert numbers(video.frames_at([0.0, 3 / 24, 0.49, 9])) == [1, 4, 12, 12]


def test_frames_are_shrunk_while_decoding(folder, numbers):
    with open_video(folder("{}.jpg"), frame_rate=24, short_side=24) as video:
        small = video.frames([2, 7])
        assert small.shape == (2, 24, 32, 3) and (video.height, video.width) == (24, 32)
        assert numbers(small) == [3, 8]


def test_grey_pictures_become_rgb(tmp_path):
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(tmp_path / "1.jpg")
    with open_video(tmp_path, frame_rate=1) as video:
        assert video.frames([0]).shape == (1, 8, 8, 3)


def test_other_files_in_the_folder_are_passed_over(folder):
    place = folder("{}.jpg")
    (place / "notes2.txt").write_text("7")
    (place / "cover.jpg").write_bytes(b"")
    with open_video(place, frame_rate=24) as video:
        assert video.num_frames == 12


@pytest.mark.parametrize("rate", [None, 0, -5])
def test_a_folder_needs_a_frame_rate(folder, rate):
    with pytest.raises(ConfigError, match="needs frame_rate, in frames per second"):
        open_video(folder("{}.jpg"), frame_rate=rate)


def test_the_rate_of_a_folder_may_follow_from_its_duration(folder):
    place = folder("{}.jpg")
    with open_video(place, duration_seconds=0.75) as video:
        assert (video.frame_rate, video.duration_seconds) == (16.0, 0.75)
    with open_video(place, frame_rate=24, duration_seconds=0.75) as video:
        assert video.frame_rate == 24


def test_pictures_may_be_png(folder, numbers):
    with open_video(folder("{}.png"), frame_rate=24, short_side=24) as video:
        assert (video.num_frames, numbers(video.frames([2, 7]))) == (12, [3, 8])


def test_a_missing_number_is_named(folder):
    place = folder("f_{:03d}.jpg", [1, 2, 4, 5])
    with pytest.raises(DataError, match=r"frame 3 is missing between f_001\.jpg and f_005\.jpg"):
        open_video(place, frame_rate=24)


def test_a_number_that_is_there_twice_is_named(folder):
    place = folder("f_{}.jpg", [1, 2])
    (place / "f_02.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"frame 2 is there twice, f_02\.jpg and f_2\.jpg"):
        open_video(place, frame_rate=24)


def test_an_empty_or_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="no numbered JPEG frames"):
        open_video(tmp_path, frame_rate=24)
    with pytest.raises(DataError, match="no such folder of frames"):
        open_video(tmp_path / "none", backend="frames", frame_rate=24)


def test_a_damaged_picture_is_named(folder):
    place = folder("{}.jpg")
    data = (place / "5.jpg").read_bytes()
    (place / "5.jpg").write_bytes(data[:-100])
    (place / "6.jpg").write_bytes(b"not a picture")
    with open_video(place, frame_rate=24) as video:
        assert len(video.frames([0, 3])) == 2
        with pytest.raises(DataError, match=r"5\.jpg: damaged picture"):
            video.frames([4])
        with pytest.raises(DataError, match=r"6\.jpg: not a readable picture"):
            video.frames([5])


def test_a_picture_of_another_size_is_named(folder):
    place = folder("{}.jpg")
    Image.new("RGB", (20, 10)).save(place / "3.jpg")
    with open_video(place, frame_rate=24) as video, pytest.raises(DataError, match=r"3\.jpg: \(20, 10\) pixels"):
        video.frames([2])
