"""Clips by seconds, from training through every later command, without being told again."""

import pytest
from tiny_runs import configured

from ssdet_cli import Detector
from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import EvaluateConfig, ExtractFeaturesConfig, FinetuneConfig, TrainCoarseFineConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.data.copies import CopySettings
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.recipes import cache, evaluate_checkpoints, extract_features, finetune, train_coarse_fine

APART = 0.15


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "by-seconds"
    words = (f"clip.seconds_between_frames={APART}", "clip.stride=3", "clip.colour_jitter=0.2,0.2,0.2,0.1")
    finetune.run(configured(FinetuneConfig, data.dense, folder, *words, "clip.sampling=windows", "loop.steps=2"))
    return folder


@pytest.fixture(scope="module")
def features(data, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    words = ["data.workers=0", "pool=7", "run.device=cpu", "inference.size=32"]
    given = {"checkpoint": run, "data.videos": data.dense / "videos", "run.output": folder}
    extract_features.run(load_config(ExtractFeaturesConfig, None, words, given))
    return folder


def test_the_checkpoint_knows_and_prediction_goes_by_it(data, run):
    meta = load_checkpoint(run)["meta"]
    assert meta["clip"]["seconds_between_frames"] == meta["validated"]["frame_seconds"] == APART
    video = next((data.dense / "videos").glob("*.mp4"))
    times = Detector.from_run(run, device="cpu").predict(video).times
    assert times[1] - times[0] == pytest.approx(APART)
    times = Detector.from_run(run, device="cpu", seconds_between_frames=0.3).predict(video).times
    assert times[1] - times[0] == pytest.approx(0.3)
    counted = Detector.from_run(run, device="cpu", stride=2).scanner
    assert counted.spacing is None and counted._stride == 2


def test_evaluation_goes_by_it_from_files_and_from_copies_and_averages_three_crops(data, run, tmp_path):
    copies = tmp_path / "copies"
    cache.run(sorted((data.dense / "videos").glob("*.mp4")), CopySettings(copies), workers=1)
    scores = []
    for words in ([], [f"data.cache={copies}"], ["inference.crops=3"]):
        given = {"checkpoints": [run], "run.output": tmp_path / f"out{len(scores)}"}
        keys = ["protocol=frame-map", "split=val", "data.workers=0", "run.device=cpu", *words]
        scores.append(evaluate_checkpoints.run(load_config(EvaluateConfig, None, keys, given)))
    assert scores[0].frames == scores[1].frames == scores[2].frames
    assert scores[1].videos_read_by == {"copy": scores[1].videos} != scores[0].videos_read_by
    assert scores[0].mAP == pytest.approx(scores[1].mAP, abs=0.02)
    assert scores[2].mAP == pytest.approx(scores[0].mAP, abs=1e-6)  # the pictures are square


def test_stored_features_are_at_its_times_and_clips_follow_them(data, run, features, tmp_path, capfd):
    store = FeatureStore(features)
    assert store.origin.seconds_between_frames == APART
    video = store.video(store.video_ids[0])
    assert video["seconds"][:3] == pytest.approx([0, APART, 2 * APART])
    with pytest.raises(DataError, match="features of one frame every 0.15 s, frames counted is needed"):
        train(data, features, tmp_path / "a", "clip.stride=3")
    train(data, features, tmp_path / "b", f"clip.seconds_between_frames={APART}")
    assert (tmp_path / "b" / "checkpoints" / "last.pt").exists()
    words = ["train-coarse-fine", "--features", str(features), "--print-config"]
    assert carry_out(words) == 0
    assert f"seconds_between_frames: {APART}" in capfd.readouterr().out
    with pytest.raises(ConfigError, match=f"inference.stride=3: a Coarse-Fine .* clip.seconds_between_frames={APART}"):
        train(data, features, tmp_path / "c", f"clip.seconds_between_frames={APART}", "inference.stride=3")


def train(data, features, folder, *words):
    words = (*words, f"fine.features={features}", "model.backbone=x3d_tiny", "loop.steps=1", "optim.warmup_steps=0")
    return train_coarse_fine.run(configured(TrainCoarseFineConfig, data.dense, folder, *words))
