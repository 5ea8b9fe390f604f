"""Crops, resizing and normalisation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional

from ssdet_cli.video.transforms import (
    CHARADES,
    KINETICS,
    SLOWFAST,
    Box,
    Normalize,
    centre_crop_box,
    change_colours,
    crop_boxes,
    crop_resize,
    draw_colours,
    flip,
    random_crop_box,
)

quick = settings(deadline=None, max_examples=30)
sides = st.integers(1, 300)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@quick
@given(sides, sides, st.lists(st.floats(0.05, 1.0), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_a_random_crop_is_a_listed_share_of_the_short_side_and_inside_the_frame(height, width, scales, seed):
    box = random_crop_box(height, width, scales, np.random.default_rng(seed))
    assert box.side in {max(1, int(min(height, width) * scale + 1e-9)) for scale in scales}
    assert 0 <= box.top <= height - box.side
    assert 0 <= box.left <= width - box.side


def test_a_crop_of_the_listed_sizes_loses_no_pixel_to_rounding():
    rng = np.random.default_rng(0)
    for size, short in ((160, 180), (160, 225), (224, 256), (224, 320), (312, 360), (312, 450)):
        assert random_crop_box(short, 2 * short, [size / short], rng).side == size


def test_random_crops_use_every_scale_and_every_place():
    rng = np.random.default_rng(1)
    boxes = {random_crop_box(4, 5, [0.5, 1.0], rng) for _ in range(400)}
    assert boxes == {Box(t, x, 2) for t in range(3) for x in range(4)} | {Box(0, x, 4) for x in range(2)}


@quick
@given(sides, sides)
def test_the_centre_crop_is_the_full_short_side_in_the_middle(height, width):
    top, left, side = centre_crop_box(height, width)
    assert side == min(height, width)
    assert (height - side) - 2 * top in (0, 1) and (width - side) - 2 * left in (0, 1)


def test_a_crop_of_the_right_size_keeps_the_pixels_and_puts_channels_first():
    frames = noise(3, 10, 12, 3)
    cut = crop_resize(frames, Box(1, 4, 6), 6)
    assert cut.dtype == torch.uint8 and cut.is_contiguous()
    np.testing.assert_array_equal(cut.numpy(), frames[:, 1:7, 4:10].transpose(3, 0, 1, 2))


@pytest.mark.parametrize("size", [5, 16])
def test_a_resized_crop_is_the_antialiased_bilinear_picture_of_torchvision(size):
    frames = noise(2, 20, 30, 3)
    expected = functional.resize(
        torch.from_numpy(frames[:, 2:14, 3:15]).permute(0, 3, 1, 2), [size, size], antialias=True
    )
    assert torch.equal(crop_resize(torch.from_numpy(frames), Box(2, 3, 12), size), expected.permute(1, 0, 2, 3))


def test_all_frames_of_a_clip_get_the_same_crop():
    clip = crop_resize(np.repeat(noise(1, 20, 30, 3), 4, axis=0), Box(2, 3, 12), 7)
    assert all(torch.equal(clip[:, 0], clip[:, t]) for t in range(4))


def test_flip_mirrors_left_to_right_only():
    clip = torch.arange(12).view(1, 2, 2, 3)
    assert flip(clip)[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]


@pytest.mark.parametrize(
    ("frames", "box", "size"),
    [
        (noise(2, 8, 8, 3), Box(1, 1, 8), 4),
        (noise(2, 8, 8, 3), Box(-1, 0, 4), 4),
        (noise(2, 8, 8, 3), Box(0, 0, 4), 0),
        (noise(2, 3, 8, 8), Box(0, 0, 4), 4),
        (noise(2, 8, 8, 3).astype(np.float32), Box(0, 0, 4), 4),
    ],
)
def test_impossible_crops_are_refused(frames, box, size):
    with pytest.raises(ValueError, match="must"):
        crop_resize(frames, box, size)


@pytest.mark.parametrize("scales", [[], [0.0], [1.5], [0.5, -1]])
def test_scales_outside_zero_to_one_are_refused(scales):
    with pytest.raises(ValueError, match=r"scales must be numbers in \(0, 1\]"):
        random_crop_box(10, 10, scales, np.random.default_rng(0))


@pytest.mark.parametrize("statistics", [KINETICS, CHARADES, SLOWFAST])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalising_subtracts_the_mean_and_divides_by_the_deviation(statistics, dtype):
    clips = torch.from_numpy(noise(2, 3, 4, 5, 5)).to(dtype)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1, 1) for values in statistics)
    expected = ((clips.double() / 255 - mean) / std).float()
    torch.testing.assert_close(Normalize(*statistics)(clips), expected, rtol=1e-5, atol=1e-5)


def test_denormalize_gives_the_pixels_back():
    clips = torch.from_numpy(noise(2, 3, 4, 5, 5))
    normalize = Normalize(*CHARADES)
    assert torch.equal(normalize.denormalize(normalize(clips)), clips)


def test_bfloat16_output_is_rounded_once_from_float32():
    clips = torch.from_numpy(noise(1, 3, 2, 4, 4))
    half = Normalize(dtype=torch.bfloat16)(clips)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, Normalize()(clips).bfloat16())


def test_statistics_are_no_part_of_a_checkpoint_but_move_with_the_module():
    normalize = Normalize()
    assert not normalize.state_dict()
    assert normalize.to("meta").mean.device.type == "meta"


def test_impossible_statistics_are_refused():
    with pytest.raises(ValueError, match="std above 0"):
        Normalize((0.5, 0.5, 0.5), (0.2, 0.0, 0.2))
    with pytest.raises(ValueError, match="equal lengths"):
        Normalize((0.5,), (0.2, 0.2))


@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (50, 50)])
def test_three_crops_go_from_one_end_of_the_long_side_to_the_other(height, width):
    boxes = crop_boxes(height, width, 3)
    side = min(height, width)
    assert {box.side for box in boxes} == {side} and boxes[1] == centre_crop_box(height, width)
    assert (boxes[0].top, boxes[0].left) == (0, 0)
    assert (boxes[2].top + side, boxes[2].left + side) == (height, width)
    assert crop_boxes(height, width, 1) == (centre_crop_box(height, width),)


def test_colours_change_alike_in_all_frames_as_torchvision_changes_them():
    frame = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 1, 12, 12), dtype=np.uint8))
    clip = frame.repeat(1, 5, 1, 1)
    colours = draw_colours((0.4, 0.4, 0.4, 0.1), np.random.default_rng(3))
    changed = change_colours(clip, colours)
    assert changed.shape == clip.shape and changed.dtype == torch.uint8 and changed.is_contiguous()
    assert all(torch.equal(changed[:, 0], changed[:, at]) for at in range(5)) and not torch.equal(changed, clip)
    expected = clip[:, 0]
    for name, factor in colours.steps:
        expected = getattr(functional, name)(expected, factor)
    assert torch.equal(changed[:, 0], expected)


def test_colours_are_drawn_from_the_generator_alone_and_within_their_strengths():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    strengths, orders = (0.4, 0.0, 0.3, 0.1), set()
    for seed in range(40):
        colours = draw_colours(strengths, np.random.default_rng(seed))
        assert colours == draw_colours(strengths, np.random.default_rng(seed))
        factors = dict(colours.steps)
        assert set(factors) == {"adjust_brightness", "adjust_saturation", "adjust_hue"}
        assert 0.6 <= factors["adjust_brightness"] <= 1.4 and 0.7 <= factors["adjust_saturation"] <= 1.3
        assert abs(factors["adjust_hue"]) <= 0.1
        orders.add(tuple(factors))
    assert len(orders) == 6 and torch.equal(torch.get_rng_state(), before)
    rng, other = np.random.default_rng(1), np.random.default_rng(1)
    draw_colours((0, 0, 0, 0), rng), draw_colours(strengths, other)
    assert rng.random() == other.random()
    clip = torch.zeros(3, 2, 4, 4, dtype=torch.uint8)
    assert change_colours(clip, draw_colours((0, 0, 0, 0), rng)) is clip
