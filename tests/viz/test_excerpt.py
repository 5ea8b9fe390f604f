from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from ssdet_cli.errors import DataError
from ssdet_cli.viz.excerpt import MAX_FRAMES, class_names, load_pair


def record(path: Path, frames: int, rate: int = 10, size: tuple[int, int] = (64, 48)) -> Path:
    """Write a video whose brightness says the frame: black at first, 40 levels brighter every second; left half red."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options={"crf": "8"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        for index in range(frames):
            picture = np.full((size[1], size[0], 3), min(250, 40 * index / rate), dtype=np.uint8)
            picture[:, : size[0] // 2, 0] = 250
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def brightness(frames: np.ndarray) -> np.ndarray:
    return frames[..., 1].mean(axis=(1, 2))


def test_a_video_of_medium_length_is_mixed_with_its_second_half(tmp_path):
    item, partner = load_pair([record(tmp_path / "clip.mp4", 50)], seconds=None, height=48)
    np.testing.assert_array_equal(item.source, np.arange(25))
    np.testing.assert_array_equal(partner.source, np.arange(25, 50))
    assert (item.name, partner.name) == ("clip", "clip (2nd half)")
    assert item.frames.shape == partner.frames.shape == (25, 48, 64, 3)
    np.testing.assert_allclose(brightness(partner.frames) - brightness(item.frames), 100, atol=6)


def test_a_short_video_is_mixed_with_its_mirror_image(tmp_path):
    item, partner = load_pair([record(tmp_path / "clip.mp4", 12)], seconds=None, height=48)
    assert partner.mirrored and not item.mirrored
    assert partner.name == "clip (mirrored)"
    np.testing.assert_array_equal(partner.frames, item.frames[:, :, ::-1])


def test_a_long_video_is_shown_for_eight_seconds(tmp_path):
    item, partner = load_pair([record(tmp_path / "clip.mp4", 240)], seconds=None, height=32)
    assert len(item.frames) == len(partner.frames) == 80
    np.testing.assert_array_equal(item.source, np.arange(20, 100))
    np.testing.assert_array_equal(partner.source, np.arange(140, 220))
    assert item.start_seconds == pytest.approx(2.0)


def test_the_wanted_seconds_are_taken_from_the_middle(tmp_path):
    item, partner = load_pair([record(tmp_path / "clip.mp4", 30)], seconds=2.0, height=32)
    np.testing.assert_array_equal(item.source, np.arange(5, 25))
    assert partner.mirrored


def test_a_second_video_is_sampled_at_the_times_of_the_first(tmp_path):
    first = record(tmp_path / "a.mp4", 20, rate=10)
    second = record(tmp_path / "b.mp4", 60, rate=30)
    item, partner = load_pair([first, second], seconds=None, height=48)
    np.testing.assert_array_equal(item.source, np.arange(20))
    np.testing.assert_array_equal(partner.source, np.arange(0, 60, 3))
    np.testing.assert_allclose(brightness(partner.frames), brightness(item.frames), atol=4)


def test_the_shorter_of_two_videos_decides(tmp_path):
    first, second = record(tmp_path / "a.mp4", 40), record(tmp_path / "b.mp4", 10)
    item, partner = load_pair([first, second], seconds=None, height=32)
    assert len(item.frames) == len(partner.frames) == 10
    np.testing.assert_array_equal(item.source, np.arange(15, 25))


@pytest.mark.parametrize("size", [(65, 47), (48, 64), (47, 91), (200, 20), (20, 200)])
def test_every_size_becomes_even_and_the_partner_is_cropped_to_it(tmp_path, size):
    odd, usual = record(tmp_path / "odd.mp4", 4, size=size), record(tmp_path / "usual.mp4", 4)
    for order in ([odd, usual], [usual, odd]):
        item, partner = load_pair(order, seconds=None, height=40)
        high, wide = item.frames.shape[1:3]
        assert item.frames.shape == partner.frames.shape
        assert high == 40
        assert wide % 2 == 0
        assert 16 <= wide <= 160
        assert partner.frames[0, 20, 1, 0] > 200 > 60 > partner.frames[0, 20, -2, 0]


def test_many_frames_per_second_are_bounded(tmp_path):
    item, _ = load_pair([record(tmp_path / "fast.mp4", 600, rate=120, size=(16, 16))], seconds=5.0, height=32)
    assert len(item.frames) == MAX_FRAMES


def test_two_frames_are_enough_and_one_is_not(tmp_path):
    item, partner = load_pair([record(tmp_path / "two.mp4", 2)], seconds=None, height=32)
    assert len(item.frames) == len(partner.frames) == 2
    with pytest.raises(DataError, match=r"one\.mp4: has 1 frame\(s\); a preview needs at least 2"):
        load_pair([record(tmp_path / "one.mp4", 1)], seconds=None, height=32)


def test_class_names_are_told_apart():
    assert class_names(Path("x/jump.mp4"), Path("y/jump.avi")) == ("jump", "jump (2)")
    assert class_names(Path("background.mp4"), suffix="mirrored") == (
        "background (clip)",
        "background (clip) (mirrored)",
    )
