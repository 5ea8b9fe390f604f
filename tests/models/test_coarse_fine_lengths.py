"""Clips shorter than their batch: Grid Pool and Unpool give them what they have on their own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssdet_cli.models import create_model
from ssdet_cli.models.layers.grid_pool import GridPool, grid_positions, grid_unpool, regions, sample_frames, spread
from ssdet_cli.models.layers.temporal_alignment import temporal_alignment

lengths = st.integers(1, 40)


@settings(max_examples=40, deadline=None)
@given(lengths, st.integers(0, 30), st.integers(0, 2**31))
def test_a_padded_clip_is_sampled_and_put_back_as_it_is_alone(length, padding, seed):
    draw = torch.Generator().manual_seed(seed)
    total, real = length + padding, regions(torch.tensor([length]))
    count, whole = int(real), int(regions(torch.tensor(total)))
    confidence = torch.randn(1, whole, generator=draw, dtype=torch.float64) * 4
    frames = torch.randn(total, 2, 1, 1, generator=draw, dtype=torch.float64)
    frames[length:] = torch.nan
    alone, padded = grid_positions(confidence[:, :count]), grid_positions(confidence, real)
    torch.testing.assert_close(padded[:, : count + 1], alone)
    assert (padded[:, count:] == 1).all()

    sampled = sample_frames(frames, padded, total, torch.tensor([length]))
    expected = sample_frames(frames[:length], alone, length)
    torch.testing.assert_close(sampled[: count + 1], expected)
    torch.testing.assert_close(sampled[count:], frames[length - 1 : length].expand(whole + 1 - count, -1, -1, -1))

    values = torch.randn(1, 3, whole + 1, generator=draw, dtype=torch.float64)
    steps = real + 1
    back = spread(grid_unpool(values, padded, whole + 1, steps), total, steps, torch.tensor([length]))
    uniform = grid_unpool(values[..., : count + 1], alone, count + 1)
    expected = F.interpolate(uniform, length, mode="linear", align_corners=True)
    torch.testing.assert_close(back[..., :length], expected)
    torch.testing.assert_close(back[..., length:], back[..., length - 1 : length].expand(-1, -1, padding))


def test_alignment_of_a_padded_clip_is_that_of_the_clip_alone():
    positions, mask = torch.rand(2, 5).sort(1).values, torch.ones(2, 20, dtype=torch.bool)
    start = torch.tensor([3.0, 0.5])
    both = temporal_alignment(positions, 16, mask, start, lengths=torch.tensor([16, 7]))
    torch.testing.assert_close(both[:1], temporal_alignment(positions[:1], 16, mask[:1], start[:1]))
    torch.testing.assert_close(both[1:], temporal_alignment(positions[1:], 7, mask[1:], start[1:]))


def test_gradients_reach_the_confidence_of_a_padded_clip_and_stay_finite():
    pool = GridPool(4)
    frames = torch.randn(2 * 12, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    size = torch.tensor([12, 1])
    sampled, positions = pool(frames, 12, size)
    values = torch.randn(2, 3, positions.shape[1], requires_grad=True)
    steps = regions(size) + 1
    logits = spread(grid_unpool(values, positions, positions.shape[1], steps), 12, steps, size)
    (sampled.square().sum() + logits.square().sum()).backward()
    gradients = [parameter.grad for parameter in pool.parameters()]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert pool.conv3.weight.grad.any()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("coarse_fine_x3d_tiny", 3).eval()


@torch.no_grad()
def test_full_lengths_change_nothing_and_short_ones_hold_the_last_real_logit(network):
    clips = torch.randn(2, 3, 9, 32, 32)
    torch.testing.assert_close(network(clips, lengths=torch.tensor([9, 9])), network(clips))
    clips[1, :, 5:] = clips[1, :, 4:5]
    logits = network(clips, lengths=torch.tensor([9, 5]))
    assert torch.equal(logits[1, :, 5:], logits[1, :, 4:5].expand(-1, 4))
    assert not torch.allclose(logits[1], network(clips)[1])
