"""How many input frames of a video go through a network in one pass, from the memory that short passes take."""

import gc
from collections.abc import Callable

import torch

from ssdet_cli.engine.host_memory import available_memory, begin_peak, give_back_freed_memory, held_memory, peak_since
from ssdet_cli.engine.out_of_memory import OutOfMemory, is_out_of_memory

#: Bytes by which a pass must grow to tell what a frame takes, and most frames of such a pass.
_CLEAR, _MOST_TRIED = 64 * 2**20, 128
#: Part of the free memory of a GPU: kernels want room to work in, and not at every length the same.
_PART_OF_GPU = 0.85
#: Part of the free memory of a machine, where an allocation that fails kills the process.
_PART_OF_HOST = 0.6


def frames_that_fit(
    through: Callable[[int], None],
    device: torch.device,
    *,
    most: int,
    usual: int,
    unit: int = 1,
    share: int = 1,
    waiting: int = 0,
) -> int | None:
    """Estimate how many frames fit, from the peaks of short passes; on a GPU, take as many through to see it.

    A pass holds some layers' outputs at a time, which grow with its frames. The passes begin with as few as can be: on
    a CPU one that does not fit kills the process.

    Args:
        through: Takes so many frames through the network and keeps nothing.
        device: Where.
        most: No more are wanted.
        usual: A pass is not made shorter than that for the sake of frames that wait.
        unit: Passes are of multiples of it.
        share: Processes that share the machine's memory.
        waiting: Bytes of the machine's memory that frames which are read ahead take, per frame of a pass.

    Returns:
        Frames, 0 where not even `unit` fits; None where the system does not say how much memory is free.
    """
    on_gpu = device.type == "cuda"
    if _overflows(through, unit):
        return 0
    gc.collect()
    give_back_freed_memory()  # what a pass takes again of it would not be seen
    host = available_memory()
    if on_gpu:
        usable = _PART_OF_GPU * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
        try:
            each, fixed = _per_frame(lambda frames: _gpu_peak(through, frames, device), usable, most, unit)
            found = min(most, int((usable - fixed) / each))
        except (RuntimeError, MemoryError, OutOfMemory) as error:
            if not _is_too_much(error):
                raise
            found = min(most, _MOST_TRIED)
        if host is not None and waiting:
            found = min(found, max(usual, int(_PART_OF_HOST * host / share / waiting)))
        return _tried(through, found)
    held = held_memory()
    if host is None or held is None:
        return None
    usable = _PART_OF_HOST * host / share
    # What the first pass left in this process's hands all the same is no more than its own frames needed.
    each, _ = _per_frame(lambda frames: held if frames == unit else _host_peak(through, frames), usable, most, unit)
    return min(most, int(max(usable / (each + waiting), min(usable / each, usual))))


def _per_frame(peak: Callable[[int], int], usable: float, most: int, unit: int) -> tuple[float, float]:
    """Bytes that a frame takes, at least one, and those that a pass takes beside; from longer and longer passes."""
    first, frames, each = peak(unit), unit, 1.0
    while 4 * frames <= min(most, max(_MOST_TRIED, 4 * unit)) and 4 * frames * each < usable / 2:
        frames *= 4
        grown = peak(frames) - first
        each = max(1.0, grown / (frames - unit))
        if grown >= _CLEAR:
            break
    return each, first - each * unit


def _gpu_peak(through: Callable[[int], None], frames: int, device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    through(frames)
    return torch.cuda.max_memory_allocated(device)


def _host_peak(through: Callable[[int], None], frames: int) -> int:
    give_back_freed_memory()
    begin_peak()
    through(frames)
    return peak_since() or 0


def _overflows(through: Callable[[int], None], frames: int) -> bool:
    try:
        through(frames)
    except (RuntimeError, MemoryError, OutOfMemory) as error:
        if not _is_too_much(error):
            raise
        return True
    return False


def _is_too_much(error: BaseException) -> bool:
    return isinstance(error, OutOfMemory) or is_out_of_memory(error)


def _tried(through: Callable[[int], None], frames: int) -> int:
    """So many frames or, for every time that they do not fit, an eighth less."""
    while frames > 0:
        try:
            through(frames)
            return frames
        except torch.AcceleratorError:
            raise
        except (RuntimeError, MemoryError, OutOfMemory):
            # Shorter passes went through: this one is too long, for the memory or for kernels that count in 32 bits.
            pass
        torch.cuda.empty_cache()
        frames -= max(1, frames // 8)
    return frames
