"""One clock for all phases: nothing is counted twice, nothing is lost, and a resumed run goes on counting."""

import json
import time

import pytest

from ssdet_cli.engine import phases
from ssdet_cli.engine.phases import CHECKPOINTS, DATA, REST, STEPS, VALIDATION, Phases
from ssdet_cli.errors import SsdetError
from ssdet_cli.viz.run_timing import read_timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on when it is told to."""
    now = [0.0]
    monkeypatch.setattr(phases.time, "perf_counter", lambda: now[0])

    def tick(seconds):
        now[0] += seconds

    return tick


def slow_batches(clock, count):
    for number in range(count):
        clock(2)
        yield number


def test_every_second_is_in_exactly_one_phase(clock, tmp_path):
    times = Phases()
    clock(1)
    with times.phase(STEPS):
        for _ in times.waiting(slow_batches(clock, 3)):
            clock(5)
        with times.phase(VALIDATION):
            clock(7)
            with times.phase(CHECKPOINTS):
                clock(11)
            clock(13)
        clock(17)
    clock(19)
    times.write(tmp_path)
    assert times.seconds == {REST: 20, DATA: 6, STEPS: 15 + 17, VALIDATION: 20, CHECKPOINTS: 11}
    slowest = read_timing(tmp_path)[0]
    assert slowest == (STEPS, 32, 32 / 89)


def test_what_is_raised_leaves_the_clock_with_its_owner(clock):
    times = Phases()
    with pytest.raises(SsdetError), times.phase(STEPS), times.phase(VALIDATION):
        clock(3)
        raise SsdetError("no")
    clock(4)
    with times.phase(STEPS):
        clock(5)
    assert (times.seconds[VALIDATION], times.seconds[STEPS]) == (3, 5)
    with times.phase(STEPS):
        pass
    assert times.seconds[REST] == 4


def test_a_resumed_run_adds_to_what_was(clock, tmp_path):
    (tmp_path / "timing.json").write_text(json.dumps({"seconds": {STEPS: 100, "of another version": 1}}))
    times = Phases()
    times.continue_from(tmp_path)
    with times.phase(STEPS):
        clock(10)
        times.write(tmp_path)  # in the middle of a phase
        clock(10)
    assert read_timing(tmp_path)[0][:2] == (STEPS, 110)
    assert times.seconds[STEPS] == 120 and times.seconds["of another version"] == 1


def test_turning_the_clock_costs_microseconds():
    times = Phases()
    began = time.process_time()
    for _ in times.waiting(range(10_000)):
        pass
    assert (time.process_time() - began) / 10_000 < 1e-4
