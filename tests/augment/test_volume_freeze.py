import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.augment import draw_freeze, fixed_freeze_draw, volume_freeze
from ssdet_cli.errors import ConfigError

quick = settings(deadline=None, max_examples=30)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(batch, frames):
    """Clips whose every pixel tells clip and frame, and random labels of 4 classes whose columns sum to 1."""
    number = 100.0 * torch.arange(batch)[:, None] + torch.arange(frames)
    clips = number[:, None, :, None, None].expand(batch, 2, frames, 3, 2).contiguous()
    return clips, torch.rand(batch, 4, frames, generator=seeded(batch)).softmax(dim=1)


def frozen_by_hand(clips, labels, start, length):
    """The page's source(t), clip by clip and frame by frame."""
    out, out_labels = torch.empty_like(clips), torch.empty_like(labels)
    for b, (s, n) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
        for t in range(clips.shape[2]):
            source = t if t < s else s if t < s + n else t - n + 1
            out[b, :, t] = clips[b, :, source]
            background = torch.zeros(labels.shape[1])
            background[0] = 1
            out_labels[b, :, t] = background if s <= t < s + n else labels[b, :, source]
    return out, out_labels


@quick
@given(st.integers(1, 4), st.integers(2, 17), st.integers(0, 2**31))
def test_freeze_is_the_definition_of_the_page(batch, frames, seed):
    clips, labels = numbered(batch, frames)
    start, length = draw_freeze(batch, frames, seeded(seed))
    frozen, soft = volume_freeze(clips, labels, start, length)
    expected, expected_labels = frozen_by_hand(clips, labels, start, length)
    assert torch.equal(frozen, expected)
    assert torch.equal(soft, expected_labels)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(batch, frames))


def test_the_frame_is_inserted_and_the_tail_falls_off():
    clips, labels = numbered(1, 6)
    frozen, soft = volume_freeze(clips, labels, torch.tensor([1]), torch.tensor([3]))
    assert frozen[0, 0, :, 0, 0].tolist() == [0, 1, 1, 1, 2, 3]
    assert soft[0, 0].eq(1).tolist() == [False, True, True, True, False, False]
    assert torch.equal(soft[0, :, 4], labels[0, :, 2])


def test_a_clip_of_which_no_frame_freezes_stays_as_it_is():
    clips, labels = numbered(2, 6)
    frozen, soft = volume_freeze(clips, labels, torch.tensor([2, 2]), torch.tensor([0, 1]))
    assert torch.equal(frozen, clips) and torch.equal(soft[0], labels[0])
    assert soft[1, 0].eq(1).tolist() == [False, False, True, False, False, False]


def test_without_a_background_channel_frozen_columns_are_zero():
    clips, labels = numbered(2, 8)
    start, length = torch.tensor([0, 3]), torch.tensor([2, 3])
    _, soft = volume_freeze(clips, labels, start, length, background=False)
    assert soft.sum(dim=1).round().tolist() == [[0, 0, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint8])
def test_freeze_copies_pixels_of_every_type_exactly(dtype):
    clips = torch.randint(0, 256, (2, 3, 8, 4, 5), generator=seeded(0)).to(dtype)
    labels = numbered(2, 8)[1].bfloat16()
    start, length = torch.tensor([2, 4]), torch.tensor([3, 1])
    frozen, soft = volume_freeze(clips, labels, start, length)
    assert frozen.dtype == dtype
    assert soft.dtype == torch.float32
    assert torch.equal(frozen, frozen_by_hand(clips, labels, start, length)[0])


def test_freeze_changes_neither_clips_nor_labels_and_takes_expanded_labels():
    clips, _ = numbered(2, 8)
    labels = torch.eye(3)[1:, :, None].expand(2, 3, 8)
    before = clips.clone(), labels.clone()
    volume_freeze(clips, labels, torch.tensor([1, 2]), torch.tensor([3, 3]))
    assert torch.equal(clips, before[0])
    assert torch.equal(labels, before[1])


def test_freeze_takes_clips_whose_channels_lie_last_in_memory():
    clips, labels = numbered(2, 8)
    draw = torch.tensor([1, 2]), torch.tensor([3, 3])
    last = clips.contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(volume_freeze(last, labels, *draw)[0], volume_freeze(clips, labels, *draw)[0])


@pytest.mark.parametrize("frames", [2, 3, 4, 7, 8, 12])
def test_segments_are_drawn_from_exactly_the_lengths_and_starts_of_the_page(frames):
    start, length = draw_freeze(4000, frames, seeded(0))
    drawn = set(zip(start.tolist(), length.tolist(), strict=True))
    longest = {2: 1, 3: 1}.get(frames, frames // 2 - 1)
    assert drawn == {(s, n) for n in range(1, longest + 1) for s in range(frames - n + 1)}


def test_lengths_and_starts_of_segments_are_uniform():
    start, length = draw_freeze(20000, 12, seeded(0))
    counts = torch.bincount(length)[1:].float() / len(length)
    torch.testing.assert_close(counts, torch.full((5,), 0.2), atol=0.015, rtol=0)
    starts = torch.bincount(start[length == 3]).float() / (length == 3).sum()
    torch.testing.assert_close(starts, torch.full((10,), 0.1), atol=0.02, rtol=0)


def test_the_same_seed_draws_the_same_segments():
    for first, second in zip(draw_freeze(8, 16, seeded(3)), draw_freeze(8, 16, seeded(3)), strict=True):
        assert torch.equal(first, second)


def test_validation_freezes_a_quarter_early_in_even_and_late_in_odd_items():
    start, length = fixed_freeze_draw(4, 16)
    assert start.tolist() == [2, 10, 2, 10]
    assert length.tolist() == [4, 4, 4, 4]


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_validation_freezes_at_least_one_frame_of_short_clips(frames):
    start, length = fixed_freeze_draw(2, frames)
    assert (length == 1).all()
    assert (start + length <= frames).all()


@pytest.mark.parametrize(
    ("clips", "labels", "start", "message"),
    [
        (torch.zeros(2, 3, 8, 4), torch.zeros(2, 4, 8), torch.zeros(2), r"clips must be \(B, C, T, H, W\), got"),
        (torch.zeros(2, 3, 1, 4, 4), torch.zeros(2, 4, 1), torch.zeros(2), "at least 2 frames, got 1"),
        (torch.zeros(2, 3, 8, 4, 4), torch.zeros(2, 4, 7), torch.zeros(2), r"labels must be \(2, K, 8\)"),
        (torch.zeros(2, 3, 8, 4, 4), torch.zeros(2, 4, 8).long(), torch.zeros(2), "labels must be floating, got"),
        (torch.zeros(2, 3, 8, 4, 4).long(), torch.zeros(2, 4, 8), torch.zeros(2), "clips must be floating or uint8"),
        (torch.zeros(2, 3, 8, 4, 4), torch.zeros(2, 4, 8), torch.zeros(3), r"start must be \(2,\), got \(3,\)"),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(clips, labels, start, message):
    with pytest.raises(ConfigError, match=message) as refused:
        volume_freeze(clips, labels, start, torch.ones(2))
    assert "\n" not in str(refused.value)


def test_labels_of_double_precision_stay_so():
    clips, labels = numbered(2, 6)
    start, length = torch.tensor([2, 0]), torch.tensor([2, 1])
    for background in (True, False):
        _, soft = volume_freeze(clips, labels.double(), start, length, background)
        assert torch.equal(soft, volume_freeze(clips, labels, start, length, background)[1].double())
