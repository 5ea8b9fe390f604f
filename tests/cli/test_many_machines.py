"""Two machines: namespaces of network and host name, with a cable between them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from ssdet_cli.video.write import write_video

FIRST, SECOND = "192.0.2.1", "192.0.2.2"
WORDS = ["pretrain", "--data", "clips", "--backbone", "x3d_tiny", "--device", "cpu", "--batch-size", "1"]
WORDS += ["clip.size=32", "clip.frames=4", "loop.validate_every=1000", "loop.log_every=1", "data.workers=0"]
WORDS += ["--nproc", "1", "--nnodes", "2", "--rdzv-endpoint", f"{FIRST}:29500"]


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@pytest.fixture(scope="module")
def machines():
    """Names of two namespaces; in neither does the host's own name lead anywhere."""
    if not sys.platform.startswith("linux") or shutil.which("ip") is None or shutil.which("unshare") is None:
        pytest.skip("network namespaces are made with iproute2's ip and util-linux' unshare")
    names = [f"ssdet{os.getpid()}{letter}" for letter in "ab"]
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
            ip("-n", names[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"this user may not make network namespaces: {error.stderr.strip()}")
        for name, address in zip(names, (FIRST, SECOND), strict=True):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "cable")
            for card in ("lo", "cable"):
                ip("-n", name, "link", "set", card, "up")
        yield names
    finally:
        for name in made:
            ip("netns", "del", name)


@pytest.fixture
def place(tmp_path):
    for split in ("train", "val"):
        for label in ("a", "b"):
            clip = tmp_path / "clips" / split / label / "clip.mp4"
            clip.parent.mkdir(parents=True)
            write_video(clip, [np.zeros((32, 32, 3), np.uint8)] * 8, 8)
    return tmp_path


def start(machine: str, number: int, place: Path, *words: str) -> "subprocess.Popen[str]":
    """Run `WORDS` on one machine; they share the folder, as over a network's file system."""
    command = [sys.executable, "-m", "ssdet_cli", *WORDS, "--node-rank", str(number), *words]
    inside = 'hostname "$0" && exec "$@"'
    kept = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    return subprocess.Popen(
        ["ip", "netns", "exec", machine, "unshare", "--uts", "sh", "-c", inside, f"node{number}", *command],
        cwd=place,
        env={**kept, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_machines_train_one_run(machines, place):
    nodes = [
        start(machine, number, place, "--output", "run", "loop.steps=3") for number, machine in enumerate(machines)
    ]
    said = [each.communicate(timeout=150) for each in nodes]
    assert [each.returncode for each in nodes] == [0, 0], said
    lines = [json.loads(line) for line in (place / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [1, 2, 3]
    assert json.loads((place / "run" / "status.json").read_text())["state"] == "finished"


def test_a_rank_that_is_killed_on_one_machine_ends_the_run_on_the_other(machines, place):
    nodes = [
        start(machine, number, place, "--output", "run", "loop.steps=100000") for number, machine in enumerate(machines)
    ]
    until = time.monotonic() + 120
    while not (place / "run" / "metrics.jsonl").exists():
        assert time.monotonic() < until and all(each.poll() is None for each in nodes)
        time.sleep(0.1)
    (rank,) = psutil.Process(nodes[1].pid).children()
    rank.kill()
    said = [each.communicate(timeout=60)[1] for each in nodes]
    assert [each.returncode for each in nodes] == [1, 1], said
    assert "on node1) was killed" in said[0].splitlines()[-1]
    assert said[1].splitlines()[-1].startswith("ssdet: error: rank 1 was killed by SIGKILL")
