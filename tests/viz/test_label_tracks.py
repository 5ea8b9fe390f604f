import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.viz import style
from ssdet_cli.viz.label_tracks import LabelTracks, draw_tracks, tracks_height

NAMES = ["flipping a pancake", "arm wrestling", "background"]
COLORS = [*style.class_colors(2), style.STILL]


def fade(frames: int = 40) -> np.ndarray:
    first = np.clip(np.linspace(1.5, -0.5, frames), 0, 1)
    return np.stack([first, 1 - first, np.zeros(frames)])


def amber(picture: np.ndarray) -> np.ndarray:
    """Per column, how many pixels of the upper third are clearly more red than blue."""
    upper = picture[: picture.shape[0] // 3].astype(int)
    return (upper[..., 0] > upper[..., 2] + 25).sum(axis=0)


def white_columns(picture: np.ndarray) -> np.ndarray:
    return np.flatnonzero((picture > 225).all(axis=2).mean(axis=0) > 0.55)


def test_a_panel_has_the_size_that_was_asked_for():
    height = tracks_height(3, 14, axis=True)
    picture = draw_tracks(fade(), NAMES, COLORS, 426, height, 3)
    assert picture.shape == (height, 426, 3)
    assert picture.dtype == np.uint8
    assert height % 2 == 0


def test_the_playhead_moves_evenly_to_the_right():
    tracks = LabelTracks(fade(), NAMES, COLORS, 480, 150)
    places = [white_columns(tracks.frame(index)).mean() for index in (0, 13, 26, 39)]
    steps = np.diff(places)
    assert (steps > 50).all()
    assert np.ptp(steps) <= 2


def test_the_playhead_is_held_at_the_ends():
    tracks = LabelTracks(fade(), NAMES, COLORS, 480, 150)
    np.testing.assert_array_equal(tracks.frame(-5), tracks.frame(0))
    np.testing.assert_array_equal(tracks.frame(1000), tracks.frame(39))


def test_what_was_played_is_brighter_than_what_is_ahead():
    tracks = LabelTracks(np.ones((1, 20)), ["on"], [(255, 176, 32)], 300, 60)
    early, late = tracks.frame(1), tracks.frame(18)
    middle = slice(150, 160)
    assert late[25:35, middle].mean() > early[25:35, middle].mean() + 30


def test_the_area_is_as_high_as_the_weight():
    tracks = LabelTracks(fade(), NAMES, COLORS, 480, 150)
    heights = amber(tracks.frame(39))
    left = white_columns(tracks.frame(0)).mean()
    right = white_columns(tracks.frame(39)).mean()
    quarter, middle = (int(left + share * (right - left)) for share in (0.1, 0.5))
    assert heights[quarter] > 20
    assert heights[middle] == pytest.approx(heights[quarter] / 2, abs=3)


def test_current_values_are_written_beside_the_tracks():
    tracks = LabelTracks(fade(), NAMES, COLORS, 480, 150)
    values = slice(440, 480)
    assert not np.array_equal(tracks.frame(0)[:, values], tracks.frame(20)[:, values])
    np.testing.assert_array_equal(tracks.frame(38)[:, values], tracks.frame(39)[:, values])


def test_a_frame_leaves_the_static_panel_untouched():
    tracks = LabelTracks(fade(), NAMES, COLORS, 320, 120, seconds=4.0)
    first = tracks.frame(5).copy()
    tracks.frame(30)
    np.testing.assert_array_equal(tracks.frame(5), first)


@given(
    classes=st.integers(1, 8),
    frames=st.integers(1, 400),
    width=st.integers(160, 900),
    name=st.text(min_size=0, max_size=60),
)
@settings(deadline=None, max_examples=30)
def test_any_names_and_lengths_give_a_panel(classes, frames, width, name):
    weights = np.full((classes, frames), 1 / classes)
    height = tracks_height(classes, 12)
    picture = draw_tracks(weights, [name] * classes, style.class_colors(classes), width, height, frames / 2)
    assert picture.shape == (height, width, 3)


@pytest.mark.parametrize(
    ("weights", "names"), [(np.ones(5), NAMES[:1]), (np.ones((2, 5)), NAMES), (np.ones((0, 5)), [])]
)
def test_weights_that_do_not_fit_the_names_are_refused(weights, names):
    with pytest.raises(ValueError, match=r"need \(K, T\)"):
        draw_tracks(weights, names, COLORS[: len(names)], 300, 100, 0)


def test_a_panel_without_room_is_refused():
    with pytest.raises(ValueError, match="60x100 pixels is too small"):
        draw_tracks(fade(), NAMES, COLORS, 60, 100, 0)
