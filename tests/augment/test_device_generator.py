"""A generator on the clips' device. Fake tensors have a device but no numbers: whatever waits for one raises."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from ssdet_cli.augment import METHODS, VolumeAugment
from ssdet_cli.augment.windows import draw_switches
from ssdet_cli.errors import ConfigError

GPU = torch.device("cuda", 0)


class OnGpu(torch.Generator):
    """Tells what a generator on a GPU tells the host; the numbers that it would draw are fake tensors."""

    device = GPU

    def __new__(cls, *_: object, **__: object) -> "OnGpu":
        return super().__new__(cls)

    def __init__(self, seed: int, offset: int = 0, device: torch.device = GPU) -> None:
        self.manual_seed(seed)
        self.offset, self.device = offset, device

    def get_offset(self) -> int:
        return self.offset


def fake_batch(frames=8):
    return torch.rand(4, 3, frames, 4, 20, device=GPU), torch.rand(4, 5, frames, device=GPU)


@pytest.mark.parametrize("style", ["sweep", "pan"])
def test_nothing_waits_for_the_device_and_every_draw_is_made_there(style):
    augment = VolumeAugment(probability=1, cutmix_style=style)
    with FakeTensorMode():
        clips, labels = fake_batch()
        with pytest.raises(DataDependentOutputException):
            clips.sum().item()
        draws = augment.draw(4, 8, OnGpu(0), GPU)
        assert {value.device for name in METHODS for value in getattr(draws, name)} == {GPU}
        got, soft = augment(clips, labels, OnGpu(0))
    assert (got.shape, got.device, soft.shape, soft.device) == (clips.shape, GPU, labels.shape, GPU)


def test_switches_are_uniform_differ_from_step_to_step_and_repeat_with_seed_and_offset():
    steps = [(seed, 4 * step) for seed in (1, 2) for step in range(2000)]
    drawn = torch.tensor([draw_switches(OnGpu(*step), 3) for step in steps])
    assert torch.equal(drawn, torch.tensor([draw_switches(OnGpu(*step), 3) for step in steps]))
    assert drawn.unique(dim=0).shape == drawn.shape
    torch.testing.assert_close(torch.histc(drawn, 4, 0, 1) / drawn.numel(), torch.full((4,), 0.25), atol=0.02, rtol=0)
    on = (drawn < 0.5).int()
    combinations = torch.bincount(on[:, 0] + 2 * on[:, 1] + 4 * on[:, 2])
    torch.testing.assert_close(combinations / len(drawn), torch.full((8,), 0.125), atol=0.02, rtol=0)


@pytest.mark.parametrize(("own", "clips_at"), [("cuda:0", "cpu"), ("cuda:1", "cuda:0"), ("xpu:0", "cuda:0")])
def test_a_generator_on_a_third_device_is_refused(own, clips_at):
    with pytest.raises(ConfigError, match=f"generator must be on cpu or on {clips_at} like the clips, got .* {own}"):
        VolumeAugment().draw(2, 8, OnGpu(0, device=torch.device(own)), clips_at)


@pytest.mark.needs_cuda
@pytest.mark.parametrize("compile", [False, True])
def test_a_seed_on_a_gpu_repeats_its_batches_and_nothing_waits(compile):
    clips, labels = torch.rand(4, 3, 8, 4, 20, device=GPU), torch.rand(4, 5, 8, device=GPU)
    everything, augment = VolumeAugment(probability=1, compile=compile), VolumeAugment()
    everything(clips, labels, torch.Generator(GPU).manual_seed(0))
    generators = [torch.Generator(GPU).manual_seed(7) for _ in range(2)]
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        runs = [[everything(clips, labels, own) for _ in range(4)] for own in generators]
        drawn = [[augment.draw(4, 8, own, GPU).methods for _ in range(12)] for own in generators]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 2
