"""How a video that is longer than one pass is cut into windows, and what each window counts for.

Of a network that sees a known number of frames to either side, every window gives the steps that it saw all
surroundings of, and nothing else: the joined outputs are those of one pass. Of any other network windows overlap by
half and are blended.
"""

from dataclasses import dataclass

import numpy as np

from ssdet_cli.errors import ConfigError


@dataclass(frozen=True)
class Windows:
    """A way to cut.

    Attributes:
        length: Input frames of a pass.
        multiple: Windows begin at multiples of it, so that the steps of a network that strides over time line up.
        reach: Input frames before and after a step that its output depends on; None where it is unknown or unlimited.

    Raises:
        ConfigError: `length` leaves nothing between the edges.
    """

    length: int
    multiple: int = 1
    reach: int | None = None

    def __post_init__(self) -> None:
        least = self.multiple if self.reach is None else 2 * self.margin + self.multiple
        if self.length < least:
            raise ConfigError(
                f"inference.window={self.length} is too short for this network: it needs {least} input frames or more."
            )

    @property
    def margin(self) -> int:
        """Frames at an inner edge that saw too little, in whole steps."""
        return -(-(self.reach or 0) // self.multiple) * self.multiple

    @property
    def whole(self) -> int:
        """Frames of a window of a longer video, in whole steps."""
        return self.length // self.multiple * self.multiple

    @property
    def hop(self) -> int:
        """Frames from the start of a window to that of the next; only the last may begin earlier."""
        if self.reach is not None:
            return self.whole - 2 * self.margin
        return max(self.multiple, self.whole // 2 // self.multiple * self.multiple)

    def last_start(self, num_frames: int) -> int:
        """Where the last window of a video that is longer than one begins."""
        behind = -(-(num_frames - self.whole) // (self.multiple if self.reach is None else self.hop))
        return behind * (self.multiple if self.reach is None else self.hop)

    def spans(self, num_frames: int) -> list[tuple[int, int]]:
        """First input frame of every window, and the one behind its last: [start, stop), in order."""
        if num_frames <= self.length:
            return [(0, num_frames)]
        starts = [*range(0, num_frames - self.whole, self.hop), self.last_start(num_frames)]
        return [(start, min(start + self.whole, num_frames)) for start in starts]

    def weights(self, num_frames: int) -> list[np.ndarray]:
        """What every frame of every window counts for, (stop - start,) float32 each; they add up to 1 at any frame.

        A frame of unknown surroundings counts by its distance to the window's edges: those near an edge saw least.
        """
        spans = self.spans(num_frames)
        if len(spans) == 1:
            return [np.ones(num_frames, np.float32)]
        if self.reach is None:
            ramps = [triangle(stop - start) for start, stop in spans]
            total = np.zeros(num_frames, np.float32)
            for (start, stop), ramp in zip(spans, ramps, strict=True):
                total[start:stop] += ramp
            return [ramp / total[start:stop] for (start, stop), ramp in zip(spans, ramps, strict=True)]
        firsts = [0, *(start + self.margin for start, _ in spans[1:]), num_frames]
        own = zip(spans, firsts, firsts[1:], strict=False)
        return [between(start, stop, first, end) for (start, stop), first, end in own]


def triangle(length: int) -> np.ndarray:
    """(length,) float32: how far each frame is from the nearer edge of its window."""
    ramp = np.arange(1, length + 1, dtype=np.float32)
    return np.minimum(ramp, ramp[::-1])


def between(start: int, stop: int, first: int, end: int) -> np.ndarray:
    """(stop - start,) float32: 1 for the frames of [start, stop) that are in [first, end), 0 for the others."""
    frames = np.arange(start, stop)
    return ((frames >= first) & (frames < end)).astype(np.float32)
