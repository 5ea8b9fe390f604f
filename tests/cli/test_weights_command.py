"""`ssdet weights` on files in the layouts of other repositories."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors import safe_open

from ssdet_cli.models import create_model, load_weights

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import foreign_layouts as foreign

CLASSES = 157


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    net = foreign.random_x3d(foreign.TINY, CLASSES)
    torch.save({"model_state": foreign.write_x3d(net, "slowfast"), "epoch": 3, "cfg": ""}, folder / "x3d.pyth")
    authors = foreign.write_authors(net, 4)
    torch.save({"model_state_dict": authors, "long_ind": torch.tensor(3)}, folder / "fine.pt")
    coarse, rest = foreign.random_coarse(CLASSES)
    torch.save({"model_state_dict": {**foreign.write_authors(coarse, 4), **rest}}, folder / "coarse.pt")
    torch.save(timm.create_model("resnet10t").state_dict(), folder / "r10t.pth")
    torch.save({"a": torch.zeros(2)}, folder / "odd.pt")
    diverged = {**foreign.write_x3d(net, "slowfast"), "s1.pathway0_stem.bn.bias": torch.full((16,), torch.nan)}
    torch.save(diverged, folder / "diverged.pyth")
    (folder / "page.pt").write_text("<!DOCTYPE html>")
    return folder


def meta(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["meta"])


def rows(out):
    return {line.partition("  ")[0].strip(): line.partition("  ")[2].strip() for line in out.splitlines()}


def test_inspect_says_what_a_file_is(ssdet, files):
    outcome = ssdet("weights", "inspect", files / "fine.pt")
    assert (outcome.code, outcome.err) == (0, "")
    told = rows(outcome.out)
    assert told["layout"] == "X3D-Multigrid/SSDet" and told["network"] == "x3d_tiny"
    assert (told["classes"], told["norm splits"]) == ("157", "4")
    assert told["input"] == "mean 0.413, 0.368, 0.338, std 0.131, 0.125, 0.132"
    assert told["container"] == "model_state_dict, long_ind"
    parameters = sum(value.numel() for value in create_model("x3d_tiny", CLASSES).parameters())
    assert told["parameters"] == f"{parameters:,}"
    assert "4 norm splits left out" in told["changes"]


@pytest.mark.parametrize(("backbone", "fits"), [("x3d_tiny", "yes"), ("x3d_m", "needs --allow-partial: ")])
def test_inspect_says_whether_a_network_can_take_it(ssdet, files, backbone, fits):
    told = rows(ssdet("weights", "inspect", files / "x3d.pyth", "--backbone", backbone).out)
    assert told[f"fits {backbone}"].startswith(fits)
    assert told["network"] == "x3d_tiny"


def test_inspect_lists_every_tensor_when_asked(ssdet, files):
    assert (
        "  s1.pathway0_stem.conv.weight (16, 1, 5, 1, 1) float32"
        in ssdet("weights", "inspect", "-v", files / "x3d.pyth").out
    )


def test_inspect_tells_a_coarse_stream_and_what_takes_it(ssdet, files):
    told = rows(ssdet("weights", "inspect", files / "coarse.pt", "--backbone", "x3d_tiny").out)
    assert told["layout"] == "Coarse-Fine coarse stream"
    assert told["network"] == "the coarse stream of coarse_fine_x3d_tiny"
    assert (told["classes"], told["norm splits"]) == ("157", "4")
    with torch.device("meta"):
        coarse = create_model("coarse_fine_x3d_tiny", CLASSES).coarse
    assert told["parameters"] == f"{sum(value.numel() for value in coarse.parameters()):,}"
    assert told["fits coarse_fine_x3d_tiny"] == "yes"
    assert "put into the coarse stream" in told["loading"]
    other = rows(ssdet("weights", "inspect", files / "coarse.pt", "--backbone", "coarse_fine_x3d_m").out)
    assert other["fits coarse_fine_x3d_m"].startswith("needs --allow-partial: ")


def test_convert_of_a_coarse_stream_gives_the_same_stream(ssdet, files, tmp_path):
    outcome = ssdet("weights", "convert", files / "coarse.pt", "coarse.safetensors")
    assert outcome.code == 0 and outcome.out.startswith(
        "coarse.safetensors: the coarse stream of coarse_fine_x3d_tiny, 157 classes, from Coarse-Fine coarse stream"
    )
    assert "Use it with: ssdet train-coarse-fine --init coarse.safetensors --backbone x3d_tiny" in outcome.err
    told = meta(tmp_path / "coarse.safetensors")
    assert (told["backbone"], told["num_classes"]) == ("x3d_tiny", CLASSES)
    direct, converted = (create_model("coarse_fine_x3d_tiny", CLASSES).coarse for _ in range(2))
    load_weights(direct, files / "coarse.pt")
    report = load_weights(converted, tmp_path / "coarse.safetensors")
    assert report.layout == "ssdet" and not report.missing and not report.unexpected
    assert converted.backbone.normalization == direct.backbone.normalization
    assert all(torch.equal(value, direct.state_dict()[name]) for name, value in converted.state_dict().items())
    inspected = rows(ssdet("weights", "inspect", "coarse.safetensors").out)
    assert inspected["network"] == "the coarse stream of coarse_fine_x3d_tiny"


def test_inspect_knows_a_network_of_two_streams_without_being_told(ssdet, tmp_path):
    torch.save(create_model("coarse_fine_x3d_tiny", 4).state_dict(), tmp_path / "both.pt")
    told = rows(ssdet("weights", "inspect", "both.pt").out)
    assert (told["network"], told["classes"]) == ("both streams of coarse_fine_x3d_tiny", "4")


def test_convert_writes_our_names_and_all_that_is_known(ssdet, files, tmp_path):
    outcome = ssdet("weights", "convert", files / "fine.pt", "fine.safetensors")
    assert outcome.code == 0 and outcome.out == (
        "fine.safetensors: x3d_tiny, 157 classes, from X3D-Multigrid/SSDet layout.\n"
    )
    told = meta(tmp_path / "fine.safetensors")
    assert (told["backbone"], told["num_classes"], told["layout"]) == ("x3d_tiny", 157, "X3D-Multigrid/SSDet")
    assert told["normalization"] == {"mean": [0.413, 0.368, 0.338], "std": [0.131, 0.125, 0.132]}
    assert told["source"]["file"] == "fine.pt" and len(told["source"]["sha256"]) == 64
    direct, converted = (create_model("x3d_tiny", CLASSES).eval() for _ in range(2))
    load_weights(direct, files / "fine.pt")
    report = load_weights(converted, tmp_path / "fine.safetensors")
    assert report.layout == "ssdet" and not report.missing and not report.unexpected
    assert converted.backbone.normalization == direct.backbone.normalization
    clips = torch.randn(1, 3, 2, 32, 32)
    torch.testing.assert_close(converted(clips), direct(clips), atol=0, rtol=0)


def test_convert_leaves_what_is_there_unless_forced(ssdet, files, tmp_path):
    (tmp_path / "w.safetensors").write_text("mine")
    outcome = ssdet("weights", "convert", files / "x3d.pyth", "w.safetensors")
    assert outcome.code == 2 and "w.safetensors exists already" in outcome.err
    assert (tmp_path / "w.safetensors").read_text() == "mine"
    assert ssdet("weights", "convert", files / "x3d.pyth", "w.safetensors", "--force").code == 0
    assert meta(tmp_path / "w.safetensors")["layout"] == "SlowFast"
    again = ssdet("weights", "convert", "w.safetensors", "v.safetensors")
    assert again.code == 0 and meta(tmp_path / "v.safetensors")["backbone"] == "x3d_tiny"


def test_convert_of_timm_needs_to_know_which_network(ssdet, files, tmp_path):
    unknown = ssdet("weights", "convert", files / "r10t.pth", "w.safetensors")
    assert unknown.code == 2 and "(timm/NAME)" in unknown.err
    known = ssdet("weights", "convert", files / "r10t.pth", "w.safetensors", "--backbone", "timm/resnet10t")
    assert known.code == 0 and "Left out" in known.err and "backbone.image.fc.weight" in known.err
    report = load_weights(create_model("timm/resnet10t", 3), tmp_path / "w.safetensors")
    assert not report.unexpected and all(name.startswith(("backbone.time.", "head.")) for name in report.missing)


def test_convert_of_our_own_run_keeps_what_it_says_and_builds_no_network(ssdet, tmp_path):
    model = create_model("x3d_tiny", 3)
    held = {"backbone": "somebody:network", "head": "linear", "classes": ["a", "b", "c"], "config": {"run": {}}}
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    torch.save({"model": model.state_dict(), "meta": held}, tmp_path / "run/checkpoints/best.pt")
    assert ssdet("weights", "convert", "run", "w.safetensors").code == 0
    told = meta(tmp_path / "w.safetensors")
    assert told["classes"] == ["a", "b", "c"] and told["backbone"] == "somebody:network" and "config" not in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["inspect", "nowhere.pt"], "nowhere.pt does not exist; give a run folder or a file of weights"),
        (["inspect", "odd.pt"], "odd.pt has names of no known layout (first: 'a')"),
        (["inspect", "page.pt"], "page.pt cannot be read as weights: it is a web page and not weights"),
        (["inspect", "x3d.pyth", "--backbone", "x3d_n"], "Unknown backbone 'x3d_n'. Did you mean 'x3d_"),
        (["convert", "diverged.pyth", "w.safetensors"], "diverged.pyth: 'backbone.stem_time.norm.bias' holds values"),
        (["convert", "x3d.pyth", "w.pt"], "w.pt: weights are written as safetensors"),
        (["convert", "x3d.pyth", "w.safetensors", "--backbone", "x3d_m"], "of this model; 'backbone."),
        (["convrt"], "Did you mean 'convert'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_line(ssdet, files, monkeypatch, words, expected):
    monkeypatch.chdir(files)
    outcome = ssdet("weights", *words)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert expected in outcome.err
    assert not (files / "w.safetensors").exists()


def test_the_command_itself(files):
    answer = subprocess.run(
        [sys.executable, "-m", "ssdet_cli", "weights", "inspect", str(files / "x3d.pyth")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "SlowFast" in answer.stdout and answer.stderr == ""
