"""Clips by seconds, from training through every later command, without being told again."""

from fractions import Fraction

import av
import numpy as np
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
from ssdet_cli.video.write import write_video

APART = 0.15


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "by-seconds"
    words = (f"clip.seconds_between_frames={APART}", "clip.stride=3", "clip.colour_jitter=0.2,0.2,0.2,0.1")
    finetune.run(configured(FinetuneConfig, data.dense, folder, *words, "clip.sampling=windows", "loop.steps=2"))
    return folder


@pytest.fixture(scope="module")
def features(data, run, tmp_path_factory):
    return extract(run, data.dense / "videos", tmp_path_factory.mktemp("features"))


def extract(run, videos, folder, *more):
    words = ["data.workers=0", "pool=7", "run.device=cpu", "inference.size=32"]
    given = {"checkpoint": run, "data.videos": videos, "run.output": folder}
    extract_features.run(load_config(ExtractFeaturesConfig, None, [*words, *more], given))
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
    with pytest.raises(
        DataError,
        match="features of one frame every 0.15 s, one raw frame in 3 is needed; "
        "give clip.seconds_between_frames=0.15, or extract with inference.stride=3",
    ):
        train(data, features, tmp_path / "a", "clip.stride=3")
    text = "features of one frame every 0.15 s, one every 0.3 s is needed; give clip.seconds_between_frames=0.15, or "
    with pytest.raises(DataError, match=text):
        train(data, features, tmp_path / "b", "clip.seconds_between_frames=0.3")
    words = ["train-coarse-fine", "--features", str(features), "--print-config"]
    assert carry_out(words) == 0
    assert f"seconds_between_frames: {APART}" in capfd.readouterr().out
    with pytest.raises(ConfigError, match=f"inference.stride=3: a Coarse-Fine .* clip.seconds_between_frames={APART}"):
        train(data, features, tmp_path / "b", f"clip.seconds_between_frames={APART}", "inference.stride=3")


@pytest.fixture(scope="module")
def steered(data, features, tmp_path_factory):
    """A Coarse-Fine run on features by seconds."""
    folder = tmp_path_factory.mktemp("coarse") / "run"
    train(data, features, folder, f"clip.seconds_between_frames={APART}")
    return folder


def copied(source, target):
    """The same pictures in another container, as the suffix says."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.mark.parametrize(("rate", "frames"), [(Fraction(30000, 1001), 18), (Fraction(24000, 1001), 18), (8, 18)])
def test_features_of_an_mp4_are_those_of_its_matroska_copy(run, steered, tmp_path, rate, frames):
    """Of the first two the last moment lies within the millisecond by which the copy ends earlier."""
    pictures = [np.full((40, 40, 3), 12 * number, np.uint8) for number in range(frames)]
    write_video(tmp_path / "clip.mp4", pictures, rate)
    stored = extract(run, tmp_path / "clip.mp4", tmp_path / "features")
    detector = Detector.from_run(steered, device="cpu", features=stored)
    ours = detector.predict(tmp_path / "clip.mp4")
    copy = detector.predict(copied(tmp_path / "clip.mp4", tmp_path / "clip.mkv"))
    assert len(copy.times) == len(ours.times) - (rate != 8)
    np.testing.assert_allclose(copy.times, ours.times[: len(copy.times)], atol=1e-3)
    # One that is an input frame shorter is another video.
    (tmp_path / "short").mkdir()
    write_video(tmp_path / "short" / "cut.mp4", pictures[: frames - 2 - round(APART * rate)], rate)
    short = copied(tmp_path / "short" / "cut.mp4", tmp_path / "short" / "clip.mkv")
    with pytest.raises(
        DataError, match=r"holds features of \d\.\d{3} s of 'clip', and .* has \d\.\d{3} s: it is another"
    ):
        detector.predict(short)


def test_extraction_tells_another_sampling_by_its_own_unit(data, run, features):
    for word, text in {
        "inference.seconds_between_frames=0.3": "one frame every 0.15 s there, one frame every 0.3 s here",
        "inference.stride=3": "one frame every 0.15 s there, one frame in 3 here",
    }.items():
        with pytest.raises(ConfigError, match=f"holds other features: {text}; give another --output"):
            extract(run, data.dense / "videos", features, word)


def train(data, features, folder, *words):
    words = (*words, f"fine.features={features}", "model.backbone=x3d_tiny", "loop.steps=1", "optim.warmup_steps=0")
    return train_coarse_fine.run(configured(TrainCoarseFineConfig, data.dense, folder, *words))
