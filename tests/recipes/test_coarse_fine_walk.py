"""The three steps of Coarse-Fine networks on tiny generated video: fine stream, its features, coarse stream, scores."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tiny_runs import SMALL, configured, ssdet

from ssdet_cli import Detector
from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import EvaluateConfig, ExtractFeaturesConfig, TrainCoarseFineConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data import DATASETS
from ssdet_cli.data.clips import collate
from ssdet_cli.data.coarse_fine_clips import CoarseFineClips
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.fine_context import FineContext
from ssdet_cli.data.inputs import Source
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.fit import Interrupted
from ssdet_cli.errors import CheckpointError, ConfigError, DataError, SsdetError
from ssdet_cli.models import create_model
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.recipes import evaluate, extract_features, train_coarse_fine, weights
from ssdet_cli.recipes.scanner import Part
from ssdet_cli.video.write import write_video

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import foreign_layouts as foreign


def extract(checkpoint, videos, folder, *words):
    flags = {"checkpoint": checkpoint, "data.videos": videos, "run.output": folder, "run.device": "cpu"}
    extract_features.run(load_config(ExtractFeaturesConfig, None, ["data.workers=0", *words], flags))
    return folder


def train(data, folder, *words, **options):
    return train_coarse_fine.run(configured(TrainCoarseFineConfig, data.dense, folder, *words), **options)


@pytest.fixture(scope="module")
def features(data, tuned, tmp_path_factory):
    return extract(tuned, data.dense / "videos", tmp_path_factory.mktemp("features") / "fine")


@pytest.fixture(scope="module")
def trained(data, tuned, features, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "coarse"
    train(data, folder, f"model.init={tuned}", f"fine.features={features}")
    return folder


@pytest.fixture(scope="module")
def joint(data, tuned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "joint"
    train(data, folder, f"model.init={tuned}", f"fine.weights={tuned}", "loop.ema=0.5", "loop.steps=2")
    return folder


def scored(*runs, **flags):
    given = {"checkpoints": runs, "protocol": "frame-map", "run.device": "cpu", "data.workers": 0, **flags}
    return evaluate.run(load_config(EvaluateConfig, flags=given))


def submitted(folder):
    rows = [line.split() for line in (folder / "submission.txt").read_text().splitlines()]
    return {tuple(row[:2]): np.array(row[2:], float) for row in rows}


def test_stored_features_and_the_fine_stream_itself_give_the_same_scores(trained, features, tuned, tmp_path, capfd):
    # Windows of 16 of about 40 frames: several, each with features around it.
    same = {"protocol": "charades-localize", "inference.window": 16}
    scored(trained, **same, **{"fine.features": features, "run.output": tmp_path / "stored"})
    for name, given in (("remembered", {}), ("given", {"fine.weights": tuned / "checkpoints" / "best.pt"})):
        scored(trained, **same, **given, **{"run.output": tmp_path / name})
        stored, computed = submitted(tmp_path / "stored"), submitted(tmp_path / name)
        assert stored.keys() == computed.keys() and len(stored) == 100
        worst = max(np.abs(stored[key] - computed[key]).max() for key in stored)
        assert worst < 1e-3
    said = capfd.readouterr().err
    assert f"Fine stream: computed from {tuned}" in said
    assert "were computed in windows of 512 frames, here they are in windows of 16" in said


def test_prediction_takes_stored_features_or_the_fine_stream_and_any_source(
    trained, joint, features, data, tmp_path, capfd
):
    record = DATASETS.get("generated")(data.dense, None, "test").records[0]
    clip = record.path
    given = {
        "stored": ["--checkpoint", trained, "--features", features],
        "computed": ["--checkpoint", trained],
        "joint": ["--checkpoint", joint],
    }
    found = {}
    for name, words in given.items():
        words = ["predict", clip, "--no-pictures", "--device", "cpu", "--output", tmp_path / name, *words]
        assert carry_out([*map(str, words), "inference.window=16"]) == 0
        with np.load(tmp_path / name / "scores.npz") as stored:
            found[name] = stored["scores"], stored["times"]
    assert len(found["stored"][0]) > 16 and np.array_equal(found["stored"][1], found["computed"][1])
    np.testing.assert_allclose(found["stored"][0], found["computed"][0], atol=1e-3)
    # What evaluation says of the same video at the same times, up to the decoder that it takes.
    scored(trained, **{"inference.window": 16, "run.output": tmp_path / "scores", "fine.features": features})
    rows = [line.split() for line in (tmp_path / "scores" / "submission.txt").read_text().splitlines()]
    told = {float(row[1]): np.array(row[2:], float) for row in rows if row[0] == record.video_id}
    assert len(told) == len(found["stored"][0])
    np.testing.assert_allclose(found["stored"][0], list(told.values()), atol=0.02)
    # Features of another part of a video are not asked for.
    part = Detector.from_run(trained, device="cpu", features=features, window=16).predict(clip, start=1.0)
    assert part.times[0] == 1.0
    capfd.readouterr()
    words = ["predict", tmp_path / "none", "--checkpoint", trained, "--features", features, "--output", tmp_path / "no"]
    (tmp_path / "none").mkdir()
    shutil.copy(clip, tmp_path / "none" / "unknown.mp4")
    assert carry_out([*map(str, words), "--device", "cpu"]) == 2
    assert "lacks features of 1 of 1 videos, the first is unknown." in capfd.readouterr().err


def test_features_of_another_video_are_told_before_it_is_read_where_its_header_tells(trained, features, data, tmp_path):
    clip = DATASETS.get("generated")(data.dense, None, "test").records[0].path
    store = FeatureStore(features)
    held = store.num_frames(clip.stem)
    through = Detector.from_run(trained, device="cpu", features=features, window=16).scanner

    def passed(place, **part):
        """Rows that came out before it was told; None where the video was not even begun."""
        rows, begun = [], []
        with pytest.raises(DataError, match=f"holds features of .* of '{clip.stem}', and .* another video") as told:
            through.scan(
                Source(clip.stem, str(place)), Part(**part), [0], lambda at, _: rows.extend(at), opened=begun.append
            )
        assert "\n" not in str(told.value)
        return len(rows) if begun else None

    def made(name, frames):
        write_video(tmp_path / "made.mp4", [np.zeros((40, 40, 3), np.uint8)] * frames, 8)
        return remuxed(tmp_path / "made.mp4", tmp_path / name)

    for part in ({}, {"start": 1.0}, {"end": 2.0}):
        assert passed(made("more.mp4", held + 3), **part) is None
        assert passed(made("less.mp4", held - 3), **part) is None
        assert passed(made("longer.mkv", 2 * held), **part) is None  # by its seconds: it does not tell its frames
    nameless = made("more.h264", held + 3)  # tells nothing at all
    assert passed(nameless) > held and 0 < passed(nameless, start=1.0) < held
    assert passed(made("less.h264", held - 3), start=1.0)
    # What lies behind the wanted part is not looked at.
    through.scan(Source(clip.stem, str(nameless)), Part(end=1.0), [0], lambda at, _: None)


def remuxed(source, target):
    """The same pictures in another container, as the suffix says."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def test_the_coarse_stream_starts_from_the_fine_run_and_learns_beside_it(trained, tuned, features):
    state, source = load_checkpoint(trained), load_checkpoint(tuned)
    meta = state["meta"]
    assert meta["command"] == "train-coarse-fine" and meta["fine"]["weights"] == str(tuned)
    # From its validation, as of `finetune`: prediction takes them.
    thresholds, spacing = meta["validated"]["thresholds"], meta["validated"]["frame_seconds"]
    assert len(thresholds) == len(meta["classes"]) and spacing > 0
    assert load_checkpoint(trained / "checkpoints" / "last.pt")["meta"]["validated"]["thresholds"]
    assert Detector.from_run(trained, device="cpu", features=features).thresholds.tolist() == thresholds
    assert meta["fine"]["origin"]["weights_sha256"] == FeatureStore(features).origin.weights_sha256
    assert meta["clip"]["stride"] == meta["fine"]["origin"]["stride"]
    assert {name.split(".")[0] for name in state["model"]} == {"backbone", "head", "pool", "fusion"}
    # Its rate is a tenth, and there were four steps: near what it began with, but not the same.
    name = "backbone.conv5.weight"
    moved = (state["model"][name] - source["model"][name]).norm() / source["model"][name].norm()
    assert 0 < moved < 0.2
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "mAP" in line] == [2, 4]


def test_a_frozen_fine_stream_ends_bit_for_bit_as_it_began(joint, tuned):
    state, source = load_checkpoint(joint)["model"], load_checkpoint(tuned)["model"]
    fine = {name.removeprefix("fine."): value for name, value in state.items() if name.startswith("fine.backbone.")}
    assert len(fine) > 50
    assert all(torch.equal(value, source[name]) for name, value in fine.items())
    assert not torch.equal(state["coarse.backbone.conv5.weight"], source["backbone.conv5.weight"])


def test_a_joint_checkpoint_has_its_own_fine_stream_and_joins_an_ensemble(joint, trained, tuned, features):
    with pytest.raises(ConfigError, match="trained with --joint and has its own fine stream"):
        scored(joint, **{"fine.weights": tuned})
    together = scored(tuned, trained, joint)
    assert together.missing == 0 and together.videos == 4
    # Its frozen fine stream is the run that the features were taken with.
    assert scored(joint, **{"fine.features": features}).mAP == pytest.approx(scored(joint).mAP, abs=0.02)


def test_the_fine_stream_learns_when_asked_at_its_own_rate(data, tuned, features, tmp_path):
    words = ["fine.joint=true", "fine.train=true", "optim.lr_scales.fine=0.5", "loop.steps=2"]
    train(data, tmp_path / "run", f"model.init={tuned}", *words)
    state, source = load_checkpoint(tmp_path / "run"), load_checkpoint(tuned)
    name = "backbone.conv5.weight"
    assert not torch.equal(state["model"][f"fine.{name}"], source["model"][name])
    head = next(key for key in source["model"] if key.startswith("head.") and key.endswith("weight"))
    assert torch.equal(state["model"][f"fine.{head}"], source["model"][head])  # has no part in it
    rates = {group["name"].split(",")[0]: set() for group in state["optimizer"]["param_groups"]}
    for group in state["optimizer"]["param_groups"]:
        rates[group["name"].split(",")[0]].add(round(group["base_lr"], 9))
    assert rates == {"fine": {2e-4}, "coarse": {4e-4, 4e-3}}
    with pytest.raises(DataError, match=f"holds features of {tuned}, .* other weights.*leave out --features"):
        scored(tmp_path / "run", **{"fine.features": features})


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(data, tuned, features, trained, tmp_path, monkeypatch):
    words = [f"model.init={tuned}", f"fine.features={features}"]
    made = []
    make = CoarseFineClips.make

    def interrupted(self, record, *rest):
        made.append(record)
        if len(made) == 10:  # in the third step
            signal.raise_signal(signal.SIGINT)
        return make(self, record, *rest)

    monkeypatch.setattr(CoarseFineClips, "make", interrupted)
    with pytest.raises(Interrupted, match="at step 3 of 4.*ssdet train-coarse-fine --resume"):
        train(data, tmp_path / "half", *words)
    monkeypatch.undo()
    moved = tmp_path / "features"  # a folder may be moved between
    shutil.copytree(features, moved)
    train(data, tmp_path / "half", words[0], f"fine.features={moved}", resume=True)
    whole, half = (load_checkpoint(run / "checkpoints" / "last.pt")["model"] for run in (trained, tmp_path / "half"))
    assert all(torch.equal(value, half[name]) for name, value in whole.items())


@pytest.mark.parametrize("way", ["stored", "joint"])
def test_two_processes_train(data, tuned, features, tmp_path, way):
    given = ["--features", features] if way == "stored" else ["--joint", "--train-fine"]
    small = [word for word in SMALL if not word.startswith(("run.device", "loop.batch_size", "loop.steps"))]
    words = ["train-coarse-fine", "--config", "generated", *given, "--init", tuned, "--videos", data.dense]
    words += ["--nproc", 2, "--device", "cpu", "--output", "run", *small, "loop.batch_size=1", "loop.steps=2"]
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(ssdet(*words), cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["videos"] for line in lines if line["split"] == "val"] == [3]


def test_padding_of_fine_features_has_no_influence(data, features, tmp_path):
    store = FeatureStore(features)
    context = FineContext(store, tuple(store.origin.stages), 1000)
    videos = DATASETS.get("generated")(data.dense, None, "train")
    cfg = configured(TrainCoarseFineConfig, data.dense, tmp_path / "run", "clip.frames=64")
    clips = CoarseFineClips(videos, DataConfig(workers=0), cfg.clip, seed=0, training=True, context=context)
    frames = [store.num_frames(record.video_id) for record in videos.records]
    shortest, longest = int(np.argmin(frames)), int(np.argmax(frames))
    alone, both = collate([clips[0, shortest]]), collate([clips[0, shortest], clips[0, longest]])
    if frames[shortest] == frames[longest]:
        pytest.fail("the generated videos are all of one length: the test needs different ones")
    assert both.feature_mask.sum(1).tolist() == [frames[shortest], frames[longest]]
    assert both.features["conv5"].dtype == torch.float16
    torch.manual_seed(0)
    coarse = create_model("coarse_fine_x3d_tiny", 5).coarse.eval()
    for values in both.features.values():
        values[0, :, frames[shortest] :] = float("nan")
    with torch.no_grad():
        one = coarse(alone.frames.float() / 128 - 1, **alone.network_inputs())
        two = coarse(both.frames.float() / 128 - 1, **both.network_inputs())
    torch.testing.assert_close(two[:1], one, rtol=1e-4, atol=1e-5)


# --- the authors' own files


@pytest.fixture(scope="module")
def authors_coarse(tmp_path_factory):
    net, rest = foreign.random_coarse(157)
    path = tmp_path_factory.mktemp("weights") / "coarse_charades.pt"
    torch.save({"model_state_dict": {**foreign.write_authors(net, 4), **rest}}, path)
    return path


def test_the_coarse_stream_starts_from_the_authors_coarse_stream(data, features, authors_coarse, tmp_path, capfd):
    words = [f"model.init={authors_coarse}", f"fine.features={features}", "loop.steps=1", "optim.warmup_steps=0"]
    train(data, tmp_path / "run", *words, "optim.lr=1e-6", "run.verbose=true")
    told = capfd.readouterr().err
    assert "tensors loaded from" in told and "(Coarse-Fine coarse stream layout)" in told
    assert "input normalised as these weights were trained, mean 0.413" in told
    assert "adapted: fusion.logits.scale.fc2 newly initialised (157 classes in the file, 5 here)" in told
    assert "  loaded: pool.conv1.weight" in told and "  loaded: fusion.mix.layer4.shift.weight" in told
    state, source = load_checkpoint(tmp_path / "run"), torch.load(authors_coarse)["model_state_dict"]
    for ours, theirs in (("pool.conv1", "pool_1.conv1"), ("fusion.mix.layer1.shift", "mix2.conv_at")):
        expected = source[f"{theirs}.weight"].view_as(state["model"][f"{ours}.weight"])
        torch.testing.assert_close(state["model"][f"{ours}.weight"], expected, atol=1e-4, rtol=1e-3)
    assert state["meta"]["normalization"]["mean"] == [0.413, 0.368, 0.338]


def test_the_authors_coarse_stream_is_no_fine_one(data, tuned, authors_coarse, tmp_path):
    words = [f"model.init={authors_coarse}", "fine.joint=true"]
    refused(data, tmp_path, CheckpointError, "which no per-frame detector can hold; give the fine stream's", *words)
    train(data, tmp_path / "run", *words, f"fine.weights={tuned}", dry_run=True)


def test_the_authors_two_files_are_scored_as_they_are(data, tmp_path, capfd):
    net, rest = foreign.random_coarse(5)
    for name, state in (
        ("coarse.pt", {**foreign.write_authors(net, 4), **rest}),
        ("fine.pt", foreign.write_authors(foreign.random_x3d(foreign.TINY, 5, seed=1), 2)),
    ):
        torch.save({"model_state_dict": state}, tmp_path / name)
    given = {"dataset": "generated", "videos": data.dense}
    flags = {"protocol": "charades-localize", **{f"data.{key}": value for key, value in given.items()}}
    flags |= {"inference.stride": 2, "inference.size": 32}
    # Alone the fine one is a per-frame detector like any other; the coarse one needs it, or its features.
    scored(tmp_path / "fine.pt", **flags)
    told = capfd.readouterr().err
    assert "fine.pt: x3d_tiny, 5 classes, one frame in 2, 32 pixels." in told and "(X3D-Multigrid/SSDet" in told
    with pytest.raises(ConfigError, match="Weights of a coarse stream alone need the fine one's: --features DIR or"):
        scored(tmp_path / "coarse.pt", **flags)
    features = tmp_path / "features"
    words = [f"model.init={tmp_path / 'fine.pt'}", "model.backbone=x3d_tiny", "data.workers=0"]
    words += ["inference.stride=2", "inference.size=32", "dtype=float32"]
    where = {"data.videos": data.dense / "videos", "run.output": features, "run.device": "cpu"}
    extract_features.run(load_config(ExtractFeaturesConfig, None, words, where))
    scored(tmp_path / "coarse.pt", **flags, **{"fine.features": features, "run.output": tmp_path / "stored"})
    scored(tmp_path / "coarse.pt", **flags, **{"fine.weights": tmp_path / "fine.pt", "run.output": tmp_path / "fly"})
    stored, computed = submitted(tmp_path / "stored"), submitted(tmp_path / "fly")
    assert max(np.abs(stored[key] - computed[key]).max() for key in stored) < 1e-3
    assert len({row.tobytes() for row in stored.values()}) > 50


def test_a_converted_run_is_scored_as_the_run(trained, tuned, data, tmp_path):
    same = {"data.dataset": "generated", "data.videos": data.dense, "data.backend": "pyav"}
    for run, given in ((tuned, {}), (trained, {"fine.weights": tuned})):
        file = tmp_path / f"{run.name}.safetensors"
        weights.convert(run, file)
        assert str(tuned) not in str(read_weights(file).meta)
        assert scored(file, **same, **given).mAP == scored(run, **same, **given).mAP
    with pytest.raises(ConfigError, match="does not say what data to score it on; give --dataset NAME"):
        scored(file)
    with pytest.raises(CheckpointError, match="needs its fine stream, and tuned is not there any more; give"):
        scored(file, **same)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (lambda net, rest: foreign.write_authors(net), r"knows other classes than .* holds \(4 classes and 5\)"),
        (
            lambda net, rest: foreign.write_x3d({k: v for k, v in net.items() if k != "fc2"}, "slowfast"),
            r"holds no classifier and detects nothing yet; run `ssdet finetune --init .*w\.pt --backbone x3d_tiny`",
        ),
        (
            lambda net, rest: {
                k: v[:, :2] if k == "conv1_s.weight" else v for k, v in foreign.write_authors(net).items()
            },
            "the shapes do not tell which network this is; `ssdet weights convert .* --backbone NAME`",
        ),
    ],
    ids=["other classes", "no classifier", "unknown network"],
)
def test_weights_that_cannot_be_scored_are_told(data, tmp_path, state, text):
    torch.save({"model_state": state(*foreign.random_coarse(4))}, tmp_path / "w.pt")
    with pytest.raises((CheckpointError, ConfigError), match=text) as told:
        scored(tmp_path / "w.pt", **{"data.dataset": "generated", "data.videos": data.dense})
    assert "\n" not in str(told.value)


# --- what is told before anything is trained


@pytest.fixture
def broken(features, tmp_path):
    return shutil.copytree(features, tmp_path / "broken")


def refused(data, tmp_path, error, match, *words):
    with pytest.raises(error, match=match) as told:
        train(data, tmp_path / "run", *words)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_features_missing_for_a_video_are_told(data, broken, tmp_path):
    index = json.loads((broken / "index.json").read_text())
    name = DATASETS.get("generated")(data.dense, None, "val").records[0].video_id
    del index["videos"][name]
    (broken / "index.json").write_text(json.dumps(index))
    refused(
        data, tmp_path, DataError, f"lacks features of 1 of 8 videos, the first is {name}", f"fine.features={broken}"
    )


def test_a_truncated_file_is_told(data, broken, tmp_path):
    name = DATASETS.get("generated")(data.dense, None, "train").records[-1].video_id
    path = FeatureStore(broken).path(name)
    path.write_bytes(path.read_bytes()[:-100])
    refused(data, tmp_path, DataError, rf"{path.name}: truncated, [\d,]+ of [\d,]+ bytes", f"fine.features={broken}")


def test_features_that_are_no_numbers_stop_the_run_with_the_videos_named(data, broken, tmp_path):
    store = FeatureStore(broken)
    for path in map(store.path, store.video_ids):
        content = bytearray(path.read_bytes())
        begins = 8 + int.from_bytes(content[:8], "little")
        content[begins:] = np.full((len(content) - begins) // 2, np.nan, np.float16).tobytes()
        path.write_bytes(content)
    ids = "|".join(store.video_ids)
    with pytest.raises(SsdetError, match=rf"The loss is nan at step 1 with the videos ({ids}), .*bad_batches.json"):
        train(data, tmp_path / "run", f"fine.features={broken}")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("stride", "features of one raw frame in 1, one in 3 is needed"),
        ("size", "features of 32 pixels, 48 are needed"),
    ],
)
def test_features_of_another_sampling_are_told(data, features, tmp_path, key, text):
    word = f"clip.{key}={3 if key == 'stride' else 48}"
    refused(data, tmp_path, DataError, text, f"fine.features={features}", word)


def test_features_of_other_weights_than_the_named_ones_are_told(data, pretrained, features, tmp_path):
    words = [f"fine.features={features}", f"fine.weights={pretrained}"]
    refused(data, tmp_path, DataError, "features are of other weights .*than those asked for", *words)


def test_missing_stages_and_other_channels_are_told(data, tuned, features, tmp_path):
    some = extract(tuned, data.dense / "videos", tmp_path / "some", "stages=layer1,conv5")
    refused(data, tmp_path, DataError, "holds no stage 'layer2'; it holds layer1, conv5", f"fine.features={some}")
    text = "holds features of x3d_tiny, with 16 channels in 'layer1'; this network needs 24"
    refused(data, tmp_path, DataError, text, f"fine.features={features}", "model.backbone=x3d_m")


def test_faults_of_features_are_one_line_of_every_command_and_leave_nothing(
    data, trained, pretrained, features, tmp_path
):
    """As a user meets them: in a process of their own, before anything is trained, scored or written."""
    video = DATASETS.get("generated")(data.dense, None, "test").records[0]
    spoilt = shutil.copytree(features, tmp_path / "spoilt")
    path = FeatureStore(spoilt).path(video.video_id)
    lacking = shutil.copytree(features, tmp_path / "lacking")
    index = json.loads((lacking / "index.json").read_text())
    del index["videos"][video.video_id]
    (lacking / "index.json").write_text(json.dumps(index))
    path.write_bytes(path.read_bytes()[:-100])
    evaluate = ["evaluate", "--protocol", "frame-map", "--checkpoint", trained, "--device", "cpu", "data.workers=0"]
    extract = ["extract-features", "--checkpoint", pretrained, "--videos", data.dense / "videos", "--device", "cpu"]
    small = [word for word in SMALL if not word.startswith("clip.size")]
    coarse = ["train-coarse-fine", "--config", "generated", "--videos", data.dense, *small, "--features", features]
    cases = [
        ([*evaluate, "--features", lacking], r"lacks features of 1 of 4 videos, the first is .*\. `ssdet extract-fea"),
        (
            [*evaluate, "--features", spoilt],
            rf"{path.name}: truncated, [\d,]+ of [\d,]+ bytes are there; run `ssdet extract-features`",
        ),
        ([*coarse, "clip.size=32", "clip.seconds_between_frames=0.2"], "of one raw frame in 1, one frame every 0.2 s"),
        ([*coarse, "clip.size=32", "--fine", pretrained], "features are of other weights"),
        ([*extract, "--output", features], r"holds other features: .* there, .* here; give another --output"),
    ]
    for words, text in cases:
        words = [*words, "--output", tmp_path / "none"] if "--output" not in words else words
        done = subprocess.run(ssdet(*words), capture_output=True, text=True, timeout=100)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert re.search(text, done.stderr.splitlines()[-1]) and done.stderr.count("ssdet: error: ") == 1
        assert not (tmp_path / "none").exists()


def test_a_joint_run_needs_fine_weights(data, tmp_path):
    refused(data, tmp_path, ConfigError, "needs weights of the fine stream: --fine RUN|FILE", "fine.joint=true")


def test_nothing_to_steer_by_is_told_on_the_command_line(data, tmp_path, capfd):
    words = ["train-coarse-fine", "--config", "generated", "--videos", data.dense, "--output", tmp_path / "run"]
    assert carry_out(list(map(str, words))) == 2
    told = capfd.readouterr().err.splitlines()
    assert len(told) == 1 and "--features DIR (from ssdet extract-features), or --joint or --fine" in told[0]
    assert not (tmp_path / "run").exists()
    assert carry_out(list(map(str, [*words, "--features", tmp_path / "none"]))) == 2
    assert f"{tmp_path / 'none'} is not a folder" in capfd.readouterr().err


def test_clips_follow_the_stored_features_where_nothing_else_is_said(data, features, capfd):
    words = ["train-coarse-fine", "--features", features, "--dataset", "generated", "--print-config"]
    assert carry_out(list(map(str, words))) == 0
    shown = capfd.readouterr().out
    assert "stride: 1 " in shown and "size: 32 " in shown and "backbone: x3d_tiny" in shown and "frames: 64" in shown


def test_another_or_no_fine_stream_is_told_by_evaluate(data, trained, pretrained, tuned, features, tmp_path):
    with pytest.raises(CheckpointError, match="is not the fine stream of this checkpoint"):
        scored(trained, **{"fine.weights": pretrained})
    with pytest.raises(ConfigError, match=r"inference.stride=2: a Coarse-Fine network is scored as it is trained"):
        scored(trained, **{"inference.stride": 2})
    with pytest.raises(
        ConfigError, match="inference.window=auto: what steers a Coarse-Fine network is counted in windows"
    ):
        scored(trained, **{"inference.window": "auto"})
    with pytest.raises(ConfigError, match="--features .* is for Coarse-Fine checkpoints"):
        scored(tuned, **{"fine.features": features})
    lost = shutil.copytree(trained, tmp_path / "lost")
    for path in (lost / "checkpoints").iterdir():
        state = torch.load(path, weights_only=True)
        state["meta"]["fine"].update(weights="gone", features="gone too")
        torch.save(state, path)
    with pytest.raises(CheckpointError, match="gone is not there any more; give --features DIR or --fine RUN"):
        scored(lost)
    with pytest.raises(CheckpointError, match="features are taken from its fine stream"):
        extract(trained, data.dense / "videos", tmp_path / "no")
