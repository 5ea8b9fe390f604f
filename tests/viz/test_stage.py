import numpy as np
import pytest

from ssdet_cli.viz import style
from ssdet_cli.viz.stage import Stage

NAMES = ["one", "two", "background"]
COLORS = [*style.class_colors(2), style.STILL]


def stage(size: tuple[int, int], weights: np.ndarray, **options) -> Stage:
    options = {"frozen": np.zeros(weights.shape[1], dtype=bool), **options}
    return Stage(weights, NAMES, COLORS, size, frame_rate=10, title="Volume MixUp", **options)


def border(composed: np.ndarray, board: Stage) -> np.ndarray:
    """The row of pixels directly above the picture."""
    box = board.picture
    return composed[box.top - 1, box.left : box.left + box.width]


@pytest.mark.parametrize("size", [(426, 240), (136, 240), (960, 240), (1280, 720), (64, 36)])
def test_composed_frames_are_even_and_hold_the_picture_as_it_is(size):
    board = stage(size, np.repeat([[1.0], [0.0], [0.0]], 5, axis=1))
    picture = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    composed = board.frame(2, picture)
    box = board.picture
    assert composed.shape == (board.height, board.width, 3)
    assert board.height % 2 == board.width % 2 == box.left % 2 == box.top % 2 == 0
    np.testing.assert_array_equal(composed[box.top : box.top + size[1], box.left : box.left + size[0]], picture)


def test_the_frame_has_the_colour_of_the_class_that_is_on():
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    board = stage((200, 120), weights, frozen=np.array([False, False, True]))
    picture = np.zeros((120, 200, 3), dtype=np.uint8)
    for index, color in enumerate([*COLORS[:2], style.ICE]):
        assert (border(board.frame(index, picture), board) == color).all()


def test_the_frame_changes_colour_at_the_seam():
    board = stage((200, 120), np.array([[0.25], [0.75], [0.0]]), seam=np.array([0.25]))
    line = border(board.frame(0, np.zeros((120, 200, 3), dtype=np.uint8)), board)
    assert (line[:50] == COLORS[0]).all()
    assert (line[50:] == COLORS[1]).all()


def test_a_snowflake_stands_over_frozen_frames_only():
    weights = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    board = stage((200, 120), weights, frozen=np.array([False, True]))
    picture = np.zeros((120, 200, 3), dtype=np.uint8)
    bar = slice(0, board.picture.top - 6)
    counts = [(board.frame(index, picture)[bar] == style.ICE).all(axis=2).sum() for index in (0, 1)]
    assert counts[0] == 0
    assert counts[1] > 20
