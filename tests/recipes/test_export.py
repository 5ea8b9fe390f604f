"""Exported networks say what the network says, and carry what is needed to use them."""

import io
import json

import numpy as np
import onnxruntime
import pytest
import torch

from ssdet_cli.__main__ import carry_out
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.models import create_model
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.export import METADATA, Lengths, onnx_runner, to_onnx, trace
from ssdet_cli.recipes import export as recipe
from ssdet_cli.recipes.evaluate_checkpoints import restore
from ssdet_cli.recipes.export import Session, export


def network_of(run):
    return restore(load_checkpoint(run), Session(torch.device("cpu")))


def test_onnx_by_itself_gives_the_logits_of_the_network_for_any_batch_and_length(tuned, tmp_path, capsys):
    file = tmp_path / "tuned.onnx"
    assert carry_out(["export", str(tuned), "--output", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"{file} (" in out and "time: 2 or more" in out and "3 x 9" in out
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (frames,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (frames.name, frames.shape, logits.name) == ("frames", ["batch", 3, "time", 32, 32], "logits")
    network = network_of(tuned)
    for batch, length in ((1, 8), (4, 13)):
        clips = torch.randn(batch, 3, length, 32, 32)
        with torch.no_grad():
            wanted = network(clips).numpy()
        (found,) = session.run(None, {"frames": clips.numpy()})
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    told = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
    meta = load_checkpoint(tuned)["meta"]
    assert told["classes"] == list(meta["classes"]) and told["outputs"] == len(meta["classes"])
    assert told["normalization"] == meta["normalization"]
    assert (told["stride"], told["size"], told["activation"]) == (meta["clip"]["stride"], 32, "sigmoid")
    assert told["thresholds"] == meta["validated"]["thresholds"]
    assert told["frames"] == {"usual": 8, "fewest": 2, "multiple": 1}


@pytest.fixture(scope="module")
def exported(pretrained):
    """What `export` writes of a run, and the graph that it made on the way: tracing is what takes the time."""
    made = []

    def trace_once(*args, **kwargs):
        made.append(trace(*args, **kwargs))
        return made[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe.graphs, "trace", trace_once)
        return export(pretrained, "torch-export", one_length=True), made[0]


def test_torch_export_of_one_length_in_the_run_folder(pretrained, exported):
    done = exported[0]
    assert (done.path, done.lengths) == (pretrained / "model.pt2", Lengths(8, 0))
    assert done.metadata["activation"] == "softmax" and done.metadata["background_first"]
    extra = {METADATA: ""}
    loaded = torch.export.load(io.BytesIO(done.path.read_bytes()), extra_files=extra).module()
    assert json.loads(extra[METADATA]) == done.metadata
    clips = torch.randn(3, 3, 8, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips), network_of(pretrained)(clips), atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="model.pt2 exists already.*--force"):
        export(pretrained, "torch-export")
    done.path.unlink()


def test_both_streams_of_a_coarse_fine_network(tmp_path):
    torch.manual_seed(0)
    network = create_model("coarse_fine_x3d_tiny", 3).eval()
    torch.save(network.state_dict(), tmp_path / "both.pt")
    done = export(tmp_path / "both.pt", "torch-export", frames=8, one_length=True)
    loaded = torch.export.load(done.path).module()
    clips = torch.randn(2, 3, 8, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(loaded(clips), network(clips), atol=1e-5, rtol=1e-4)


class _Halves(torch.nn.Module):
    """A backbone as small as they get, with every second frame a step."""

    num_features, temporal_stride, default_clip = 4, 2, (8, 1, 32)

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv3d(3, 4, 3, (2, 1, 1), 1)

    def forward_features(self, frames):
        return self.conv(frames).mean(dim=(3, 4))


@pytest.mark.parametrize("name", ["super_event", "tgm", "tgm_super_event"])
def test_every_head_as_onnx_for_any_batch_and_length(name):
    torch.manual_seed(0)
    head = create_model(name, 3, in_channels=4)
    for key, parameter in head.named_parameters():
        if key.rpartition(".")[2] in ("attention", "choice", "width", "centre"):
            torch.nn.init.normal_(parameter)
    network = FrameDetector(_Halves(), head).eval()
    traced = trace(network, 8, 16)
    assert traced.lengths.multiple == 1 and traced.lengths.shortest <= 3
    run = onnx_runner(to_onnx(traced, {}))
    for batch, length in ((1, 8), (3, 13)):
        clips = torch.randn(batch, 3, length, 16, 16)
        with torch.no_grad():
            wanted = network(clips).numpy()
        np.testing.assert_allclose(run(clips.numpy()), wanted, atol=1e-5)
        assert np.ptp(wanted, axis=2).max() > 1e-3


class _Sums(torch.nn.Module):
    """Takes any multiple of 4 frames."""

    def forward(self, frames):
        b, c, t, h, w = frames.shape
        return frames.reshape(b, c, t // 4, 4, h, w).sum(dim=(3, 4, 5)).repeat_interleave(4, dim=2)


class _Clip(torch.nn.Module):
    """Takes 8 frames."""

    def __init__(self):
        super().__init__()
        self.steps = torch.nn.Linear(8, 8)

    def forward(self, frames):
        return self.steps(frames.mean(dim=(3, 4)))


def test_what_lengths_a_network_takes_is_found_out():
    assert trace(_Clip(), 8, 4).lengths == Lengths(8, 0)
    traced = trace(_Sums(), 8, 4)
    assert (traced.lengths.multiple, traced.lengths.shortest % 4) == (4, 0)
    assert str(traced.lengths).endswith("or more in steps of 4")


def test_a_file_that_says_something_else_is_not_written(pretrained, exported, tmp_path, monkeypatch):
    network = network_of(pretrained)
    monkeypatch.setattr(recipe.graphs, "trace", lambda *_, **__: exported[1])  # of this very network, made once

    def other(clips):
        with torch.no_grad():
            return network(torch.from_numpy(clips)).numpy() + 0.1

    monkeypatch.setattr(recipe.graphs, "torch_export_runner", lambda content: other)
    with pytest.raises(SsdetError, match=r"something else than the network: logits differ by 0\.1.*nothing was"):
        export(pretrained, "torch-export", tmp_path / "x.pt2", one_length=True)
    assert not (tmp_path / "x.pt2").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--format", "onx"], "Unknown format 'onx' (--format). Did you mean 'onnx'? Known: onnx, torch-export."),
        (["--output", "x.pt"], "x.pt: onnx is written to files that end in .onnx."),
        (["--fine", "y.pt"], "--fine y.pt is for Coarse-Fine checkpoints"),
    ],
)
def test_wrong_words_are_one_line(tuned, capsys, words, line):
    assert carry_out(["export", str(tuned), *words]) == 2
    err = capsys.readouterr().err
    assert line in err and "Traceback" not in err
