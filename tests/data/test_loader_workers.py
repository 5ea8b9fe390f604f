"""Loader workers: what ends them, and what is said of one that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.clips import ClipReader
from ssdet_cli.data.loader import ValidationBatches, build_loader
from ssdet_cli.data.reading import dead_workers_named
from ssdet_cli.errors import SsdetError
from ssdet_cli.video.write import write_video


class Deadly(Dataset):
    """Reads a video for every sample; the third of them kills who reads it."""

    def __init__(self, paths):
        self.paths, self.reader = paths, ClipReader(DataConfig(backend="pyav"), 32)

    def __getitem__(self, key):
        path = self.paths[key[1]]
        with self.reader.open(VideoRecord(path.stem, path)) as video:
            if path.stem == "deadly":
                os.kill(os.getpid(), signal.SIGKILL)
            return torch.from_numpy(video.frames(np.array([0])))


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    found = [folder / f"{name}.mp4" for name in ("a", "b", "deadly", "c")]
    for path in found:
        write_video(path, [np.zeros((32, 32, 3), np.uint8)] * 4, 8)
    return found


def loader(paths):
    batches = ValidationBatches(len(paths), 1)
    return build_loader(Deadly(paths), batches, None, DataConfig(workers=1, prefetch=1), device=torch.device("cpu"))


def test_a_worker_that_dies_is_named_with_the_file_that_it_was_reading(paths):
    seen = 0
    with pytest.raises(
        SsdetError, match=r"A loader worker .* \(the machine may be out of memory\) while reading .*/deadly.mp4\."
    ) as told:
        with dead_workers_named():
            for _ in loader(paths):
                seen += 1
    assert seen <= 2 and "\n" not in str(told.value) and told.value.exit_code == 1


def test_a_worker_ends_by_the_signal_of_its_parent_and_of_nobody_else(paths):
    batches = iter(loader([paths[0]] * 40))
    next(batches)
    (worker,) = batches._workers
    for number in ("TERM", "USR1", "INT"):
        assert os.system(f"kill -{number} {worker.pid}") == 0
    time.sleep(0.3)
    assert worker.is_alive()
    assert len(list(batches)) == 39
    batches = iter(loader([paths[0]] * 40))
    next(batches)
    (worker,) = batches._workers
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 128 + signal.SIGTERM


#: Two workers that read for a minute, and one process of each kind that reads files alone; tells their numbers.
PARENT = """
import os, sys, threading, time
import torch
from torch.utils.data import Dataset
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.apart import each_apart
from ssdet_cli.data.isolated import in_processes
from ssdet_cli.data.loader import ValidationBatches, build_loader

def hang(place, alive=None):
    open(os.path.join(place, str(os.getpid())), "w").close()
    time.sleep(60)

class Slow(Dataset):
    def __getitem__(self, key):
        hang(sys.argv[1])

if __name__ == "__main__":
    places = [sys.argv[1]]
    threading.Thread(target=lambda: list(in_processes(hang, places, workers=1, timeout=60)), daemon=True).start()
    threading.Thread(target=lambda: list(each_apart(hang, places, workers=1)), daemon=True).start()
    cfg = DataConfig(workers=2, prefetch=1)
    next(iter(build_loader(Slow(), ValidationBatches(4, 1), None, cfg, device=torch.device("cpu"))))
"""


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # a system without /proc
        return not Path("/proc/self").exists()


def test_workers_end_soon_after_a_training_process_that_was_killed(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    (place := tmp_path / "running").mkdir()
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", place], cwd=tmp_path)
    running: list[int] = []
    try:
        until = time.monotonic() + 60
        while len(running) < 4:
            assert time.monotonic() < until and parent.poll() is None
            time.sleep(0.1)
            running = [int(path.name) for path in place.iterdir()]
        assert all(map(lives, running))
        parent.kill()
        parent.wait()
        until = time.monotonic() + 5
        while any(map(lives, running)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(lives, running))
    finally:
        parent.kill()
        for pid in filter(lives, running):
            os.kill(pid, signal.SIGKILL)


def test_what_a_killed_process_leaves_behind_is_removed_without_a_word():
    script = (
        "import multiprocessing, os, signal\n"
        "from ssdet_cli.interrupts import held_interrupts\n"
        "with held_interrupts():\n"
        "    pass\n"
        "assert os.environ['PYTHONWARNINGS'] == 'default'\n"
        "kept = multiprocessing.get_context('spawn').Semaphore()\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
