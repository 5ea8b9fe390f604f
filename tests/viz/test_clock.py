import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssdet_cli.viz.clock import axis_ticks, clock, spoken


@pytest.mark.parametrize(
    ("seconds", "step", "text"),
    [
        (0, 1, "0:00"),
        (59.6, 1, "1:00"),
        (3599.4, 1, "59:59"),
        (3600, 1, "1:00:00"),
        (36000, 1, "10:00:00"),
        (59.96, 0.1, "1:00.0"),
        (2.5, 0.5, "0:02.5"),
        (2.25, 0.05, "0:02.25"),
        (-1, 1, "0:00"),
    ],
)
def test_times_are_minutes_and_from_an_hour_on_hours(seconds, step, text):
    assert clock(seconds, step) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0.4 s"), (9.97, "10 s"), (12.3, "12 s"), (59.97, "1:00"), (185, "3:05")]
)
def test_durations_read_well(seconds, text):
    assert spoken(seconds) == text


@given(begin=st.floats(0, 1e5), length=st.floats(1e-2, 1e6), at_most=st.integers(1, 30))
def test_ticks_are_even_inside_and_few(begin, length, at_most):
    ticks, step = axis_ticks(begin, begin + length, at_most)
    assert len(ticks) <= at_most + 1
    assert all(begin - 1e-6 <= tick <= begin + length + 1e-6 for tick in ticks)
    assert all(abs(b - a - step) < 1e-6 * (1 + b) for a, b in zip(ticks, ticks[1:], strict=False))


@pytest.mark.parametrize(("length", "step"), [(3, 0.5), (600, 60), (36000, 3600)])
def test_ticks_stand_at_round_times(length, step):
    ticks, found = axis_ticks(0, length, 10)
    assert found == step
    assert ticks[0] == 0 and ticks[-1] == length
