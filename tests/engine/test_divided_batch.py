"""2 x N is 1 x 2N: the same clips in a step give the same weights, on one rank or two, in one pass or two."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("divided")
    script = Path(__file__).with_name("dividing_ranks.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder


def told(place, run):
    return json.loads((place / f"{run}.json").read_text())


@pytest.mark.parametrize(
    ("run", "other"),
    [
        ("plain 1 1", "plain 2 1"),
        ("plain 1 1", "plain 1 2"),
        ("plain 1 1", "plain 2 2"),
        ("x3d 1 1", "x3d 2 1"),  # a batch norm sees the clips of one pass, on all ranks
        ("x3d 1 2", "x3d 2 2"),
        ("x3d 2 1", "x3d run again 2 1"),
        ("plain 1 1", "unused 2 1"),
    ],
)
def test_a_step_that_is_divided_among_ranks_and_passes_is_the_same_step(place, run, other):
    expected, found = (torch.load(place / f"{name}.pt") for name in (run, other))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-11)
    assert told(place, other)["loss"] == pytest.approx(told(place, run)["loss"], rel=1e-6)


def test_batch_norm_would_tell_one_pass_from_two(place):
    one, two = (torch.load(place / f"x3d 1 {passes}.pt") for passes in (1, 2))
    assert not torch.allclose(one["backbone.conv5.weight"], two["backbone.conv5.weight"], rtol=1e-6)


def test_all_ranks_hold_the_same_weights_and_statistics(place):
    runs = [path.stem for path in place.glob("* 2 ?.json")]
    assert {run.rsplit(" ", 2)[0] for run in runs} == {"plain", "x3d", "x3d run again", "unused", "coarse-fine"}
    assert all(told(place, run)["same"] for run in runs)


def test_gradients_are_reduced_once_in_a_step_however_many_passes_it_has(place):
    assert told(place, "plain 2 1")["reductions"] == told(place, "plain 2 2")["reductions"] == [1, 1]
