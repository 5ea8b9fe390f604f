"""Which frames of a video a clip takes. Pure functions of numbers; nothing is decoded here.

A window of `length` frames at `stride` starts at raw frame s and takes s, s + stride, ..., so that it spans
(length - 1) * stride + 1 raw frames. Where frames are so many seconds apart instead (`Spacing.seconds`), a window
starts at a moment, its frames belong to that moment, the moment + seconds, ..., and the raw frame that is nearest in
time is taken for each: files of different and of varying rates then show the same moments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

#: How a clip is placed in its video: anywhere, one of the windows that lie side by side in it, or all over it.
Sampling = Literal["random", "windows", "uniform"]
#: Moments that differ by less are the same, seconds.
SAME_MOMENT = 1e-6


def _check(num_frames: int, length: int, stride: int) -> None:
    for name, value in (("num_frames", num_frames), ("length", length), ("stride", stride)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")


def _last_start(num_frames: int, length: int, stride: int) -> int:
    """Last start at which the whole window lies inside the video; 0 where the video is shorter than the window."""
    _check(num_frames, length, stride)
    return max(0, num_frames - ((length - 1) * stride + 1))


def random_window(num_frames: int, length: int, stride: int, rng: np.random.Generator) -> int:
    """Draw the start of a window, uniform over all starts that keep it inside the video.

    Args:
        num_frames: Raw frames in the video.
        length: Frames in the window.
        stride: Raw frames from one frame of the window to the next.
        rng: Source of the draw. One number is drawn whatever the arguments, so that later draws stay in step.

    Returns:
        Raw frame number, 0 where the video is shorter than the window.

    Raises:
        ValueError: An argument is smaller than 1.
    """
    return int(rng.integers(_last_start(num_frames, length, stride) + 1))


def centre_window(num_frames: int, length: int, stride: int) -> int:
    """Return the start that leaves as many raw frames before the window as after it (one fewer where odd).

    Raises:
        ValueError: An argument is smaller than 1.
    """
    return _last_start(num_frames, length, stride) // 2


def window_indices(start: int, length: int, stride: int, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw frames of a window and which of them exist.

    Args:
        start: First raw frame, 0 or more; may lie beyond the end.
        length: Frames in the window.
        stride: Raw frames from one frame of the window to the next.
        num_frames: Raw frames in the video.

    Returns:
        indices: (length,) int64 in [0, num_frames); beyond the end the last frame is repeated.
        valid: (length,) bool, False where the last frame stands in for one beyond the end.

    Raises:
        ValueError: `start` is negative or another argument is smaller than 1.
    """
    _check(num_frames, length, stride)
    if start < 0:
        raise ValueError(f"start must be at least 0, got {start}.")
    wanted = start + np.arange(length, dtype=np.int64) * stride
    return np.minimum(wanted, num_frames - 1), wanted < num_frames


@dataclass(frozen=True)
class Spacing:
    """How far input frames lie apart.

    Attributes:
        stride: Raw frames from one input frame to the next.
        seconds: Seconds from one to the next instead, whatever the rate of the file; None counts frames.
    """

    stride: int = 1
    seconds: float | None = None

    def __str__(self) -> str:
        return f"one frame in {self.stride}" if self.seconds is None else f"one frame every {self.seconds:g} s"


@dataclass(frozen=True)
class FrameTimes:
    """When the raw frames of a video, or of the part of it that is used, appear.

    Attributes:
        seconds: (N,) float64, rising.
        end: When the last of them ends.
    """

    seconds: np.ndarray
    end: float

    @property
    def duration(self) -> float:
        """From the first frame to the end, seconds."""
        return self.end - float(self.seconds[0])


@dataclass(frozen=True)
class Window:
    """Where the frames of a clip are in its video.

    Attributes:
        indices: (T,) int64, raw frames in [0, num_frames); beyond the end the last one is repeated.
        real: (T,) bool, False where the last frame stands in for one beyond the end.
        start: The first frame, counted in input frames of the whole video; a fraction where it is none of them.
        first: Raw frame at which a window that counts frames starts; None for one that goes by time.
        moments: (T,) float64, what the frames of a window that goes by time stand for, seconds; else None.
        stretch: How many times the usual spacing its frames are apart.
    """

    indices: np.ndarray
    real: np.ndarray
    start: float
    first: int | None = None
    moments: np.ndarray | None = None
    stretch: int = 1


@dataclass(frozen=True)
class Placing:
    """What decides where a clip lies.

    Attributes:
        sampling: See `Sampling`.
        rng: Source of the draw; None places it in the middle, where there is a choice.
        turn: Which of the windows side by side: this one, counted on from the first after the last.
    """

    sampling: Sampling = "random"
    rng: np.random.Generator | None = None
    turn: int = 0


@dataclass(frozen=True)
class Taken:
    """What a clip takes of the window that a usual one would have: from its begin, so many frames, farther apart.

    Attributes:
        length: Input frames.
        stretch: They are a whole number of times the usual spacing apart, drawn from 1 to this.
    """

    length: int
    stretch: int = 1

    def drawn(self, rng: np.random.Generator | None) -> int:
        """The whole number; 1 where nothing is drawn."""
        return 1 if rng is None or self.stretch == 1 else int(rng.integers(1, self.stretch + 1))


def place_clip(
    num_frames: int,
    times: Callable[[], FrameTimes],
    length: int,
    spacing: Spacing,
    placing: Placing,
    taken: Taken | None = None,
) -> Window:
    """Say which raw frames a clip takes.

    Args:
        num_frames: Raw frames of the video.
        times: When they appear; asked only where that matters.
        length: Input frames of a usual clip.
        spacing: How far apart they are. A clip all over the video has a spacing of its own.
        placing: What decides where it lies.
        taken: The part of it that is wanted; None is all.

    Raises:
        ValueError: A count is smaller than 1.
    """
    taken = taken or Taken(length)
    _check(num_frames, length, spacing.stride)
    if placing.sampling == "uniform":
        seen = times()
        apart = seen.duration / taken.length
        shift = 0.5 if placing.rng is None else float(placing.rng.random())
        return _window_at(seen, shift * apart, taken.length, apart)
    if spacing.seconds is None:
        first = _first_frame(num_frames, length, spacing.stride, placing)
        stretch = taken.drawn(placing.rng)
        indices, real = window_indices(first, taken.length, stretch * spacing.stride, num_frames)
        return Window(indices, real, first / spacing.stride, first, stretch=stretch)
    seen = times()
    room = max(0.0, float(seen.seconds[-1] - seen.seconds[0]) - (length - 1) * spacing.seconds)
    start = _first_moment(room, length * spacing.seconds, placing)
    return _window_at(seen, start, taken.length, spacing.seconds, taken.drawn(placing.rng))


def whole_video(times: FrameTimes, spacing: Spacing, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw frames that a whole video is sampled at, and the time of each.

    By frames: every `stride`-th from the first. By time: what is nearest to every moment from the first frame on that
    comes before the end.

    Args:
        times: When its frames appear.
        spacing: How far the sampled ones lie apart.
        shift: So much later than the first frame it begins, as a part of the spacing: 0.5 of a stride of 5 is 2 frames.
            It must be `in_video`.

    Returns:
        indices: (T,) int64.
        seconds: (T,) float64, rising.
    """
    if spacing.seconds is None:
        indices = np.arange(frames_shifted(spacing, shift), len(times.seconds), spacing.stride, dtype=np.int64)
        return indices, times.seconds[indices]
    count = max(1, int(np.ceil((times.duration - SAME_MOMENT) / spacing.seconds - shift)))
    moments = times.seconds[0] + (np.arange(count) + shift) * spacing.seconds
    return nearest_frames(times.seconds, moments), moments


def frames_shifted(spacing: Spacing, shift: float) -> int:
    """Raw frames by which a shift moves a video that is sampled by their number, rounded down."""
    return int(shift * spacing.stride + SAME_MOMENT)


def in_video(times: FrameTimes, spacing: Spacing, shift: float) -> bool:
    """Whether a video goes on for so long that something is sampled with this shift."""
    if spacing.seconds is None:
        return frames_shifted(spacing, shift) < len(times.seconds)
    return shift == 0 or shift * spacing.seconds < times.duration - SAME_MOMENT


def nearest_frames(seconds: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """Return the frame that is nearest in time to each moment, the later one of two: (N,) and (M,) -> (M,) int64."""
    between = (seconds[1:] + seconds[:-1]) / 2
    return np.searchsorted(between, np.asarray(moments) + SAME_MOMENT, side="right").astype(np.int64)


def _first_frame(num_frames: int, length: int, stride: int, placing: Placing) -> int:
    if placing.rng is None:
        return centre_window(num_frames, length, stride)
    if placing.sampling == "random":
        return random_window(num_frames, length, stride, placing.rng)
    room = _last_start(num_frames, length, stride)
    return min(placing.turn % (-(-room // (length * stride)) + 1) * length * stride, room)


def _first_moment(room: float, span: float, placing: Placing) -> float:
    """Seconds from the video's first frame to that of a window which may start up to `room` seconds after it."""
    if placing.rng is None:
        return room / 2
    if placing.sampling == "random":
        return float(placing.rng.random()) * room
    return min(placing.turn % (int(np.ceil((room - SAME_MOMENT) / span)) + 1) * span, room)


def _window_at(times: FrameTimes, start: float, length: int, apart: float, stretch: int = 1) -> Window:
    moments = times.seconds[0] + start + np.arange(length) * (stretch * apart)
    real = moments < times.end - SAME_MOMENT
    return Window(nearest_frames(times.seconds, moments), real, start / apart, moments=moments, stretch=stretch)
