import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.generated_motion import ANGLE, MIRROR, MOTIONS, TURN, ZOOM, Action, X, Y, follow

NAMES = sorted(MOTIONS)
SECONDS = np.arange(0, 2, 1 / 8)


def uniform_start(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, [1, 1, TURN, 1])


def states_of(name: str, seconds: np.ndarray, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return follow([Action(name, 0.0, 10.0)], seconds, uniform_start(rng), rng)


def gap_to_uniform(values: np.ndarray) -> float:
    """Kolmogorov's distance to the uniform law on [0, 1]."""
    ordered = np.sort(values)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())


def test_there_are_enough_actions_for_a_weak_set_of_twelve_and_unseen_ones():
    assert len(MOTIONS) >= 18


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_has_the_same_law_under_every_action(name):
    draws = np.stack([states_of(name, SECONDS, seed)[:, [0, 5, 15]] for seed in range(600)])
    unit = {X: draws[:, X] % 1, Y: draws[:, Y] % 1, ANGLE: draws[:, ANGLE] / TURN % 1, ZOOM: draws[:, ZOOM]}
    # 600 draws stay within 0.09 of the uniform law in all but one of 10,000 samples.
    for coordinate, values in unit.items():
        for frame in range(3):
            assert gap_to_uniform(values[:, frame]) < 0.09, (coordinate, frame)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_motion_starts_where_the_object_is_and_never_jumps(name, seed):
    fine = np.arange(0, 2, 0.002)
    states = states_of(name, fine, seed)
    rng = np.random.default_rng(seed)
    assert np.allclose(states[:, 0], uniform_start(rng))
    fastest = np.array([[1.6], [1.6], [8.0], [6.0]])  # picture widths, radians, zoom ranges per second
    assert (np.abs(np.diff(states)) <= fastest * 0.002).all()
    assert (states[ZOOM] >= -1e-9).all() and (states[ZOOM] <= 1 + 1e-9).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_motion_is_visible_and_not_too_fast_for_64_pixels_at_8_frames_a_second(name):
    for seed in range(20):
        states = states_of(name, SECONDS, seed)
        radius = 11 * 2.3 ** (states[ZOOM] - 0.5)
        travelled = np.hypot(*np.diff(states[:2] * 64)) + np.abs(np.diff(states[ANGLE])) * 8 + np.abs(np.diff(radius))
        assert 0.4 < travelled.mean() < 8.0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), first=st.sampled_from(NAMES), second=st.sampled_from(NAMES))
def test_an_object_rests_between_its_actions_and_moves_on_from_where_it_is(seed, first, second):
    rng = np.random.default_rng(seed)
    actions = [Action(first, 0.3, 1.1), Action(second, 1.6, 2.5)]
    fine = np.arange(0, 3, 0.002)
    states = follow(actions, fine, uniform_start(rng), rng)
    steps = np.abs(np.diff(states))
    assert steps.max() < 0.02
    for begin, end in ((0.0, 0.3), (1.102, 1.6), (2.502, 3.0)):
        still = (fine[:-1] >= begin) & (fine[1:] <= end)
        assert steps[:, still].max() < 1e-12
    for begin, end in ((0.3, 1.1), (1.6, 2.5)):
        moving = (fine[:-1] >= begin) & (fine[1:] <= end)
        assert steps[:, moving].sum() > 0.01


def test_flipping_twice_gives_every_class_back_and_every_mirror_exists():
    assert all(MIRROR[MIRROR[name]] == name for name in NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("move", "diagonal", "roll", "hop", "rotate"))])
def test_the_mirror_class_moves_and_turns_the_other_way(name):
    path, mirrored = (MOTIONS[each].path(SECONDS, 0.5, np.random.default_rng(3)) for each in (name, MIRROR[name]))
    assert np.allclose(path * np.array([[-1], [1], [-1], [1]]), mirrored)


@pytest.mark.parametrize(("name", "sign"), [("orbit-cw", 1), ("orbit-ccw", -1)])
def test_orbits_run_in_the_sense_that_their_name_says(name, sign):
    velocity = np.diff(states_of(name, SECONDS, 0)[:2])
    cross = velocity[X, :-1] * velocity[Y, 1:] - velocity[Y, :-1] * velocity[X, 1:]
    assert (np.sign(cross) == sign).all()


def test_zooming_in_grows_most_of_the_time_and_zooming_out_shrinks():
    seeds = range(100)
    for name, sign in (("zoom-in", 1), ("zoom-out", -1)):
        steps = np.concatenate([np.diff(states_of(name, SECONDS, seed)[ZOOM]) for seed in seeds])
        assert (np.sign(steps) == sign).mean() > 0.75
