import math

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model, list_models
from ssdet_cli.models.backbones.info import INFO
from ssdet_cli.models.backbones.x3d import X3D, X3DSize, squeeze_width
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads.linear import LinearHead

SMALL = X3DSize((3, 1, 2, 1), (8, 8, 16, 24), 20, hidden=12)


def small_detector(seed=0, classes=5):
    torch.manual_seed(seed)
    backbone = X3D(SMALL, (4, 1, 32), zero_last=False)
    model = FrameDetector(backbone, LinearHead(backbone.num_features, classes, hidden=backbone.head_hidden))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
    return model.double()


def plain_norm(state, prefix, clips, training):
    weight, bias, mean, variance = (
        state[f"{prefix}.norm.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
    )
    if training:
        mean = clips.mean((0, 2, 3, 4))
        variance = ((clips - mean.view(1, -1, 1, 1, 1)) ** 2).mean((0, 2, 3, 4))
    scale = weight / torch.sqrt(variance + 1e-5)
    return (clips - mean.view(1, -1, 1, 1, 1)) * scale.view(1, -1, 1, 1, 1) + bias.view(1, -1, 1, 1, 1)


def plain_block(state, prefix, clips, training, first, squeezes):
    stride = (1, 2, 2) if first else 1
    depthwise = state[f"{prefix}.conv_b.weight"]
    hidden = F.relu(plain_norm(state, f"{prefix}.conv_a", F.conv3d(clips, state[f"{prefix}.conv_a.weight"]), training))
    hidden = F.conv3d(hidden, depthwise, stride=stride, padding=1, groups=len(depthwise))
    hidden = plain_norm(state, f"{prefix}.conv_b", hidden, training)
    if squeezes:
        pooled = hidden.mean((2, 3, 4))
        pooled = F.relu(pooled @ state[f"{prefix}.squeeze.reduce.weight"].T + state[f"{prefix}.squeeze.reduce.bias"])
        gate = torch.sigmoid(
            pooled @ state[f"{prefix}.squeeze.expand.weight"].T + state[f"{prefix}.squeeze.expand.bias"]
        )
        hidden = hidden * gate[:, :, None, None, None]
    hidden = hidden * torch.sigmoid(hidden)
    hidden = plain_norm(state, f"{prefix}.conv_c", F.conv3d(hidden, state[f"{prefix}.conv_c.weight"]), training)
    if first:
        shortcut = F.conv3d(clips, state[f"{prefix}.shortcut.weight"], stride=stride)
        clips = plain_norm(state, f"{prefix}.shortcut", shortcut, training)
    return F.relu(hidden + clips)


def plain_stages(state, clips, depths, training):
    """X3D written down once more, on (B, C, T, H, W), from the table of the paper."""
    clips = F.conv3d(clips, state["stem_space.weight"], stride=(1, 2, 2), padding=(0, 1, 1))
    temporal = state["stem_time.weight"]
    clips = F.conv3d(clips, temporal, padding=(2, 0, 0), groups=len(temporal))
    clips = F.relu(plain_norm(state, "stem_time", clips, training))
    outputs = {}
    for stage, depth in enumerate(depths, start=1):
        for index in range(depth):
            clips = plain_block(state, f"layer{stage}.{index}", clips, training, index == 0, index % 2 == 0)
        outputs[f"layer{stage}"] = clips
    clips = F.relu(plain_norm(state, "conv5", F.conv3d(clips, state["conv5.weight"]), training))
    return {**outputs, "conv5": clips}


@pytest.mark.parametrize(("training", "gradients"), [(True, True), (False, True), (False, False)])
def test_every_stage_equals_a_plain_implementation(training, gradients):
    backbone = small_detector().backbone.train(training)
    clips = torch.randn(2, 3, 5, 40, 36, dtype=torch.float64)
    expected = plain_stages(backbone.state_dict(), clips, SMALL.depths, training)
    with torch.set_grad_enabled(gradients):
        found = backbone.forward_stages(clips, backbone.stage_names)
    assert list(found) == list(backbone.stage_names)
    for name in backbone.stage_names:
        torch.testing.assert_close(found[name], expected[name])


def test_every_parameter_gets_the_gradient_of_the_plain_implementation():
    backbone = small_detector().backbone.train()
    clips = torch.randn(2, 3, 3, 33, 34, dtype=torch.float64)
    state = {name: value.detach().clone().requires_grad_() for name, value in backbone.named_parameters()}
    plain = plain_stages({**backbone.state_dict(), **state}, clips, SMALL.depths, True)["conv5"].mean((3, 4))
    weights = torch.randn_like(plain)
    (plain * weights).sum().backward()
    (backbone.forward_features(clips) * weights).sum().backward()
    for name, parameter in backbone.named_parameters():
        torch.testing.assert_close(parameter.grad, state[name].grad, msg=name)


def test_logits_are_the_head_applied_to_every_frame_by_itself():
    model = small_detector().eval()
    clips = torch.randn(1, 3, 4, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        features = model.backbone.forward_features(clips)
        logits = model(clips)
        hidden = F.relu(torch.einsum("bct,dc->bdt", features, model.head.fc1.weight))
        expected = torch.einsum("bdt,kd->bkt", hidden, model.head.fc2.weight) + model.head.fc2.bias[:, None]
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize(
    ("inner", "width"), [(54, 8), (72, 8), (108, 8), (162, 16), (216, 16), (306, 24), (432, 32), (630, 40)]
)
def test_squeeze_width_follows_the_rounding_rule(inner, width):
    assert squeeze_width(inner) == width


@pytest.mark.parametrize("name", INFO)
def test_parameters_and_cost_equal_the_table(name):
    info = INFO[name]
    with torch.device("meta"):
        model = create_model(name, 400).eval()
        clip = torch.empty(1, 3, info.frames, info.crop, info.crop)
    assert sum(parameter.numel() for parameter in model.parameters()) == info.parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert model(clip).shape == (1, 400, info.frames)
    assert counter.get_total_flops() / 2e9 == pytest.approx(info.gmacs, abs=6e-4)


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
        model = create_model(name, num_classes=157)
    assert sum(parameter.numel() for parameter in model.parameters()) == with_157
    assert INFO[name].parameters == with_400
    assert name in list_models()


def test_x3d_m_answers_for_every_frame():
    model = create_model("x3d", 157).eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 3, 64, 64)).shape == (1, 157, 3)
    assert model.backbone.stage_channels == (24, 48, 96, 192, 432)
    assert (model.backbone.num_features, model.backbone.head_hidden) == (432, 2048)


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 32, 32), (3, 33, 47), (7, 1, 1), (2, 64, 31)])
def test_any_length_and_any_crop_are_taken(frames, height, width):
    model = create_model("x3d_tiny", 4).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, frames, height, width))
        stages = model.backbone.forward_stages(torch.randn(1, 3, frames, height, width), ["layer4", "layer1"])
    assert logits.shape == (1, 4, frames)
    assert stages["layer1"].shape == (1, 16, frames, math.ceil(height / 4), math.ceil(width / 4))
    assert stages["layer4"].shape == (1, 96, frames, math.ceil(height / 32), math.ceil(width / 32))


def test_scores_of_a_clip_do_not_depend_on_its_batch():
    model = small_detector().eval()
    clips = torch.randn(3, 3, 5, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model(clips)[1:2], model(clips[1:2]))


def test_folded_norms_give_the_scores_of_separate_ones():
    model = small_detector().eval()
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        folded = model(clips)
    torch.testing.assert_close(folded, model(clips).detach())


def test_input_is_not_changed():
    model = create_model("x3d_tiny", 4)
    clips = torch.randn(2, 3, 4, 32, 32)
    before = clips.clone()
    model(clips)
    assert torch.equal(clips, before)


@pytest.mark.parametrize("training", [True, False])
def test_compiles_as_one_graph_and_gives_the_same(training):
    model = small_detector().train(training)
    model.head.dropout.p = 0.0
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(training):
        torch.testing.assert_close(compiled(clips), model(clips))
    torch._dynamo.reset()


def test_compiles_where_the_last_maps_are_single_pixels():
    torch.manual_seed(0)
    model = create_model("x3d_tiny", 3, dropout=0.0).train()
    clips = torch.randn(2, 3, 8, 32, 32)
    gradients = []
    for network in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        network(clips).square().sum().backward()
        gradients.append(model.backbone.layer4[1].conv_b.weight.grad.clone())
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    torch._dynamo.reset()


def test_exports_and_gives_the_same():
    model = small_detector().eval()
    clips = torch.randn(2, 3, 4, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        exported = torch.export.export(model, (clips,)).module()
        torch.testing.assert_close(exported(clips), model(clips))


def test_bfloat16_by_conversion_and_by_autocast():
    clips = torch.randn(2, 3, 4, 32, 32)
    model = create_model("x3d_tiny", 4)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(clips).float().square().mean()
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert all(parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    with torch.no_grad():
        assert model.eval().bfloat16()(clips.bfloat16()).dtype == torch.bfloat16


def test_initialisation_is_the_published_recipe():
    torch.manual_seed(0)
    model = create_model("x3d_m", 400)
    block = model.backbone.layer4[3]
    assert block.conv_b.weight.std().item() == pytest.approx(math.sqrt(2 / (432 * 27)), rel=0.05)
    assert block.conv_a.weight.std().item() == pytest.approx(math.sqrt(2 / 432), rel=0.05)
    assert model.head.fc1.weight.std().item() == pytest.approx(math.sqrt(2 / 2048), rel=0.05)
    assert model.head.fc2.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not block.conv_c.norm.weight.any() and (block.conv_b.norm.weight == 1).all()
    assert not model.head.fc2.bias.any() and not model.backbone.layer1[0].squeeze.reduce.bias.any()
    assert create_model("x3d_tiny", 4, zero_last=False).backbone.layer1[0].conv_c.norm.weight.all()


def test_one_step_along_the_gradient_lowers_the_loss():
    torch.manual_seed(0)
    model = create_model("x3d_tiny", 3, dropout=0.0)
    clips, labels = torch.randn(4, 3, 4, 32, 32), torch.tensor([0, 1, 2, 0])[:, None].expand(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = F.cross_entropy(model(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_unknown_stage_and_bad_momentum_are_named():
    backbone = create_model("x3d_tiny", 4).backbone
    with pytest.raises(ConfigError, match="Unknown stage 'layer9'. Known: layer1, layer2"):
        backbone.forward_stages(torch.zeros(1, 3, 1, 32, 32), ["layer9"])
    with pytest.raises(ConfigError, match="norm_momentum must be above 0 and at most 1, got 2"):
        create_model("x3d_tiny", 4, norm_momentum=2)
