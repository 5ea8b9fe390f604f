"""Loader workers: what ends them, and what is said of one that dies."""

import os
import signal
import time

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
