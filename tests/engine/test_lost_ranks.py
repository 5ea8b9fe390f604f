"""A rank that fails or is killed in the middle of training ends the run at once, and its error is what is told."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssdet_cli.config.life import read_status
from ssdet_cli.engine.lifeline import GRACE

#: Seconds that training up to the error and unwinding may take on a busy machine.
_SLACK = 15
_KILLED = (
    r"ssdet: error: rank {} \(process \d+ on .+\) was killed; its machine may be out of memory, or out of reach.\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("lost")


@pytest.fixture(scope="module")
def outcome(place):
    script = Path(__file__).with_name("losing_ranks.py")
    done = subprocess.run([sys.executable, script, place], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("case", "rank", "code", "said"),
    [
        ("error", 1, 2, r"ssdet: error: clip 7 is no video.\n"),
        ("error of rank 0", 0, 2, r"ssdet: error: clip 7 is no video.\n"),
        ("error while the other hangs", 1, 2, r"ssdet: error: clip 7 is no video.\n"),
        ("mistake", 1, 1, r"ssdet: error: unexpected KeyError: 'nothing' \(losing_ranks.py:\d+\); run again .*\n"),
        ("exit", 1, 3, r"ssdet: error: ended with exit code 3.\n"),
    ],
)
def test_a_rank_that_fails_tells_its_error_and_the_other_leaves_with_the_same_code(outcome, case, rank, code, said):
    culprit, other = outcome[case][rank], outcome[case][1 - rank]
    assert (culprit["code"], other["code"]) == (code, code)
    assert re.fullmatch(said, culprit["said"]) and other["said"] == ""
    assert other["seconds"] < GRACE + _SLACK


@pytest.mark.parametrize(
    ("case", "rank"),
    [("killed", 1), ("rank 0 killed", 0), ("killed while the other sleeps", 1), ("killed while the other hangs", 1)],
)
def test_of_a_rank_that_is_killed_the_other_tells(outcome, case, rank):
    culprit, other = outcome[case][rank], outcome[case][1 - rank]
    assert (culprit["code"], other["code"]) == (-9, 1)
    assert re.fullmatch(_KILLED.format(rank), other["said"]), other["said"]
    assert other["seconds"] - culprit["seconds"] < GRACE + _SLACK


def test_the_run_folder_tells_the_error_of_the_other_rank(outcome, place):
    assert read_status(place / "error")["reason"] == "clip 7 is no video."
    assert re.match(r"rank 1 \(process \d+ on .+\) was killed", read_status(place / "killed")["reason"])
    for case in ("error", "killed"):
        assert read_status(place / case)["state"] == "failed"
        assert (place / case / "checkpoints" / "last.pt").exists()


def test_ranks_that_are_done_leave_in_silence(outcome):
    assert [(end["code"], end["said"]) for end in outcome["nothing"]] == [(0, ""), (0, "")]
