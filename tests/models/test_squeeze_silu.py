import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssdet_cli.models.layers.squeeze_silu import squeeze_silu

SHAPES = st.tuples(*(st.integers(1, high) for high in (3, 4, 3, 4, 4)))


def draw_tensors(shape, width, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    batch, channels, frames, height, w = shape
    sizes = [(batch * frames, channels, height, w), (width, channels), (width,), (channels, width), (channels,)]
    tensors = [torch.randn(size, generator=generator, dtype=dtype) for size in sizes]
    tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    return [tensor.requires_grad_() for tensor in tensors]


def reference(frames, num_frames, w1, b1, w2, b2):
    clips = frames.unflatten(0, (-1, num_frames))
    hidden = F.relu(clips.mean((1, 3, 4)) @ w1.T + b1)
    scaled = clips * torch.sigmoid(hidden @ w2.T + b2)[:, None, :, None, None]
    return (scaled * torch.sigmoid(scaled)).flatten(0, 1)


@settings(deadline=None, max_examples=25)
@given(SHAPES, st.integers(1, 3), st.integers(0, 99))
def test_output_and_gradients_equal_those_of_the_plain_operations(shape, width, seed):
    tensors = draw_tensors(shape, width, seed)
    found, expected = (function(tensors[0], shape[2], *tensors[1:]) for function in (squeeze_silu, reference))
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    for mine, theirs in zip(*(torch.autograd.grad(y, tensors, gradient) for y in (found, expected)), strict=True):
        torch.testing.assert_close(mine, theirs)


@settings(deadline=None, max_examples=8)
@given(SHAPES, st.integers(0, 99))
def test_gradients_agree_with_finite_differences(shape, seed):
    frames, *gate = draw_tensors(shape, 2, seed)
    assert torch.autograd.gradcheck(lambda x, *rest: squeeze_silu(x, shape[2], *rest), (frames, *gate))


def test_float32_gradients_stay_within_rounding():
    tensors = draw_tensors((2, 16, 4, 6, 6), 8, 0, torch.float32)
    exact = [tensor.detach().double().requires_grad_() for tensor in tensors]
    found = torch.autograd.grad(squeeze_silu(tensors[0], 4, *tensors[1:]).sum(), tensors)
    expected = torch.autograd.grad(reference(exact[0], 4, *exact[1:]).sum(), exact)
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())


def test_without_gradients_and_under_autocast_it_is_the_same():
    tensors = draw_tensors((2, 8, 3, 4, 4), 4, 1, torch.float32)
    expected = reference(tensors[0], 3, *tensors[1:])
    with torch.no_grad():
        torch.testing.assert_close(squeeze_silu(tensors[0], 3, *tensors[1:]), expected)
    before = tensors[0].detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        output = squeeze_silu(tensors[0], 3, *tensors[1:])
    output.float().sum().backward()
    torch.testing.assert_close(output.float(), expected, rtol=0.05, atol=0.1)
    assert torch.equal(tensors[0], before) and all(tensor.grad.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize("wanted", range(5))
def test_a_single_gradient_can_be_asked_for(wanted):
    tensors = [tensor.detach() for tensor in draw_tensors((1, 4, 2, 3, 3), 2, 2)]
    tensors[wanted].requires_grad_()
    found, expected = (function(tensors[0], 2, *tensors[1:]).sum() for function in (squeeze_silu, reference))
    torch.testing.assert_close(*(torch.autograd.grad(y, tensors[wanted])[0] for y in (found, expected)))
