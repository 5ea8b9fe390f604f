import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssdet_cli.models.layers.depthwise import depthwise_conv3d
from ssdet_cli.models.layers.frames import to_clips, to_frames

SHAPES = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5))
KERNELS = st.sampled_from([(3, 3, 3), (5, 1, 1), (1, 3, 3), (5, 3, 3)])


def draw_tensors(shape, kernel, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    batch, channels, frames, height, width = shape
    stack = torch.randn(batch * frames, channels, height, width, generator=generator, dtype=dtype)
    weight = torch.randn(channels, 1, *kernel, generator=generator, dtype=dtype, requires_grad=True)
    return stack.contiguous(memory_format=torch.channels_last).requires_grad_(), weight


def reference(stack, weight, num_frames, stride):
    clips = stack.unflatten(0, (-1, num_frames)).transpose(1, 2)
    padding = [size // 2 for size in weight.shape[2:]]
    output = F.conv3d(clips, weight, stride=(1, stride, stride), padding=padding, groups=len(weight))
    return output.transpose(1, 2).flatten(0, 1)


@settings(deadline=None, max_examples=30)
@given(SHAPES, KERNELS, st.integers(1, 4), st.integers(0, 99))
def test_output_and_gradients_equal_those_of_the_plain_convolution(shape, kernel, stride, seed):
    stack, weight = draw_tensors(shape, kernel, seed)
    expected = reference(stack, weight, shape[2], stride)
    found = depthwise_conv3d(stack, weight, shape[2], stride)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, (stack, weight), gradient), torch.autograd.grad(expected, (stack, weight), gradient)
    )


@settings(deadline=None, max_examples=10)
@given(SHAPES, st.integers(1, 2), st.integers(0, 99))
def test_gradients_agree_with_finite_differences(shape, stride, seed):
    stack, weight = draw_tensors(shape, (3, 3, 3), seed)
    assert torch.autograd.gradcheck(lambda x, w: depthwise_conv3d(x, w, shape[2], stride), (stack, weight))


@settings(deadline=None, max_examples=15)
@given(SHAPES, KERNELS, st.integers(1, 2), st.integers(0, 99))
def test_a_relu_in_place_before_it_equals_one_apart(shape, kernel, stride, seed):
    stack, weight = draw_tensors(shape, kernel, seed)
    expected = reference(F.relu(stack), weight, shape[2], stride)
    before = stack * 1
    found = depthwise_conv3d(before, weight, shape[2], stride, relu=True)
    torch.testing.assert_close(found, expected)
    assert (before >= 0).all()
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), (stack, weight)),
        torch.autograd.grad(expected.square().sum(), (stack, weight)),
    )


def test_whoever_kept_frames_that_a_relu_overwrote_is_told():
    stack, weight = draw_tensors((1, 2, 3, 4, 4), (3, 3, 3), 0)
    before = stack * 1
    kept = before.square()
    output = depthwise_conv3d(before, weight, 3, relu=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (kept.sum() + output.sum()).backward()


@pytest.mark.parametrize("wanted", [0, 1])
def test_only_the_gradient_asked_for_is_made(wanted):
    tensors = list(draw_tensors((1, 2, 3, 4, 4), (3, 3, 3), 0))
    tensors[1 - wanted] = tensors[1 - wanted].detach()
    depthwise_conv3d(*tensors, 3).sum().backward()
    assert tensors[wanted].grad.abs().sum() > 0
    assert tensors[1 - wanted].grad is None


def test_bias_is_added_with_and_without_gradients():
    stack, weight = draw_tensors((2, 3, 4, 5, 5), (3, 3, 3), 1)
    bias = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    expected = reference(stack, weight, 4, 1) + bias[:, None, None]
    torch.testing.assert_close(depthwise_conv3d(stack, weight, 4, 1, bias), expected)
    with torch.no_grad():
        torch.testing.assert_close(depthwise_conv3d(stack, weight, 4, 1, bias), expected)


def test_autocast_computes_in_bfloat16_and_gives_gradients_in_float32():
    stack, weight = draw_tensors((2, 4, 3, 4, 4), (3, 3, 3), 2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = depthwise_conv3d(stack, weight, 3)
    output.float().sum().backward()
    assert output.dtype == torch.bfloat16
    assert weight.grad.dtype == stack.grad.dtype == torch.float32
    expected = torch.autograd.grad(reference(stack, weight, 3, 1).sum(), weight)[0]
    torch.testing.assert_close(weight.grad, expected, atol=0.2, rtol=0.05)


@pytest.mark.parametrize("batch", [1, 2])
def test_frames_and_clips_are_views_of_the_same_memory(batch):
    frames = torch.randn(batch * 4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    clips = to_clips(frames, 4)
    assert clips.shape == (batch, 3, 4, 5, 6)
    assert torch.equal(clips[batch - 1, :, 2], frames[(batch - 1) * 4 + 2])
    assert to_frames(clips).data_ptr() == frames.data_ptr()
