"""Coarse-Fine networks against a plain network in the authors' names, written from the paper's formulas."""

import foreign_layouts as foreign
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.models import create_model, list_models, load_weights
from ssdet_cli.models.backbones.x3d import X3D, X3DSize
from ssdet_cli.models.detectors.coarse_fine import build_coarse_fine
from ssdet_cli.models.weights import authors, coarse_fine

CLASSES = 5
STAGES = ("layer1", "layer2", "layer3", "layer4", "conv5")
WIDTHS = foreign.COARSE_WIDTHS


def network(seed=0, **options):
    torch.manual_seed(seed)
    return create_model("coarse_fine_x3d_tiny", CLASSES, **options).eval()


def random_features(batch, frames, seed=5):
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(batch, width, frames, 7, 7, generator=draw).relu()
        for name, width in zip(STAGES, WIDTHS, strict=True)
    }


def pointwise(state, name, x):
    """A convolution of length 1 over (B, D, ...)."""
    y = torch.einsum("bd...,ed->be...", x, state[f"{name}.weight"][..., 0])
    return y + state[f"{name}.bias"].view(1, -1, *[1] * (x.ndim - 2))


def plain_positions(state, x):
    for conv, bn in (("conv1", "bn1"), ("conv2", "bn2")):
        x = F.conv3d(x, *(state[f"pool_1.{conv}.{entry}"] for entry in ("weight", "bias")), stride=2, padding=1)
        norm = {entry: state[f"pool_1.{bn}.{entry}"] for entry in ("weight", "bias")}
        norm |= {entry: state[f"pool_1.{bn}.bn.{entry}"] for entry in ("running_mean", "running_var")}
        x = F.relu(foreign.normalised({"x.norm": norm}, "x", x))
    weight, bias = state["pool_1.conv3.weight"], state["pool_1.conv3.bias"]
    z = F.conv3d(x, weight, bias, stride=(1, 2, 2), padding=(0, 1, 1)).mean((1, 3, 4))
    durations = 1 - torch.sigmoid(z / 2)
    return F.pad((durations / durations.sum(1, keepdim=True)).cumsum(1), (1, 0))


def plain_reweighted(state, level, x, alignment):
    attention = torch.sigmoid(pointwise(state, f"rw{level}.at2", F.relu(pointwise(state, f"rw{level}.at1", x))))
    weights = attention[:, :, :, None] * alignment[:, None, :, :, None, None]  # (B, 1, F, K, h, w)
    return (x[:, :, :, None] * weights).sum(2) / (weights.sum(2) + 1e-6)


def plain_branch(state, level, first, second, x):
    return pointwise(state, f"rw{level}.{second}", F.relu(pointwise(state, f"rw{level}.{first}", x)))


def plain_coarse_fine(net, state, clips, features, lengths, starts):
    """Logits of a batch, everything enlarged to the maps that it changes, clips of 224 × 224."""
    x = F.conv3d(clips, net["stem.space"]["weight"], stride=(1, 2, 2), padding=(0, 1, 1))
    x = F.conv3d(x, net["stem.time"]["weight"], padding=(2, 0, 0), groups=x.shape[1])
    x = plain_stage(net, 1, F.relu(foreign.normalised(net, "stem", x)))
    positions, last = plain_positions(state, x), clips.shape[2] - 1
    x = torch.stack([interpolated(x[b], positions[b] * last, last) for b in range(len(x))])
    fine_frames = features["conv5"].shape[2]
    alignment = torch.zeros(len(x), fine_frames, positions.shape[1])
    for b, length in enumerate(lengths):
        centre = positions[b] * last + starts[b]
        gauss = torch.exp(-((torch.arange(length)[:, None] - centre) ** 2) / (2 * (length / 8) ** 2))
        alignment[b, :length] = gauss / gauss.max(0).values
    sides, pairs = (56, 28, 14, 7), []
    for level, (name, side) in enumerate(zip(STAGES[:4], sides, strict=True), start=2):
        enlarged = F.adaptive_max_pool3d(features[name], (fine_frames, side, side))
        mean = plain_reweighted(state, level, enlarged, alignment)
        pairs.append([plain_branch(state, level, *names, mean) for names in (("fc1", "fc2"), ("fc3", "fc4"))])
    for stage, side in enumerate(sides, start=1):
        x = x if stage == 1 else plain_stage(net, stage, x)
        size = (x.shape[2], side, side)
        shift, scale = (torch.cat([F.adaptive_max_pool3d(pair[i], size) for pair in pairs], 1) for i in (0, 1))
        shift = pointwise(state, f"mix{stage + 1}.conv_at", shift)
        x = x * torch.sigmoid(pointwise(state, f"mix{stage + 1}.conv_at2", scale)) + shift
    x = F.relu(foreign.normalised(net, "conv5", F.conv3d(x, net["conv5"]["weight"]))).mean((3, 4))
    hidden = F.relu(torch.einsum("bct,dc->bdt", x, net["fc1"]["weight"].flatten(1)))
    logits = torch.einsum("bdt,kd->bkt", hidden, net["fc2"]["weight"]) + net["fc2"]["bias"][:, None]
    mean = plain_reweighted(state, 6, features["conv5"], alignment).mean((3, 4))
    scale = torch.sigmoid(plain_branch(state, 6, "fc3", "fc4", mean))
    logits = logits * scale + plain_branch(state, 6, "fc1", "fc2", mean)
    uniform = np.linspace(0, 1, positions.shape[1])
    unpooled = torch.stack(
        [
            torch.stack([torch.from_numpy(np.interp(uniform, positions[b], row)) for row in logits[b]])
            for b in range(len(x))
        ]
    )
    return F.interpolate(unpooled.float(), clips.shape[2], mode="linear", align_corners=True)


def plain_stage(net, stage, x):
    for block in range(foreign.TINY["depths"][stage - 1]):
        x = foreign.x3d_block(net, f"block.{stage}.{block}", x, stride=1 if block else 2)
    return x


def interpolated(x, times, last):
    left = times.long().clamp(max=last - 1)
    share = (times - left)[None, :, None, None]
    return x[:, left] * (1 - share) + x[:, left + 1] * share


def saved(path, state, container="model_state_dict"):
    torch.save({container: state}, path)
    return path


@torch.no_grad()
def test_the_authors_weights_give_the_plain_network(tmp_path):
    net, rest = foreign.random_coarse(CLASSES)
    state = {**foreign.write_authors(net, 1), **rest}
    model = network(seed=1)
    report = load_weights(model.coarse, saved(tmp_path / "coarse.pt", state))
    assert report.layout == coarse_fine.NAME and not report.missing and not report.unexpected
    assert model.backbone.normalization == authors.CHARADES
    draw = torch.Generator().manual_seed(2)
    clips = torch.randn(2, 3, 9, 224, 224, generator=draw)
    features, lengths, starts = random_features(2, 12), [12, 9], [3, 0]
    expected = plain_coarse_fine(net, rest, clips, features, lengths, starts)
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    found = model(clips, features, mask, torch.tensor(starts))
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_batch_of_two_equals_two_batches_of_one_whatever_stands_in_the_padding():
    model = network()
    clips, features = torch.randn(2, 3, 13, 48, 48), random_features(2, 11)
    mask, start = torch.arange(11) < torch.tensor([[11], [6]]), torch.tensor([2, 0])
    alone = [
        model(clips[:1], {name: value[:1] for name, value in features.items()}, None, start[:1]),
        model(clips[1:], {name: value[1:, :, :6] for name, value in features.items()}),
    ]
    for kind in (torch.float32, torch.uint8, torch.int64):  # masks of other code
        torch.testing.assert_close(model(clips, features, mask.to(kind), start), torch.cat(alone))
    for garbage in (0.0, 1e30, float("inf"), float("nan")):
        for value in features.values():
            value[1, :, 6:] = garbage
        torch.testing.assert_close(model(clips, features, mask, start), torch.cat(alone))


@torch.no_grad()
def test_fine_frames_and_their_start_count():
    model = network()
    clips, features = torch.randn(1, 3, 8, 48, 48), random_features(1, 24)
    logits = model(clips, features)
    assert not torch.allclose(logits, model(clips, features, fine_start=torch.tensor([12])))
    assert not torch.allclose(logits, model(clips, {**features, "layer3": features["layer3"] * 2}))


@torch.no_grad()
def test_features_of_the_clip_itself_are_what_it_computes_without():
    model = network()
    clips = torch.randn(1, 3, 8, 64, 64)
    features = model.fine_features(clips)
    stages = model.fine.backbone.forward_stages(clips, STAGES)
    for name, width in zip(STAGES, WIDTHS, strict=True):
        assert features[name].shape == (1, width, 8, 7, 7)
        torch.testing.assert_close(features[name], F.adaptive_avg_pool3d(stages[name], (8, 7, 7)))
    torch.testing.assert_close(model(clips, features), model(clips))


@torch.no_grad()
def test_every_stream_sees_the_clip_normalised_as_its_own_weights_were_trained(tmp_path):
    model = network()
    model.fine.backbone.normalization = authors.KINETICS
    clips = torch.rand(1, 3, 4, 48, 48)

    def normalised(normalization):
        mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in normalization)
        return (clips - mean) / std

    found = model.fine_features(normalised(model.backbone.normalization))
    expected = model.fine.backbone.forward_stages(normalised(authors.KINETICS), ["conv5"])["conv5"]
    torch.testing.assert_close(found["conv5"].mean((3, 4)), F.adaptive_avg_pool3d(expected, (4, 7, 7)).mean((3, 4)))
    copy = network(seed=1)
    load_weights(copy, saved(tmp_path / "cf.pt", model.state_dict(), "model"))
    assert copy.fine.backbone.normalization == authors.KINETICS
    torch.testing.assert_close(copy(clips), model(clips))


@pytest.mark.parametrize(
    ("frames", "height", "width"), [(1, 48, 48), (2, 7, 9), (16, 64, 64), (5, 224, 40), (61, 33, 16), (65, 32, 48)]
)
def test_any_length_and_any_crop_are_taken(frames, height, width):
    model = network()
    with torch.no_grad():
        clips = torch.randn(1, 3, frames, height, width)
        assert model(clips).shape == (1, CLASSES, frames)
        assert model(clips, random_features(1, 140)).shape == (1, CLASSES, frames)


def test_every_parameter_of_the_coarse_stream_learns_and_so_does_the_fine_backbone():
    model = network().train()
    model(torch.randn(2, 3, 8, 64, 64)).square().mean().backward()
    parts = [*model.coarse.named_parameters(), *model.fine.backbone.named_parameters()]
    # A bias just before a batch norm moves nothing: all its gradient is rounding.
    without = [name for name, parameter in parts if parameter.grad is None or not parameter.grad.any()]
    assert without == []
    assert model.coarse.pool.conv3.weight.grad.abs().max() > 1e-6


def test_a_frozen_fine_stream_stays_as_it_is():
    model = network()
    model.fine.requires_grad_(False)
    model.train()
    before = {name: value.clone() for name, value in model.fine.state_dict().items()}
    model(torch.randn(1, 3, 8, 48, 48)).square().mean().backward()
    assert all(torch.equal(value, before[name]) for name, value in model.fine.state_dict().items())
    assert model.coarse.training and not model.fine.training
    assert all(parameter.grad is None for parameter in model.fine.parameters())
    assert all(parameter.grad is not None for parameter in model.coarse.parameters())
    model.fine.requires_grad_(True)
    assert model.train().fine.training


def test_gradient_reaches_the_pixels_through_a_frozen_fine_stream():
    model = network().requires_grad_(False)
    clips = torch.randn(1, 3, 4, 48, 48, requires_grad=True)
    model.fine_features(clips)["conv5"].sum().backward()
    assert clips.grad.any()


def test_parameters_are_as_many_as_in_the_published_network():
    with torch.device("meta"):
        model = create_model("coarse_fine_x3d_m", 157)
    counts = {
        part: sum(parameter.numel() for parameter in model.coarse.get_submodule(part).parameters())
        for part in ("pool", *(f"fusion.reweight.{name}" for name in STAGES[:4]), "fusion.logits", "fusion.mix")
    }
    assert list(counts.values()) == [31_465, 3_025, 11_809, 46_657, 185_473, 697_563, 259_920]
    assert sum(parameter.numel() for parameter in model.coarse.parameters()) == 4_532_327
    assert sum(parameter.numel() for parameter in model.fine.parameters()) == 3_296_415


@torch.no_grad()
def test_the_published_size_runs():
    model = create_model("coarse_fine_x3d_m", 157).eval()
    assert model(torch.randn(1, 3, 16, 64, 64)).shape == (1, 157, 16)


@torch.no_grad()
def test_identity_start_is_the_x3d_at_the_sampled_frames():
    model = network(fusion_init="identity")
    features = random_features(1, 6)
    clips = torch.randn(1, 3, 1, 48, 48).expand(1, 3, 9, 48, 48)  # nothing moves, but for the zeros around
    plain = model.coarse.head(model.backbone.forward_features(clips))
    torch.testing.assert_close(model(clips, features), plain, rtol=0.1, atol=0.05)
    assert not torch.allclose(network()(clips, features), plain, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("stored", [True, False])
def test_bfloat16_by_autocast_is_near_single_precision(stored):
    model = network()
    args = (torch.randn(1, 3, 16, 64, 64), {k: v.half() for k, v in random_features(1, 20).items()})[: 1 + stored]
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(*args)
    logits.sum().backward()
    assert logits.dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in model.coarse.parameters())
    torch.testing.assert_close(logits, model(*args), rtol=0.1, atol=0.03)


def shallow_network():
    """One block in every stage: tracing takes as long as a network is deep."""
    torch.manual_seed(0)
    size = X3DSize((1, 1, 1, 1), (16, 24, 48, 96), 216, hidden=12)
    fine, coarse = (X3D(size, (4, 1, 48), zero_last=False) for _ in range(2))
    return build_coarse_fine(fine, coarse, CLASSES, dropout=0.0)


def test_compiles_as_one_graph_and_gives_the_same():
    model = shallow_network().train()
    mask, start = torch.arange(9) < torch.tensor([[9], [5]]), torch.tensor([0, 2])
    args = torch.randn(2, 3, 6, 48, 48), random_features(2, 9), mask, start
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*args), model(*args), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()


@torch.no_grad()
def test_exports_for_any_batch_and_gives_the_same():
    model = shallow_network().eval()
    clips, batch = torch.randn(2, 3, 6, 48, 48), torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(model, (clips,), dynamic_shapes={"clips": {0: batch}}).module()
    clips = torch.randn(3, 3, 6, 48, 48)
    torch.testing.assert_close(exported(clips), model(clips))


def test_names_are_listed_and_wrong_ones_told():
    assert {"coarse_fine_x3d_m", "coarse_fine_x3d_tiny", "x3d_m"} <= set(list_models())
    with torch.device("meta"):
        assert create_model("coarse_fine_x3d", 3).backbone.stage_channels == (24, 48, 96, 192, 432)
    options = {"norm_momentum": 0.01, "norm_splits": 2, "dropout": 0.25, "sigma_divisor": 4}
    model = network(**options)
    assert model.coarse.sigma_divisor == 4 and model.coarse.fusion.logits.scale.dropout.p == 0.25
    assert model.coarse.pool.norm1.momentum == model.fine.backbone.conv5.norm.momentum == 0.01
    assert type(model.coarse.pool.norm1) is torch.nn.BatchNorm3d and model.backbone.conv5.norm.splits == 2
    for name, wrong, message in (
        ("coarse_fine_x3d_n", {}, "Unknown model 'coarse_fine_x3d_n'. Did you mean 'coarse_fine_x3d_"),
        ("coarse_fine_timm/resnet18", {}, "Unknown model 'coarse_fine_timm/resnet18'"),
        ("coarse_fine_x3d_tiny", {"head": "tgm"}, "has heads of its own"),
        ("coarse_fine_x3d_tiny", {"dropuot": 0.1}, "Did you mean 'dropout'"),
        ("coarse_fine_x3d_tiny", {"fusion_init": "zero"}, "fusion_init"),
        ("coarse_fine_x3d_tiny", {"sigma_divisor": 0}, "sigma_divisor must be above 0, got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            create_model(name, CLASSES, **wrong)


def test_features_that_do_not_fit_are_named():
    model, clips = network(), torch.zeros(1, 3, 4, 48, 48)
    features = random_features(1, 6)
    with pytest.raises(DataError, match=r"'layer2' must be \(1, 24, F, h, w\), got \(1, 48, 6, 7, 7\)"):
        model(clips, {**features, "layer2": features["layer3"]})
    del features["conv5"]
    with pytest.raises(DataError, match="lack 'conv5'; they have layer1, layer2"):
        model(clips, features)
    with pytest.raises(ConfigError, match="which were not given"):
        model(clips, fine_start=torch.tensor([1]))


def test_each_stream_loads_by_itself_and_either_takes_its_own_of_both(tmp_path):
    source, detector = network(seed=1), create_model("x3d_tiny", CLASSES)
    fine = load_weights(network().fine, saved(tmp_path / "fine.pt", detector.state_dict(), "model"))
    assert not fine.missing and not fine.unexpected and not fine.adapted
    both = saved(tmp_path / "both.pt", source.state_dict(), "model")
    for model, stream in ((network().coarse, "coarse"), (network().fine, "fine"), (detector, "fine")):
        report = load_weights(model, both)
        assert not report.missing and report.adapted == (f"the {stream} stream taken of both in the file",)
        expected = source.get_submodule(stream).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    coarse = saved(tmp_path / "coarse.pt", source.coarse.state_dict(), "model")
    report = load_weights(model := network(), coarse)
    assert torch.equal(model.coarse.pool.conv1.weight, source.coarse.pool.conv1.weight)
    assert report.adapted == ("put into the coarse stream, the fine one kept as it was (none in the file)",)
    with pytest.raises(CheckpointError, match=r"coarse\.pt: This is a Coarse-Fine coarse network"):
        load_weights(detector, coarse)


def test_the_authors_two_files_fill_both_streams_one_after_the_other(tmp_path):
    net, rest = foreign.random_coarse(classes=157)
    coarse = saved(tmp_path / "coarse.pt", {**foreign.write_authors(net, 4), **rest})
    fine = saved(tmp_path / "fine.pt", foreign.write_authors(foreign.random_x3d(foreign.TINY, CLASSES, 1), 4))
    model = network()
    load_weights(model.fine, fine)
    before = {name: value.clone() for name, value in model.fine.state_dict().items()}
    report = load_weights(model, coarse)
    assert all(torch.equal(value, before[name]) for name, value in model.fine.state_dict().items())
    assert (model.fine.backbone.normalization, model.backbone.normalization) == (authors.KINETICS, authors.CHARADES)
    left = {name for name in report.missing if not name.startswith("fine.")}
    assert left == {f"coarse.{name}.{entry}" for name in model.coarse.classifier for entry in ("weight", "bias")}
    assert "kept as initialised" not in report.summary() and "the fine one kept as it was" in report.summary()
    other = network()
    load_weights(other.coarse, coarse)
    expected = other.coarse.state_dict()
    assert all(
        torch.equal(value, expected[name])
        for name, value in model.coarse.state_dict().items()
        if not name.startswith(model.coarse.classifier)
    )
    state = torch.load(coarse)["model_state_dict"]
    part = {name: value for name, value in state.items() if not name.startswith("layer3.")}
    with pytest.raises(CheckpointError, match=r"tensors of this model; 'coarse.backbone.layer3.* --allow-partial"):
        load_weights(network(), saved(tmp_path / "part.pt", part))


def test_both_streams_start_from_an_x3d_of_any_layout(tmp_path):
    net = foreign.random_x3d(foreign.TINY, CLASSES + 2)
    path = saved(tmp_path / "x3d.pyth", foreign.write_x3d(net, "slowfast"), "model_state")
    model = create_model("coarse_fine_x3d_tiny", CLASSES, pretrained=path)
    for stream in (model.fine, model.coarse):
        torch.testing.assert_close(stream.backbone.conv5.weight, net["conv5"]["weight"])
        torch.testing.assert_close(stream.head.fc1.weight, net["fc1"]["weight"].flatten(1))
    report = load_weights(network().coarse, path)
    assert {name.partition(".")[0] for name in report.missing} == {"pool", "fusion", "head"}
    assert {name for name in report.missing if name.startswith("head.")} == {"head.fc2.weight", "head.fc2.bias"}
    report = load_weights(network(), path)
    assert not any("_extra_state" in name for name in report.missing)


def test_everything_shaped_by_the_classes_is_replaced_and_said_so(tmp_path):
    net, rest = foreign.random_coarse(CLASSES + 2)
    path = saved(tmp_path / "coarse.pt", {**foreign.write_authors(net, 1), **rest})
    model = network().coarse
    before = {name: model.get_submodule(name).weight.clone() for name in model.classifier}
    report = load_weights(model, path)
    replaced = {f"{name}.{entry}" for name in model.classifier for entry in ("weight", "bias")}
    assert set(report.missing) == set(report.unexpected) == replaced
    assert "kept as initialised" not in report.summary() and "not used" not in report.summary()
    for name in ("head.fc2", "fusion.logits.scale.fc2", "fusion.logits.shift.fc2"):
        assert f"{name} newly initialised (7 classes in the file, 5 here)" in report.adapted
        assert torch.equal(model.get_submodule(name).weight, before[name])
    torch.testing.assert_close(model.fusion.logits.scale.fc1.weight, rest["rw6.fc3.weight"][..., 0])
