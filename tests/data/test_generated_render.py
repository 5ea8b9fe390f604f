import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.generated_motion import TURN
from ssdet_cli.data.generated_render import (
    SHAPES,
    camera_path,
    draw_background,
    draw_sprite,
    finish,
    paint,
    shift_wrapped,
)


def painted(shape: str, *states: tuple[float, float, float, float], size: int = 48) -> np.ndarray:
    frames = np.full((len(states), size, size, 3), 90, dtype=np.float32)
    sprite = draw_sprite(shape, 0.17, size, np.random.default_rng(5))
    paint(frames, sprite, np.array(states).T)
    return frames


@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_that_leaves_on_one_side_comes_in_on_the_other(shape):
    middle, border = painted(shape, (0.5, 0.5, 0.4, 0.6), (1.0, 2.0, 0.4, 0.6))
    assert np.allclose(np.roll(middle, (24, 24), axis=(0, 1)), border, atol=1e-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_full_turn_gives_the_same_picture_and_a_part_of_it_another(shape):
    start, turned, whole = painted(shape, *((0.5, 0.5, angle, 0.5) for angle in (0.0, TURN / 9, TURN)))
    assert np.allclose(start, whole, atol=1e-2)
    assert np.abs(start - turned).mean() > 1


@pytest.mark.parametrize("shape", SHAPES)
def test_zoom_sets_the_size_and_edges_are_smooth(shape):
    small, large = (np.abs(frame - 90).max(axis=-1) for frame in painted(shape, (0.5, 0.5, 0, 0), (0.5, 0.5, 0, 1)))
    assert 2.5 < (large > 60).sum() / (small > 60).sum() < 8
    assert len(np.unique(large.round())) > 40


def test_every_object_is_drawn_whole_inside_its_window():
    for seed in range(10):
        frames = np.full((1, 64, 64, 3), 90, dtype=np.float32)
        paint(frames, draw_sprite("blob", 0.2, 64, np.random.default_rng(seed)), np.array([[0.5, 0.5, 0.3, 1.0]]).T)
        changed = np.abs(frames[0] - 90).max(axis=-1) > 0.5
        assert not changed[[0, -1]].any() and not changed[:, [0, -1]].any()


def test_shifting_by_whole_pixels_is_a_roll_and_by_half_pixels_a_mean():
    picture = draw_background(32, np.random.default_rng(0))
    whole, half = shift_wrapped(picture, np.array([[3.0, 0.5], [-2.0, 0.0]]))
    assert np.allclose(whole, np.roll(picture, (-2, 3), axis=(0, 1)), atol=1e-3)
    assert np.allclose(half, (picture + np.roll(picture, 1, axis=1)) / 2, atol=1e-3)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_background_has_no_seam_and_stays_darker_than_objects(seed):
    picture = draw_background(64, np.random.default_rng(seed))
    inner = np.abs(np.diff(picture, axis=1)).max()
    assert np.abs(picture[:, 0] - picture[:, -1]).max() <= 1.5 * inner + 1
    assert picture.min() >= 0 and picture.max() < 160


def test_the_camera_moves_a_little_and_smoothly():
    path = camera_path(160, 8, np.random.default_rng(0))
    assert path.shape == (2, 160)
    assert 0.001 < np.abs(np.diff(path)).max() < 0.01 and np.abs(path).max() < 0.03


def test_noise_is_added_and_values_stay_bytes():
    frames = finish(np.full((2, 32, 32, 3), 254, dtype=np.float32), 3.0, np.random.default_rng(0))
    assert frames.dtype == np.uint8 and frames.max() == 255 and 1 < frames.std() < 4
