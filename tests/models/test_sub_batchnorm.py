import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ssdet_cli.errors import ConfigError
from ssdet_cli.models import create_model
from ssdet_cli.models.layers.frames import to_clips, to_frames
from ssdet_cli.models.layers.sub_batchnorm import SubBatchNorm, pooled_statistics, set_norm_splits
from ssdet_cli.models.weights.fingerprint import fingerprint


def channels_last_frames(clips, channels, num_frames, side, seed=0):
    torch.manual_seed(seed)
    shift = torch.randn(clips, channels, 1, 1, 1, dtype=torch.float64)
    return to_frames(torch.randn(clips, channels, num_frames, side, side, dtype=torch.float64) * 2 + shift)


def split_norm(channels, splits, seed=1):
    torch.manual_seed(seed)
    norm = SubBatchNorm(channels, splits, momentum=0.3).double()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.uniform_(norm.bias, -1, 1)
    return norm


@settings(max_examples=15, deadline=None)
@given(splits=st.integers(1, 4), share=st.integers(1, 3), channels=st.integers(1, 5), num_frames=st.integers(1, 4))
def test_training_equals_one_batch_norm_per_split(splits, share, channels, num_frames):
    frames = channels_last_frames(splits * share, channels, num_frames, 3).requires_grad_()
    norm = split_norm(channels, splits)
    output = norm(frames, num_frames)
    weights = torch.randn_like(output)
    gradient, *of_affine = torch.autograd.grad((output * weights).sum(), [frames, norm.weight, norm.bias])
    clips, clip_weights = to_clips(frames, num_frames), to_clips(weights, num_frames)
    plain_affine = [torch.zeros_like(norm.weight), torch.zeros_like(norm.bias)]
    for split in range(splits):
        plain = nn.BatchNorm3d(channels, momentum=0.3).double()
        plain.load_state_dict({**plain.state_dict(), "weight": norm.weight.data, "bias": norm.bias.data})
        part = clips[split::splits].detach().requires_grad_()
        expected = plain(part)
        torch.testing.assert_close(to_clips(output, num_frames)[split::splits], expected)
        (expected * clip_weights[split::splits]).sum().backward()
        torch.testing.assert_close(to_clips(gradient, num_frames)[split::splits], part.grad, atol=1e-9, rtol=1e-7)
        torch.testing.assert_close(norm.split_mean[split], plain.running_mean)
        torch.testing.assert_close(norm.split_var[split], plain.running_var)
        plain_affine = [
            total + part for total, part in zip(plain_affine, (plain.weight.grad, plain.bias.grad), strict=True)
        ]
    torch.testing.assert_close(of_affine, plain_affine)


@settings(max_examples=25, deadline=None)
@given(splits=st.integers(1, 6), size=st.integers(1, 9))
def test_pooled_statistics_are_those_of_all_values(splits, size):
    values = torch.randn(splits, size, 3, dtype=torch.float64) * torch.rand(3) + torch.randn(splits, 1, 3)
    mean, variance = pooled_statistics(values.mean(1), values.var(1, correction=0))
    torch.testing.assert_close(mean, values.flatten(0, 1).mean(0))
    torch.testing.assert_close(variance, values.flatten(0, 1).var(0, correction=0))


def test_evaluation_and_state_dict_use_the_aggregated_statistics():
    norm = split_norm(2, 2)
    norm.split_mean.copy_(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    norm.split_var.copy_(torch.tensor([[1.0, 1.0], [3.0, 1.0]]))
    expected = (torch.tensor([1.0, 3.0]).double(), torch.tensor([3.0, 5.0]).double())
    saved = copy.deepcopy(norm).state_dict()
    torch.testing.assert_close((saved["running_mean"], saved["running_var"]), expected)
    norm.eval()
    torch.testing.assert_close((norm.running_mean, norm.running_var), expected)
    frames = channels_last_frames(3, 2, 2, 2)
    plain = nn.BatchNorm2d(2).double().eval()
    plain.load_state_dict({name: value for name, value in saved.items() if not name.startswith("split_")})
    torch.testing.assert_close(norm(frames, 2), plain(frames))


def test_layout_stays_channels_last_and_nothing_else_is_kept_for_the_backward_pass():
    frames = channels_last_frames(4, 6, 2, 4).requires_grad_()
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: sizes.append(kept) or kept, lambda kept: kept):
        output = split_norm(6, 2)(frames, 2)
    assert output.is_contiguous(memory_format=torch.channels_last)
    large = {kept.data_ptr() for kept in sizes if kept.numel() >= frames.numel()}
    assert len(large) == 1


def test_half_precision_keeps_statistics_in_single():
    frames = channels_last_frames(4, 3, 2, 4).to(torch.bfloat16)
    norm = SubBatchNorm(3, 2)
    assert norm(frames, 2).dtype == torch.bfloat16
    assert norm.split_mean.dtype == torch.float32


def test_a_batch_that_cannot_be_cut_names_both_numbers():
    model = create_model("x3d_tiny", 3, norm_splits=4)
    with pytest.raises(ConfigError, match=r"batch of 6 clips cannot be cut into 4 splits \(model.norm_splits\)"):
        model(torch.randn(6, 3, 2, 32, 32))
    assert model.eval()(torch.randn(6, 3, 2, 32, 32)).shape == (6, 3, 2)
    with pytest.raises(ConfigError, match="norm_splits must be at least 1, got 0"):
        create_model("x3d_tiny", 3, norm_splits=0)


def trained(splits, steps=2):
    torch.manual_seed(0)
    model = create_model("x3d_tiny", 3, norm_splits=splits).train()
    for _ in range(steps):
        model(torch.randn(4, 3, 2, 32, 32)).mean().backward()
    return model


@pytest.mark.parametrize("target_splits", [1, 2, 4])
def test_state_dicts_go_between_split_counts(target_splits):
    source = trained(2)
    target = create_model("x3d_tiny", 3, norm_splits=target_splits)
    target.load_state_dict(source.state_dict())
    clips = torch.randn(3, 3, 2, 32, 32)
    torch.testing.assert_close(target.eval()(clips), source.eval()(clips))
    if target_splits == 1:
        assert not any("split" in name for name in target.state_dict())
        assert type(target.backbone.conv5.norm) is nn.BatchNorm2d
    back = create_model("x3d_tiny", 3, norm_splits=2)
    back.load_state_dict(target.state_dict())
    torch.testing.assert_close(back.eval()(clips), source(clips))


def test_same_split_count_comes_back_bit_for_bit():
    source = trained(2)
    target = create_model("x3d_tiny", 3, norm_splits=2)
    target.load_state_dict(source.state_dict())
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())
    assert source.backbone.conv5.norm.split_mean.shape == (2, 216)  # conv5 is split too
    assert not torch.equal(*source.backbone.conv5.norm.split_mean)


def test_weights_have_one_fingerprint_whatever_they_were_split_into():
    backbone = create_model("x3d_tiny", 3, norm_splits=2).backbone.train()
    backbone(torch.randn(2, 3, 4, 32, 32))
    told = fingerprint(backbone)
    for splits in (1, 4):
        other = create_model("x3d_tiny", 5, norm_splits=splits).backbone
        assert fingerprint(other) != told
        other.load_state_dict(backbone.state_dict())
        assert fingerprint(other) == told
    backbone(torch.randn(2, 3, 4, 32, 32))  # other statistics
    assert fingerprint(backbone) != told


def test_changing_the_count_in_place_seeds_from_the_aggregate():
    model = trained(2)
    before = {name: value.clone() for name, value in model.eval().state_dict().items()}
    parameters = {name: id(value) for name, value in model.named_parameters()}
    for splits in (4, 1, 3):
        set_norm_splits(model, splits)
        norm = model.backbone.conv5.norm
        assert norm.splits == splits
        torch.testing.assert_close(norm.split_var, before["backbone.conv5.norm.running_var"].expand(splits, -1))
        torch.testing.assert_close(
            model.eval().state_dict()["backbone.conv5.norm.running_mean"], before["backbone.conv5.norm.running_mean"]
        )
    assert {name: id(value) for name, value in model.named_parameters()} == parameters
    model.train()(torch.randn(3, 3, 2, 32, 32))


def test_ordinary_norms_can_be_split_later():
    model = trained(1)
    clips = torch.randn(2, 3, 2, 32, 32)
    expected = model.eval()(clips)
    set_norm_splits(model, 2)
    torch.testing.assert_close(model.eval()(clips), expected)
    assert model.backbone.conv5.norm.splits == 2


def test_averaged_weights_evaluate_with_their_own_splits():
    model = create_model("x3d_tiny", 3, norm_splits=2).train()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    for _ in range(3):
        model(torch.randn(2, 3, 2, 32, 32))
        average.update_parameters(model)
    norm = average.module.eval().backbone.conv5.norm
    torch.testing.assert_close(
        (norm.running_mean, norm.running_var), pooled_statistics(norm.split_mean, norm.split_var)
    )
    assert not torch.equal(norm.split_mean, model.backbone.conv5.norm.split_mean)


def test_training_compiles_without_a_break():
    torch.manual_seed(0)
    norm, frames = split_norm(4, 2), channels_last_frames(4, 4, 2, 3)
    other = copy.deepcopy(norm)
    compiled = torch.compile(norm, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(frames, 2), other(frames, 2))
    torch.testing.assert_close(norm.split_var, other.split_var)
