"""Windows of a video whose end is not known yet: cut and weighed as `data.windows` cuts one that is."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ssdet_cli.data.clips import VideoFacts, VideoWindow
from ssdet_cli.data.windows import Windows, between, triangle

#: Raw frames of a video of which nobody knows how many it has.
_ENDLESS = sys.maxsize


@dataclass(frozen=True)
class TimedWindow(VideoWindow):
    """A window whose video may go on: until the last one `count` is 0, and the number of the video's frames beyond any.

    Attributes:
        seconds: (T,) float64, when each frame appears.
    """

    seconds: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)


class StreamWindows:
    """The windows of one video, each as soon as the frame behind it is there; to be iterated once.

    The weights of windows are relative: the outputs at a frame are to be divided by the sum of what they counted for.
    No more frames are held than a window has, and one.

    Args:
        video_id: Name.
        frames: (index, seconds, (3, S, S) uint8) of every input frame; the indices rise by one.
        windows: How a long video is cut.
        numbered: `start` of a window is the index of its first frame; else the first of all is 0.
    """

    def __init__(
        self, video_id: str, frames: Iterable[tuple[int, float, Tensor]], windows: Windows, *, numbered: bool = False
    ) -> None:
        self.video_id, self.frames, self.windows, self.numbered = video_id, frames, windows, numbered

    def __iter__(self) -> Iterator[TimedWindow]:
        self._held: list[tuple[float, Tensor]] = []
        self._dropped = self._given = self._first = 0
        whole, hop = self.windows.whole, self.windows.hop
        for index, seconds, frame in self.frames:
            if not self._held:
                self._first = index if self.numbered else 0
            self._held.append((seconds, frame))
            seen = self._dropped + len(self._held)
            start = self._given * hop
            if seen > max(self.windows.length, start + whole):
                yield self._window(start, start + whole, last=False)
            # The last window, whenever it comes, begins where `whole` frames are left or later.
            self._drop(min(self._given * hop, seen - whole))
        if self._held:
            yield self._last(self._dropped + len(self._held))

    def _last(self, total: int) -> TimedWindow:
        start = 0 if total <= self.windows.length else self.windows.last_start(total)
        return self._window(start, total, last=True)

    def _window(self, start: int, stop: int, *, last: bool) -> TimedWindow:
        part = self._held[start - self._dropped : stop - self._dropped]
        self._given += 1
        return TimedWindow(
            video=VideoFacts(self.video_id, raw_frames=self._first + stop if last else _ENDLESS),
            start=self._first + start,
            frames=torch.stack([frame for _, frame in part], dim=1),
            weights=self._weights(start, stop, last=last),
            count=self._given if last else 0,
            backend="pyav",
            seconds=np.array([seconds for seconds, _ in part]),
        )

    def _weights(self, start: int, stop: int, *, last: bool) -> np.ndarray:
        if self.windows.reach is None:
            return triangle(stop - start)
        margin = self.windows.margin
        first = start + margin if start else 0
        return between(start, stop, first, stop if last else start + self.windows.hop + margin)

    def _drop(self, until: int) -> None:
        if until > self._dropped:
            del self._held[: until - self._dropped]
            self._dropped = until
