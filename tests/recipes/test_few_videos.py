"""Fewer videos than two ranks could share: no collective waits for a rank that has nothing to do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssdet_cli.evaluation.score_files import read_scores


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("few")


@pytest.fixture(scope="module")
def outcome(data, place):
    script = Path(__file__).with_name("few_videos.py")
    path = os.pathsep.join([str(script.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, script, data.folder, place],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("run", ["pretrain 1", "finetune 1", "evaluate 1", "extract 1", "finetune 3", "extract 3"])
def test_two_ranks_come_to_the_end_with_few_videos(outcome, run):
    assert [code for code, _ in outcome[run]] == [0, 0], outcome[run]


def test_what_could_be_scored_is_kept_before_any_rank_ends(outcome, place):
    (code, said), (other, _) = outcome["refused 3"]
    assert (code, other) == (2, 2) and f"What could be is in {place}/refused 3.npz." in " ".join(said.split())
    (network,) = read_scores(place / "refused 3.npz").networks
    assert len(network.scores) == 2


def test_every_video_is_there_once(outcome, place):
    assert sum(json.loads((place / "pretrain 1/summary.json").read_text())["clips_read_by"].values()) == 2 * 2 * 4
    assert json.loads((place / "evaluate 1/metrics.json").read_text())["videos"] == 1
    assert len(list((place / "extract 3").glob("*.safetensors"))) == 3
