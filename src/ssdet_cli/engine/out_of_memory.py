"""Memory that does not suffice: telling it from other errors, and what to do about it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from ssdet_cli.config.commands import TrainingConfig
from ssdet_cli.data.clips import VideoWindow
from ssdet_cli.data.multigrid import Turn
from ssdet_cli.errors import SsdetError

Output = TypeVar("Output")
_log = logging.getLogger("ssdet")


class OutOfMemory(SsdetError):
    """The device's memory does not suffice; the message says what to reduce."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that there is no memory left, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def advice(cfg: TrainingConfig, device: torch.device, step: int, turn: Turn | None = None) -> OutOfMemory:
    """What to reduce for a training step to fit, the cheapest first, in keys of this configuration.

    Args:
        cfg: Of the run.
        device: That has no memory left.
        step: That did not fit, from 1.
        turn: What it looked like in a multigrid training.
    """
    loop, clip, batch = cfg.loop, cfg.clip, cfg.loop.batch_size
    ways = []
    if not cfg.model.checkpoint_activations:
        ways.append("model.checkpoint_activations=true (a third more time, the same result)")
    if isinstance(batch, int) and batch > 1:
        parts = next(parts for parts in range(2, batch + 1) if batch % parts == 0)
        smaller = batch // parts
        if smaller % cfg.model.norm_splits == 0:
            ways.append(
                f"loop.batch_size={smaller} loop.accumulate={loop.accumulate * parts} (the same clips in a step; "
                "or --batch-size auto)"
            )
    if clip.frames > 4:
        ways.append(f"clip.frames={clip.frames // 2}")
    if clip.size > 64:
        ways.append(f"clip.size={clip.size * 5 // 7 // 16 * 16}")
    if loop.precision not in ("bf16", "fp16") and not (loop.precision == "auto" and device.type == "cuda"):
        ways.append("loop.precision=bf16")
    ways.append("a smaller --backbone")
    listed = "; ".join(f"{number}. {way}" for number, way in enumerate(ways, start=1))
    clips, frames, size = batch, clip.frames, clip.size
    if turn is not None:
        clips, frames, size = turn.clips, turn.shape.frames, turn.shape.size
    return OutOfMemory(
        f"Out of memory on {device} at step {step}, with {clips} clips of {frames} x {size} x {size} "
        f"in a pass. Reduce, in this order: {listed}."
    )


def advice_on_videos(window: int, batch_size: int, device: torch.device, *, exact: bool = False) -> OutOfMemory:
    """What to reduce for whole videos to fit."""
    ways = [f"inference.batch_size={batch_size // 2}"] if batch_size > 1 else []
    ways.append(f"inference.window={max(2, window // 2)}")
    if exact:  # what is kept between chunks grows with the video, not with the chunk
        ways.append("leave out --exact (inference.exact)")
    return OutOfMemory(
        f"Out of memory on {device} while whole videos are computed, {batch_size} windows of up to {window} frames in "
        f"a pass. Reduce, in this order: {'; '.join(f'{number}. {way}' for number, way in enumerate(ways, start=1))}."
    )


class Passes:
    """Windows of one length through a network, as many in a pass as memory allows: fewer after a pass that failed.

    Args:
        device: Where they are computed.
        batch_size: Most windows in a pass.
        most_frames: Most input frames in a pass, where a window alone is not longer; None is any.
    """

    def __init__(self, device: torch.device, batch_size: int, most_frames: int | None = None) -> None:
        self.device, self.batch_size, self.most_frames = device, batch_size, most_frames

    def __call__(
        self, compute: Callable[[list[VideoWindow]], Output], windows: Sequence[VideoWindow]
    ) -> Iterator[tuple[list[VideoWindow], Output]]:
        """Yield what `compute` makes of the windows, some of them at a time, in order.

        Raises:
            OutOfMemory: There is no room for a single window.
        """
        left = list(windows)
        while left:
            length = left[0].frames.shape[1]
            part = left[: self.at_once(length)]
            outputs = self._tried(compute, part, length)
            if outputs is not None:
                yield part, outputs
                left = left[len(part) :]

    def at_once(self, length: int) -> int:
        """Windows of `length` frames in a pass."""
        return self.batch_size if self.most_frames is None else max(1, min(self.batch_size, self.most_frames // length))

    def _tried(
        self, compute: Callable[[list[VideoWindow]], Output], part: list[VideoWindow], length: int
    ) -> Output | None:
        try:
            return compute(part)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(part) == 1:
                raise advice_on_videos(length, 1, self.device) from error
        # Not within the handler: what failed is held there.
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        fewer = len(part) // 2
        self.most_frames = fewer * length
        _log.warning(
            "Out of memory on %s with %d windows of %d frames in a pass; going on with %d (inference.batch_size).",
            self.device, len(part), length, fewer,
        )  # fmt: skip
        return None
