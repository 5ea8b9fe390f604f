"""SlowFast against the facts and against a clip-level network written with torch.nn.functional."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.backbones.slowfast import SlowFast, SlowFastSize
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads.linear import LinearHead

CLASSES = 5


def small(alpha: int = 4, kernel: int = 7, **options) -> FrameDetector:
    """Real blocks, few and narrow, with norms that do something."""
    torch.manual_seed(alpha)
    backbone = SlowFast(SlowFastSize(alpha, kernel, width=16, depths=(1, 2, 1, 1)), (32, 2, 224), **options)
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return FrameDetector(backbone, LinearHead(backbone.num_features, CLASSES)).eval()


def plain_clip_logit(model: FrameDetector, frames: Tensor, alpha: int) -> Tensor:
    """The classification network of the paper: (B, 3, T, H, W) -> (B, K), from the state dict by its names."""
    weights = model.state_dict()

    def unit(x: Tensor, name: str, stride=1) -> Tensor:
        name = f"backbone.{name}"
        kernel = weights[f"{name}.conv.weight"]
        x = F.conv3d(x, kernel, None, stride, [size // 2 for size in kernel.shape[2:]])
        norm = [weights[f"{name}.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        return F.batch_norm(x, *norm, training=False, eps=1e-5)

    def stage(x: Tensor, name: str, stride: int) -> Tensor:
        block = 0
        while f"backbone.{name}.{block}.a.conv.weight" in weights:
            unit_name = f"{name}.{block}"
            space = (1, stride, stride) if block == 0 else 1
            hidden = F.relu(unit(x, f"{unit_name}.a"))
            hidden = F.relu(unit(hidden, f"{unit_name}.b", space))
            hidden = unit(hidden, f"{unit_name}.c")
            x = F.relu(hidden + (unit(x, f"{unit_name}.shortcut", space) if block == 0 else x))
            block += 1
        return x

    def stem(x: Tensor, name: str) -> Tensor:
        return F.max_pool3d(F.relu(unit(x, name, (1, 2, 2))), (1, 3, 3), (1, 2, 2), (0, 1, 1))

    number = frames.shape[2] // alpha
    chosen = torch.linspace(0, frames.shape[2] - 1, number).long()
    slow, fast = stem(frames[:, :, chosen], "slow.stem"), stem(frames, "fast.stem")
    for index in range(4):
        lateral = F.relu(unit(fast, f"laterals.{index}", (alpha, 1, 1)))
        stride = 1 if index == 0 else 2
        slow = stage(torch.cat((slow, lateral), 1), f"slow.res{index + 2}", stride)
        fast = stage(fast, f"fast.res{index + 2}", stride)
    pooled = torch.cat((slow.mean((2, 3, 4)), fast.mean((2, 3, 4))), 1)
    return F.linear(pooled, weights["head.fc2.weight"], weights["head.fc2.bias"])


@pytest.mark.parametrize(("name", "parameters"), [("slowfast_r50_4x16", 34_480_216), ("slowfast_r50_8x8", 34_566_488)])
def test_parameter_counts_are_those_of_the_published_networks(name, parameters):
    with torch.device("meta"):
        model = create_model(name, 400)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.state_dict()) == 662
    assert model.backbone.num_features == 2304 and model.head.fc1 is None


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("slowfast_r50_8x8", {"slow.res2.0.a": (64, 80, 1, 1, 1), "laterals.1": (64, 32, 7, 1, 1)}),
        ("slowfast_r50_4x16", {"slow.res4.0.a": (256, 640, 3, 1, 1), "laterals.0": (16, 8, 5, 1, 1)}),
        ("slowfast_r50_8x8", {"fast.res2.0.a": (8, 8, 3, 1, 1), "fast.stem": (8, 3, 5, 7, 7)}),
        ("slowfast_r50_8x8", {"slow.res5.0.shortcut": (2048, 1280, 1, 1, 1), "slow.res5.2.b": (512, 512, 1, 3, 3)}),
    ],
)
def test_shapes_of_the_weights_are_those_of_the_public_files(name, shapes):
    with torch.device("meta"):
        weights = create_model(name, 400).backbone.state_dict()
    assert {layer: tuple(weights[f"{layer}.conv.weight"].shape) for layer in shapes} == shapes


@pytest.mark.parametrize(("alpha", "kernel", "frames"), [(4, 7, 16), (8, 5, 32), (8, 5, 8)])
def test_the_time_mean_of_the_logits_is_the_logit_of_the_clip_network(alpha, kernel, frames):
    model = small(alpha, kernel, slow_sampling="linspace")
    clips = torch.randn(2, 3, frames, 40, 33)
    with torch.no_grad():
        logits = model(clips)
        assert logits.shape == (2, CLASSES, frames)
        torch.testing.assert_close(logits.mean(2), plain_clip_logit(model, clips, alpha), atol=2e-5, rtol=1e-4)
        assert logits.std(2).min() > 1e-3  # frames differ: the mean is over something


@pytest.mark.parametrize("alpha", [4, 8])
@pytest.mark.parametrize("number", range(1, 17))
def test_slow_frames_are_the_multiples_of_alpha_or_those_of_linspace(alpha, number):
    frames = torch.arange(float(alpha * number)).view(1, 1, -1, 1, 1)
    taken = small(alpha).backbone.slow_frames(frames).flatten()
    assert taken.tolist() == list(range(0, alpha * number, alpha))
    spread = small(alpha, slow_sampling="linspace").backbone.slow_frames(frames).flatten()
    assert torch.equal(spread.long(), torch.linspace(0, alpha * number - 1, number).long())


def test_aligned_logits_do_not_depend_on_where_a_window_ends():
    model = small()
    clips = torch.randn(1, 3, 96, 32, 32)
    with torch.no_grad():
        whole, window = model(clips), model(clips[:, :, :88])
        torch.testing.assert_close(whole[..., :32], window[..., :32], atol=1e-5, rtol=1e-4)
        model.backbone.slow_sampling = "linspace"
        assert not torch.allclose(model(clips)[..., :32], model(clips[:, :, :88])[..., :32], atol=1e-2)


@pytest.mark.parametrize("frames", [1, 5, 7])
def test_a_length_that_alpha_does_not_divide_is_padded_by_its_last_frame_and_cut(frames):
    model = small()
    clips = torch.randn(1, 3, frames, 32, 32)
    longer = torch.cat((clips, clips[:, :, -1:].expand(-1, -1, -frames % 4, -1, -1)), 2)
    with torch.no_grad():
        torch.testing.assert_close(model(clips), model(longer)[..., :frames], atol=1e-6, rtol=1e-5)


def test_a_stage_is_both_pathways_at_every_frame_and_the_last_ones_mean_is_the_features():
    backbone = small().backbone
    clips = torch.randn(1, 3, 6, 64, 64)
    with torch.no_grad():
        stages = backbone.forward_stages(clips, ("res3", "res5"))
        features = backbone.forward_features(clips)
    assert {name: tuple(stage.shape) for name, stage in stages.items()} == {
        "res3": (1, 144, 6, 8, 8),
        "res5": (1, 576, 6, 2, 2),
    }
    assert torch.equal(stages["res3"][:, :128, 0], stages["res3"][:, :128, 3])
    torch.testing.assert_close(stages["res5"].mean((3, 4)), features)


def test_blocks_start_as_their_shortcut_unless_told_otherwise():
    backbone = SlowFast(SlowFastSize(4, 7, 16, (1, 1, 1, 1)), (32, 2, 224))
    assert not backbone.slow.res3[0].c.norm.weight.any() and backbone.slow.res3[0].b.norm.weight.all()
    backbone = SlowFast(SlowFastSize(4, 7, 16, (1, 1, 1, 1)), (32, 2, 224), zero_last=False)
    assert backbone.fast.res5[0].c.norm.weight.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slow_sampling": "even"}, "slow_sampling='even': input should be 'aligned' or 'linspace'"),
        ({"norm_momentum": 0}, "norm_momentum must be above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with torch.device("meta"), pytest.raises(ConfigError, match=message):
        create_model("slowfast_r50", 4, **options)


def test_convolutions_are_drawn_by_fan_out():
    torch.manual_seed(0)
    with torch.no_grad():
        weight = SlowFast(SlowFastSize(4, 7), (32, 2, 224)).slow.res5[0].b.conv.weight
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)
