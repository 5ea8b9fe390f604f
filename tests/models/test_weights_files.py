"""Containers: told by content, and nothing in them is executed."""

import argparse
import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ssdet_cli.engine.checkpoint import save_checkpoint
from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights.files import read_weights

STATE = {"backbone.a.weight": torch.arange(6.0).view(2, 3)}


class Bomb:
    """Leaves a file behind when it is unpickled by a loader that obeys."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def legacy(payload, path):
    torch.save(payload, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w"])
@pytest.mark.parametrize("write", [torch.save, legacy, "safetensors"])
def test_the_kind_of_file_is_told_by_its_content(tmp_path, name, write):
    if write == "safetensors":
        save_file(STATE, tmp_path / name)
    else:
        write(STATE, tmp_path / name)
    file = read_weights(tmp_path / name)
    assert file.container == ("safetensors" if write == "safetensors" else "torch")
    assert torch.equal(file.state["backbone.a.weight"], STATE["backbone.a.weight"])


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_what_wrappers_leave_before_names_is_taken_off(tmp_path, prefix):
    torch.save({"state_dict": {prefix + name: value for name, value in STATE.items()}}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").state.keys() == STATE.keys()


def test_a_run_folder_is_its_best_checkpoint_with_what_it_says_of_itself(tmp_path):
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", {"model": STATE, "meta": {"backbone": "x3d_m"}, "step": 4})
    file = read_weights(tmp_path)
    assert file.meta == {"backbone": "x3d_m"} and file.path.name == "best.pt"
    assert file.keys == ("format", "model", "meta", "step")


def test_numbers_of_numpy_and_parsed_options_beside_the_weights_are_data(tmp_path):
    beside = {"best": np.float64(0.5), "history": np.arange(3), "args": argparse.Namespace(lr=0.1)}
    torch.save({"state_dict": STATE, **beside}, tmp_path / "w.pth.tar")
    assert read_weights(tmp_path / "w.pth.tar").keys == ("state_dict", "best", "history", "args")


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_arrays_are_read(tmp_path, protocol):
    blobs = {"conv1_w": np.ones((2, 3), np.float32), "big": np.ones(2, ">f4"), "lr": np.float32(0.1), "kind": "x"}
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=protocol))
    file = read_weights(tmp_path / "w.pkl")
    assert file.container == "pickle" and set(file.state) == {"conv1_w", "big"}
    assert torch.equal(file.state["big"], torch.ones(2))


def test_pickles_written_by_python_2_are_read(tmp_path):
    array = b"\x00\x00\x80?\x00\x00\x00@"  # 1.0, 2.0 as a Latin-1 string of protocol 2
    text = (
        b"\x80\x02}U\x05blobs}U\x06pred_bcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + array + b"tbss."
    )
    (tmp_path / "w.pkl").write_bytes(text)
    assert torch.equal(read_weights(tmp_path / "w.pkl").state["pred_b"], torch.tensor([1.0, 2.0]))


def as_torch(path, payload):
    torch.save({"model": STATE, "extra": payload}, path)


def as_pickle(path, payload):
    path.write_bytes(pickle.dumps({"blobs": {"a": np.zeros(2)}, "extra": payload}))


@pytest.mark.parametrize("write", [as_torch, as_pickle])
def test_a_file_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path, write):
    write(tmp_path / "w.pkl", Bomb(str(tmp_path / "executed")))
    with pytest.raises(
        CheckpointError, match=r"w.pkl cannot be read as weights: it holds a Python object \(.*\), which"
    ):
        read_weights(tmp_path / "w.pkl")
    assert not (tmp_path / "executed").exists()


def test_arrays_of_objects_are_no_weights(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"blobs": {"a": np.array([None, "b"], dtype=object)}}))
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_weights(tmp_path / "w.pkl")


def test_torchscript_is_named_for_what_it_is(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:  # the parts that only such an archive has
        for part in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"w/{part}", "")
    with pytest.raises(CheckpointError, match=r"it holds a TorchScript program, which .* save its state_dict\(\)"):
        read_weights(tmp_path / "w.pt")


def whole(payload):
    buffer = io.BytesIO()
    torch.save(payload, buffer)
    return buffer.getvalue()


def zipped(*names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "text")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS pointer"),
        ("b.pt", b"<!DOCTYPE html><html>", "a web page"),
        ("c.pkl", pickle.dumps({"blobs": {"a": np.zeros(99)}})[:200], "cannot be read as weights"),
        ("d.pkl", b"\x80\x04\x95\xff", "cannot be read as weights"),
        ("e.pt", whole({"model": STATE})[:-30], "cannot be read as weights"),
        ("f.safetensors", whole({"model": STATE}), "cannot be read as weights"),
        ("g.pkl", pickle.dumps([1, 2]), "holds no weights"),
        ("i.zip", zipped("notes.txt"), r"it is a zip archive without weights \(holds notes.txt\)"),
        ("j.pt", zipped("w/a", "w/b", "w/c", "w/d"), r"without weights \(holds w/a, w/b, w/c, …\); where"),
        ("k.pt", zipped(), r"it is a zip archive without weights \(is empty\)"),
        ("h.pt", whole({"epoch": 1, "optimizer": {}}), "holds no weights: .* It holds epoch, optimizer."),
    ],
)
def test_other_files_get_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_weights(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "change"),
    [("int8", torch.Tensor.char), ("complex64", lambda tensor: tensor.cfloat()), ("sparse", torch.Tensor.to_sparse)],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")
def test_tensors_that_are_no_plain_weights_are_refused(tmp_path, kind, change):
    torch.save({**STATE, "odd": change(torch.ones(2, 2))}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=rf"w\.pt: 'odd' is {kind}; weights are dense floating-point tensors"):
        read_weights(tmp_path / "w.pt")
