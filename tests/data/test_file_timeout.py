"""A file that takes too long is named and passed over in training, and is a failure of its own in evaluation."""

import os
import time

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clips import VideoWindows, WeakClips
from ssdet_cli.data.windows import Windows
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.write import write_video

DATA = DataConfig(frame_rate=8, file_timeout=0.6)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A film, and a folder of frames of which one never comes: it is a pipe that nobody writes into."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "good.mp4", [np.full((32, 32, 3), 99, np.uint8)] * 8, 8)
    endless = folder / "endless"
    endless.mkdir()
    for number in range(8):
        Image.new("RGB", (32, 32)).save(endless / f"{number + 1:06d}.jpg")
    (endless / "000006.jpg").unlink()
    os.mkfifo(endless / "000006.jpg")
    records = (VideoRecord("endless", endless, label=0), VideoRecord("good", folder / "good.mp4", label=0))
    yield VideoSet("two", ("a",), records, folder)
    os.close(os.open(endless / "000006.jpg", os.O_RDWR))  # lets those go that still wait


def test_training_takes_another_clip_and_says_why(videos):
    clip = ClipConfig(frames=4, stride=1, size=32, flip=False)
    began = time.monotonic()
    sample = WeakClips(videos, DATA, clip, seed=0, training=False)[(0, 0)]
    assert time.monotonic() - began < 10
    assert sample.video_id == "good" and (sample.frames.int() - 99).abs().max() <= 2
    ((path, reason),) = sample.failures
    assert path.endswith("endless") and reason == f"{path}: it could not be read within 0.6 s (data.file_timeout)."


def test_evaluation_has_a_line_for_it_and_goes_on(videos):
    windows = list(VideoWindows(videos.records, DATA, spacing=Spacing(1), size=32, windows=Windows(64)))
    assert [window.video.video_id for window in windows] == ["endless", "good"]
    assert "endless: it could not be read within 0.6 s (data.file_timeout)" in windows[0].failure
    assert not windows[1].failure and windows[1].frames.shape == (3, 8, 32, 32)


def test_without_a_limit_it_is_read_to_its_end(videos):
    data = DATA.model_copy(update={"file_timeout": None})
    (window,) = VideoWindows(videos.records[1:], data, spacing=Spacing(1), size=32, windows=Windows(64))
    assert window.frames.shape[1] == 8
