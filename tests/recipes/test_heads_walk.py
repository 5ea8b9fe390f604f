"""Every head through `finetune` and `evaluate`, on tiny generated video."""

import json
import subprocess
import sys

import pytest
import torch

from ssdet_cli.config.commands import FinetuneConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data import DATASETS
from ssdet_cli.data.clips import FrameLabelledClips, collate
from ssdet_cli.data.generated import GenerateSettings, generate
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import ConfigError
from ssdet_cli.recipes import finetune

FRAMES = 24
#: Longer than a clip of 30 frames, so that training sees padded time.
SMALL = [
    *("loop.steps=2", "loop.batch_size=2", "loop.validate_every=2", "optim.warmup_steps=1", "clip.size=32"),
    *(f"clip.frames={FRAMES}", "clip.stride=2", "data.workers=0", "run.device=cpu"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = GenerateSettings(
        size=40, classes=3, novel_classes=0, weak_videos=3, weak_val_videos=3, dense_train=2, dense_test=2, seconds=1.5
    )
    return generate(tmp_path_factory.mktemp("generated") / "data", settings)


def ssdet(*words):
    done = subprocess.run([sys.executable, "-m", "ssdet_cli", *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_head_with_options_is_finetuned_and_restored_by_evaluate(data, tmp_path):
    run, scored = tmp_path / "run", tmp_path / "scored"
    words = ("--head", "tgm_super_event", "model.options.length=3", "model.options.kernel=gaussian", "model.dropout=0")
    code, said = ssdet(
        *("finetune", "--config", "generated", "--videos", data.dense, "--output", run, *SMALL, *words),
    )
    assert code == 0, said
    state = load_checkpoint(run)
    assert state["meta"]["options"] == {"length": 3, "kernel": "gaussian", "dropout": 0.0}
    assert state["model"]["head.stack.layers.0.attention"].shape == (8, 1, 16)
    code, said = ssdet("evaluate", "--checkpoint", run, "--protocol", "frame-map", "--output", scored)
    assert code == 0, said
    metrics = json.loads((scored / "metrics.json").read_text())
    assert metrics["videos"] == 2 and metrics["missing"] == 0


@pytest.mark.parametrize("head", ["super_event", "tgm"])
def test_a_head_trains_in_the_recipe(data, tmp_path, head):
    words = [*SMALL, f"model.head={head}", "optim.lr=0.1"]
    flags = {"data.videos": data.dense, "run.output": tmp_path / "run"}
    finetune.run(load_config(FinetuneConfig, "generated", words, flags))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("mAP" in line for line in lines if line["split"] == "val")


def test_a_misspelt_option_is_told_before_anything_is_made(data, tmp_path):
    words = [*SMALL, "model.head=tgm", "model.options.lenght=3"]
    flags = {"data.videos": data.dense, "run.output": tmp_path / "run"}
    with pytest.raises(ConfigError, match="Unknown option 'lenght' .* with head 'tgm'. Did you mean 'length'"):
        finetune.run(load_config(FinetuneConfig, "generated", words, flags))
    assert not (tmp_path / "run").exists()


def test_clips_of_short_videos_say_how_many_frames_are_real(data):
    videos = DATASETS.get("generated")(data.dense, None, "train")
    clip = ClipConfig(frames=FRAMES, stride=2, size=32)
    clips = FrameLabelledClips(videos, DataConfig(workers=0), clip, seed=0, training=True)
    batch = collate([clips[0, index] for index in range(2)])
    raw = batch.valid.sum(dim=1)
    assert (raw < FRAMES * 2).all()
    assert torch.equal(batch.lengths, -(-raw // 2))
    for frames, length in zip(batch.frames, batch.lengths, strict=True):
        assert (frames[:, length:] == frames[:, -1:]).all()
        assert not torch.equal(frames[:, length - 2], frames[:, length - 1])
