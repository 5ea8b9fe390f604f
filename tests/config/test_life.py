"""What a run folder says of its run, also after a death that leaves no time to say anything."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from ssdet_cli.config import life
from ssdet_cli.config.life import Life, age, is_held, read_status, refuse_held, state_of
from ssdet_cli.errors import ConfigError, SsdetError

FACTS = {"command": "pretrain", "model": "x3d_tiny", "steps": 10, "metric": "loss", "higher_is_better": False}


class Stopped(SsdetError):
    exit_code = 75


def ended_with(folder, error):
    with pytest.raises(type(error)), Life() as run:
        run.begin(folder, FACTS)
        raise error
    return read_status(folder)


def test_a_run_says_that_it_runs_and_that_it_is_done(tmp_path):
    with Life() as run:
        run.begin(tmp_path, FACTS)
        status = read_status(tmp_path)
        assert (status["state"], status["command"], status["pid"]) == ("running", "pretrain", os.getpid())
        assert state_of(tmp_path, status, 0.0) == ("running", "")
    status = read_status(tmp_path)
    assert state_of(tmp_path, status, 0.0) == ("finished", "")
    assert status["ended"] >= status["started"]
    assert is_held(tmp_path) is False


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (SsdetError("The loss is nan\nat step 3."), "failed", "The loss is nan at step 3."),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (Stopped("Stopped by SIGTERM at step 3 of 10."), "interrupted", "Stopped by SIGTERM at step 3 of 10."),
        (KeyboardInterrupt(), "interrupted", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_ends_early_says_why(tmp_path, error, state, reason):
    status = ended_with(tmp_path, error)
    assert state_of(tmp_path, status, time.time()) == (state, reason)


def test_nothing_is_written_before_a_run_begins(tmp_path):
    with pytest.raises(SsdetError), Life():
        raise SsdetError("no data")
    assert list(tmp_path.iterdir()) == []


def holder(folder):
    """Another process that runs there."""
    code = (
        "import sys, time; from pathlib import Path; from ssdet_cli.config.life import Life\n"
        f"with Life() as run: run.begin(Path(sys.argv[1]), {FACTS!r}); print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_killed_run_is_stale_at_once_and_a_living_one_keeps_others_out(tmp_path):
    process = holder(tmp_path)
    try:
        long_ago = time.time() - 10 * life.SILENCE  # a long validation is no death
        assert state_of(tmp_path, read_status(tmp_path), long_ago) == ("running", "")
        for refused in (lambda: Life().begin(tmp_path, FACTS), lambda: refuse_held(tmp_path)):
            with pytest.raises(ConfigError, match=rf"in use by process {process.pid} on {socket.gethostname()}"):
                refused()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    state, reason = state_of(tmp_path, read_status(tmp_path), time.time())
    assert state == "stale" and f"process {process.pid} is gone" in reason
    with Life() as run:
        run.begin(tmp_path, FACTS)  # and can be resumed at once


def test_of_another_machine_the_age_of_the_files_decides_and_says_so(tmp_path):
    with Life() as run:
        run.begin(tmp_path, FACTS)
    status = {**read_status(tmp_path), "state": "running", "host": "elsewhere"}
    assert state_of(tmp_path, status, time.time() - 60)[0] == "running"
    state, reason = state_of(tmp_path, status, time.time() - 3 * life.SILENCE)
    assert state == "stale" and "no sign of life for 3 h" in reason and "elsewhere" in reason


def test_a_folder_of_an_older_version_is_judged_by_its_files(tmp_path):
    assert read_status(tmp_path) == {} and is_held(tmp_path) is None
    assert state_of(tmp_path, {}, time.time())[0] == "running"
    assert state_of(tmp_path, {}, 0.0)[0] == "stale"
    (tmp_path / life.SUMMARY).write_text("{}")
    assert state_of(tmp_path, {}, 0.0) == ("finished", "")


def test_a_status_that_is_no_status_is_none(tmp_path):
    for text in ("", "[1]", '{"state', "\x00"):
        (tmp_path / life.STATUS).write_text(text)
        assert read_status(tmp_path) == {}
    (tmp_path / life.STATUS).write_text(json.dumps({"state": 3}))
    assert state_of(tmp_path, read_status(tmp_path), 0.0)[0] == "stale"


def test_ages_are_told_in_the_unit_that_one_thinks_in():
    assert [age(seconds) for seconds in (-1, 40, 119, 120, 7200, 3 * 86400)] == [
        "0 s",
        "40 s",
        "119 s",
        "2 min",
        "2 h",
        "3 d",
    ]
