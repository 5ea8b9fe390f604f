"""MixUp and CutMix: what holds for both, and what is each one's own."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.augment import (
    cutmix_alpha,
    cutmix_boundary,
    draw_partner,
    draw_windows,
    partner_weight,
    resolve_windows,
    volume_cutmix,
    volume_mixup,
)
from ssdet_cli.augment.windows import overlap
from ssdet_cli.errors import ConfigError

quick = settings(deadline=None, max_examples=30)
FRAMES = st.integers(2, 17)
SEED = st.integers(0, 2**31)
WIDTHS = st.sampled_from([1, 5, 15, 16, 17, 40])
pan = partial(volume_cutmix, style="pan")
MIXERS = pytest.mark.parametrize("mix", [volume_mixup, volume_cutmix, pan], ids=["mixup", "sweep", "pan"])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(batch, frames, seed=0):
    generator = seeded(seed)
    return (*draw_windows(batch, frames, generator), draw_partner(batch, generator))


def random_batch(batch, frames, width=20, seed=0):
    generator = seeded(seed)
    clips = torch.rand(batch, 3, frames, 4, width, generator=generator)
    return clips, torch.randn(batch, 5, frames, generator=generator).softmax(dim=1)


@MIXERS
@quick
@given(frames=FRAMES, width=WIDTHS, seed=SEED)
def test_the_mean_pixel_of_every_frame_is_the_label_weight_of_the_clip_of_ones(mix, frames, width, seed):
    clips = torch.zeros(2, 1, frames, 3, width)
    clips[1] = 1
    labels = torch.eye(2)[:, :, None].expand(2, 2, frames)
    mixed, soft = mix(clips, labels, *drawn(2, frames, seed)[:2], torch.tensor([1, 0]))
    torch.testing.assert_close(mixed.mean(dim=(1, 3, 4)), soft[:, 1], atol=1e-6, rtol=0)


@MIXERS
@quick
@given(frames=FRAMES, seed=SEED)
def test_label_columns_keep_summing_to_one(mix, frames, seed):
    clips, labels = random_batch(3, frames, seed=seed)
    _, soft = mix(clips, labels, *drawn(3, frames, seed))
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(3, frames), atol=1e-6, rtol=0)


@quick
@given(frames=FRAMES, seed=SEED)
def test_mixup_adds_clips_and_labels_with_the_weights_of_the_windows(frames, seed):
    clips, labels = random_batch(4, frames, seed=seed)
    start, length, partner = drawn(4, frames, seed)
    weight = partner_weight(start, length, frames)
    mixed, soft = volume_mixup(clips, labels, start, length, partner)
    for b in range(4):
        other = int(partner[b])
        for t in range(frames):
            a = float(weight[b, t])
            torch.testing.assert_close(mixed[b, :, t], (1 - a) * clips[b, :, t] + a * clips[other, :, t])
            torch.testing.assert_close(soft[b, :, t], (1 - a) * labels[b, :, t] + a * labels[other, :, t])


def alpha_by_hand(boundary, width):
    """The page's formula for one frame inside the overlap."""
    h = width // 16
    if h == 0:
        return [1.0 if w + 0.5 < boundary else 0.0 for w in range(width)]
    return [min(max((boundary + h - (w + 0.5)) / (2 * h), 0), 1) for w in range(width)]


@quick
@given(frames=FRAMES, width=st.sampled_from([7, 16, 33, 64]), seed=SEED)
def test_cutmix_shares_the_frame_by_the_formula_of_the_page(frames, width, seed):
    clips, labels = random_batch(2, frames, width, seed)
    start, length, partner = drawn(2, frames, seed)
    mixed, soft = volume_cutmix(clips, labels, start, length, partner)
    item = 1 - partner_weight(start, length, frames)
    shared = overlap(*resolve_windows(start, length, frames), frames)
    for b in range(2):
        other = int(partner[b])
        for t in range(frames):
            boundary = float(width * item[b, t])
            column = alpha_by_hand(boundary, width) if shared[b, t] else [float(item[b, t])] * width
            alpha = torch.tensor(column)
            expected = alpha * clips[b, :, t] + (1 - alpha) * clips[other, :, t]
            torch.testing.assert_close(mixed[b, :, t], expected, atol=1e-5, rtol=0)
            area = alpha.mean()
            expected_labels = area * labels[b, :, t] + (1 - area) * labels[other, :, t]
            torch.testing.assert_close(soft[b, :, t], expected_labels, atol=1e-5, rtol=0)


def test_the_item_keeps_the_left_and_the_partner_the_right_of_the_boundary():
    start, length = torch.tensor([[0], [2]]), torch.tensor([[6], [6]])
    boundary = cutmix_boundary(start, length, 8, 50)
    torch.testing.assert_close(boundary[0], torch.tensor([50.0, 50, 40, 30, 20, 10, 0, 0]))
    alpha = cutmix_alpha(start, length, 8, 50)[0]
    assert (alpha.diff(dim=1) <= 0).all()
    half = 50 // 16
    assert alpha[3, : 30 - half].eq(1).all()
    assert alpha[3, 30 + half :].eq(0).all()
    assert ((alpha[3, 30 - half : 30 + half] > 0) & (alpha[3, 30 - half : 30 + half] < 1)).all()


@pytest.mark.parametrize("width", [1, 2, 8, 15])
def test_frames_narrower_than_16_pixels_are_cut_by_a_hard_edge(width):
    alpha = cutmix_alpha(*drawn(8, 9)[:2], 9, width)
    assert ((alpha == 0) | (alpha == 1)).all()


def test_no_seam_shows_outside_the_overlap():
    start, length = torch.tensor([[0], [4]]), torch.tensor([[6], [6]])
    alpha = cutmix_alpha(start, length, 10, 32)[0]
    assert alpha[:4].eq(1).all()
    assert alpha[6:].eq(0).all()


def panned_by_hand(clips, partner):
    """Both parts of every frame with their whole rows rolled, in whole pixels."""
    frames, width = clips.shape[2], clips.shape[4]
    centre = torch.arange(width) + 0.5
    alpha = ((9 * width / 16 - centre) / (width / 8)).clamp(0, 1)
    rows = []
    for t in range(frames):
        shift = int(t * (7 * width / 16) / frames)
        left, right = clips[:, :, t].roll(-shift, dims=-1), clips[partner][:, :, t].roll(shift, dims=-1)
        rows.append(alpha * left + (1 - alpha) * right)
    return torch.stack(rows, dim=2), alpha.mean()


@quick
@given(frames=FRAMES, width=WIDTHS, seed=SEED)
def test_panning_moves_the_left_part_left_and_the_right_part_right(frames, width, seed):
    clips, labels = random_batch(3, frames, width, seed)
    start, length, partner = drawn(3, frames, seed)
    mixed, soft = pan(clips, labels, start, length, partner)
    expected, area = panned_by_hand(clips, partner)
    torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(soft, area * labels + (1 - area) * labels[partner], atol=1e-6, rtol=0)


def test_panning_gives_nine_sixteenths_to_each_and_an_eighth_to_both():
    clips = torch.zeros(2, 1, 4, 1, 64)
    clips[1] = 1
    mixed, soft = pan(clips, torch.eye(2)[:, :, None].expand(2, 2, 4), *drawn(2, 4)[:2], torch.tensor([1, 0]))
    row = mixed[0, 0, 2, 0]
    assert row[:28].eq(0).all()
    assert row[36:].eq(1).all()
    torch.testing.assert_close(row[28:36], (torch.arange(8) + 0.5) / 8)
    torch.testing.assert_close(soft, torch.full((2, 2, 4), 0.5))


@MIXERS
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11)])
def test_half_precision_is_mixed_in_float32_and_rounded_once(mix, dtype, tolerance):
    clips, labels = random_batch(4, 9)
    draws = drawn(4, 9)
    low, soft = mix(clips.to(dtype), labels, *draws)
    exact, exact_labels = mix(clips.to(dtype).float(), labels, *draws)
    assert (low.dtype, soft.dtype) == (dtype, torch.float32)
    torch.testing.assert_close(low.float(), exact, atol=0, rtol=tolerance)
    assert torch.equal(soft, exact_labels)


@MIXERS
def test_uint8_is_rounded_to_the_nearest_and_labels_stay_float(mix):
    clips, labels = random_batch(4, 9)
    pixels = (255 * clips).to(torch.uint8)
    draws = drawn(4, 9)
    mixed, soft = mix(pixels, labels, *draws)
    exact, exact_labels = mix(pixels.float(), labels, *draws)
    assert (mixed.dtype, soft.dtype) == (torch.uint8, torch.float32)
    assert torch.equal(mixed, exact.round().to(torch.uint8))
    assert torch.equal(soft, exact_labels)


@MIXERS
def test_float64_clips_and_low_precision_labels_are_taken(mix):
    clips, labels = random_batch(2, 6)
    mixed, soft = mix(clips.double(), labels.bfloat16(), *drawn(2, 6))
    assert (mixed.dtype, soft.dtype) == (torch.float64, torch.float32)


@MIXERS
def test_mixing_changes_none_of_its_inputs(mix):
    inputs = (*random_batch(4, 8), *drawn(4, 8))
    before = [value.clone() for value in inputs]
    mix(*inputs)
    assert all(torch.equal(old, new) for old, new in zip(before, inputs, strict=True))


@MIXERS
def test_mixing_takes_clips_whose_channels_lie_last_in_memory(mix):
    clips, labels = random_batch(4, 8)
    draws = drawn(4, 8)
    last = clips.contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(mix(last, labels, *draws)[0], mix(clips, labels, *draws)[0])


@pytest.mark.parametrize("mix", [volume_mixup, volume_cutmix], ids=["mixup", "sweep"])
def test_frames_of_one_clip_alone_are_that_clip_bit_for_bit(mix):
    clips, labels = random_batch(2, 8)
    mixed, _ = mix(clips, labels, torch.tensor([[0, 0], [2, 2]]), torch.full((2, 2), 6), torch.tensor([1, 0]))
    assert torch.equal(mixed[:, :, :2], clips[:, :, :2])
    assert torch.equal(mixed[:, :, 6:], clips[[1, 0], :, 6:])


@MIXERS
def test_a_clip_mixed_with_itself_by_mixup_stays_and_batches_of_one_work(mix):
    clips, labels = random_batch(1, 8)
    _, soft = mix(clips, labels, *drawn(1, 8))
    torch.testing.assert_close(soft, labels)


@MIXERS
def test_draws_of_another_shape_are_refused(mix):
    clips, labels = random_batch(3, 8)
    start, length, partner = drawn(3, 8)
    with pytest.raises(ConfigError, match=r"start must be \(2, 3\), got \(3,\)"):
        mix(clips, labels, start[0], length, partner)
    with pytest.raises(ConfigError, match=r"length must be \(2, 3\)"):
        mix(clips, labels, start, length[:1], partner)
    with pytest.raises(ConfigError, match=r"partner must be \(3,\), got \(2,\)"):
        mix(clips, labels, start, length, partner[:2])


def test_an_unknown_style_is_refused_with_the_nearest():
    clips, labels = random_batch(3, 8)
    with pytest.raises(ConfigError, match="Unknown CutMix style 'sweeep'. Did you mean 'sweep'"):
        volume_cutmix(clips, labels, *drawn(3, 8), style="sweeep")


@pytest.mark.parametrize("mix", [volume_mixup, volume_cutmix])
def test_labels_of_double_precision_stay_so(mix):
    clips, labels = torch.rand(2, 3, 8, 4, 32), torch.rand(2, 5, 8, dtype=torch.float64).softmax(1)
    start, length = torch.tensor([[0, 2], [3, 0]]), torch.tensor([[5, 6], [5, 5]])
    for kind in (torch.float64, torch.float32):
        _, soft = mix(clips, labels.to(kind), start, length, torch.tensor([1, 0]))
        assert soft.dtype == kind
        torch.testing.assert_close(soft.sum(1), torch.ones(2, 8, dtype=kind), atol=1e-6, rtol=0)
