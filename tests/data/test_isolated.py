"""Processes that die, hang and eat memory for real."""

import errno
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssdet_cli.data.isolated import Died, in_processes
from ssdet_cli.video.inspection import FileFacts, Inspection, inspect
from ssdet_cli.video.write import write_video

pytestmark = pytest.mark.skipif(os.name != "posix", reason="named pipes and signals")


#: Far beyond what anything here takes on a busy machine.
PLENTY = 120.0


def kill_the_reader(fifo):
    """Kill the process that has opened a named pipe and waits for it."""
    given_up = time.monotonic() + PLENTY / 2
    while True:
        try:
            opened = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)  # this can be opened once somebody reads
            break
        except OSError as error:
            assert error.errno == errno.ENXIO
            assert time.monotonic() < given_up, "nobody reads the pipe"
            time.sleep(0.02)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    # Nobody waits for it here: the exit code of a process can be fetched once, and `in_processes` wants it. It can do
    # nothing any more either, so closing the pipe tells it nothing.
    os.close(opened)


@pytest.fixture
def files(tmp_path):
    """Two whole videos, and a folder of frames of which one is a named pipe, over which a reader waits."""
    for name in ("first.mp4", "last.mp4"):
        write_video(tmp_path / name, [np.zeros((32, 32, 3), np.uint8)] * 4, 4)
    (tmp_path / "frames").mkdir()
    for number in (1, 3):
        Image.new("RGB", (32, 32)).save(tmp_path / "frames" / f"{number}.jpg")
    os.mkfifo(tmp_path / "frames" / "2.jpg")
    return [Inspection(str(tmp_path / name)) for name in ("first.mp4", "frames", "last.mp4")]


def check_others(found, files):
    assert [job for job, _ in found] == files
    for _, facts in (found[0], found[2]):
        assert isinstance(facts, FileFacts)
        assert (facts.code, facts.frames) == ("", 4)
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_loses_its_own_file_only(files):
    killer = threading.Thread(target=kill_the_reader, args=(Path(files[1].path) / "2.jpg",), daemon=True)
    killer.start()
    found = list(in_processes(inspect, files, workers=1, timeout=PLENTY))
    killer.join()
    assert found[1][1] == Died("crash", "the decoder's process was killed by SIGKILL")
    check_others(found, files)


def test_a_process_that_hangs_loses_its_own_file_only(files):
    # Long enough for the whole videos where other work takes the processors; only the pipe takes all of it.
    found = list(in_processes(inspect, files, workers=1, timeout=6.0))
    assert found[1][1] == Died("timeout", "the decoder was still busy after 6 s")
    check_others(found, files)


def test_a_crash_in_native_code_is_named_by_its_signal_and_the_rest_goes_on():
    found = list(
        in_processes(signal.raise_signal, [signal.SIGCONT, signal.SIGSEGV, signal.SIGCONT], workers=1, timeout=PLENTY)
    )
    assert [answer for _, answer in found] == [
        None,
        Died("crash", "the decoder's process was killed by SIGSEGV"),
        None,
    ]


def test_memory_beyond_the_limit_is_told_and_the_process_lives_on():
    sizes = [2**20, 2**33, 2**20]
    found = list(in_processes(bytearray, sizes, workers=1, timeout=PLENTY, memory_bytes=2**31))
    assert [len(answer) for _, answer in found if not isinstance(answer, Died)] == [2**20, 2**20]
    assert [answer.code for _, answer in found if isinstance(answer, Died)] == ["out-of-memory"]
