import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.viz import style


@given(text=st.text(max_size=80), width=st.integers(20, 300), lines=st.integers(1, 3))
@settings(deadline=None, max_examples=30)
def test_wrapped_text_never_leaves_its_box(text, width, lines):
    face = style.font(13)
    wrapped = style.wrap(text, face, width, lines)
    assert len(wrapped) <= lines
    assert all(face.getlength(line) <= width for line in wrapped)


def test_a_remark_in_brackets_survives_a_long_name():
    lines = style.wrap("a very long name of some video file (mirrored)", style.font(13), 120, 2)
    assert lines[-1] == "(mirrored)"


def test_short_text_is_left_alone():
    assert style.shorten("arm wrestling", style.font(13), 500) == "arm wrestling"


def test_the_first_two_colours_differ_in_hue_and_brightness():
    first, second = (np.asarray(color) for color in style.class_colors(2))
    assert first[0] - first[2] > 100
    assert second[2] - second[0] > 100


def test_a_label_that_switches_is_drawn_upright():
    points = style.curve_points(np.array([0.0, 0.0, 1.0, 1.0]), 40, 10)
    assert (20.0, 10.0) in points
    assert (20.0, 0.0) in points


def test_a_ramp_is_joined_by_lines():
    points = style.curve_points(np.array([0.0, 0.25, 0.5]), 30, 10)
    assert points == [(0.0, 10.0), (5.0, 10.0), (15.0, 7.5), (25.0, 5.0), (30.0, 5.0)]


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 1.0])
def test_dashes_are_as_long_as_the_weights(weight):
    row = style.share_row(np.array([weight, 1 - weight]), [(200, 0, 0), (0, 200, 0)], 280)
    assert row[:, 0].mean() == pytest.approx(200 * weight, abs=1)
    np.testing.assert_allclose(row.astype(int).sum(axis=1), 200, atol=1)


@pytest.mark.parametrize("seam", [0.0, 0.3, 1.0])
def test_a_seam_divides_the_row_at_its_place(seam):
    row = style.share_row(np.array([seam, 1 - seam]), [(200, 0, 0), (0, 200, 0)], 100, seam=seam)
    edge = round(100 * seam)
    assert (row[:edge, 0] == 200).all()
    assert (row[edge:, 1] == 200).all()


def test_a_frozen_frame_is_ice_blue():
    row = style.share_row(np.array([0.0, 1.0]), [(200, 0, 0), (0, 200, 0)], 10, frozen=True)
    assert (row == style.ICE).all()
