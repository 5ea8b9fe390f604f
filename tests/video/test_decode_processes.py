"""Readers and processes: nothing decodes while idle, and workers read after their parent has read."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ssdet_cli.video._decord import import_decord
from ssdet_cli.video.decode import loader_context
from ssdet_cli.video.write import write_video

needs_decord = pytest.mark.skipif(import_decord() is None, reason="decord has no wheel for this platform")

READ_IN_CHILD = """
import multiprocessing
import sys
from ssdet_cli.video.decode import loader_context, open_video

def total(path):
    with open_video(path, backend=sys.argv[2]) as video:
        return int(video.frames([0, 40]).sum())

if __name__ == "__main__":
    here = total(sys.argv[1])
    with multiprocessing.get_context(loader_context()).Pool(1) as pool:
        there = pool.map_async(total, [sys.argv[1]] * 2).get(timeout=60)
    assert there == [here, here], (here, there)
    print("same")
"""

IDLE = """
import sys, time
from ssdet_cli.video.decode import open_video

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

video = open_video(sys.argv[1], backend="decord")
assert video.frames([0]).shape == (1, 720, 1280, 3) and video.backend == "decord"
before = resident()
time.sleep(1.5)
print(resident() - before)
"""


def test_workers_never_start_by_fork():
    assert loader_context() == ("forkserver" if os.name == "posix" else "spawn")


@pytest.mark.parametrize("backend", ["pyav", pytest.param("decord", marks=needs_decord)])
def test_a_worker_reads_after_its_parent_has_read(tmp_path, numbered_video, backend):
    video, script = numbered_video(tmp_path / "clip.mp4", 60), tmp_path / "read_in_child.py"
    script.write_text(READ_IN_CHILD)
    done = subprocess.run(
        [sys.executable, str(script), str(video), backend], capture_output=True, text=True, timeout=90
    )
    assert (done.returncode, done.stdout.strip()) == (0, "same"), done.stderr


@needs_decord
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_an_open_reader_that_idles_does_not_grow(tmp_path):
    frame = np.zeros((720, 1280, 3), np.uint8)
    write_video(tmp_path / "long.mp4", (np.roll(frame, k) for k in range(150)), 25)
    done = subprocess.run(
        [sys.executable, "-c", IDLE, str(tmp_path / "long.mp4")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 150
