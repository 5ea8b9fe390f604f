import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssdet_cli.viz.terminal_curves import Curve, draw_panel, label_of

WIDTH, HEIGHT = 40, 6


def lines_of(*curves, **options):
    return ["".join(cell.letter for cell in row) for row in draw_panel("loss", curves, WIDTH, HEIGHT, **options)]


def dots(row):
    """(column, row from the top) of every dot of a row of braille."""
    for column, letter in enumerate(row):
        bits = ord(letter) - 0x2800
        if 0 < bits < 256:
            for x, y, bit in [(x, y, (1, 2, 4, 64, 8, 16, 32, 128)[4 * x + y]) for x in range(2) for y in range(4)]:
                if bits & bit:
                    yield 2 * column + x, y


def test_a_falling_line_goes_from_the_upper_left_to_the_lower_right_corner():
    rows = lines_of(Curve("train", range(100), [100 - x for x in range(100)]))
    assert rows[0] == "loss  ⣀ train  "
    assert rows[1].startswith("       100 │") and rows[HEIGHT].startswith("         1 │")
    found = sorted((x, 4 * number + y) for number, row in enumerate(rows[1:-1]) for x, y in dots(row[12:]))
    assert found[0] == (0, 0) and found[-1] == (2 * (WIDTH - 12) - 1, 4 * HEIGHT - 1)
    assert [y for _, y in found] == sorted(y for _, y in found)
    assert rows[-1].split() == ["0", "step", "99"]


def test_points_of_validation_are_marked_one_by_one_above_the_line():
    panel = draw_panel("loss", [Curve("train", [0, 9], [1, 1]), Curve("val", [0, 9], [1, 2], True)], WIDTH, HEIGHT)
    assert sum(cell.letter == "●" for row in panel[1:] for cell in row) == 2
    corner = panel[1][-1]
    assert (corner.letter, corner.curve) == ("●", 1)
    assert {cell.curve for row in panel[1:] for cell in row} == {-1, 0, 1}


def test_plain_letters_are_enough():
    text = "".join(lines_of(Curve("train", [0, 1], [0, 1]), Curve("val", [0, 1], [1, 0], True), braille=False))
    assert text.isascii() and "o" in text and "." in text


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_nothing_to_draw_is_said(values):
    assert lines_of(Curve("train", range(len(values)), values))[1] == "no values yet"


def test_a_flat_line_and_a_single_point_are_seen_in_the_middle():
    assert any(list(dots(row)) for row in lines_of(Curve("train", [0, 5], [3, 3]))[3:5])
    assert sum(len(list(dots(row))) for row in lines_of(Curve("train", [5], [3]))[1:]) == 1


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=30),
    st.integers(5, 60),
    st.integers(1, 12),
    st.booleans(),
)
def test_any_values_give_a_rectangle(values, width, height, braille):
    rows = draw_panel("x", [Curve("a", range(len(values)), values)], width, height, braille=braille)
    if any(map(math.isfinite, values)):
        assert len(rows) == height + 2
        assert len({len(row) for row in rows[1:-1]}) == 1


def test_labels_fit_their_column():
    for value in (0, 1, -1234.5678, 1e-9, -1.5e300, 99999.9, 0.001):
        assert len(label_of(value)) <= 10
