"""Overlays read back: frames and times of the video, and a band that follows what happens."""

import struct

import av
import numpy as np
import pytest
from predictions import prediction

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.write import write_image, write_timed_video, write_video
from ssdet_cli.viz import style
from ssdet_cli.viz.overlay import write_overlay
from ssdet_cli.viz.score_band import ScoreBand

AMBER, BLUE = style.class_colors(2)
RATE = 10


def grey(number, height=48, width=64):
    """Brighter from frame to frame; the upper left quarter is red."""
    picture = np.full((height, width, 3), 10 * number, np.uint8)
    picture[: height // 2, : width // 2] = (200, 0, 0)
    return picture


def decoded(path):
    """Times and pictures, the size, and when the last picture ends."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)
        ]
        assert stream.codec_context.pix_fmt == "yuv420p"
        times, pictures = zip(*frames, strict=True)
        return np.array(times), np.stack(pictures), float(stream.duration * stream.time_base)


def coloured(pictures, color):
    """(N,) pixels of about that color in each picture."""
    return (np.abs(pictures.astype(int) - color).max(axis=-1) < 45).reshape(len(pictures), -1).sum(axis=1)


def levels(pictures):
    """(N,) grey of the lower part of a 64 x 48 picture that is shown 480 pixels wide."""
    return pictures[:, 300:360, 200:300].mean(axis=(1, 2, 3))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "film #1.mp4"
    write_video(path, map(grey, range(20)), RATE)
    return path


@pytest.fixture(scope="module")
def overlay(film, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "new" / "overlay.mp4"
    found = prediction(2.0, ["walk", "sit", "stand", "<b>", "e", "f"], [(0, 1.0, 1.5)])
    write_overlay(path, film, **found)
    assert [file.name for file in path.parent.iterdir()] == ["overlay.mp4"]
    return decoded(path)


def test_every_frame_is_there_as_long_as_in_the_video(overlay):
    times, pictures, end = overlay
    np.testing.assert_allclose(times, np.arange(20) / RATE, atol=1e-4)
    assert end == pytest.approx(2.0, abs=1e-3)
    np.testing.assert_allclose(levels(pictures), 10 * np.arange(20), atol=6)


def test_a_small_picture_is_enlarged_to_a_width_that_can_be_read(overlay):
    _, pictures, _ = overlay
    height, width = pictures.shape[1:3]
    assert height % 2 == width % 2 == 0
    red = coloured(pictures[:1], (200, 0, 0))[0]
    assert red == pytest.approx(240 * 180, rel=0.05)


def test_the_band_lights_up_while_an_action_lasts(overlay):
    _, pictures, _ = overlay
    band = pictures[:, 400:, :200]  # the line of the moment, and names with their lamps
    lit = coloured(band, AMBER)
    on = np.arange(20)
    on = (on >= 10) & (on < 15)
    assert (lit[on] > 30).all()
    assert (lit[~on] < 10).all()
    assert np.abs(band[9].astype(int) - band[10]).max() > 100


def test_the_playhead_goes_to_the_right(overlay):
    _, pictures, _ = overlay
    white = (pictures[:, 440:560] > 200).all(axis=-1).mean(axis=1) > 0.9
    places = [np.flatnonzero(row).mean() for row in white]
    assert (np.diff(places) > 5).all()


def test_an_uneven_rate_and_the_length_of_the_last_frame_are_kept(tmp_path):
    times = np.array([0, 0.04, 0.2, 0.24, 0.9, 1.0])
    lasts = np.diff(times, append=1.3)
    write_timed_video(
        tmp_path / "a.mp4", ((t, d, grey(n)) for n, (t, d) in enumerate(zip(times, lasts, strict=True))), 25
    )
    write_overlay(tmp_path / "b.mp4", tmp_path / "a.mp4", **prediction(1.3, ["a"], []))
    found, pictures, end = decoded(tmp_path / "b.mp4")
    np.testing.assert_allclose(found, times, atol=1e-3)
    np.testing.assert_allclose(levels(pictures), 10 * np.arange(6), atol=6)
    assert end == pytest.approx(1.3, abs=1e-3)


def test_a_part_begins_with_what_is_on_screen_and_ends_in_time(film, tmp_path):
    write_overlay(tmp_path / "a.mp4", film, **prediction(2.0, ["a", "b"], [(1, 0.5, 1.0)]), start=0.55, end=1.25)
    times, pictures, end = decoded(tmp_path / "a.mp4")
    np.testing.assert_allclose(levels(pictures), 10 * np.arange(5, 13), atol=6)
    np.testing.assert_allclose(times, [0, *(np.arange(6, 13) / RATE - 0.55)], atol=1e-3)
    assert end == pytest.approx(0.7, abs=1e-3)
    with pytest.raises(DataError, match="has no frame between 5 s and its end"):
        write_overlay(tmp_path / "b.mp4", film, **prediction(2.0, ["a"], []), start=5)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]


def test_a_turned_video_is_shown_upright(film, tmp_path):
    data = bytearray(film.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    (tmp_path / "turned.mp4").write_bytes(data)
    write_overlay(tmp_path / "a.mp4", tmp_path / "turned.mp4", **prediction(2.0, ["a"], []), end=0.2)
    _, pictures, _ = decoded(tmp_path / "a.mp4")
    red = (np.abs(pictures[0].astype(int) - (200, 0, 0)).max(axis=-1) < 45).nonzero()
    # 48 x 64 pixels now, and the red quarter went from the left to the right.
    assert red[0].max() - red[0].min() == pytest.approx(320, abs=4)
    assert red[1].max() - red[1].min() == pytest.approx(240, abs=4)
    assert red[1].min() > pictures.shape[2] / 2 - 4


def test_a_folder_of_frames_needs_its_rate(tmp_path):
    for number in range(5):
        write_image(tmp_path / "frames" / f"{number:02d}.jpg", grey(number))
    found = prediction(1.0, ["a"], [])
    write_overlay(tmp_path / "a.mp4", tmp_path / "frames", **found, frame_rate=5)
    assert len(decoded(tmp_path / "a.mp4")[0]) == 5
    with pytest.raises(ConfigError, match="needs frame_rate"):
        write_overlay(tmp_path / "b.mp4", tmp_path / "frames", **found)


class Interrupted(np.ndarray):
    """Scores at which somebody presses Ctrl-C when the sixth row is shown."""

    def __getitem__(self, key):
        if isinstance(key, int) and key == 5:
            raise KeyboardInterrupt
        return np.asarray(super().__getitem__(key))


def test_an_interrupted_overlay_leaves_nothing(film, tmp_path):
    found = prediction(2.0, ["a"], [])
    found["scores"] = found["scores"].view(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_overlay(tmp_path / "a.mp4", film, **found)
    assert list(tmp_path.iterdir()) == []


def band(found, span, size, rows=2, **options):
    return ScoreBand(**found, span=span, picture_size=size, rows=rows, title="t", slack=1e-6, **options)


def test_odd_pictures_stay_as_they_are_on_an_even_page():
    composed = band(prediction(1.0, ["a"], []), (0.0, 1.0), (501, 77), rows=1)
    picture = np.random.default_rng(0).integers(0, 256, (77, 501, 3), np.uint8)
    out = composed.frame(0.5, picture)
    left, top = composed.picture_at
    assert out.shape == (composed.height, composed.width, 3)
    assert composed.height % 2 == composed.width % 2 == left % 2 == top % 2 == 0
    np.testing.assert_array_equal(out[top : top + 77, left : left + 501], picture)


def test_a_long_video_has_pages_with_the_classes_of_their_minute():
    spans = [(0, 10, 20), (1, 100, 110), (2, 105, 108)]
    found = prediction(120.0, ["early", "late", "later"], spans)
    composed = band(found, (0.0, 120.0), (64, 48))
    picture = np.zeros((48, 64, 3), np.uint8)
    first, second = composed.frame(15, picture), composed.frame(106, picture)
    assert first.shape == second.shape
    lamps = [out[composed.now_top :, :30] for out in (first, second)]
    colors = style.class_colors(3)
    # Colours stay with their classes: the first minute lights one lamp in its rows, the second one two.
    counts = np.array([[coloured(out[None], color)[0] for color in colors] for out in lamps])
    assert (counts > 0).tolist() == [[True, False, False], [False, True, True]]
    np.testing.assert_array_equal(composed.frame(15, picture), first)


def test_more_actions_than_find_room_are_counted():
    names = [f"a rather long name of an action {number}" for number in range(6)]
    found = prediction(2.0, names, [(label, 0, 2) for label in range(6)])
    full, few = (band(found | {"segments": found["segments"][:count]}, (0.0, 2.0), (64, 48)) for count in (6, 1))
    picture = np.zeros((48, 64, 3), np.uint8)
    lines = [one.frame(1, picture)[one.now_top : one.tracks_top] for one in (full, few)]
    assert lines[0][:, -12:].max() <= max(style.PAGE)
    assert (lines[0] != lines[1]).any()


def test_before_the_first_score_there_is_none():
    found = prediction(2.0, ["a"], [])
    composed = band(found | {"seconds": found["seconds"] + 1}, (0.0, 3.0), (64, 48), rows=1)
    picture = np.zeros((48, 64, 3), np.uint8)
    place = np.s_[composed.tracks_top :, composed.width - 50 :]
    assert (composed.frame(0.5, picture)[place] != composed.frame(1.5, picture)[place]).any()
