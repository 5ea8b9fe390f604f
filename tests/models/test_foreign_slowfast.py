"""SlowFast R50 weights of other repositories."""

import pickle

import foreign_layouts as foreign
import pytest
import torch

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models import create_model, load_weights

CLASSES, SIDE = 7, 32


@pytest.fixture(scope="module")
def net():
    return foreign.random_slowfast(7, CLASSES)


@pytest.fixture(scope="module")
def loaded(net, tmp_path_factory):
    """A detector with the SlowFast repository's weights."""
    model = detector()
    report = load_weights(model, write(net, "SlowFast", tmp_path_factory.mktemp("slowfast") / "w.pyth"))
    assert report.layout == "SlowFast" and not report.missing and not report.unexpected and not report.adapted
    return model


def detector(name="slowfast_r50_8x8"):
    return create_model(name, CLASSES, slow_sampling="linspace").eval()


def write(net, layout, path):
    if layout == "Caffe2":
        blobs = foreign.write_caffe2(net, foreign.caffe2_module, ("stem.0", "stem.1"))
        path.write_bytes(pickle.dumps(blobs, protocol=2))
        return path
    module_name = foreign.slowfast_module if layout == "SlowFast" else foreign.pytorchvideo_slowfast_module
    torch.save({"model_state": foreign.named(net, module_name)}, path)
    return path


def test_writers_have_as_many_tensors_as_the_repositories(net):
    for module_name in (foreign.slowfast_module, foreign.pytorchvideo_slowfast_module):
        assert len(foreign.named(net, module_name)) == 662


def test_every_stage_and_the_clip_logits_are_the_source_s(net, loaded):
    torch.manual_seed(0)
    clips = torch.randn(1, 3, 8, SIDE, SIDE)
    with torch.no_grad():
        outputs = foreign.slowfast_stages(net, clips, alpha=4)
        stages = loaded.backbone.forward_stages(clips, loaded.backbone.stage_names)
        logits = loaded(clips)
    for name, found in stages.items():
        slow, fast = outputs[name]
        wanted = torch.cat((slow.repeat_interleave(4, 2), fast), 1)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4, msg=name)
    torch.testing.assert_close(logits.mean(2), outputs["logits"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", ["pytorchvideo", "Caffe2"])
def test_other_layouts_give_the_same_network(net, loaded, layout, tmp_path):
    model = detector()
    report = load_weights(model, write(net, layout, tmp_path / "w.bin"))
    assert report.layout == layout and not report.missing and not report.unexpected
    assert report.normalization == ((0.45,) * 3, (0.225,) * 3)
    assert bool(report.adapted) == (layout == "Caffe2")
    wanted = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted[name]) or name.endswith("num_batches_tracked"), name


def test_lateral_kernels_tell_the_two_networks_apart(net, tmp_path):
    path, other = write(net, "SlowFast", tmp_path / "w.pyth"), detector("slowfast_r50_4x16")
    with pytest.raises(
        CheckpointError, match=r"laterals.0.conv.weight' should be \(16, 8, 5, 1, 1\) and is \(16, 8, 7"
    ):
        load_weights(other, path)
    report = load_weights(other, path, allow_partial=True)
    assert len(report.missing) == 4
