import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.batch import VideoBatch
from ssdet_cli.tasks.detection import FrameDetection
from ssdet_cli.tasks.losses import clip_max_bce, frame_bce, interpolate_in_time, resize_time, soft_cross_entropy
from ssdet_cli.tasks.pretraining import VolumePretraining

seeds = st.integers(0, 2**31 - 1)
some = settings(deadline=None, max_examples=30)


def rand(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@some
@given(seeds)
def test_soft_cross_entropy_of_a_one_hot_label_is_the_ordinary_one(seed):
    logits, classes = rand(seed, 2, 5, 7), torch.arange(14).reshape(2, 7) % 5
    labels = F.one_hot(classes, 5).transpose(1, 2).float()
    assert torch.allclose(
        soft_cross_entropy(logits, labels), F.cross_entropy(logits, classes, reduction="none"), atol=1e-6
    )


def test_soft_cross_entropy_by_hand():
    logits = torch.tensor([[[0.0], [math.log(3.0)]]])  # probabilities 1/4 and 3/4
    labels = torch.tensor([[[0.5], [0.5]]])
    assert soft_cross_entropy(logits, labels).item() == pytest.approx(0.5 * math.log(4) + 0.5 * math.log(4 / 3))


@some
@given(seeds, st.integers(1, 6), st.integers(1, 9))
def test_interpolation_agrees_with_numpy_and_is_constant_beyond_the_ends(seed, frames, times):
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.uniform(0.1, 1.0, (2, frames)), axis=1)
    wanted = rng.uniform(-1.0, seconds.max() + 1.0, (2, times))
    values = rng.normal(size=(2, 3, frames))
    got = interpolate_in_time(*map(torch.from_numpy, (values, seconds, wanted))).numpy()
    expected = [[np.interp(wanted[b], seconds[b], values[b, k]) for k in range(3)] for b in range(2)]
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_interpolation_lets_gradients_through_to_both_neighbours():
    values = torch.zeros(1, 1, 3, requires_grad=True)
    seconds = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    interpolate_in_time(values, seconds, torch.tensor([[0.25]], dtype=torch.float64)).sum().backward()
    assert values.grad.flatten().tolist() == pytest.approx([0.75, 0.25, 0.0])


@some
@given(seeds)
def test_what_stands_in_padded_time_changes_neither_loss(seed):
    logits, labels = rand(seed, 2, 3, 6), (rand(seed + 1, 2, 3, 6) > 0).float()
    valid = torch.arange(6).expand(2, 6) < torch.tensor([[4], [6]])
    other_logits, other_labels = logits.clone(), labels.clone()
    other_logits[0, :, 4:] = 50.0
    other_labels[0, :, 4:] = 1.0
    for loss in (frame_bce, clip_max_bce):
        assert torch.equal(loss(logits, labels, valid), loss(other_logits, other_labels, valid))


def test_frame_bce_without_padding_is_the_plain_mean():
    logits, labels = rand(0, 2, 3, 4), (rand(1, 2, 3, 4) > 0).float()
    everything = torch.ones(2, 4, dtype=torch.bool)
    assert torch.allclose(frame_bce(logits, labels, everything), F.binary_cross_entropy_with_logits(logits, labels))


def test_clip_loss_compares_the_maxima_over_time():
    logits, labels = rand(2, 2, 3, 4), (rand(3, 2, 3, 4) > 1).float()
    everything = torch.ones(2, 4, dtype=torch.bool)
    expected = F.binary_cross_entropy_with_logits(logits.amax(2), labels.amax(2))
    assert torch.allclose(clip_max_bce(logits, labels, everything), expected)


def test_a_clip_of_nothing_but_padding_is_no_nan():
    nothing = torch.zeros(1, 4, dtype=torch.bool)
    logits = rand(4, 1, 3, 4).requires_grad_()
    loss = frame_bce(logits, torch.zeros(1, 3, 4), nothing) + clip_max_bce(logits, torch.zeros(1, 3, 4), nothing)
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_shortened_time_is_brought_back_linearly():
    assert resize_time(torch.tensor([[[0.0, 4.0]]]), 4).flatten().tolist() == [0.0, 1.0, 3.0, 4.0]


def test_detection_reads_logits_at_the_label_times():
    task = FrameDetection(lambda frames: frames.float(), clip_weight=0.0)
    batch = VideoBatch(
        frames=torch.zeros(1, 3, 2, 4, 4, dtype=torch.uint8),
        labels=torch.tensor([[[1.0, 1.0, 0.0]]]),
        valid=torch.tensor([[True, True, False]]),
        frame_seconds=torch.tensor([[0.0, 1.0]], dtype=torch.float64),
        label_seconds=torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64),
    )
    logits = torch.tensor([[[0.0, 2.0]]])
    expected = F.binary_cross_entropy_with_logits(torch.tensor([0.0, 1.0]), torch.ones(2))
    assert task.loss(logits, batch).loss.item() == pytest.approx(expected.item())


def pretraining_batch() -> VideoBatch:
    labels = torch.zeros(2, 4, 6)
    labels[0, 2], labels[1, 3] = 1.0, 1.0
    return VideoBatch(frames=torch.zeros(2, 3, 6, 4, 4, dtype=torch.uint8), labels=labels)


def test_classification_pretraining_takes_the_time_average_of_the_logits():
    task, batch = VolumePretraining(lambda frames: frames.float(), None, "clip"), pretraining_batch()
    logits = rand(5, 2, 4, 6)
    expected = F.cross_entropy(logits.mean(2), torch.tensor([2, 3]))
    assert torch.allclose(task.loss(logits, batch).loss, expected)


def test_accuracy_counts_frames_whose_heaviest_label_is_most_likely():
    task, batch = VolumePretraining(lambda frames: frames.float(), None, "frame"), pretraining_batch()
    logits = torch.zeros(2, 4, 6)
    logits[0, 2, :3] = 5.0  # half of the first clip's frames are right
    logits[0, 1, 3:] = 5.0
    logits[1, 3] = 5.0
    hits, frames = task.loss(logits, batch).totals["accuracy"].tolist()
    assert (hits, frames) == (9.0, 12.0)


def test_validation_draws_are_fixed_and_training_draws_come_from_the_generator():
    calls = []

    class Recorder:
        def __call__(self, frames, labels, generator):
            calls.append("drawn")
            return frames, labels

        def fixed(self, frames, labels):
            calls.append("fixed")
            return frames, labels

    task = VolumePretraining(lambda frames: frames.float(), Recorder(), "frame")
    task.prepare(pretraining_batch(), torch.Generator())
    task.prepare(pretraining_batch(), None)
    assert calls == ["drawn", "fixed"]
