"""Steps of a strided network against the input frames."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.models.layers.time_axis import pad_frames, steps, to_input_frames

some = settings(deadline=None, max_examples=50)


@some
@given(st.integers(1, 40), st.integers(1, 8), st.integers(0, 7), st.integers(0, 99))
def test_logits_lie_on_the_line_between_steps_and_are_held_at_the_ends(frames, stride, half_offsets, seed):
    offset = half_offsets / 2
    values = torch.randn(2, 3, steps(frames, stride), generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    centres = np.arange(values.shape[2]) * stride + offset
    expected = [[np.interp(np.arange(frames), centres, row) for row in rows] for rows in values.numpy()]
    found = to_input_frames(values, frames, stride, offset)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_what_has_a_step_per_frame_is_left_as_it_is():
    values = torch.randn(1, 2, 5)
    assert to_input_frames(values, 5, 1, 0.0) is values


def test_a_ramp_in_time_comes_back_as_a_ramp():
    centres = torch.arange(4.0) * 8 + 2
    found = to_input_frames(centres[None, None], 32, 8, 2.0)[0, 0]
    torch.testing.assert_close(found, torch.arange(32.0).clamp(2, 26))


@some
@given(st.integers(1, 20), st.integers(1, 8))
def test_padding_repeats_the_last_frame_up_to_the_next_multiple(frames, multiple):
    clips = torch.arange(frames).view(1, 1, frames, 1, 1).float()
    padded = pad_frames(clips, multiple).flatten()
    assert len(padded) % multiple == 0 and len(padded) - frames < multiple
    assert padded[:frames].tolist() == list(range(frames))
    assert all(padded[frames:] == frames - 1)
