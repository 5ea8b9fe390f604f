"""The one prediction loop: windows of videos in, one result per video out.

What is computed of windows (`Apply`) and how a video's windows become its result (`Join`) come in as values: scores for
`evaluate`, stored features for `extract-features`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ssdet_cli.data.clips import VideoFacts, VideoWindow
from ssdet_cli.data.reading import dead_workers_named
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.out_of_memory import Passes
from ssdet_cli.evaluation.interface import VideoScores, interpolate

#: Windows -> windows with outputs by name, each without batch dimension; in any order, and an output may come late.
#: A window that tells of a failure passes through.
Apply = Callable[[Iterable[VideoWindow]], Iterator[tuple[VideoWindow, Mapping[str, Tensor]]]]
#: Name of the logits among outputs.
LOGITS = "logits"
#: Rows that are averaged at a time.
_ROWS = 4096


class Join(Protocol):
    """Puts the windows of one video together."""

    def add(self, window: VideoWindow, outputs: Mapping[str, Tensor]) -> bool:
        """Take outputs in; True once the video is complete."""
        ...

    def finish(self) -> Any:
        """The result of the complete video."""
        ...

    def discard(self) -> None:
        """Drop what there is: the video cannot be completed."""
        ...


class ScoreJoin:
    """Weighted mean of the logits (K, T) of a video's windows.

    Of several crops and shifted passes, the mean of their probabilities at the times of the pass that is not shifted:
    the logits of the others are interpolated to them.
    """

    def __init__(self, video: VideoFacts) -> None:
        self._passes: dict[float, tuple[VideoFacts, np.ndarray]] = {}
        self._added, self._backend = 0, ""

    def add(self, window: VideoWindow, outputs: Mapping[str, Tensor]) -> bool:
        """Add a window's logits."""
        logits = outputs[LOGITS].float().T.cpu().numpy()
        video = window.video
        if video.shift not in self._passes:
            empty = np.zeros((window.crops, video.num_frames, logits.shape[1]), np.float32)
            self._passes[video.shift] = video, empty
        joined = self._passes[video.shift][1]
        joined[window.crop, window.start : window.start + len(logits)] += logits * window.weights[:, None]
        self._added, self._backend = self._added + 1, window.backend
        return self._added == window.count

    def finish(self) -> VideoScores:
        """Return the scores."""
        video, logits = self._passes[0.0]
        alone = len(self._passes) == len(logits) == 1
        return VideoScores(
            video_id=video.video_id,
            seconds=video.seconds,
            logits=logits[0] if alone else self._mean(video.seconds),
            duration_seconds=video.duration_seconds,
            frame_rate=video.frame_rate,
            num_frames=video.raw_frames,
            raw_seconds=video.raw_seconds,
            backend=self._backend,
        )

    def discard(self) -> None:
        """Nothing is held outside."""

    def _mean(self, seconds: np.ndarray) -> np.ndarray:
        """(T, K), part by part: as many as there are passes and crops are held at double precision."""
        passes = [self._passes[shift] for shift in sorted(self._passes)]
        parts = []
        for first in range(0, len(seconds), _ROWS):
            times = seconds[first : first + _ROWS]
            # Of the pass that is not shifted these are its own rows, to the bit.
            said = [interpolate(crop, video.seconds, times) for video, joined in passes for crop in joined]
            parts.append(_mean_of_sigmoids(np.stack(said)))
        return np.concatenate(parts)


def _mean_of_sigmoids(logits: np.ndarray) -> np.ndarray:
    """(n, T, K) logits -> (T, K), the logit of the mean of their sigmoids."""
    present, absent = (-np.logaddexp(0, sign * logits.astype(np.float64)) for sign in (-1, 1))
    return (np.logaddexp.reduce(present) - np.logaddexp.reduce(absent)).astype(np.float32)


def in_batches(
    network: Callable[..., Mapping[str, Tensor]],
    *,
    normalize: Callable[[Tensor], Tensor],
    device: torch.device,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager],
    beside: Callable[[list[VideoWindow]], Mapping[str, Any]] = lambda windows: {},
    most_frames: int | None = None,
) -> Apply:
    """Several windows per pass. Only windows of equal length share one, so nothing is padded: a video's outputs do not
    depend on its company.

    Args:
        network: (B, 3, T, H, W) normalised -> outputs by name, batch first; in evaluation mode.
        normalize: uint8 frames -> network input.
        device: Where to compute.
        batch_size: Most windows in a pass; where memory does not suffice there are fewer, see `Passes`.
        autocast: Precision of the pass.
        beside: Windows of a pass -> what the network takes beside their frames, by keyword, on the device.
        most_frames: Most input frames in a pass of several windows; None is any.
    """

    def through(batch: list[VideoWindow]) -> Mapping[str, Tensor]:
        frames = torch.stack([window.frames for window in batch]).to(device, non_blocking=True)
        with autocast():
            return network(normalize(frames), **beside(batch))

    def apply(windows: Iterable[VideoWindow]) -> Iterator[tuple[VideoWindow, Mapping[str, Tensor]]]:
        passes = Passes(device, batch_size, most_frames)
        for batch in batches(windows, passes):
            if batch[0].failure:
                yield batch[0], {}
                continue
            yield from _one_by_one(passes(through, batch))

    return apply


def _one_by_one(
    done: Iterable[tuple[list[VideoWindow], Mapping[str, Tensor]]],
) -> Iterator[tuple[VideoWindow, Mapping[str, Tensor]]]:
    """Take passes apart; a function of its own, so that nothing of a pass is held during the next."""
    for part, outputs in done:
        for index, window in enumerate(part):
            yield window, {name: output[index] for name, output in outputs.items()}


def predict(
    windows: Iterable[VideoWindow],
    *,
    apply: Apply,
    join: Callable[[VideoFacts], Join],
    session: Session,
    advance: Callable[[int], None] = lambda done: None,
) -> tuple[list[Any], dict[str, str]]:
    """Carry this rank's videos through, in memory that does not grow with their length.

    Args:
        windows: Of whole videos, each video on one rank only and its windows in order.
        apply: What is computed.
        join: Makes what puts a video's windows together; what is left unfinished by an error is discarded.
        session: This process.
        advance: Told the number of finished videos.

    Returns:
        Results of all ranks in no particular order, and video id -> reason for the unreadable ones.

    Raises:
        StopAsked: A rank was asked to stop.
    """
    results: list[Any] = []
    failures: dict[str, str] = {}
    begun: dict[str, Join] = {}
    try:
        with torch.no_grad(), dead_workers_named():
            for window, outputs in apply(windows):
                video_id = window.video.video_id
                if window.failure:
                    failures[video_id] = window.failure
                    if video_id in begun:
                        begun.pop(video_id).discard()
                elif video_id not in failures:
                    if video_id not in begun:
                        begun[video_id] = join(window.video)
                    if begun[video_id].add(window, outputs):
                        results.append(begun[video_id].finish())
                        del begun[video_id]
                advance(len(results) + len(failures))
                if session.stop.asked():
                    break
    finally:
        for unfinished in begun.values():
            unfinished.discard()
    session.leave_if_asked()
    gathered = session.gather((results, failures))
    return (
        [result for part, _ in gathered for result in part],
        {video_id: reason for _, part in gathered for video_id, reason in part.items()},
    )


def batches(windows: Iterable[VideoWindow], passes: Passes) -> Iterator[list[VideoWindow]]:
    """Group windows by length; when many lengths wait, the fullest group goes early, which bounds the memory.

    Windows of one length stay in order. One that tells of a failure comes alone and at once, before others of its video
    that wait.
    """
    waiting: dict[int, list[VideoWindow]] = {}
    for window in windows:
        if window.failure:
            yield [window]
            continue
        length = window.frames.shape[1]
        waiting.setdefault(length, []).append(window)
        if len(waiting[length]) >= passes.at_once(length):
            yield waiting.pop(length)
        elif sum(map(len, waiting.values())) >= 4 * passes.batch_size:
            yield waiting.pop(max(waiting, key=lambda key: len(waiting[key])))
    yield from waiting.values()
