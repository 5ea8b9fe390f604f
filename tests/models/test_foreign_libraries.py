"""Weights of torchvision's video networks and of timm's image models, under those libraries' own names."""

import pytest
import timm
import torch
import torchvision.models

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models import create_model, load_weights
from ssdet_cli.models.weights.load import plan
from ssdet_cli.models.weights.recognise import layout_of


def source(name, classes=9):
    torch.manual_seed(0)
    return torchvision.models.get_model(name, weights=None, num_classes=classes).eval()


@pytest.mark.parametrize("name", ["mc3_18", "swin3d_t"])
def test_torchvision_s_clip_logits_are_the_mean_of_ours(name, tmp_path):
    network = source(name)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model = create_model(f"torchvision/{name}", 9).eval()
    before = model.backbone.normalization
    report = load_weights(model, tmp_path / "w.pth")
    assert report.layout == "torchvision" and not report.missing and not report.unexpected
    assert model.backbone.normalization == before
    clips = torch.randn(1, 3, 8, 32, 32)
    with torch.no_grad():
        steps = model.head(model.backbone.forward_features(clips))
        torch.testing.assert_close(steps.mean(2), network(clips), atol=1e-4, rtol=1e-4)


def test_a_classifier_that_is_a_convolution_becomes_linear(tmp_path):
    network = source("s3d")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model = create_model("torchvision/s3d", 9)
    report = load_weights(model, tmp_path / "w.pth")
    assert report.layout == "torchvision" and not report.missing and not report.unexpected
    assert torch.equal(model.head.fc2.weight, network.classifier[1].weight.flatten(1))


@pytest.mark.parametrize("name", ["mc3_18", "s3d", "swin3d_t"])
def test_torchvision_s_trunk_without_a_classifier_is_known_too(name, tmp_path):
    trunk = {
        key: value for key, value in source(name).state_dict().items() if not key.startswith(("fc.", "head.", "cl"))
    }
    torch.save(trunk, tmp_path / "w.pth")
    report = load_weights(model := create_model(f"torchvision/{name}", 9), tmp_path / "w.pth")
    assert report.layout == "torchvision" and not report.unexpected
    assert set(report.missing) == {"head.fc2.weight", "head.fc2.bias"}
    assert "head newly initialised (none in the file)" in report.adapted
    assert all(torch.equal(value, trunk[key]) for key, value in model.backbone.video.state_dict().items())


@pytest.mark.parametrize(("name", "build"), [("torchvision/mc3_18", source), ("timm/resnet10t", timm.create_model)])
def test_a_library_s_backbone_alone_takes_its_file(name, build, tmp_path):
    state = build(name.partition("/")[2]).state_dict()
    torch.save(state, tmp_path / "w.pth")
    backbone = create_model(name, 3).backbone
    report = load_weights(backbone, tmp_path / "w.pth")
    assert all(key.startswith("time.") for key in report.missing)
    assert all(torch.equal(backbone.state_dict()[key], state[key.partition(".")[2]]) for key in report.matched)


@pytest.mark.parametrize(("deep", "shallow"), [("resnet34", "timm/resnet18"), ("swin3d_s", "torchvision/swin3d_t")])
def test_a_deeper_sibling_is_refused(deep, shallow):
    with torch.device("meta"):
        build = timm.create_model if shallow.startswith("timm/") else torchvision.models.get_model
        state, model = build(deep).state_dict(), create_model(shallow, 9)
    layout = layout_of(state, "w.pth", model.state_dict())
    with pytest.raises(CheckpointError, match="Is it for a deeper backbone"):
        plan(model, layout.convert(state, {}).state, {}, source="w.pth", layout=layout.NAME)


def test_mvit_s_classifier_reads_another_feature_and_is_left_out(tmp_path):
    network = source("mvit_v2_s")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    model = create_model("torchvision/mvit_v2_s", 9)
    report = load_weights(model, tmp_path / "w.pth")
    assert report.layout == "torchvision" and not report.unexpected
    assert set(report.missing) == {"head.fc2.weight", "head.fc2.bias"}
    assert report.adapted[0] == "classifier left out, torchvision's reads the class token"
    assert torch.equal(model.backbone.video.norm.weight, network.norm.weight)


def test_timm_s_image_model_is_filled_and_the_rest_stays_as_initialised(tmp_path):
    torch.manual_seed(0)
    image = timm.create_model("resnet10t", num_classes=1000).eval()
    torch.save({"state_dict": image.state_dict(), "arch": "resnet10t"}, tmp_path / "w.pth.tar")
    model = create_model("timm/resnet10t", 3).eval()
    report = load_weights(model, tmp_path / "w.pth.tar")
    assert report.layout == "timm"
    assert all(name.startswith(("backbone.time.", "head.")) for name in report.missing)
    assert report.unexpected == ("backbone.image.fc.weight", "backbone.image.fc.bias")
    assert any(phrase.startswith("head newly initialised") for phrase in report.adapted)
    frames = torch.randn(1, 3, 2, 64, 64)
    with torch.no_grad():
        expected = image.forward_head(image.forward_features(frames[:, :, 0]), pre_logits=True)
        torch.testing.assert_close(model.backbone.forward_features(frames)[:, :, 0], expected, atol=1e-4, rtol=1e-4)


def test_timm_s_names_alone_are_no_layout(tmp_path):
    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"no known layout .* timm's models are known only by the backbone"):
        load_weights(create_model("x3d_tiny", 3), tmp_path / "w.pth")
