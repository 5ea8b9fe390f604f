"""Stored features: what is written is read back, faults are told in one line, nothing half-written stays."""

import json
import multiprocessing
import os
import pickle
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from ssdet_cli.data.feature_files import Origin, file_name, read_header
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.feature_writer import FeatureWriter, window_of
from ssdet_cli.errors import ConfigError, DataError, SsdetError
from ssdet_cli.video.sampling import Spacing

ORIGIN = Origin(
    weights_sha256="a" * 64,
    backbone="x3d_tiny",
    checkpoint="runs/fine",
    stride=10,
    size=48,
    normalization=[[0.45] * 3, [0.225] * 3],
    pool=2,
    dtype="float16",
    stages={"layer1": 3, "conv5": 4},
    stage_strides={"layer1": 1, "conv5": 2},
)
IDS = ("AB12C", "sub/dir: x%", ".hidden")


def values_of(origin, frames, seed=0):
    torch.manual_seed(seed)
    dtype = getattr(torch, origin.dtype)
    return {
        name: torch.randn(origin.stages[name], steps, origin.pool, origin.pool).to(dtype)
        for name, steps in origin.steps(frames).items()
    }


def store(writer, video_id, frames, seed=0):
    video = {"video_id": video_id, "num_frames": frames, "stride": 10, "first_frame": 0, "frame_rate": 25.0}
    file, values = writer.begin({**video, "raw_frames": 10 * frames, "duration_seconds": 0.4 * frames}), None
    values = values_of(writer.origin, frames, seed)
    for name, value in values.items():
        file.add(name, 0, value, np.ones(value.shape[1], np.float32))
    file.commit()
    return values


def filled(folder, origin=ORIGIN):
    writer = FeatureWriter(folder, origin)
    writer.prepare(IDS)
    values = {video_id: store(writer, video_id, 7 + index, index) for index, video_id in enumerate(IDS)}
    writer.write_index(writer.finished(IDS), complete=True)
    return values


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_what_is_written_is_read_back(tmp_path, dtype):
    values = filled(tmp_path, replace(ORIGIN, dtype=dtype))
    read = FeatureStore(tmp_path)
    assert read.video_ids == tuple(sorted(IDS)) and read.origin.dtype == dtype and read.complete
    for index, video_id in enumerate(IDS):
        assert read.num_frames(video_id) == 7 + index
        got = read.read(video_id)
        assert list(got) == ["layer1", "conv5"]
        assert all(torch.equal(got[name], values[video_id][name]) for name in got)
    assert read.video("AB12C")["frame_rate"] == 25.0
    assert len({entry.name for entry in tmp_path.iterdir()}) == len(IDS) + 1


def test_slices_are_input_frames_and_strided_stages_give_the_steps_that_begin_there(tmp_path):
    values, read = filled(tmp_path)["AB12C"], FeatureStore(tmp_path)
    for start, stop in [(0, 3), (1, 4), (2, 99), (5, None), (6, 6)]:
        got = read.read("AB12C", start=start, stop=stop)
        frames = range(start, 7)[: None if stop is None else max(0, stop - start)]
        assert torch.equal(got["layer1"], values["layer1"][:, frames.start : frames.stop])
        steps = [frame // 2 for frame in frames if frame % 2 == 0]
        assert torch.equal(got["conv5"], values["conv5"][:, steps])
    assert set(read.read("AB12C", ("conv5",))) == {"conv5"}
    for wrong in ({"start": -1}, {"stages": ("layer9",)}):
        with pytest.raises(DataError):
            read.read("AB12C", **wrong)


def _read_elsewhere(store, queue):
    queue.put(float(store.read("AB12C")["conv5"].float().sum()))


def test_a_store_goes_into_other_processes(tmp_path):
    values, read = filled(tmp_path)["AB12C"], FeatureStore(tmp_path)
    read.read("AB12C")  # nothing stays open that a copy could share
    assert pickle.loads(pickle.dumps(read)).video_ids == read.video_ids
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_read_elsewhere, args=(read, queue))
    process.start()
    assert queue.get(timeout=60) == pytest.approx(float(values["conv5"].float().sum()))
    process.join(60)


def test_windows_are_added_up_in_any_order(tmp_path):
    writer = FeatureWriter(tmp_path, replace(ORIGIN, dtype="float32"))
    writer.prepare(())
    video = {"video_id": "v", "num_frames": 6}
    file, whole = writer.begin(video), values_of(writer.origin, 6)
    ramp = np.array([1, 1, 0.75, 0.25], np.float32)
    for start, weights in ((2, ramp[::-1].copy()), (0, ramp)):
        file.add("layer1", start, whole["layer1"][:, start : start + 4], weights)
        file.add("conv5", start // 2, whole["conv5"][:, start // 2 : start // 2 + 2], weights[::2])
    file.commit()
    writer.write_index(writer.finished(), complete=True)
    got = FeatureStore(tmp_path).read("v")
    assert torch.allclose(got["layer1"], whole["layer1"], atol=1e-6)


def test_numbers_beyond_float16_stay_finite(tmp_path):
    writer = FeatureWriter(tmp_path, ORIGIN)
    writer.prepare(())
    file = writer.begin({"video_id": "v", "num_frames": 1})
    for name, channels in ORIGIN.stages.items():
        file.add(name, 0, torch.full((channels, 1, 2, 2), 1e9), np.ones(1, np.float32))
    file.commit()
    writer.write_index(writer.finished(), complete=True)
    assert FeatureStore(tmp_path).read("v")["conv5"].max() == torch.finfo(torch.float16).max


def test_every_fault_is_one_line_before_training(tmp_path):
    filled(tmp_path)
    read = FeatureStore(tmp_path)
    read.check(IDS, stride=10, size=48, weights_sha256="a" * 64, stages=("layer1",), pool=2)
    faults = {
        "lacks features of 2 of 3 videos, the first is x": {"video_ids": ["x", "AB12C", "y"]},
        "one raw frame in 10, one in 5 is needed": {"stride": 5},
        "48 pixels, 224 are needed": {"size": 224},
        "other weights .runs/fine": {"weights_sha256": "b" * 64},
        "no stage 'layer2'; it holds layer1, conv5": {"stages": ("layer2",)},
        "maps of 2x2, 7x7 are needed": {"pool": 7},
    }
    for text, asked in faults.items():
        with pytest.raises(DataError, match=text) as caught:
            read.check(**{"video_ids": IDS, **asked})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("held", "wanted", "text"),
    [
        (
            Spacing(10),
            Spacing(5),
            "features of one raw frame in 10, one in 5 is needed; extract them with inference.stride=5",
        ),
        (
            Spacing(10),
            Spacing(10, 0.4),
            "features of one raw frame in 10, one frame every 0.4 s is needed; "
            "extract them with inference.seconds_between_frames=0.4",
        ),
        (
            Spacing(10, 0.4),
            Spacing(10),
            "features of one frame every 0.4 s, one raw frame in 10 is needed; extract them with inference.stride=10",
        ),
        (
            Spacing(10, 0.4),
            Spacing(10, 0.2),
            "features of one frame every 0.4 s, one every 0.2 s is needed; "
            "extract them with inference.seconds_between_frames=0.2",
        ),
        (Spacing(10, 0.4), Spacing(5, 0.4), None),
    ],
)
def test_another_sampling_is_told_in_frames_or_in_seconds_as_it_is(tmp_path, held, wanted, text):
    origin = replace(ORIGIN, stride=held.stride, seconds_between_frames=held.seconds)
    other = replace(ORIGIN, stride=wanted.stride, seconds_between_frames=wanted.seconds)
    FeatureWriter(tmp_path, origin).write_index({}, complete=True)
    assert (other.difference(origin) is None) == (text is None)
    if text is None:
        FeatureStore(tmp_path).check([], spacing=wanted)
        return
    with pytest.raises(DataError) as told:
        FeatureStore(tmp_path).check([], spacing=wanted)
    assert str(told.value) == f"{tmp_path}: {text}."


@pytest.mark.parametrize(
    ("held", "asked", "ways"),
    [
        ({"size": 32}, {"size": 40}, "give clip.size=32, or extract with inference.size=40"),
        ({"stride": 10}, {"spacing": Spacing(5)}, "give clip.stride=10, or extract with inference.stride=5"),
        (
            {"stride": 10},
            {"spacing": Spacing(10, 0.2)},
            "give clip.stride=10, or extract with inference.seconds_between_frames=0.2",
        ),
        (
            {"seconds_between_frames": 0.4},
            {"spacing": Spacing(5)},
            "give clip.seconds_between_frames=0.4, or extract with inference.stride=5",
        ),
    ],
)
def test_training_may_follow_the_features_or_they_it(tmp_path, held, asked, ways):
    FeatureWriter(tmp_path, replace(ORIGIN, **held)).write_index({}, complete=True)
    with pytest.raises(DataError, match=f"; {ways}.$"):
        FeatureStore(tmp_path).check([], **asked, training=True)
    with pytest.raises(DataError, match=f"; extract them with{ways.partition('extract with')[2]}.$"):
        FeatureStore(tmp_path).check([], **asked)


def test_damaged_files_are_found_without_reading_them(tmp_path):
    filled(tmp_path)
    read, path = FeatureStore(tmp_path), tmp_path / "AB12C.safetensors"
    whole = path.read_bytes()
    for content, text in (
        (whole[:-5], r"truncated, [\d,]+ of [\d,]+ bytes are there; run `ssdet extract-features` again, which"),
        (whole[:20], "truncated"),
        (b"\xff" * 500, "not a file of features, or its beginning is damaged"),
        (b"", "empty; run `ssdet extract-features` again, which replaces it"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=text):
            read.check(IDS)
        with pytest.raises(DataError, match="AB12C.safetensors"):
            read.read("AB12C")
    path.unlink()
    with pytest.raises(DataError, match="no such file of features"):
        read.check(IDS)
    other = FeatureWriter(tmp_path / "other", replace(ORIGIN, stride=5))
    other.prepare(())
    store(other, "AB12C", 7)
    os.replace(tmp_path / "other" / "AB12C.safetensors", path)
    with pytest.raises(DataError, match="not of the same origin as the index: stride 5 there, 10 here"):
        read.check(IDS)


def test_a_folder_without_features_and_one_of_npy_say_so(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        FeatureStore(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no index.json"):
        FeatureStore(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(DataError, match="not an index of features"):
        FeatureStore(tmp_path)
    FeatureWriter(tmp_path / "npy", replace(ORIGIN, format="npy")).prepare(())
    FeatureWriter(tmp_path / "npy", replace(ORIGIN, format="npy")).write_index({}, complete=True)
    with pytest.raises(DataError, match="npy files; extract with --format safetensors"):
        FeatureStore(tmp_path / "npy")


def test_the_index_is_made_anew_from_the_files(tmp_path):
    filled(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").unlink()
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "AB12C.safetensors").read_bytes()[:-1])
    assert FeatureWriter(tmp_path, ORIGIN).finished() == index["videos"]


@pytest.mark.parametrize("content", ["", "{", "{}", '{"format": 1, "origin": {}, "complete": true, "videos": {}}'])
def test_a_damaged_index_is_told_to_readers_and_made_anew_by_the_writer(tmp_path, content):
    filled(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DataError, match=r"index.json.* [Rr]un `ssdet extract-features` again") as told:
        FeatureStore(tmp_path)
    assert "\n" not in str(told.value)
    assert window_of(tmp_path) is None
    assert FeatureWriter(tmp_path, ORIGIN).prepare(IDS) == index["videos"]
    with pytest.raises(ConfigError, match="holds other features: size 48 there, 64 here"):
        FeatureWriter(tmp_path, replace(ORIGIN, size=64)).prepare(IDS)
    # Arrays alone do not tell whose they are.
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(DataError, match="is damaged, and .npy files do not tell what they are features of"):
        FeatureWriter(tmp_path, ORIGIN).prepare(IDS)


def test_the_window_that_features_depend_on_is_known_without_an_index(tmp_path):
    filled(tmp_path, replace(ORIGIN, window=64))
    assert window_of(tmp_path) == 64
    (tmp_path / "index.json").unlink()
    (tmp_path / "AB12C.safetensors").write_bytes(b"cut")
    assert window_of(tmp_path) == 64
    assert window_of(tmp_path / "absent") is None


def test_other_features_in_the_folder_are_refused_by_what_differs(tmp_path):
    filled(tmp_path)
    FeatureWriter(tmp_path, replace(ORIGIN, checkpoint="moved")).prepare(IDS)
    for change in ({"stride": 5}, {"weights_sha256": "b" * 64}, {"dtype": "float32"}, {"window": 64}):
        name = next(iter(change)).removesuffix("_sha256")
        with pytest.raises(ConfigError, match=f"holds other features: {name} .* there, .* here; give another --output"):
            FeatureWriter(tmp_path, replace(ORIGIN, **change)).prepare(IDS)
    (tmp_path / "index.json").unlink()  # the files say it, too
    with pytest.raises(ConfigError, match="holds other features: size 48 there, 64 here"):
        FeatureWriter(tmp_path, replace(ORIGIN, size=64)).prepare(IDS)


def test_an_unfinished_file_is_never_seen_and_is_taken_away(tmp_path):
    writer = FeatureWriter(tmp_path, ORIGIN)
    writer.prepare(IDS)
    writer.begin({"video_id": "AB12C", "num_frames": 3})
    assert writer.finished(IDS) == {}
    assert [path.name for path in tmp_path.iterdir()] == [".AB12C.safetensors.part"]
    assert writer.prepare(IDS) == {}
    assert list(tmp_path.iterdir()) == []
    file = writer.begin({"video_id": "AB12C", "num_frames": 3})
    file.discard()
    assert list(tmp_path.iterdir()) == []


def test_npy_files_are_time_by_channels_and_are_found_again(tmp_path):
    origin = replace(ORIGIN, format="npy", dtype="float32", pool=1, stages={"conv5": 4}, stage_strides={"conv5": 2})
    writer = FeatureWriter(tmp_path, origin)
    writer.prepare(("v/1",))
    file, values = writer.begin({"video_id": "v/1", "num_frames": 5}), torch.randn(4, 3, 1, 1)
    file.add("conv5", 0, values, np.ones(3, np.float32))
    file.commit()
    assert np.array_equal(np.load(tmp_path / "v%2F1.npy"), values[:, :, 0, 0].T.numpy())
    assert writer.finished(("v/1",)) == {
        "v/1": {"file": "v%2F1.npy", "frames": 3, "bytes": (tmp_path / "v%2F1.npy").stat().st_size}
    }


@pytest.mark.parametrize("video_id", ["x" * 300, "é" * 150, "a\nb", "..", "con/../x", "10% of *?"])
def test_any_id_has_a_file_name_of_its_own(tmp_path, video_id):
    name = file_name(video_id, "safetensors")
    (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert name != file_name(video_id + "y", "safetensors")


def test_a_full_disk_is_one_line_and_leaves_whole_files(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        writer = FeatureWriter(place, ORIGIN)
        writer.prepare(())
        store(writer, "small", 10)
        with pytest.raises(SsdetError, match=r"Cannot write .*big.safetensors \([\d,]+ bytes\): the disk is full"):
            store(writer, "big", 5000)
        assert set(writer.finished()) == {"small"}
        assert [path.name for path in place.iterdir()] == ["small.safetensors"]
        assert read_header(place / "small.safetensors").video["num_frames"] == 10
    finally:
        subprocess.run(["umount", place], check=True)
