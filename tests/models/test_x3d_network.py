"""X3D against the facts and against an independent, plain construction with torch.nn.functional."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.models import create_model, list_models, load_weights
from ssdet_cli.models.backbones.x3d import squeeze_width
from ssdet_cli.models.layers.depthwise import depthwise_conv3d

some = settings(deadline=None, max_examples=25)


def parameters(model) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("name", "with_400", "with_157"),
    [
        ("x3d_xs", 3_794_322, 3_296_415),
        ("x3d_s", 3_794_322, 3_296_415),
        ("x3d_m", 3_794_322, 3_296_415),
        ("x3d_l", 6_153_432, 5_655_525),
        ("x3d_xl", 11_095_904, 10_597_997),
    ],
)
def test_parameter_counts_are_those_of_the_published_networks(name, with_400, with_157):
    with torch.device("meta"):
        assert parameters(create_model(name, 400)) == with_400
        assert parameters(create_model(name, num_classes=157)) == with_157


def test_squeeze_widths_are_rounded_to_eights_and_not_below_nine_tenths():
    widths = {54: 8, 72: 8, 108: 8, 162: 16, 216: 16, 306: 24, 432: 32, 630: 40}
    assert {inner: squeeze_width(inner) for inner in widths} == widths


def test_full_size_x3d_m_gives_one_vector_per_frame():
    model = create_model("x3d_m", num_classes=157).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 5, 64, 64)).shape == (1, 157, 5)


@pytest.mark.parametrize("shape", [(1, 3, 1, 32, 32), (2, 3, 7, 40, 56), (3, 3, 16, 33, 47)])
def test_any_length_and_size_keep_time(shape):
    model = create_model("x3d_tiny", 5).eval()
    assert model(torch.randn(shape)).shape == (shape[0], 5, shape[2])


def test_names_options_and_the_nearest_name():
    assert {"x3d_xs", "x3d_s", "x3d_m", "x3d_l", "x3d_xl", "x3d_tiny"} <= set(list_models())
    with pytest.raises(ConfigError, match=r"Unknown backbone 'x3d_n'\. Did you mean"):
        create_model("x3d_n", 5)
    with pytest.raises(ConfigError, match="Unknown option 'dropuot'.* Did you mean 'dropout'"):
        create_model("x3d_tiny", 5, dropuot=0.5)


# An independent construction: plain 3-D tensors and functions, reading the state dict by its names.


def test_logits_equal_a_plain_construction_from_the_paper():
    torch.manual_seed(0)
    model = create_model("x3d_tiny", 6).eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
    frames = torch.randn(2, 3, 6, 40, 40)
    with torch.no_grad():
        expected = plain_x3d(frames, model)
        torch.testing.assert_close(model(frames), expected, atol=1e-4, rtol=1e-4)


def plain_x3d(x: Tensor, model) -> Tensor:
    backbone, head = model.backbone, model.head

    def conv(layer, x, stride=1, groups=1):
        padding = [size // 2 for size in layer.weight.shape[2:]]
        x = F.conv3d(x, layer.weight, None, (1, stride, stride), padding, 1, groups)
        n = layer.norm if hasattr(layer, "norm") else None
        if n is None or isinstance(n, torch.nn.Identity):
            return x
        return F.batch_norm(x, n.running_mean, n.running_var, n.weight, n.bias, False, eps=1e-5)

    x = conv(backbone.stem_space, x, 2)
    x = F.relu(conv(backbone.stem_time, x, 1, x.shape[1]))
    for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4):
        for index, block in enumerate(stage):
            stride = 2 if index == 0 else 1
            hidden = F.relu(conv(block.conv_a, x))
            hidden = conv(block.conv_b, hidden, stride, hidden.shape[1])
            if index % 2 == 0:
                squeeze = block.squeeze
                mean = hidden.mean((2, 3, 4))
                scale = torch.sigmoid(
                    F.relu(mean @ squeeze.reduce.weight.T + squeeze.reduce.bias) @ squeeze.expand.weight.T
                    + squeeze.expand.bias
                )
                hidden = hidden * scale[:, :, None, None, None]
            hidden = conv(block.conv_c, hidden * torch.sigmoid(hidden))
            shortcut = conv(block.shortcut, x, 2) if index == 0 else x
            x = F.relu(hidden + shortcut)
    x = F.relu(conv(backbone.conv5, x)).mean((3, 4))
    x = F.relu(torch.einsum("bct,hc->bht", x, head.fc1.weight.flatten(1)))
    return torch.einsum("bht,kh->bkt", x, head.fc2.weight.flatten(1)) + head.fc2.bias[:, None]


@some
@given(
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 9),
    st.sampled_from([1, 2]),
    st.integers(0, 99),
)
def test_depthwise_gradients_equal_those_of_conv3d(batch, frames, channels, size, stride, seed):
    source = torch.Generator().manual_seed(seed)
    clips = torch.randn(batch, channels, frames, size, size + 1, generator=source, dtype=torch.float64)
    weight = torch.randn(channels, 1, 3, 3, 3, generator=source, dtype=torch.float64)
    upstream = None
    results = []
    for fast in (True, False):
        x, w = clips.clone().requires_grad_(), weight.clone().requires_grad_()
        if fast:
            stacked = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
            out = depthwise_conv3d(stacked, w, frames, stride).unflatten(0, (batch, frames)).transpose(1, 2)
        else:
            out = F.conv3d(x, w, None, (1, stride, stride), 1, 1, channels)
        upstream = torch.randn(out.shape, generator=source, dtype=torch.float64) if upstream is None else upstream
        out.backward(upstream)
        results.append((out.detach(), x.grad, w.grad))
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-10, rtol=1e-8)


def test_a_compiled_network_is_one_graph_with_the_same_logits():
    torch.compiler.reset()
    model = create_model("x3d_tiny", 4).eval()
    frames = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(frames), model(frames), atol=1e-5, rtol=1e-5)


def test_the_network_exports():
    model = create_model("x3d_tiny", 4).eval()
    frames = torch.randn(1, 3, 4, 32, 32)
    exported = torch.export.export(model, (frames,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(frames), model(frames), atol=1e-5, rtol=1e-5)


def test_autocast_to_bf16_trains():
    model = create_model("x3d_tiny", 4)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(2, 3, 4, 32, 32))
    logits.float().square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


# Weights


def saved(tmp_path, model, **meta):
    path = tmp_path / "weights.pt"
    torch.save({"model": model.state_dict(), "meta": meta}, path)
    return path


def test_our_checkpoint_comes_back_whole(tmp_path):
    source, target = create_model("x3d_tiny", 4).eval(), create_model("x3d_tiny", 4).eval()
    report = load_weights(target, saved(tmp_path, source))
    assert not report.missing and not report.unexpected and not report.adapted
    frames = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(source(frames), target(frames))


def test_a_classifier_for_other_classes_is_left_as_initialised(tmp_path):
    source, target = create_model("x3d_tiny", 7), create_model("x3d_tiny", 4)
    before = target.state_dict()["head.fc2.weight"].clone()
    report = load_weights(target, saved(tmp_path, source, classes=list("abcdef"), background=True))
    assert report.adapted == ("head.fc2 newly initialised (6 classes and background in the file, 4 here)",)
    assert torch.equal(target.state_dict()["head.fc2.weight"], before)
    assert torch.equal(target.state_dict()["head.fc1.weight"], source.state_dict()["head.fc1.weight"])


def test_the_background_row_is_dropped_where_the_classes_are_the_same(tmp_path):
    source, target = create_model("x3d_tiny", 4), create_model("x3d_tiny", 3)
    path = saved(tmp_path, source, classes=["a", "b", "c"], background=True)
    report = load_weights(target, path, class_names=["a", "b", "c"])
    assert "background row" in report.adapted[0]
    assert torch.equal(target.state_dict()["head.fc2.weight"], source.state_dict()["head.fc2.weight"][1:])


def test_weights_of_another_network_are_refused_and_change_nothing(tmp_path):
    source, target = create_model("x3d_s", 4), create_model("x3d_tiny", 4)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    with pytest.raises(CheckpointError, match="fills only"):
        load_weights(target, saved(tmp_path, source))
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04cut"])
def test_a_file_that_is_no_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "odd.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="odd.pt cannot be read as weights") as caught:
        load_weights(create_model("x3d_tiny", 4), path)
    assert "\n" not in str(caught.value)


class Command:
    """What an attacker would pickle."""

    def __reduce__(self):
        return print, ("executed",)


def test_a_file_that_would_execute_code_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"model": {"backbone.x": torch.zeros(1)}, "other": Command()}, path)
    with pytest.raises(CheckpointError, match="evil.pt cannot be read"):
        load_weights(create_model("x3d_tiny", 4), path)
    assert "executed" not in capsys.readouterr().out
