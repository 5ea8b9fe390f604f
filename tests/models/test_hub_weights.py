"""`--init hub`: what torchvision and timm publish, from their folders on this machine; nothing is downloaded here."""

import io
import subprocess
import sys
import time

import huggingface_hub.constants
import pytest
import timm
import torch
import torchvision.models
from rich.console import Console
from safetensors.torch import save_file

from ssdet_cli.cli.checks import check_paths
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.recipes.evaluate_checkpoints import restore
from ssdet_cli.recipes.training import Run, build_detector, meta_of

CLOSED = "http://127.0.0.1:9"
FILES = {"mc3_18": "mc3_18-a90a0ba3.pth", "s3d": "s3d-d76dad2f.pth", "swin3d_t": "swin3d_t-7615ae03.pth"}


@pytest.fixture
def torch_home(tmp_path, monkeypatch):
    """An empty torch hub, and no way out."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    return tmp_path / "hub" / "checkpoints"


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """An empty Hugging Face cache, offline (as by HF_HUB_OFFLINE=1)."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def published(folder, name: str) -> torch.nn.Module:
    """Put random weights where torchvision looks for its own."""
    torch.manual_seed(3)
    source = torchvision.models.get_model(name, weights=None).eval()
    folder.mkdir(parents=True)
    torch.save(source.state_dict(), folder / FILES[name])
    return source


@pytest.mark.parametrize("name", ["mc3_18", "swin3d_t"])
def test_torchvisions_weights_make_the_same_function(torch_home, name):
    source = published(torch_home, name)
    model = create_model(f"torchvision/{name}", 400, pretrained="hub").eval()
    clips = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        logits = model.head(model.backbone.forward_features(clips))
        torch.testing.assert_close(logits.mean(2), source(clips), atol=1e-4, rtol=1e-4)


def test_other_classes_keep_their_new_classifier_and_s3ds_convolution_is_a_linear_map(torch_home):
    source = published(torch_home, "s3d")
    rows = source.classifier[1].weight.flatten(1)
    assert torch.equal(create_model("torchvision/s3d", 400, pretrained="hub").head.fc2.weight, rows)
    model = create_model("torchvision/s3d", 7, pretrained="hub")
    assert model.head.fc2.weight.shape == (7, 1024)
    assert torch.equal(model.backbone.video.features[0][0][0].weight, source.features[0][0][0].weight)


def test_torchvisions_weights_that_cannot_be_fetched_are_one_line_at_once(torch_home):
    began = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        create_model("torchvision/r3d_18", 4, pretrained="hub")
    assert time.monotonic() - began < 5
    text = str(caught.value)
    assert text.startswith("https://download.pytorch.org/models/r3d_18-b3b3357e.pth cannot be fetched (")
    assert text.endswith(f"place it at {torch_home / 'r3d_18-b3b3357e.pth'}, or give it by --init FILE.")
    assert "\n" not in text


def test_a_damaged_file_of_the_hub_is_named(torch_home):
    torch_home.mkdir(parents=True)
    (torch_home / FILES["s3d"]).write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=f"{FILES['s3d']} cannot be read as weights"):
        create_model("torchvision/s3d", 4, pretrained="hub")


def test_another_file_in_the_hub_s_place_is_named(torch_home):
    torch_home.mkdir(parents=True)
    torch.save({"blocks.weight": torch.zeros(2)}, torch_home / FILES["s3d"])
    with pytest.raises(CheckpointError, match=f"{FILES['s3d']} does not hold torchvision's s3d .*'blocks.weight'"):
        create_model("torchvision/s3d", 4, pretrained="hub")


def test_timms_weights_go_into_the_image_model_and_leave_what_is_behind_it(hugging_face):
    source = timm.create_model("test_resnet")
    folder = hugging_face / "models--timm--test_resnet.r160_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(source.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    model = create_model("timm/test_resnet", 4, pretrained="hub")
    loaded = model.backbone.image.state_dict()
    assert loaded and all(torch.equal(loaded[name], source.state_dict()[name]) for name in loaded)
    assert not model.backbone.time[0].mix.weight.any()


def test_timms_weights_that_cannot_be_fetched_are_one_line_at_once(hugging_face):
    began = time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        create_model("timm/test_resnet", 4, pretrained="hub")
    assert time.monotonic() - began < 10
    text = str(caught.value)
    assert text.startswith("https://huggingface.co/timm/test_resnet.r160_in1k cannot be fetched (")
    assert text.endswith("give its model.safetensors by --init FILE.")
    assert "\n" not in text


def test_what_nobody_publishes_is_told():
    with pytest.raises(CheckpointError, match="No library publishes weights for 'x3d_tiny': --init hub is for"):
        create_model("x3d_tiny", 4, pretrained="hub")
    with pytest.raises(CheckpointError, match="No library publishes weights for 'tgm': --init hub is for"):
        create_model("tgm", 157, in_channels=64, pretrained="hub")
    backbone = create_model("timm/test_byobnet", 4).backbone
    backbone.image.pretrained_cfg = {**backbone.image.pretrained_cfg, "hf_hub_id": None, "url": None}
    with pytest.raises(CheckpointError, match="timm publishes no weights for 'test_byobnet'"):
        backbone.published()


def test_a_run_starts_from_hub_and_says_what_it_loaded(torch_home):
    published(torch_home, "s3d")
    cfg = load_config(PretrainConfig, overrides=["model.init=hub", "model.backbone=torchvision/s3d"])
    check_paths(cfg)
    out = io.StringIO()
    run = Run(Session(torch.device("cpu")), RunLog(None, Console(file=out, width=500)), None, None)
    model = build_detector(cfg, 4, ("a", "b", "c"), run)
    assert "tensors loaded from" in out.getvalue() and "(400 classes in the file, 4 here)" in out.getvalue()
    assert model.head.fc2.weight.shape == (4, 1024)
    meta = meta_of(cfg, model, ("a", "b", "c"), background=True)
    assert (meta["backbone"], meta["options"]) == ("torchvision/s3d", {})


def test_options_of_the_backbone_reach_it_from_the_configuration_and_come_back_from_the_checkpoint():
    words = ["model.backbone=timm/test_resnet", "model.options.time_depth=1", "model.options.frames_per_chunk=3"]
    cfg = load_config(PretrainConfig, overrides=words)
    run = Run(Session(torch.device("cpu")), RunLog(None, None), None, None)
    model = build_detector(cfg, 4, ("a", "b", "c"), run)
    assert (len(model.backbone.time), model.backbone.frames_per_chunk) == (1, 3)
    meta = meta_of(cfg, model, ("a", "b", "c"), background=True)
    back = restore({"meta": meta, "model": model.state_dict()}, run.session)
    assert (len(back.backbone.time), back.backbone.frames_per_chunk) == (1, 3)
    cfg = load_config(PretrainConfig, overrides=["model.options.dropout=0.1"])
    with pytest.raises(ConfigError, match=r"model\.options\.dropout is a key of its own; give model\.dropout\."):
        build_detector(cfg, 4, ("a", "b", "c"), run)


def test_the_command_line_takes_the_word_hub():
    words = "pretrain --init hub --backbone torchvision/mc3_18 --print-config".split()
    done = subprocess.run([sys.executable, "-m", "ssdet_cli", *words], capture_output=True, text=True)
    assert done.returncode == 0 and "init: hub" in done.stdout
