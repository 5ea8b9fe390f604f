"""Processes that die, hang and eat memory for real."""

import errno
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest

from ssdet_cli.data.isolated import Died, in_processes
from ssdet_cli.video.inspection import FileFacts, Inspection, inspect
from ssdet_cli.video.write import write_video

pytestmark = pytest.mark.skipif(os.name != "posix", reason="named pipes and signals")


def kill_the_reader(fifo):
    """Kill the process that has opened a named pipe and waits for it."""
    while True:
        try:
            opened = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)  # this can be opened once somebody reads
            break
        except OSError as error:
            assert error.errno == errno.ENXIO
            time.sleep(0.02)
    (worker,) = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    os.close(opened)


def test_a_process_that_dies_or_hangs_loses_its_own_file_only(tmp_path):
    for name in ("first.mp4", "last.mp4"):
        write_video(tmp_path / name, [np.zeros((32, 32, 3), np.uint8)] * 4, 4)
    for name in ("dies.mp4", "hangs.mp4"):
        os.mkfifo(tmp_path / name)
    names = ["first.mp4", "dies.mp4", "hangs.mp4", "last.mp4"]
    killer = threading.Thread(target=kill_the_reader, args=(tmp_path / "dies.mp4",))
    killer.start()
    jobs = [Inspection(str(tmp_path / name)) for name in names]
    found = {os.path.basename(job.path): answer for job, answer in in_processes(inspect, jobs, workers=1, timeout=2.0)}
    killer.join()
    assert list(found) == names
    assert found["dies.mp4"] == Died("crash", "the decoder's process was killed by SIGKILL")
    assert found["hangs.mp4"] == Died("timeout", "the decoder was still busy after 2 s")
    for name in ("first.mp4", "last.mp4"):
        assert isinstance(found[name], FileFacts)
        assert (found[name].code, found[name].frames) == ("", 4)
    assert multiprocessing.active_children() == []


def test_a_crash_in_native_code_is_named_by_its_signal_and_the_rest_goes_on():
    found = list(
        in_processes(signal.raise_signal, [signal.SIGCONT, signal.SIGSEGV, signal.SIGCONT], workers=1, timeout=30)
    )
    assert [answer for _, answer in found] == [
        None,
        Died("crash", "the decoder's process was killed by SIGSEGV"),
        None,
    ]


def test_memory_beyond_the_limit_is_told_and_the_process_lives_on():
    sizes = [2**20, 2**33, 2**20]
    found = list(in_processes(bytearray, sizes, workers=1, timeout=30, memory_bytes=2**31))
    assert [len(answer) for _, answer in found if not isinstance(answer, Died)] == [2**20, 2**20]
    assert [answer.code for _, answer in found if isinstance(answer, Died)] == ["out-of-memory"]
