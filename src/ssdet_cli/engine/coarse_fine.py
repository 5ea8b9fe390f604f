"""Whole videos through a Coarse-Fine network: windows of the coarse stream, each with the fine features around it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial

import torch
from torch import Tensor, nn

from ssdet_cli.data.clips import VideoWindow
from ssdet_cli.data.fine_context import FineContext, fine_span, pad_features
from ssdet_cli.engine.out_of_memory import Passes
from ssdet_cli.engine.predict import LOGITS, Apply, batches, in_batches


def with_stored_features(
    network: nn.Module,
    context: FineContext,
    *,
    batch_size: int,
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
) -> Apply:
    """Logits of windows whose fine features are read from a store; shorter features are padded and masked.

    Args:
        network: A `CoarseStream`, or a `CoarseFine` of which that part is used.
        context: Reads the features.
        batch_size: Windows per pass.
        normalize: uint8 frames -> network input.
        device: Where to compute.
        autocast: Precision of the pass.
    """
    coarse = getattr(network, "coarse", network)

    def beside(windows: list[VideoWindow]) -> dict[str, object]:
        parts, starts = zip(
            *(context.read(window.video.video_id, window.start, window.frames.shape[1]) for window in windows),
            strict=True,
        )
        features, mask = pad_features(parts)
        return {
            "fine_features": {name: values.to(device, non_blocking=True) for name, values in features.items()},
            "fine_mask": mask.to(device),
            "fine_start": torch.tensor(starts, device=device),
        }

    return in_batches(
        lambda frames, **fine: {LOGITS: coarse(frames, **fine)},
        normalize=normalize,
        device=device,
        batch_size=batch_size,
        autocast=autocast,
        beside=beside,
    )


def with_fine_stream(
    network: nn.Module,
    longest: int,
    *,
    batch_size: int,
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
    autocast: Callable[[], AbstractContextManager],
) -> Apply:
    """Logits of windows whose fine features are computed on the way, as `extract-features` computes them.

    The fine stream goes ahead of the coarse one by half of the features that a window needs. Of a video of any length
    no more is held than that: some windows of frames, and the fine features between the first that waits and the last
    that came.

    Args:
        network: A `CoarseFine`.
        longest: Most fine frames that a window is steered by, see `fine_span`.
        batch_size: Most windows of equal length in a pass; where memory does not suffice there are fewer.
        normalize: uint8 frames -> network input.
        device: Where to compute.
        autocast: Precision of the passes.
    """

    def clips(batch: list[VideoWindow]) -> Tensor:
        return normalize(torch.stack([window.frames for window in batch]).to(device, non_blocking=True))

    def through_fine(batch: list[VideoWindow]) -> Mapping[str, Tensor]:
        with autocast():
            return network.fine_features(clips(batch))

    def through_coarse(held: Mapping[str, "_Held"], batch: list[VideoWindow]) -> Tensor:
        around = [held[window.video.video_id].around(window, longest) for window in batch]
        features, mask = pad_features([values for values, _ in around])
        starts = torch.tensor([start for _, start in around], device=device)
        with autocast():
            padded = None if bool(mask.all()) else mask.to(device)
            return network.coarse(clips(batch), features, padded, starts)

    def apply(windows: Iterable[VideoWindow]) -> Iterator[tuple[VideoWindow, Mapping[str, Tensor]]]:
        held: dict[str, _Held] = {}
        failed: set[str] = set()
        fine_passes, coarse_passes = Passes(device, batch_size), Passes(device, batch_size)
        for batch in batches(windows, fine_passes):
            if batch[0].failure:
                failed.add(batch[0].video.video_id)
                held.pop(batch[0].video.video_id, None)
                yield batch[0], {}
                continue
            # The windows of a video are of one length, so they come in order, and those that get ready share a pass.
            batch = [window for window in batch if window.video.video_id not in failed]
            for part, features in fine_passes(through_fine, batch):
                fresh = _added(held, part, features)
                ready = [window for video in fresh.values() for window in video.ready(longest)]
                for done, logits in coarse_passes(partial(through_coarse, held), ready):
                    yield from ((window, {LOGITS: each}) for window, each in zip(done, logits, strict=True))
                for video_id, video in fresh.items():
                    video.forget(longest)
                    if video.done:
                        del held[video_id]

    return apply


class _Held:
    """Of one video: windows whose fine features are not all there yet, and the features that they need.

    How long the video is need not be known before its last window: until then it is longer than any.
    """

    def __init__(self) -> None:
        self._features: dict[str, Tensor] = {}
        self._counted = torch.empty(0)
        self._first = self._whole = self._added = self._behind = self._num_frames = 0
        self._waiting: deque[VideoWindow] = deque()

    @property
    def done(self) -> bool:
        """Whether nothing is to come any more."""
        return self._whole == self._behind and not self._waiting

    def add(self, window: VideoWindow, features: Mapping[str, Tensor]) -> None:
        """Blend in the features (C, T, h, w) of a window; windows come in order."""
        weights = torch.from_numpy(window.weights)
        overlap = max(0, self._behind - window.start)
        for name, values in features.items():
            values = values * weights.to(values.device)[:, None, None]
            self._features[name] = _joined(self._features.get(name, values[:, :0]), values, overlap)
        self._counted = _joined(self._counted[None], weights[None], overlap)[0]
        self._added, self._behind = self._added + 1, window.start + len(weights)
        self._num_frames = window.video.num_frames
        # What lies before a window gets nothing from those after it.
        last = self._added == window.count
        self._whole = self._behind if last else window.start
        self._waiting.append(window)
        self._latest = window

    def ready(self, longest: int) -> Iterator[VideoWindow]:
        """Yield the windows whose features are there; they stay until `forget`."""
        while self._waiting and self._span(self._waiting[0], longest)[1] <= self._whole:
            yield self._waiting.popleft()

    def forget(self, longest: int) -> None:
        """Drop the features that no window to come will need."""
        first, _ = self._span(self._waiting[0] if self._waiting else self._latest, longest)
        # Should the video end here, its last windows reach as far back as this.
        first = min(first, max(0, self._behind - max(longest, self._latest.frames.shape[1])))
        if first > self._first:
            self._features = {name: values[:, first - self._first :] for name, values in self._features.items()}
            self._counted = self._counted[first - self._first :]
            self._first = first

    def around(self, window: VideoWindow, longest: int) -> tuple[dict[str, Tensor], float]:
        """Features of the span of a window, and the window's start in it."""
        first, stop = self._span(window, longest)
        part = slice(first - self._first, stop - self._first)
        counted = self._counted[part, None, None]
        means = {name: values[:, part] / counted.to(values.device) for name, values in self._features.items()}
        return means, float(window.start - first)

    def _span(self, window: VideoWindow, longest: int) -> tuple[int, int]:
        return fine_span(self._num_frames, window.start, window.frames.shape[1], longest)


def _added(held: dict[str, _Held], part: list[VideoWindow], features: Mapping[str, Tensor]) -> dict[str, _Held]:
    """Blend in the features (B, C, T, h, w) of windows; returns those of `held` that they belong to."""
    fresh: dict[str, _Held] = {}
    for index, window in enumerate(part):
        video_id = window.video.video_id
        fresh[video_id] = held.setdefault(video_id, _Held())
        fresh[video_id].add(window, {name: values[index].float() for name, values in features.items()})
    return fresh


def _joined(held: Tensor, fresh: Tensor, overlap: int) -> Tensor:
    """Put (C, T, ...) behind another; the first `overlap` steps are added to its last."""
    if not overlap:
        return torch.cat((held, fresh), dim=1)
    both = held[:, -overlap:] + fresh[:, :overlap]
    return torch.cat((held[:, :-overlap], both, fresh[:, overlap:]), dim=1)
