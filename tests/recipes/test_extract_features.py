"""`ssdet extract-features` on real video: a plain folder and a dataset, resumed, distributed, and refused."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import ssdet as command_line

from ssdet_cli.__main__ import carry_out
from ssdet_cli.config.commands import ExtractFeaturesConfig
from ssdet_cli.config.life import is_held
from ssdet_cli.config.load import load_config
from ssdet_cli.data import DATASETS
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.errors import CheckpointError, ConfigError, SsdetError
from ssdet_cli.models import create_model
from ssdet_cli.models.weights.fingerprint import fingerprint
from ssdet_cli.recipes import extract_features, window_length
from ssdet_cli.video.decode import open_video
from ssdet_cli.video.transforms import Normalize, centre_crop_box, crop_resize

SMALL = ["inference.stride=2", "inference.size=32", "data.workers=0", "pool=2"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(create_model("x3d_tiny", 4).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def videos(data, tmp_path_factory):
    """Four whole videos, one of them in a subfolder, and one that is none."""
    folder = tmp_path_factory.mktemp("footage") / "videos"
    (folder / "day 2").mkdir(parents=True)
    for number, path in enumerate(sorted((data.dense / "videos").glob("*.mp4"))[:4]):
        shutil.copy(path, folder / ("day 2" if number == 3 else "") / f"v{number}.mp4")
    return folder


def extract(videos, output, weights, *words, **flags):
    flags = {"data.videos": videos, "run.output": output, "run.device": "cpu", **flags}
    given = {"model.backbone": "x3d_tiny", "model.init": weights} if weights is not None else {}
    cfg = load_config(ExtractFeaturesConfig, None, small(*words), {**given, **flags})
    return extract_features.run(cfg)


def small(*words):
    """`SMALL` with `words` over it."""
    given = {word.partition("=")[0] for word in words}
    return [*(word for word in SMALL if word.partition("=")[0] not in given), *words]


def words(videos, weights, *more):
    given = ["--backbone", "x3d_tiny", "--init", weights, "--videos", videos, "--device", "cpu", *small(*more)]
    return ["extract-features", *map(str, given)]


def one_pass(path, model, stride=2, size=32):
    with open_video(path, short_side=size) as video:
        frames = video.frames(range(0, video.num_frames, stride))
    frames = crop_resize(frames, centre_crop_box(*frames.shape[1:3]), size)
    with torch.no_grad():
        stages = model.backbone.forward_stages(
            Normalize(*model.backbone.normalization)(frames[None]), model.backbone.stage_names
        )
    return {name: values[0] for name, values in stages.items()}


def loaded(weights):
    model = create_model("x3d_tiny", 4, pretrained=weights)
    return model.eval()


def test_a_plain_folder_gives_the_stages_of_every_video_with_its_origin(videos, weights, tmp_path):
    store, model = FeatureStore(extract(videos, tmp_path / "f", weights, dtype="float32")), loaded(weights)
    assert store.video_ids == ("day 2/v3", "v0", "v1", "v2") and store.complete
    assert store.origin.weights_sha256 == fingerprint(model.backbone)
    assert (store.origin.stride, store.origin.size, store.origin.pool) == (2, 32, 2)
    assert store.origin.stages == {"layer1": 16, "layer2": 24, "layer3": 48, "layer4": 96, "conv5": 216}
    store.check(["v0", "day 2/v3"], stride=2, size=32, weights_sha256=store.origin.weights_sha256)
    for video_id in ("v0", "day 2/v3"):
        expected, got = one_pass(videos / f"{video_id}.mp4", model), store.read(video_id)
        for name, values in expected.items():
            pooled = torch.nn.functional.adaptive_avg_pool3d(values, (values.shape[1], 2, 2))
            assert torch.allclose(got[name], pooled, atol=1e-4), name
        facts = store.video(video_id)
        with open_video(videos / f"{video_id}.mp4") as video:
            assert (facts["raw_frames"], facts["frame_rate"]) == (video.num_frames, video.frame_rate)
        assert store.num_frames(video_id) == -(-facts["raw_frames"] // 2)


def test_exact_windows_are_one_pass_and_a_window_that_matters_is_in_the_origin(videos, weights, tmp_path):
    whole = FeatureStore(extract(videos, tmp_path / "whole", weights, dtype="float32"))
    exact = FeatureStore(
        extract(videos, tmp_path / "exact", weights, "inference.window=7", "inference.exact=true", dtype="float32")
    )
    cut = FeatureStore(extract(videos, tmp_path / "cut", weights, "inference.window=7", dtype="float32"))
    assert (exact.origin.window, cut.origin.window) == (None, 7)
    for video_id in whole.video_ids:
        one, same, other = (store.read(video_id)["conv5"] for store in (whole, exact, cut))
        assert torch.allclose(one, same, atol=1e-5)
        assert not torch.allclose(one, other, atol=1e-5)


def test_a_trained_run_brings_its_own_clip_and_a_dataset_its_splits(data, tuned, tmp_path):
    flags = {"checkpoint": tuned, "data.dataset": "generated", "data.videos": data.dense, "run.output": tmp_path / "f"}
    cfg = load_config(
        ExtractFeaturesConfig, None, ["data.workers=1", "split=test", "stages=conv5"], {**flags, "run.device": "cpu"}
    )
    store = FeatureStore(extract_features.run(cfg))
    assert (len(store), store.origin.stride, store.origin.size, store.origin.command) == (4, 1, 32, "finetune")
    cfg = cfg.model_copy(update={"split": "all"})
    splits = [DATASETS.get("generated")(data.dense, None, split) for split in ("train", "val", "test")]
    wanted = {record.video_id for part in splits for record in part.records}
    assert set(FeatureStore(extract_features.run(cfg)).video_ids) == wanted > set(store.video_ids)
    assert store.origin.checkpoint == str(tuned)


def test_a_checkpoint_may_be_weights_alone_which_tell_their_network(videos, weights, tmp_path):
    first = extract(videos, tmp_path / "a", weights)
    for kind, flags in (("b", {}), ("c", {"model.backbone": "x3d_tiny"})):
        second = extract(videos, tmp_path / kind, None, checkpoint=weights, **flags)
        told = [json.loads((folder / "index.json").read_text()) for folder in (first, second)]
        assert told[0]["origin"] == told[1]["origin"]
        for file in first.glob("*.safetensors"):
            assert file.read_bytes() == (second / file.name).read_bytes()


def test_npy_is_one_array_per_video_that_other_programs_take(videos, weights, tmp_path):
    folder, model = extract(videos, tmp_path / "f", weights, format="npy"), loaded(weights)
    array = np.load(folder / "v0.npy")
    expected = one_pass(videos / "v0.mp4", model)["conv5"].mean((2, 3)).T
    assert array.dtype == np.float32 and array.shape == expected.shape
    assert np.allclose(array, expected.numpy(), atol=1e-5)
    assert {path.name for path in folder.glob("*.npy")} == {"v0.npy", "v1.npy", "v2.npy", "day 2%2Fv3.npy"}


def test_a_strided_backbone_is_stored_at_its_own_rate(videos, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "r3d.safetensors"
    save_file(create_model("torchvision/r3d_18", 2).state_dict(), path)
    given = {"model.backbone": "torchvision/r3d_18", "model.init": path}
    only = tmp_path / "one"
    only.mkdir()
    shutil.copy(videos / "v0.mp4", only)
    store = FeatureStore(extract(only, tmp_path / "f", None, "inference.size=16", "pool=1", **given))
    assert store.origin.stage_strides == {"layer1": 1, "layer2": 2, "layer3": 4, "layer4": 8}
    frames, got = store.num_frames("v0"), store.read("v0")
    assert [values.shape[1] for values in got.values()] == [-(-frames // stride) for stride in (1, 2, 4, 8)]
    assert store.origin.window is None


def test_an_unreadable_video_is_named_and_costs_the_others_nothing(videos, weights, tmp_path, capfd):
    footage = tmp_path / "footage"
    shutil.copytree(videos, footage)
    (footage / "bad.mp4").write_bytes((footage / "v0.mp4").read_bytes()[:3000])
    call = [*words(footage, weights), "--output", str(tmp_path / "f")]
    assert carry_out(call) == 1
    said = capfd.readouterr().err
    assert "1 of 5 videos could not be read" in said and "bad.mp4" in said and "Traceback" not in said
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "f").glob("*.safetensors")}
    assert len(written) == 4
    assert carry_out([*call, "--allow-missing"]) == 0
    assert "4 videos are done already, 1 is left" in capfd.readouterr().err
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "f").glob("*.safetensors")} == written
    index = json.loads((tmp_path / "f" / "index.json").read_text())
    assert index["complete"] and set(index["failed"]) == {"bad"}


@pytest.mark.parametrize("kind", ["safetensors", "npy"])
def test_features_that_are_no_numbers_are_told_and_not_stored(videos, weights, tmp_path, capfd, kind):
    broken = load_file(weights)
    broken["backbone.stem_space.weight"] = broken["backbone.stem_space.weight"] * 1e38  # what follows overflows
    save_file(broken, tmp_path / "broken.safetensors")
    call = [*words(videos, tmp_path / "broken.safetensors"), "--output", str(tmp_path / "f"), "--format", kind]
    assert carry_out(call) == 1
    last = capfd.readouterr().err.splitlines()[-1]
    assert re.search(r"features of '.*v\d' that are no numbers \(stage '\w+'\): its weights are broken", last)
    assert not list((tmp_path / "f").glob(f"*.{kind}")) and not list((tmp_path / "f").glob(".*.part"))


def test_a_run_that_diverged_has_no_features(data, tuned, videos, tmp_path):
    state = load_checkpoint(tuned)
    state["model"]["backbone.conv5.weight"][0] = torch.nan
    torch.save(state, tmp_path / "diverged.pt")
    with pytest.raises(CheckpointError, match="diverged.pt: 'backbone.conv5.weight' holds values that are infinite or"):
        extract(videos, tmp_path / "f", None, checkpoint=tmp_path / "diverged.pt")
    assert not (tmp_path / "f").exists()


def test_a_killed_extraction_leaves_whole_files_and_is_continued(videos, weights, tmp_path):
    footage, output = tmp_path / "footage", tmp_path / "f"
    footage.mkdir()
    for number in range(40):
        os.link(videos / "v0.mp4", footage / f"n{number:02d}.mp4")
    call = command_line(*words(footage, weights), "--output", output)
    process = subprocess.Popen(call, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(list(output.glob("*.safetensors"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    first = {path.name: path.stat().st_mtime_ns for path in output.glob("*.safetensors")}
    assert 2 <= len(first) < 40
    store = FeatureStore(extract(footage, output, weights))
    assert len(store) == 40 and store.complete
    store.check(store.video_ids)
    assert {name: (output / name).stat().st_mtime_ns for name in first} == first
    assert not list(output.glob(".*.part"))


def test_an_interrupt_leaves_an_index_of_what_is_whole(videos, weights, tmp_path, monkeypatch):
    from ssdet_cli.data.feature_writer import FeatureFileWriter

    commit, calls = FeatureFileWriter.commit, []

    def stop_after_one(self):
        calls.append(self.path.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return commit(self)

    monkeypatch.setattr(FeatureFileWriter, "commit", stop_after_one)
    with pytest.raises(KeyboardInterrupt):
        extract(videos, tmp_path / "f", weights)
    store = FeatureStore(tmp_path / "f")
    assert len(store) == 1 and not store.complete
    # One video, the index, the configuration, and what other processes see that somebody is at work by.
    assert len(list((tmp_path / "f").iterdir())) == 4
    assert not is_held(tmp_path / "f")


def test_a_folder_is_filled_by_one_call_at_a_time(videos, weights, tmp_path):
    hold = (
        "import pathlib, sys; from ssdet_cli.config.life import taken; folder = pathlib.Path(sys.argv[1]);\n"
        "with taken(folder): print('taken', flush=True); sys.stdin.read()"
    )
    folder = tmp_path / "f"
    folder.mkdir()
    part = folder / ".v0.safetensors.part"
    part.touch()
    with subprocess.Popen([sys.executable, "-c", hold, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"taken\n"
        with pytest.raises(ConfigError, match="f is in use by another process; wait for it or end it"):
            extract(videos, folder, weights)
        assert part.exists()  # the other one's
        other.stdin.close()
    assert FeatureStore(extract(videos, folder, weights)).complete
    assert not part.exists()


def test_two_processes_share_the_work_and_write_one_index(videos, weights, tmp_path):
    one = FeatureStore(extract(videos, tmp_path / "one", weights))
    call = command_line(*words(videos, weights), "--output", tmp_path / "two", "--nproc", 2)
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    done = subprocess.run(
        call, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Stored 4 videos") == 1
    two = FeatureStore(tmp_path / "two")
    assert two.video_ids == one.video_ids and two.complete and two.origin == one.origin
    two.check(one.video_ids)
    for video_id in one.video_ids:
        first, second = one.read(video_id), two.read(video_id)
        for name in first:  # the same but for the rounding of passes of other sizes
            assert torch.allclose(first[name].float(), second[name].float(), rtol=2e-3, atol=2e-3), name


def test_what_is_wrong_is_told_in_one_line(videos, weights, tmp_path, capfd):
    extract(videos, tmp_path / "f", weights)
    before = (tmp_path / "f" / "config.yaml").read_text()
    full = ["--output", str(tmp_path / "f")]
    base = ["extract-features", "--device", "cpu", "--output", str(tmp_path / "x")]
    own = ["--backbone", "x3d_tiny", "--init", str(weights)]
    cases = {
        "holds other features: size 32 there, 48 here": [*words(videos, weights, "inference.size=48"), *full],
        "needs --checkpoint RUN|FILE, or --backbone NAME": [*base, "--videos", str(videos)],
        "needs --videos DIR": [*base, *own],
        "two networks; give one": [*base, *own, "--checkpoint", str(weights), "--videos", str(videos)],
        "Unknown stage 'layr1' .* Did you mean 'layer1'": [*base, *own, "--videos", str(videos), "--stages", "layr1"],
        "split=train needs data.dataset": [*base, *own, "--videos", str(videos), "--split", "train"],
        "needs data.dataset": [*base, *own, "--videos", str(videos), "--annotations", str(weights)],
        "holds no videos": [*base, *own, "--videos", str(weights.parent)],
        "no .*absent": [*base, *own, "--videos", str(tmp_path / "absent")],
        "v0.mp4 (holds|cannot be read|is)": [
            *base, "--checkpoint", str(videos / "v0.mp4"), "--videos", str(videos)
        ],
        r"--checkpoint \(checkpoint\): there is no": [*base, "--checkpoint", "absent.pt", "--videos", str(videos)],
    }  # fmt: skip
    for text, call in cases.items():
        assert carry_out(call) == 2, text
        line = capfd.readouterr().err.splitlines()[-1]
        assert line.startswith("ssdet: error: ")
        assert re.search(text, line), (text, line)
    assert (tmp_path / "f" / "config.yaml").read_text() == before
    assert not (tmp_path / "x").exists()


def test_features_that_do_not_fit_on_the_disk_are_refused_before_any_is_made(videos, weights, tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(10**9, 10**9, 70 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(SsdetError, match=r"features need .* [GM]iB and .* has 70.0 MiB free; make room"):
        extract(videos, tmp_path / "f", weights, "pool=600")
    assert not list((tmp_path / "f").glob("*.safetensors"))


def test_a_dry_run_says_what_it_would_cost_and_writes_nothing(videos, weights, tmp_path, capfd):
    assert carry_out([*words(videos, weights), "--output", str(tmp_path / "f"), "--dry-run"]) == 0
    said = capfd.readouterr().err
    assert "Dry run of x3d_tiny: 4 videos" in said and "of features" in said and "ms per frame" in said
    assert not (tmp_path / "f").exists()


def test_a_window_of_any_length_is_settled_once_and_told_by_the_folder(videos, weights, tmp_path, monkeypatch, capfd):
    room, asked = [24], []

    def fits(through, device, *, most, **rest):
        asked.append(most)
        return min(most, room[0])

    some, output = tmp_path / "some", tmp_path / "f"
    some.mkdir()
    shutil.copy(videos / "v0.mp4", some)
    # Memory has room for the usual window: it is that long, and measured by real passes.
    assert FeatureStore(extract(some, tmp_path / "usual", weights)).origin.window == 512
    monkeypatch.setattr(window_length, "frames_that_fit", fits)
    assert FeatureStore(extract(some, output, weights)).origin.window == 24
    assert asked == [2 * 512]  # two windows in a pass
    assert load_config(ExtractFeaturesConfig, str(output / "config.yaml")).inference.window == 24
    # Continued, with other memory and more videos, it stays what it was.
    room[0] = 300
    shutil.copy(videos / "v1.mp4", some)
    capfd.readouterr()
    store = FeatureStore(extract(some, output, weights))
    assert len(asked) == 1 and len(store) == 2 and store.origin.window == 24
    assert f"inference.window=auto: 24 input frames, as of the features in {output}." in capfd.readouterr().err
    with pytest.raises(ConfigError, match="holds other features: window 24 there, 32 here; give another --output"):
        extract(some, output, weights, "inference.window=32")
    # The same features as with the number given.
    given = FeatureStore(extract(some, tmp_path / "given", weights, "inference.window=24"))
    assert given.origin == store.origin
    for video_id in given.video_ids:
        assert all(torch.equal(values, given.read(video_id)[name]) for name, values in store.read(video_id).items())
    room[0] = 0
    with pytest.raises(SsdetError, match="Out of memory on cpu"):
        extract(some, tmp_path / "none", weights)
    assert not (tmp_path / "none").exists()


def test_all_ranks_take_the_smallest_window_and_a_silent_system_the_usual_one(weights, monkeypatch):
    class Two(Session):
        def gather(self, value):
            return [value, others[0]]

    others, backbone = [200], loaded(weights).backbone
    monkeypatch.setattr(window_length, "frames_that_fit", lambda through, device, *, most, **rest: min(most, 1000))
    how = {"normalize": float, "autocast": torch.no_grad, "device": torch.device("cpu")}
    given = {"size": 32, "batch_size": 1, "longest": 5000, "here": Two(torch.device("cpu")), **how}
    found = window_length.measured(backbone, lambda frames: {}, **given)
    assert (found.window, found.most_frames) == (192, 200)
    others[0] = 10**6
    assert window_length.measured(backbone, lambda frames: {}, **given).window == 960
    others[0] = None
    assert window_length.measured(backbone, lambda frames: {}, **given) == window_length.PassSize(512)


def test_evaluation_takes_windows_exactly(data, tuned, tmp_path):
    from ssdet_cli.config.commands import EvaluateConfig
    from ssdet_cli.recipes import evaluate

    found = {}
    ways = {"one": [], "exact": ["inference.window=8", "inference.exact=true"], "auto": ["inference.window=auto"]}
    for name, more in ways.items():
        flags = {"protocol": "frame-map", "checkpoints": (tuned,), "run.output": tmp_path / name, "run.device": "cpu"}
        evaluate.run(load_config(EvaluateConfig, None, more, flags))
        found[name] = json.loads((tmp_path / name / "metrics.json").read_text())["per_class_AP"]
    # Rounding may swap two frames of nearly equal scores.
    assert found["exact"] == pytest.approx(found["one"], abs=2e-3)
    assert found["auto"] == pytest.approx(found["one"], abs=2e-3)
