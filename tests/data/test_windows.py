"""Cutting long videos: every frame is counted once, and what finite reach promises holds for real convolutions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssdet_cli.data.windows import Windows
from ssdet_cli.errors import ConfigError


@st.composite
def cuts(draw):
    multiple = draw(st.sampled_from([1, 2, 4, 8]))
    reach = draw(st.none() | st.integers(0, 9))
    margin = -(-(reach or 0) // multiple) * multiple
    length = draw(st.integers(2 * margin + multiple, 2 * margin + 5 * multiple + 7))
    return Windows(length, multiple, reach), draw(st.integers(1, 120))


@given(cuts())
def test_windows_cover_every_frame_begin_at_multiples_and_their_weights_add_up_to_one(cut):
    windows, frames = cut
    spans, weights = windows.spans(frames), windows.weights(frames)
    assert len(spans) == len(weights)
    assert spans[0][0] == 0 and spans[-1][1] == frames
    total = np.zeros(frames)
    for (start, stop), own in zip(spans, weights, strict=True):
        assert start % windows.multiple == 0 and 0 < stop - start == len(own) <= windows.length
        total[start:stop] += own
    assert total == pytest.approx(np.ones(frames), abs=1e-6)
    assert all(second[0] > first[0] for first, second in zip(spans, spans[1:], strict=False))


@given(cuts())
def test_a_frame_within_reach_of_an_inner_edge_counts_for_nothing(cut):
    windows, frames = cut
    if windows.reach is None:
        return
    for (start, stop), own in zip(windows.spans(frames), windows.weights(frames), strict=True):
        used = np.flatnonzero(own) + start
        assert start == 0 or used[0] >= start + windows.reach
        assert stop == frames or used[-1] < stop - windows.reach


@settings(max_examples=60, deadline=None)
@given(
    taps=st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3),
    stride=st.sampled_from([1, 2, 4]),
    frames=st.integers(1, 150),
    more=st.integers(0, 20),
)
def test_windows_of_convolutions_give_exactly_one_pass(taps, stride, frames, more):
    torch.manual_seed(len(taps) + frames)
    kernels = [torch.randn(2, 2, size, dtype=torch.float64) for size in taps]

    def network(clip):
        for kernel in kernels[:-1]:
            clip = F.conv1d(clip, kernel, padding=kernel.shape[2] // 2).relu()
        return F.conv1d(clip, kernels[-1], padding=taps[-1] // 2, stride=stride)

    reach = sum(size // 2 for size in taps)
    margin = -(-reach // stride) * stride
    windows = Windows(2 * margin + stride + more, stride, reach)
    video = torch.randn(1, 2, frames, dtype=torch.float64)
    joined = torch.zeros(1, 2, -(-frames // stride), dtype=torch.float64)
    for (start, stop), weights in zip(windows.spans(frames), windows.weights(frames), strict=True):
        steps = network(video[:, :, start:stop])
        joined[:, :, start // stride : start // stride + steps.shape[2]] += steps * torch.from_numpy(weights[::stride])
    assert torch.allclose(joined, network(video), atol=1e-9)


def test_windows_of_unknown_reach_overlap_by_half_and_count_most_in_their_middle():
    windows = Windows(8)
    assert windows.spans(21) == [(0, 8), (4, 12), (8, 16), (12, 20), (13, 21)]
    assert windows.spans(8) == [(0, 8)]
    assert windows.weights(12)[0][4:] == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_a_window_that_leaves_nothing_between_its_edges_is_refused():
    with pytest.raises(ConfigError, match="inference.window=16 is too short for this network: it needs 17 input"):
        Windows(16, 1, 8)
