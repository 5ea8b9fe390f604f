"""Charades as 24 fps JPEG folders: found by id, timed by their number, labelled at the right frames."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.charades import load_charades
from ssdet_cli.data.clips import ClipReader, FrameLabelledClips
from ssdet_cli.errors import DataError
from ssdet_cli.video.inspection import Inspection, inspect

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


@pytest.fixture
def rgb(tmp_path):
    """`Charades_v1_rgb/<id>/<id>-000001.jpg` of one second, 24 frames, and its CSV."""
    folder = tmp_path / "media" / "Charades_v1_rgb" / "AB12C"
    folder.mkdir(parents=True)
    for number in range(1, 25):
        Image.new("RGB", (40, 32), (number * 10, 0, 0)).save(folder / f"AB12C-{number:06d}.jpg")
    path = tmp_path / "Charades_v1_train.csv"
    path.write_text(f'{HEADER}AB12C,S001,Kitchen,6,7,Yes,"A person, cooks.",stove,x,c092 0.25 0.50,1.00\n')
    return tmp_path / "media", path


@pytest.mark.parametrize("below", ["", "Charades_v1_rgb"])
@pytest.mark.parametrize("rate", [None, 24.0])
def test_frames_are_labelled_at_their_times(rgb, below, rate):
    videos, path = rgb
    found = load_charades(videos / below, path, "train")
    assert found.records[0].path == videos / "Charades_v1_rgb" / "AB12C" and found.notes == ()
    clip = ClipConfig(frames=24, stride=1, size=32, scales=(1.0,), flip=False)
    sample = FrameLabelledClips(found, DataConfig(frame_rate=rate), clip, seed=0, training=False)[(0, 0)]
    np.testing.assert_allclose(sample.label_seconds, np.arange(24) / 24)
    assert np.flatnonzero(sample.labels[92]).tolist() == list(range(6, 13))
    assert sample.failures == () and sample.backend == "frames"


def test_features_and_optical_flow_of_the_same_names_are_no_videos(rgb):
    videos, path = rgb
    for folder, name in (("Charades_v1_features_rgb", "AB12C-000001.txt"), ("Charades_v1_flow", "AB12C-000001x.jpg")):
        (videos / folder / "AB12C").mkdir(parents=True)
        (videos / folder / "AB12C" / name).touch()
    assert load_charades(videos, path, "train").records[0].path == videos / "Charades_v1_rgb" / "AB12C"


def test_a_gap_is_an_error_that_names_the_frame(rgb):
    videos, path = rgb
    (videos / "Charades_v1_rgb" / "AB12C" / "AB12C-000007.jpg").unlink()
    found = load_charades(videos, path, "train")
    with pytest.raises(DataError, match=r"frame 7 is missing between AB12C-000001\.jpg and AB12C-000024\.jpg"):
        ClipReader(DataConfig(), 32).open(found.records[0])


def test_hidden_files_beside_the_frames_are_no_frames(rgb):
    videos, path = rgb
    folder = videos / "Charades_v1_rgb" / "AB12C"
    for file in list(folder.iterdir()):  # as macOS leaves them on other file systems and in archives
        (folder / f"._{file.name}").write_bytes(b"\0\5\26\7")
    with ClipReader(DataConfig(), 32).open(load_charades(videos, path, "train").records[0]) as reader:
        assert reader.num_frames == 24
    facts = inspect(Inspection(str(folder), "all", frame_rate=24))
    assert (facts.code, facts.frames, facts.first_number) == ("", 24, 1)


def test_a_number_far_off_is_a_gap_that_costs_no_memory(rgb):
    folder = rgb[0] / "Charades_v1_rgb" / "AB12C"
    (folder / "AB12C-000024.jpg").rename(folder / "AB12C-20240131120000.jpg")
    tracemalloc.start()
    facts = inspect(Inspection(str(folder), "headers", frame_rate=24))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert facts.code == "missing-frames" and most < 10 * 2**20
    assert facts.detail == "20240131119976 missing between 1 and 20240131120000, the first is 24"
