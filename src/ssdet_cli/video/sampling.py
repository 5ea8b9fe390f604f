"""Which frames of a video a clip takes. Pure functions of numbers; nothing is decoded here.

A window of `length` frames at `stride` starts at raw frame s and takes s, s + stride, ..., so that it spans
(length - 1) * stride + 1 raw frames.
"""

import numpy as np


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


def whole_video_indices(num_frames: int, stride: int) -> np.ndarray:
    """Return every `stride`-th raw frame from the first: (ceil(num_frames / stride),) int64.

    Raises:
        ValueError: An argument is smaller than 1.
    """
    _check(num_frames, 1, stride)
    return np.arange(0, num_frames, stride, dtype=np.int64)
