"""Ctrl-C at several moments of the start of a command: one line, exit code 130, and nothing left behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.life import read_status
from ssdet_cli.config.load import load_config
from ssdet_cli.config.rundir import check_folder
from ssdet_cli.video.write import write_video

WORDS = ["pretrain", "--data", "clips", "--backbone", "x3d_tiny", "--device", "cpu"]
WORDS += ["clip.size=32", "clip.frames=4", "loop.steps=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a weakly labelled set of four clips in it."""
    import numpy as np

    folder = tmp_path_factory.mktemp("place")
    for split in ("train", "val"):
        for label in ("a", "b"):
            clip = folder / "clips" / split / label / "clip.mp4"
            clip.parent.mkdir(parents=True)
            write_video(clip, [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
    return folder


def interrupted(
    place: Path, words: list[str], moment: str, times: int, *, group: bool, number: int = signal.SIGINT
) -> tuple[int, str]:
    """Exit code and last words of a command that gets a signal once `times` processes have imported `moment`.

    Python itself tells what is imported; the interpreters of workers and ranks tell it on the same stream.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    said, seen, sent = "", 0, False
    with subprocess.Popen(
        [sys.executable, "-m", "ssdet_cli", *words],
        cwd=place,
        env={**environment, "PYTHONPROFILEIMPORTTIME": "1", "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        for line in process.stderr:
            seen += bool(re.search(rf"\| +{re.escape(moment)}$", line))
            if seen == times and not sent:
                sent = True
                (os.killpg if group else os.kill)(process.pid, number)
            said += "" if line.startswith("import time:") else line
        code = process.wait(60)
    assert sent, f"{moment} was not imported {times} time(s): {said}"
    return code, said


@pytest.mark.parametrize(
    ("moment", "times", "group", "words"),
    [
        ("typer", 1, True, []),
        ("torch._C", 1, True, []),
        ("torch._C", 1, False, []),
        ("torch._C", 1, False, ["--nproc", "2"]),
        ("torch.types", 2, True, ["data.workers=2"]),
        ("torch.types", 2, True, ["--nproc", "2"]),
    ],
    ids=[
        "reading the words",
        "importing torch",
        "importing torch, alone",
        "importing torch to start ranks",
        "starting workers",
        "starting ranks",
    ],
)
def test_an_interruption_of_the_start_is_one_line_and_130(place, tmp_path, moment, times, group, words):
    run = tmp_path / "run"
    code, said = interrupted(place, [*WORDS, *words, "--output", str(run)], moment, times, group=group)
    told = [line for line in said.splitlines() if not line.startswith("folder ")]  # what the data is may stand before
    assert (code, told) == (130, ["ssdet: interrupted."])
    assert run.exists() == ("data.workers=2" in words)  # workers start last of all


def test_a_scheduler_that_stops_the_start_may_start_it_again(place, tmp_path):
    run = tmp_path / "run"
    words = [*WORDS, "data.workers=1", "--output", str(run)]
    code, said = interrupted(place, words, "torch.types", 2, group=True, number=signal.SIGTERM)
    told = [line for line in said.splitlines() if not line.startswith("folder ")]
    assert (code, told) == (75, ["ssdet: stopped by SIGTERM; run the same command again."])
    assert {path.name for path in run.iterdir()} == {"config.yaml", "env.json", "status.json", "timing.json", ".lock"}
    assert read_status(run)["state"] == "interrupted"
    check_folder(
        load_config(PretrainConfig, str(run / "config.yaml")), run
    )  # which is no run that a second start meets


@pytest.mark.parametrize(("number", "words"), [(signal.SIGUSR1, []), (signal.SIGTERM, ["--nproc", "2"])])
def test_a_scheduler_that_stops_the_command_before_anything_is_imported_hears_75_too(place, tmp_path, number, words):
    run = tmp_path / "run"
    code, said = interrupted(place, [*WORDS, *words, "--output", str(run)], "torch._C", 1, group=False, number=number)
    told = [line for line in said.splitlines() if not line.startswith("folder ")]
    assert (code, told) == (75, [f"ssdet: stopped by {number.name}; run the same command again."])
    assert not run.exists()
