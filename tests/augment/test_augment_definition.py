"""Every sentence of the definition against a plain reference that goes frame by frame."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.augment import (
    VolumeAugment,
    draw_freeze,
    draw_partner,
    draw_windows,
    fixed_freeze_draw,
    fixed_mix_draw,
    partner_weight,
    resolve_windows,
    volume_cutmix,
    volume_freeze,
    volume_mixup,
)
from ssdet_cli.errors import ConfigError

some = settings(deadline=None, max_examples=40)
seeds, lengths = st.integers(0, 2**31 - 1), st.integers(2, 19)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clips_and_labels(seed: int, batch: int, frames: int, width: int = 20, classes: int = 4):
    clips = torch.rand(batch, 3, frames, 4, width, generator=generator(seed))
    chosen = torch.randint(1, classes, (batch,), generator=generator(seed + 1))
    labels = torch.nn.functional.one_hot(chosen, classes).float().unsqueeze(2).repeat(1, 1, frames)
    return clips, labels


def windows_by_hand(start, length, frames):
    """The two covering steps, for one item: the earlier one starts at 0, then the later one ends at T."""
    starts, lengths_ = [int(start[0]), int(start[1])], [int(length[0]), int(length[1])]
    starts[0 if starts[0] <= starts[1] else 1] = 0
    ends = [s + n for s, n in zip(starts, lengths_, strict=True)]
    ends[0 if ends[0] >= ends[1] else 1] = frames
    return starts, ends


def weight_by_hand(start, length, frames):
    """Weight of the partner in every frame, row by row of the table."""
    (s0, s1), (e0, e1) = windows_by_hand(start, length, frames)
    first, last = max(s0, s1), min(e0, e1)
    n = last - first
    weights = []
    for t in range(frames):
        in0, in1 = s0 <= t < e0, s1 <= t < e1
        assert in0 or in1, "every frame is covered"
        if not (in0 and in1):
            weights.append(float(in1))
            continue
        k = t - first + 1
        if (s0, e0) == (s1, e1):
            a0 = k / (n + 1)
        elif s1 >= s0 and e1 < e0:
            a0 = abs(2 * k - (n + 1)) / (n + 1)
        elif s0 >= s1 and e0 < e1:
            a0 = 1 - abs(2 * k - (n + 1)) / (n + 1)
        else:
            later_is_0 = s0 > s1 or (s0 == s1 and e0 > e1)
            a0 = k / (n + 1) if later_is_0 else 1 - k / (n + 1)
        weights.append(1 - a0)
    return torch.tensor(weights)


@some
@given(seeds, lengths)
def test_freeze_inserts_the_frame_delays_the_rest_and_labels_it_background(seed, frames):
    clips, labels = clips_and_labels(seed, 3, frames)
    start, length = draw_freeze(3, frames, generator(seed))
    out, soft = volume_freeze(clips, labels, start, length)
    for b in range(3):
        s, n = int(start[b]), int(length[b])
        for t in range(frames):
            source = t if t < s else s if t < s + n else t - n + 1
            assert torch.equal(out[b, :, t], clips[b, :, source])
            expected = torch.tensor([1.0, 0, 0, 0]) if s <= t < s + n else labels[b, :, source]
            assert torch.equal(soft[b, :, t], expected)


@some
@given(seeds, lengths)
def test_freeze_draws_stay_in_their_ranges(seed, frames):
    start, length = draw_freeze(200, frames, generator(seed))
    longest = max(1, frames // 2 - 1)
    assert length.min() >= 1 and length.max() <= longest
    assert start.min() >= 0 and bool((start <= frames - length).all())


def test_every_allowed_freeze_is_drawn_equally_often():
    start, length = draw_freeze(60_000, 8, generator(0))
    assert torch.bincount(length, minlength=4)[1:].tolist() == pytest.approx([20_000] * 3, rel=0.05)
    assert torch.bincount(start[length == 3]).tolist() == pytest.approx([20_000 / 6] * 6, rel=0.1)


@some
@given(seeds, lengths)
def test_windows_are_drawn_from_half_the_clip_up_and_cover_every_frame(seed, frames):
    start, length = draw_windows(100, frames, generator(seed))
    assert length.min() >= (frames + 1) // 2 and length.max() <= frames
    assert start.min() >= 0 and bool((start <= frames - length).all())
    first, end = resolve_windows(start, length, frames)
    for b in range(100):
        assert ([*first[:, b].tolist()], [*end[:, b].tolist()]) == windows_by_hand(start[:, b], length[:, b], frames)


@some
@given(seeds, lengths)
def test_partner_weights_follow_the_table(seed, frames):
    start, length = draw_windows(30, frames, generator(seed))
    weights = partner_weight(start, length, frames)
    for b in range(30):
        torch.testing.assert_close(weights[b], weight_by_hand(start[:, b], length[:, b], frames), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        ((0, 4), (5, 4), [0, 0, 0, 0, 0.5, 1, 1, 1]),  # the partner starts later
        ((4, 0), (4, 5), [1, 1, 1, 1, 0.5, 0, 0, 0]),  # the item starts later
        ((0, 2), (8, 4), [0, 0, 0.4, 0.8, 0.8, 0.4, 0, 0]),  # the partner lies inside
        ((0, 0), (8, 8), [8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9]),  # same windows: the item ramps up
    ],
)
def test_the_rows_of_the_table_by_hand(start, length, expected):
    weights = partner_weight(torch.tensor(start)[:, None], torch.tensor(length)[:, None], 8)
    assert weights[0].tolist() == pytest.approx(expected)


@some
@given(seeds, lengths)
def test_the_weight_never_jumps_at_the_borders_of_the_overlap(seed, frames):
    start, length = draw_windows(30, frames, generator(seed))
    first, end = resolve_windows(start, length, frames)
    overlap = (end.amin(0) - first.amax(0)).clamp_min(1)
    steps = partner_weight(start, length, frames).diff(dim=1).abs().amax(1) if frames > 1 else torch.zeros(30)
    assert bool((steps <= 2.0 / (overlap + 1) + 1e-6).all())


@pytest.mark.parametrize("mix", [volume_mixup, volume_cutmix, lambda *a: volume_cutmix(*a, style="pan")])
@pytest.mark.parametrize("width", [8, 20, 33, 64])
def test_the_pixel_mean_is_the_label_weight_of_the_clip_of_ones(mix, width):
    for seed, frames in ((0, 2), (1, 3), (2, 7), (3, 16)):
        clips = torch.zeros(6, 3, frames, 4, width)
        clips[3:] = 1.0
        labels = torch.zeros(6, 3, frames)
        labels[:3, 1] = 1.0
        labels[3:, 2] = 1.0
        partner = torch.tensor([3, 4, 5, 0, 1, 2])
        start, length = draw_windows(6, frames, generator(seed))
        out, soft = mix(clips, labels, start, length, partner)
        torch.testing.assert_close(out.mean((1, 3, 4)), soft[:, 2], atol=1e-5, rtol=0)
        torch.testing.assert_close(soft.sum(1), torch.ones(6, frames), atol=1e-5, rtol=0)


@some
@given(seeds, lengths)
def test_mixup_is_the_weighted_sum_of_frames_and_of_labels(seed, frames):
    clips, labels = clips_and_labels(seed, 4, frames)
    partner = draw_partner(4, generator(seed))
    start, length = draw_windows(4, frames, generator(seed + 7))
    out, soft = volume_mixup(clips, labels, start, length, partner)
    for b in range(4):
        a1 = weight_by_hand(start[:, b], length[:, b], frames)
        other = int(partner[b])
        expected = clips[b] * (1 - a1)[None, :, None, None] + clips[other] * a1[None, :, None, None]
        torch.testing.assert_close(out[b], expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(soft[b], labels[b] * (1 - a1) + labels[other] * a1, atol=1e-6, rtol=0)


@some
@given(seeds, lengths, st.sampled_from([6, 15, 16, 40]))
def test_cutmix_sweeps_a_soft_seam_and_labels_by_area(seed, frames, width):
    clips, labels = clips_and_labels(seed, 3, frames, width)
    partner = draw_partner(3, generator(seed))
    start, length = draw_windows(3, frames, generator(seed + 7))
    out, soft = volume_cutmix(clips, labels, start, length, partner)
    half = width // 16
    for b in range(3):
        a1, other = weight_by_hand(start[:, b], length[:, b], frames), int(partner[b])
        (s0, s1), (e0, e1) = windows_by_hand(start[:, b], length[:, b], frames)
        for t in range(frames):
            boundary = width * (1 - float(a1[t]))
            centres = torch.arange(width) + 0.5
            if not max(s0, s1) <= t < min(e0, e1):
                alpha = torch.full((width,), 1 - float(a1[t]))
            elif half == 0:
                alpha = (centres < boundary).float()
                if (boundary - centres).abs().min() < 1e-4:
                    continue  # the edge falls on a centre: either side is right
            else:
                alpha = ((boundary + half - centres) / (2 * half)).clamp(0, 1)
            expected = clips[b, :, t] * alpha + clips[other, :, t] * (1 - alpha)
            torch.testing.assert_close(out[b, :, t], expected, atol=1e-4, rtol=0)
            area = alpha.mean()
            torch.testing.assert_close(
                soft[b, :, t], labels[b, :, t] * area + labels[other, :, t] * (1 - area), atol=1e-4, rtol=0
            )


def test_pan_shows_nine_sixteenths_of_each_and_moves_their_contents():
    width, frames = 32, 7
    clips = torch.zeros(2, 1, frames, 2, width)
    clips[0] = torch.arange(width).float()
    clips[1] = 100 + torch.arange(width).float()
    labels = torch.zeros(2, 3, frames)
    labels[0, 1], labels[1, 2] = 1.0, 1.0
    start, length = torch.zeros(2, 2, dtype=torch.long), torch.full((2, 2), frames)
    out, soft = volume_cutmix(clips, labels, start, length, torch.tensor([1, 0]), style="pan")
    torch.testing.assert_close(soft[0, 1], torch.full((frames,), 0.5), atol=1e-5, rtol=0)
    for t in range(frames):
        shift = t * (7 * width / 16) / frames
        assert float(out[0, 0, t, 0, 3]) == pytest.approx(
            (3 + shift) % width, abs=1.0
        )  # content of the left moved left


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float64])
def test_other_types_give_the_float_result_rounded(dtype):
    clips, labels = clips_and_labels(0, 4, 9)
    clips = (clips * 255).round()
    start, length = draw_windows(4, 9, generator(1))
    partner = draw_partner(4, generator(2))
    for mix in (volume_mixup, volume_cutmix):
        exact, soft = mix(clips, labels, start, length, partner)
        out, same = mix(clips.to(dtype), labels, start, length, partner)
        assert out.dtype == dtype
        torch.testing.assert_close(same, soft)
        tolerance = {torch.uint8: 0.51, torch.bfloat16: 1.6, torch.float64: 1e-3}[dtype]
        assert (out.double() - exact.double()).abs().max() <= tolerance
    frozen, _ = volume_freeze(clips.to(dtype), labels, *draw_freeze(4, 9, generator(3)))
    assert frozen.dtype == dtype and torch.isin(frozen, clips.to(dtype)).all()


@some
@given(seeds, lengths, st.sampled_from([(), ("freeze",), ("mixup", "cutmix"), ("freeze", "mixup", "cutmix")]))
def test_columns_sum_to_one_inputs_stay_and_equal_generators_draw_equally(seed, frames, methods):
    clips, labels = clips_and_labels(seed, 5, frames)
    before = clips.clone(), labels.clone()
    augment = VolumeAugment(methods, probability=0.7)
    out, soft = augment(clips, labels, generator(seed))
    again, soft_again = augment(clips, labels, generator(seed))
    assert torch.equal(out, again) and torch.equal(soft, soft_again)
    assert torch.equal(clips, before[0]) and torch.equal(labels, before[1])
    torch.testing.assert_close(soft.sum(1), torch.ones(5, frames), atol=1e-5, rtol=0)
    assert out.shape == clips.shape and soft.shape == labels.shape


def test_methods_are_switched_on_for_whole_batches_with_their_probability():
    augment = VolumeAugment(probability=0.5)
    source = generator(0)
    drawn = [augment.draw(2, 8, source).methods for _ in range(600)]
    for name in ("freeze", "mixup", "cutmix"):
        assert sum(name in methods for methods in drawn) == pytest.approx(300, abs=60)
    assert len(set(drawn)) == 8


def test_without_a_background_channel_a_frozen_frame_has_no_label():
    clips, labels = clips_and_labels(0, 2, 8)
    start, length = torch.tensor([2, 0]), torch.tensor([3, 2])
    _, soft = volume_freeze(clips, labels, start, length, background=False)
    assert soft[0, :, 2:5].sum() == 0 and soft[1, :, :2].sum() == 0
    assert torch.equal(soft[0, :, :2], labels[0, :, :2])


def test_validation_draws_are_those_of_the_definition():
    start, length = fixed_freeze_draw(4, 16)
    assert (start.tolist(), length.tolist()) == ([2, 10, 2, 10], [4, 4, 4, 4])
    start, length, partner = fixed_mix_draw(6, 16)
    assert start[:, 0].tolist() == [0, 4] and length[:, 0].tolist() == [12, 12]
    assert partner.tolist() == torch.arange(6).roll(4).tolist() or partner.tolist() == torch.arange(6).roll(-4).tolist()


def test_steps_with_other_draws_compile_nothing_anew():
    """As many graphs as there are methods, however often and whatever is drawn."""
    torch.compiler.reset()
    clips, labels = clips_and_labels(0, 4, 8)
    augment = VolumeAugment(probability=1.0, compile=True)
    plain = VolumeAugment(probability=1.0)
    augment(clips, labels, generator(0))
    with torch.compiler.set_stance("fail_on_recompile"):
        for seed in range(1, 9):
            out, soft = augment(clips, labels, generator(seed))
            expected, expected_soft = plain(clips, labels, generator(seed))
            torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(soft, expected_soft, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"methods": ("freze",)}, "freeze"), ({"probability": 1.5}, "1.5"), ({"cutmix_style": "swipe"}, "swipe")],
)
def test_what_does_not_exist_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        VolumeAugment(**arguments)


def test_shapes_that_do_not_fit_are_named():
    clips, labels = clips_and_labels(0, 2, 8)
    with pytest.raises(ConfigError, match="labels"):
        VolumeAugment()(clips, labels[:, :, :5], generator(0))


@pytest.mark.needs_cuda
def test_on_a_gpu_the_result_is_the_same_and_nothing_waits_for_it():
    clips, labels = clips_and_labels(0, 4, 8)
    augment = VolumeAugment(probability=1.0)
    expected, expected_soft = augment(clips, labels, generator(5))
    on_gpu = clips.cuda(), labels.cuda()
    augment(*on_gpu, generator(4))
    torch.cuda.set_sync_debug_mode("error")
    try:
        out, soft = augment(*on_gpu, generator(5))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(out.cpu(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(soft.cpu(), expected_soft, atol=1e-5, rtol=0)
