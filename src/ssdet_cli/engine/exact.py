"""Long videos exactly, by backbones that offer it: all of a video's windows at one depth before the next."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import groupby

import torch
from torch import Tensor, nn

from ssdet_cli.data.clips import VideoWindow
from ssdet_cli.data.windows import Windows
from ssdet_cli.engine.out_of_memory import advice_on_videos, is_out_of_memory
from ssdet_cli.engine.predict import LOGITS, Apply
from ssdet_cli.errors import ConfigError
from ssdet_cli.models.detectors.frame import temporal_multiple


class _Unreadable(Exception):
    """The rest of a video cannot be read; carries the window that says so."""

    def __init__(self, window: VideoWindow) -> None:
        super().__init__(window.failure)
        self.window = window


def windows_of(network: nn.Module, length: int, *, exact: bool, name: str = "This network") -> Windows:
    """How a network's long videos are cut.

    Args:
        network: Backbone or detector; says its `temporal_reach`, strides and `longest_clip` where it has them.
        length: Input frames of a pass; a network with a longest clip gets no more than that.
        exact: The outputs must be those of one pass.
        name: Of the network, for the error.

    Raises:
        ConfigError: `exact`, and the network can do it neither in windows nor in chunks; or `length` is too short.
    """
    reach, multiple = getattr(network, "temporal_reach", None), temporal_multiple(getattr(network, "backbone", network))
    longest = getattr(network, "longest_clip", None)
    length = length if longest is None else min(length, longest)
    if reach is not None or not exact:
        return Windows(length, multiple, reach)
    if not hasattr(getattr(network, "backbone", network), "forward_stages_in_chunks"):
        raise ConfigError(
            f"{name} cannot go through a long video exactly (it looks at all of a window, and has no way in chunks); "
            "leave out --exact (inference.exact), or give an inference.window as long as the longest video."
        )
    return Windows(length, multiple, reach=0)


def stages_in_chunks(
    backbone: nn.Module,
    names: Sequence[str],
    finish: Callable[[Tensor], Tensor],
    *,
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
) -> Apply:
    """Stages of whole videos, window after window of one stage after the other; windows do not overlap.

    Args:
        backbone: Has `forward_stages_in_chunks`.
        names: Stages.
        finish: (1, C, t, h, w) -> what is kept of it.
        normalize: uint8 frames -> network input.
        device: Where to compute.
        autocast: Precision.
    """

    def apply(windows: Iterable[VideoWindow]) -> Iterator[tuple[VideoWindow, Mapping[str, Tensor]]]:
        for _, group in groupby(windows, key=lambda window: window.video.video_id):
            seen: list[VideoWindow] = []
            outputs = _outputs(backbone, _frames(group, seen, normalize, device), seen, names)
            try:
                # Precision is on while the backbone computes, and not while the outputs are used.
                while (output := _next(outputs, autocast)) is not None:
                    name, number, values = output
                    yield seen[number], {name: finish(values)[0]}
            except _Unreadable as stopped:
                yield stopped.window, {}
            except (RuntimeError, MemoryError) as error:
                if is_out_of_memory(error):
                    raise advice_on_videos(len(seen[-1].weights), 1, device, exact=True) from error
                raise

    return apply


def logits_in_chunks(detector: nn.Module, **how: object) -> Apply:
    """Logits of whole videos: the backbone in chunks, and then its head once on the features of all frames.

    Args:
        detector: A `FrameDetector` whose backbone has `forward_stages_in_chunks`.
        **how: See `stages_in_chunks`.
    """
    backbone = detector.backbone
    last = backbone.stage_names[-1]
    of_stage = stages_in_chunks(backbone, (last,), lambda values: values.mean((3, 4)), **how)

    def apply(windows: Iterable[VideoWindow]) -> Iterator[tuple[VideoWindow, Mapping[str, Tensor]]]:
        held: list[tuple[VideoWindow, Tensor]] = []
        for window, outputs in of_stage(windows):
            if window.failure:
                held = []
                yield window, {}
                continue
            held.append((window, outputs[last]))
            if len(held) != window.count:  # 0 until the last one of a video that is cut while it is read
                continue
            features = torch.cat([part for _, part in held], dim=1)[None]
            with how["autocast"]():
                logits = detector.at_input_frames(detector.head(features), window.video.num_frames)[0]
            for each, _ in held:
                yield each, {LOGITS: logits[:, each.start : each.start + len(each.weights)]}
            held = []

    return apply


def _frames(
    group: Iterable[VideoWindow],
    seen: list[VideoWindow],
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
) -> Iterator[Tensor]:
    """Yield the frames (1, 3, t, H, W) of a video's windows; the windows without them are noted in `seen`."""
    for window in group:
        if window.failure:
            raise _Unreadable(window)
        seen.append(replace(window, frames=torch.empty(0)))  # not a view, which would hold them
        yield normalize(window.frames[None].to(device, non_blocking=True))


def _outputs(
    backbone: nn.Module, frames: Iterator[Tensor], seen: list[VideoWindow], names: Sequence[str]
) -> Iterator[tuple[str, int, Tensor]]:
    first = next(frames)
    if seen[0].count == 1:  # one pass is exact, and quicker
        yield from ((name, 0, values) for name, values in backbone.forward_stages(first, names).items())
        return
    yield from backbone.forward_stages_in_chunks(_after(first, frames), names)


def _after(first: Tensor, rest: Iterator[Tensor]) -> Iterator[Tensor]:
    yield first
    yield from rest


def _next(
    outputs: Iterator[tuple[str, int, Tensor]], autocast: Callable[[], AbstractContextManager]
) -> tuple[str, int, Tensor] | None:
    with autocast():
        return next(outputs, None)
