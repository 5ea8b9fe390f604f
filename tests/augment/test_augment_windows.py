import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.augment import draw_partner, draw_windows, fixed_mix_draw, partner_weight, resolve_windows
from ssdet_cli.augment.windows import overlap
from ssdet_cli.errors import ConfigError

quick = settings(deadline=None, max_examples=30)
FRAMES = st.integers(2, 21)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def resolved_by_hand(starts, lengths, frames):
    """The page's two steps for one pair of clips, in plain Python."""
    starts, lengths = list(starts), list(lengths)
    first = 0 if starts[0] <= starts[1] else 1
    starts[first] = 0
    ends = [starts[0] + lengths[0], starts[1] + lengths[1]]
    last = 0 if ends[0] >= ends[1] else 1
    ends[last] = frames
    return starts, ends


def weights_by_hand(starts, lengths, frames):
    """The page's table for one pair of clips, frame by frame: the partner's weight."""
    s, e = resolved_by_hand(starts, lengths, frames)
    low, high = max(s), min(e)
    n = high - low
    weights = []
    for t in range(frames):
        covering = [i for i in (0, 1) if s[i] <= t < e[i]]
        if len(covering) == 1:
            weights.append(float(covering[0]))
            continue
        k = t - low + 1
        if s == list(reversed(s)) and e[0] == e[1]:
            weights.append(1 - k / (n + 1))
        elif any(s[j] >= s[1 - j] and e[j] < e[1 - j] for j in (0, 1)):
            outer = 1 if s[0] >= s[1] and e[0] < e[1] else 0
            v = abs(2 * k - (n + 1)) / (n + 1)
            weights.append(v if outer == 1 else 1 - v)
        else:
            weights.append(k / (n + 1) if s[1] > s[0] else 1 - k / (n + 1))
    return weights


def every_pair(frames):
    """All windows that can be drawn for a pair of clips: start, length, each (2, N)."""
    lengths = range((frames + 1) // 2, frames + 1)
    single = [(s, n) for n in lengths for s in range(frames - n + 1)]
    pairs = torch.tensor([(a, b) for a in single for b in single])
    return pairs[:, :, 0].T, pairs[:, :, 1].T


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 7, 8, 9])
def test_every_window_that_can_be_drawn_gets_the_weights_of_the_table(frames):
    start, length = every_pair(frames)
    weight = partner_weight(start, length, frames)
    expected = [weights_by_hand(s, n, frames) for s, n in zip(start.T.tolist(), length.T.tolist(), strict=True)]
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [2, 3, 4, 5, 8, 9])
def test_resolved_windows_cover_every_frame_and_are_those_of_the_two_steps(frames):
    start, length = every_pair(frames)
    begin, end = resolve_windows(start, length, frames)
    time = torch.arange(frames)
    covered = (time >= begin[..., None]) & (time < end[..., None])
    assert covered.any(dim=0).all()
    for pair in range(start.shape[1]):
        expected = resolved_by_hand(start[:, pair].tolist(), length[:, pair].tolist(), frames)
        assert (begin[:, pair].tolist(), end[:, pair].tolist()) == expected


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        # partial overlap of 4 frames, the partner later: it ramps up by fifths
        ((0, 2), (6, 6), [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1]),
        # the same with the item later: it ramps up, the partner ramps down
        ((2, 0), (6, 6), [1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0]),
        # the partner inside the item: the item goes 1 -> 0 -> 1
        ((0, 2), (8, 4), [0, 0, 0.4, 0.8, 0.8, 0.4, 0, 0]),
        # the item inside the partner
        ((1, 0), (5, 8), [1, 2 / 3, 1 / 3, 0, 1 / 3, 2 / 3, 1, 1]),
        # the same start and end: the item ramps up
        ((0, 0), (8, 8), [8 / 9, 7 / 9, 6 / 9, 5 / 9, 4 / 9, 3 / 9, 2 / 9, 1 / 9]),
    ],
)
def test_each_row_of_the_table_gives_the_weights_worked_out_by_hand(start, length, expected):
    weight = partner_weight(torch.tensor(start)[:, None], torch.tensor(length)[:, None], 8)
    torch.testing.assert_close(weight[0], torch.tensor(expected), atol=1e-6, rtol=0)


def test_the_item_wins_ties_when_windows_are_made_to_cover_every_frame():
    start, end = resolve_windows(torch.tensor([[1], [1]]), torch.tensor([[5], [5]]), 8)
    # The item is moved to 0 and ends at 5, so the partner (ending at 6) is the one that ends last.
    assert (start.flatten().tolist(), end.flatten().tolist()) == ([0, 1], [5, 8])
    start, end = resolve_windows(torch.tensor([[0], [0]]), torch.tensor([[5], [5]]), 8)
    assert (start.flatten().tolist(), end.flatten().tolist()) == ([0, 0], [8, 5])


@quick
@given(FRAMES, st.integers(0, 2**31))
def test_weights_continue_without_a_jump_across_both_ends_of_the_overlap(frames, seed):
    start, length = draw_windows(4, frames, seeded(seed))
    weight = partner_weight(start, length, frames)
    begin, end = resolve_windows(start, length, frames)
    shared = (end.amin(0) - begin.amax(0)).clamp_min(0)
    largest_step = 2 / (shared + 1)  # the V of the second row is twice as steep as a ramp
    steps = weight.diff(dim=1).abs().amax(dim=1)
    assert (steps <= largest_step + 1e-6).all()


@quick
@given(FRAMES, st.integers(0, 2**31))
def test_one_clip_has_the_frame_alone_outside_the_overlap(frames, seed):
    start, length = draw_windows(4, frames, seeded(seed))
    begin, end = resolve_windows(start, length, frames)
    alone = partner_weight(start, length, frames)[~overlap(begin, end, frames)]
    assert ((alone == 0) | (alone == 1)).all()


@pytest.mark.parametrize("frames", [2, 3, 7, 8])
def test_windows_are_drawn_from_exactly_the_lengths_and_starts_of_the_page(frames):
    start, length = draw_windows(4000, frames, seeded(0))
    assert start.shape == length.shape == (2, 4000)
    drawn = set(zip(start.flatten().tolist(), length.flatten().tolist(), strict=True))
    shortest = (frames + 1) // 2
    assert drawn == {(s, n) for n in range(shortest, frames + 1) for s in range(frames - n + 1)}


def test_lengths_and_starts_are_uniform():
    start, length = draw_windows(20000, 9, seeded(1))
    counts = torch.bincount(length.flatten())[5:].float() / length.numel()
    torch.testing.assert_close(counts, torch.full((5,), 0.2), atol=0.01, rtol=0)
    starts = torch.bincount(start[length == 6]).float() / (length == 6).sum()
    torch.testing.assert_close(starts, torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_partners_are_a_permutation_of_the_batch_and_change_with_the_draw():
    generator = seeded(0)
    draws = [draw_partner(16, generator) for _ in range(3)]
    assert all(sorted(draw.tolist()) == list(range(16)) for draw in draws)
    assert not torch.equal(draws[0], draws[1])


def test_the_same_seed_draws_the_same_windows():
    for first, second in zip(draw_windows(8, 16, seeded(3)), draw_windows(8, 16, seeded(3)), strict=True):
        assert torch.equal(first, second)
    assert not torch.equal(draw_windows(8, 16, seeded(3))[0], draw_windows(8, 16, seeded(4))[0])


def test_validation_mixes_three_quarters_with_three_quarters_and_a_rolled_partner():
    start, length, partner = fixed_mix_draw(6, 16)
    assert start.tolist() == [[0] * 6, [4] * 6]
    assert length.tolist() == [[12] * 6, [12] * 6]
    assert torch.equal(partner, torch.arange(6).roll(6 // 2 + 1))
    assert len(set(partner.tolist())) == 6


@pytest.mark.parametrize("frames", [2, 3, 5, 10])
def test_validation_windows_cover_clips_of_any_length(frames):
    start, length, _ = fixed_mix_draw(3, frames)
    assert (length >= (frames + 1) // 2).all()
    assert (start + length <= frames).all()


def test_clips_of_one_frame_are_refused():
    with pytest.raises(ConfigError, match="at least 2 frames, got 1"):
        draw_windows(2, 1, seeded(0))
    with pytest.raises(ConfigError, match="at least 1 clip, got 0"):
        draw_partner(0, seeded(0))
