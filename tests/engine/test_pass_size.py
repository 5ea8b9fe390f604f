"""How many frames fit into memory: from what short passes really take."""

import pytest
import torch

from ssdet_cli.engine import pass_size
from ssdet_cli.engine.host_memory import begin_peak, give_back_freed_memory, held_memory, keep_freed_memory, peak_since
from ssdet_cli.engine.out_of_memory import advice_on_videos
from ssdet_cli.engine.pass_size import frames_that_fit

CPU = torch.device("cpu")
FRAME = 4 * 2**20
FREE = 1200 * 2**20

needs_proc = pytest.mark.skipif(held_memory() is None, reason="this system does not say what a process holds")


class Network:
    """Takes `FRAME` bytes per frame for as long as a pass lasts, and notes the passes."""

    def __init__(self, limit=10**9):
        self.passes, self.limit = [], limit

    def __call__(self, frames):
        self.passes.append(frames)
        if frames > self.limit:
            raise advice_on_videos(frames, 1, CPU)
        torch.ones(frames * FRAME, dtype=torch.uint8)


@pytest.fixture
def free(monkeypatch):
    monkeypatch.setattr(pass_size, "available_memory", lambda: FREE)


@needs_proc
def test_the_peak_of_a_piece_of_work_is_seen_though_there_was_a_higher_one_before():
    torch.ones(400 * 2**20, dtype=torch.uint8)
    give_back_freed_memory()
    before = held_memory()
    begin_peak()
    torch.ones(100 * 2**20, dtype=torch.uint8)
    assert 90 * 2**20 < peak_since() - before < 160 * 2**20


@needs_proc
def test_what_fits_is_scaled_from_passes_that_are_short_themselves(free):
    keep_freed_memory()  # as every command on a CPU; what was kept before must not hide what a pass takes
    torch.ones(300 * 2**20, dtype=torch.uint8)
    network = Network()
    found = frames_that_fit(network, CPU, most=10**6, usual=512)
    assert 0.5 * 0.6 * FREE / FRAME < found <= 1.05 * 0.6 * FREE / FRAME
    assert network.passes[:2] == [1, 4] and max(network.passes) <= 64
    assert frames_that_fit(network, CPU, most=20, usual=512) == 20
    assert frames_that_fit(network, CPU, most=10**6, usual=512, share=2) <= 0.55 * 0.6 * FREE / FRAME
    unit = Network()
    assert frames_that_fit(unit, CPU, most=10**6, usual=512, unit=32) > 0
    assert unit.passes[0] == 32 and all(frames % 32 == 0 for frames in unit.passes)


@needs_proc
def test_frames_that_wait_take_their_part_but_not_below_the_usual_window(free):
    alone = frames_that_fit(Network(), CPU, most=10**6, usual=1)
    beside = frames_that_fit(Network(), CPU, most=10**6, usual=1, waiting=3 * FRAME)
    assert beside < 0.45 * alone
    kept = frames_that_fit(Network(), CPU, most=10**6, usual=64, waiting=30 * FRAME)
    assert kept == 64


def test_a_frame_that_does_not_fit_is_none_at_all_and_other_errors_are_not_swallowed(free):
    assert frames_that_fit(Network(limit=0), CPU, most=100, usual=512) == 0

    def broken(frames):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        frames_that_fit(broken, CPU, most=100, usual=512)


def test_a_system_that_tells_nothing_gives_nothing(monkeypatch):
    monkeypatch.setattr(pass_size, "available_memory", lambda: None)
    assert frames_that_fit(Network(), CPU, most=100, usual=512) is None


def test_a_number_is_tried_and_lowered_by_an_eighth():
    network = Network(limit=70)
    assert pass_size._tried(network, 100) == 68
    assert network.passes == [100, 88, 77, 68]
    assert pass_size._tried(Network(limit=0), 5) == 0


@pytest.mark.needs_cuda
def test_what_fits_on_a_gpu_was_tried_there():
    device, passes = torch.device("cuda", 0), []

    def through(frames):
        passes.append(frames)
        torch.ones(frames * 16 * FRAME, dtype=torch.uint8, device=device)

    found = frames_that_fit(through, device, most=10**6, usual=512)
    free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device)
    assert passes[-1] == found and 0.7 * free < found * 16 * FRAME < free
