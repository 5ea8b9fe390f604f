"""The layers of Coarse-Fine Networks against loops written from the formulas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssdet_cli.models.layers.fusion import AlignedMean, LogitFusion, Reweighting, StageMixing, resize
from ssdet_cli.models.layers.grid_pool import GridPool, grid_positions, grid_unpool, sample_frames
from ssdet_cli.models.layers.temporal_alignment import temporal_alignment

confidences = st.lists(st.floats(-12, 12), min_size=1, max_size=30)
few = settings(max_examples=40, deadline=None)


def double(values):
    return torch.tensor([values], dtype=torch.float64)


def plain_positions(confidence):
    durations = [1 - 1 / (1 + math.exp(-z / 2)) for z in confidence]
    total = sum(durations) + 1e-16
    return [sum(durations[:k]) / total for k in range(len(durations) + 1)]


def random_frames(batch, frames, channels=3, size=2):
    clips = torch.randn(batch, frames, channels, size, size, dtype=torch.float64)
    return clips, clips.flatten(0, 1).contiguous(memory_format=torch.channels_last)


@few
@given(confidences)
def test_the_grid_is_the_sum_of_what_confidence_leaves(confidence):
    expected = double(plain_positions(confidence))
    torch.testing.assert_close(grid_positions(double(confidence)), expected, rtol=0, atol=2e-5)


@few
@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=400), st.sampled_from([torch.float32, torch.bfloat16]))
def test_the_grid_increases_strictly_from_0_to_1_whatever_the_confidences(confidence, dtype):
    grid = grid_positions(torch.tensor([confidence], dtype=dtype))
    assert grid.dtype == torch.float32
    assert grid[0, 0] == 0 and grid[0, -1] == 1
    assert (grid.diff() > 0).all()


@pytest.mark.parametrize(("frames", "regions"), [(1, 1), (2, 1), (16, 4), (61, 16), (64, 16), (65, 17)])
def test_equal_confidences_sample_uniformly(frames, regions):
    clips, stack = random_frames(2, frames)
    sampled = sample_frames(stack, grid_positions(torch.full((2, regions), 0.7, dtype=torch.float64)), frames)
    expected = F.interpolate(clips.flatten(2).transpose(1, 2), regions + 1, mode="linear", align_corners=True)
    torch.testing.assert_close(sampled.unflatten(0, (2, -1)).flatten(2).transpose(1, 2), expected)
    assert sampled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("lengths", [None, torch.tensor([7, 4])])
def test_a_confidence_that_is_no_number_spoils_its_clip_alone_and_raises_nothing(lengths):
    # As weights that a bad batch has spoilt give it: the loss must get to tell, and no other clip may suffer.
    clips, stack = random_frames(2, 7)
    confidence = torch.tensor([[0.3, math.nan], [0.1, 0.4]], dtype=torch.float64)
    positions = grid_positions(confidence)
    sampled = sample_frames(stack, positions, 7, lengths).unflatten(0, (2, -1))
    back = grid_unpool(sampled.flatten(2).transpose(1, 2), positions, 3)
    assert sampled[0].isnan().any() and back[0].isnan().any() and not back[1].isnan().any()
    own = None if lengths is None else lengths[1:]
    assert torch.equal(sampled[1], sample_frames(clips[1], positions[1:], 7, own))


def test_sampling_is_linear_between_the_two_neighbours():
    clips, stack = random_frames(2, 7)
    positions = torch.tensor([[0, 0.1, 0.5, 1.0], [0, 0.33, 0.9, 1.0]], dtype=torch.float64)
    sampled = sample_frames(stack, positions, 7).unflatten(0, (2, -1))
    for b in range(2):
        for k in range(4):
            time = positions[b, k].item() * 6
            left = min(int(time), 5)
            expected = (left + 1 - time) * clips[b, left] + (time - left) * clips[b, left + 1]
            torch.testing.assert_close(sampled[b, k], expected)
    assert torch.equal(sampled[:, 0], clips[:, 0]) and torch.equal(sampled[:, -1], clips[:, -1])


@few
@given(confidences, st.integers(1, 50))
def test_unpooling_interpolates_what_was_sampled(confidence, steps):
    positions = grid_positions(double(confidence))
    values = torch.randn(1, 2, len(confidence) + 1, dtype=torch.float64)
    times = np.linspace(0, 1, steps)
    expected = [np.interp(times, positions[0].numpy(), channel.numpy()) for channel in values[0]]
    np.testing.assert_allclose(grid_unpool(values, positions, steps)[0].numpy(), np.array(expected), atol=1e-9)


@few
@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(0, 2**31))
def test_unpooling_undoes_pooling_of_signals_linear_between_the_samples(durations, seed):
    frames = sum(durations) + 1
    knots = np.cumsum([0, *durations])
    heights = np.random.default_rng(seed).normal(size=len(knots))
    signal = torch.from_numpy(np.interp(np.arange(frames), knots, heights))
    shares = double(durations) / (frames + 1)  # 1 - σ(z / 2), up to a factor
    positions = grid_positions(-2 * torch.logit(shares))
    pooled = sample_frames(signal[:, None, None, None], positions, frames).flatten()[None, None]
    torch.testing.assert_close(grid_unpool(pooled, positions, frames)[0, 0], signal, rtol=0, atol=1e-9)


@few
@given(confidences, st.integers(2, 70))
def test_a_ramp_comes_back_on_any_grid(confidence, frames):
    positions = grid_positions(double(confidence))
    ramp = torch.linspace(-1, 3, frames, dtype=torch.float64)
    pooled = sample_frames(ramp[:, None, None, None], positions, frames).flatten()[None, None]
    unpooled = grid_unpool(pooled, positions, len(confidence) + 1)
    restored = F.interpolate(unpooled, frames, mode="linear", align_corners=True)
    torch.testing.assert_close(restored[0, 0], ramp, rtol=0, atol=1e-9)


def test_positions_get_exact_gradients_from_sampling_alignment_and_unpooling():
    confidence = torch.tensor([[0.3, -1.2, 2.0], [1.0, 0.1, -0.4]], dtype=torch.float64, requires_grad=True)
    _, stack = random_frames(2, 9)
    values = torch.randn(2, 2, 4, dtype=torch.float64)
    mask = torch.ones(2, 6, dtype=torch.bool)

    def sampling(confidence):
        return sample_frames(stack, grid_positions(confidence), 9)

    def alignment(confidence):
        return temporal_alignment(grid_positions(confidence), 9, mask, sigma_divisor=2)

    def unpooling(confidence):
        return grid_unpool(values, grid_positions(confidence), 4)

    for function in (sampling, alignment, unpooling):
        assert torch.autograd.gradcheck(function, (confidence,))
        (gradient,) = torch.autograd.grad((function(confidence) ** 2).sum(), confidence)
        assert (gradient != 0).all()


def test_grid_pool_is_two_convolutions_a_mean_and_the_grid():
    torch.manual_seed(0)
    pool = GridPool(4).double().eval()
    pool.norm1.running_mean.uniform_(-1, 1)
    clips = torch.randn(2, 4, 13, 9, 9, dtype=torch.float64)
    frames = clips.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    hidden = F.conv3d(clips, pool.conv1.weight, pool.conv1.bias, stride=2, padding=1)
    hidden = hidden - pool.norm1.running_mean.view(-1, 1, 1, 1)
    hidden = F.relu(hidden / math.sqrt(1 + 1e-5))
    hidden = F.conv3d(hidden, pool.conv2.weight, pool.conv2.bias, stride=2, padding=1)
    hidden = F.relu(hidden / math.sqrt(1 + 1e-5))
    score = F.conv3d(hidden, pool.conv3.weight, pool.conv3.bias, stride=(1, 2, 2), padding=(0, 1, 1)).mean((1, 3, 4))
    pooled, positions = pool(frames, 13)
    assert positions.shape == (2, 5)
    torch.testing.assert_close(positions, double([plain_positions(z) for z in score.tolist()])[0])
    torch.testing.assert_close(pooled, sample_frames(frames, positions, 13))


def test_alignment_is_a_gaussian_around_the_sampled_frame():
    positions = torch.tensor([[0, 0.3, 1.0], [0, 0.6, 1.0]], dtype=torch.float64)
    start, lengths = [2, 0], [12, 9]
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    weights = temporal_alignment(positions, 8, mask, torch.tensor(start))
    for b in range(2):
        for k in range(3):
            centre, sigma = positions[b, k].item() * 7 + start[b], lengths[b] / 8
            column = [math.exp(-((f - centre) ** 2) / (2 * sigma**2)) for f in range(lengths[b])]
            expected = [value / max(column) for value in column] + [0.0] * (12 - lengths[b])
            torch.testing.assert_close(weights[b, :, k], torch.tensor(expected, dtype=torch.float64))


@few
@given(st.integers(1, 200), st.integers(0, 300), st.integers(0, 63))
def test_the_heaviest_fine_frame_is_the_one_that_the_step_shows(length, start, frame):
    mask = torch.arange(220)[None] < length
    weights = temporal_alignment(torch.tensor([[frame / 63]]), 64, mask, torch.tensor([start]))[0, :, 0]
    assert weights.argmax() == min(start + frame, length - 1)
    assert weights.max() == 1 and not weights[length:].any() and weights.isfinite().all()


def test_a_video_without_fine_frames_has_no_weights_and_no_nan():
    weights = temporal_alignment(torch.tensor([[0.0, 1.0]], requires_grad=True), 8, torch.zeros(1, 5, dtype=torch.bool))
    assert not weights.any()
    mean = AlignedMean(3)(torch.randn(1, 3, 5, 2, 2), weights)
    assert not mean.any()
    mean.sum().backward()


def plain_mean(layer, features, alignment):
    """Σ x·a·G / (Σ a·G + 1e-6), one step and one point after the other."""
    batch, channels, frames, height, width = features.shape
    mean = features.new_zeros(batch, alignment.shape[2], height, width, channels)
    for b, k, i, j in np.ndindex(*mean.shape[:4]):
        total, weight = 0, 0
        for f in range(frames):
            x = features[b, :, f, i, j]
            hidden = F.relu(layer.hidden.weight @ x + layer.hidden.bias)
            a = torch.sigmoid(layer.score.weight[0] @ hidden + layer.score.bias[0]) * alignment[b, f, k]
            total, weight = total + x * a, weight + a
        mean[b, k, i, j] = total / (weight + 1e-6)
    return mean


def plain_two_layers(layer, values):
    return F.relu(values @ layer.fc1.weight.T + layer.fc1.bias) @ layer.fc2.weight.T + layer.fc2.bias


def test_reweighting_equals_loops_over_frames_steps_and_points():
    torch.manual_seed(0)
    layer = Reweighting(5).double()
    features, alignment = torch.randn(2, 5, 6, 2, 3).double(), torch.rand(2, 6, 4).double()
    mean = plain_mean(layer.mean, features, alignment)
    scale, shift = layer(features, alignment)
    torch.testing.assert_close(scale, plain_two_layers(layer.scale, mean))
    torch.testing.assert_close(shift, plain_two_layers(layer.shift, mean))


def test_stored_points_then_enlarged_equal_enlarged_points():
    torch.manual_seed(0)
    first, second, mix = Reweighting(3).double(), Reweighting(4).double(), StageMixing(7, 6).double()
    one, other, alignment = torch.randn(2, 3, 5, 7, 7), torch.randn(2, 4, 5, 7, 7), torch.rand(2, 5, 4).double()
    frames = torch.randn(8, 6, 56, 56, dtype=torch.float64)

    def run(enlarge):
        pairs = [layer(enlarge(x.double()), alignment) for layer, x in ((first, one), (second, other))]
        return mix(frames, *(torch.cat(part, -1) for part in zip(*pairs, strict=True)))

    enlarged = run(lambda x: F.adaptive_max_pool3d(x, (5, 56, 56)))
    torch.testing.assert_close(run(lambda x: x), enlarged)


def test_mixing_scales_by_a_sigmoid_and_shifts():
    torch.manual_seed(0)
    mix = StageMixing(5, 3).double()
    frames, scale, shift = (torch.randn(*shape).double() for shape in ((4, 3, 4, 2), (2, 2, 4, 2, 5), (2, 2, 4, 2, 5)))
    factor = torch.sigmoid(scale @ mix.scale.weight.T + mix.scale.bias).flatten(0, 1).permute(0, 3, 1, 2)
    offset = (shift @ mix.shift.weight.T + mix.shift.bias).flatten(0, 1).permute(0, 3, 1, 2)
    torch.testing.assert_close(mix(frames, scale, shift), frames * factor + offset)


def test_fused_logits_are_scaled_and_shifted_class_by_class():
    torch.manual_seed(0)
    fusion = LogitFusion(5, 3).double().eval()
    logits, features, alignment = (
        torch.randn(2, 3, 4).double(),
        torch.randn(2, 5, 6, 2, 2).double(),
        torch.rand(2, 6, 4),
    )
    mean = plain_mean(fusion.mean, features, alignment.double()).mean((2, 3))
    scale = torch.sigmoid(plain_two_layers(fusion.scale, mean)).transpose(1, 2)
    expected = logits * scale + plain_two_layers(fusion.shift, mean).transpose(1, 2)
    torch.testing.assert_close(fusion(logits, features, alignment.double()), expected)


def test_fusion_of_logits_drops_out_while_training_only():
    fusion = LogitFusion(64, 2, dropout=0.5)
    inputs = torch.zeros(1, 2, 3), torch.randn(1, 64, 6, 2, 2), torch.rand(1, 6, 3)
    assert not torch.equal(fusion(*inputs), fusion(*inputs))
    fusion.eval()
    assert torch.equal(fusion(*inputs), fusion(*inputs))


def test_identity_start_changes_next_to_nothing_and_can_be_learned():
    mix, fusion = StageMixing(5, 3, init="identity"), LogitFusion(5, 3, init="identity").eval()
    frames, raw = torch.randn(4, 3, 6, 6), torch.randn(2, 2, 3, 3, 5)
    torch.testing.assert_close(mix(frames, raw, raw), frames, rtol=0.02, atol=1e-6)
    logits = torch.randn(2, 3, 4)
    fused = fusion(logits, torch.randn(2, 5, 6, 2, 2), torch.rand(2, 6, 4))
    torch.testing.assert_close(fused, logits, rtol=0.02, atol=1e-6)
    (mix(frames, raw, raw).square().sum() + fused.square().sum()).backward()
    assert mix.scale.weight.grad.any() and mix.shift.weight.grad.any()
    assert fusion.scale.fc2.weight.grad.any() and fusion.shift.fc2.weight.grad.any()


def test_maps_grow_by_repetition_and_shrink_by_means():
    maps = torch.arange(4.0).view(1, 1, 2, 2)
    assert resize(maps, torch.Size((4, 4)))[0, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert resize(maps, torch.Size((1, 1))).item() == 1.5
    assert resize(maps, torch.Size((4, 1))).shape == (1, 1, 4, 1)
    assert resize(maps, maps.shape[2:]) is maps
