"""One reader for video files and frame folders.

    with open_video("clip.mp4", short_side=256) as video:
        frames = video.frames([0, 5, 10])            # (3, H, W, 3) uint8 RGB
        later = video.frames_at([0.0, 0.4])          # by time in seconds

Frame i is the i-th frame shown, whichever backend reads; time 0 is the moment the first frame appears.
Open a video in the process that reads it, read once, close it.
"""

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video._decord import DecordSource, import_decord
from ssdet_cli.video._folder import FolderSource
from ssdet_cli.video._packed import PackedSource
from ssdet_cli.video._pyav import PyavSource, scaled_size

BACKENDS = ("auto", "decord", "pyav", "frames")

#: Coarser ticks than this are not roundings: in AVI one tick is one frame.
_LARGEST_ROUNDING = 0.0005


class _Source(Protocol):
    num_frames: int

    def read(self, wanted: np.ndarray) -> np.ndarray: ...

    def close(self) -> None: ...


class VideoReader:
    """An open video; made by `open_video`, and a context manager.

    Nothing decodes between calls: the decoder is closed after every call and opened again by the next, so a reader
    may idle without cost. PyAV remembers the index of the file between them; decord builds it anew for each.

    Attributes:
        path: File or folder.
        backend: What really reads: "pyav", "decord", "frames" or "copy".
        num_frames: Frames in the video.
        frame_rate: Average frames per second; `seconds` says when each frame appears, also where the rate varies.
        width: Of the frames that are returned, pixels.
        height: Of the frames that are returned, pixels.
    """

    def __init__(
        self,
        path: Path,
        backend: str,
        source: _Source,
        timing: PyavSource | FolderSource | PackedSource,
    ) -> None:
        self.path, self.backend = path, backend
        self.num_frames = source.num_frames
        self.frame_rate = timing.frame_rate
        shape = timing.header if isinstance(timing, PyavSource) else timing
        self.height, self.width = timing.size or (shape.height, shape.width)
        self._source, self._timing = source, timing

    def __len__(self) -> int:
        return self.num_frames

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        what = f"{self.num_frames} frames, {self.frame_rate:g}/s, {self.width}x{self.height}"
        return f"VideoReader({str(self.path)!r}, {self.backend}, {what})"

    def frames(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """Decode frames by number.

        Args:
            indices: N frame numbers in [0, num_frames); repeats and any order allowed.

        Returns:
            (N, H, W, 3) uint8 RGB.

        Raises:
            DataError: A number is out of range, or the file is damaged at or before one of the frames.
        """
        asked = np.asarray(indices, dtype=np.int64).reshape(-1)
        if not len(asked):
            return np.empty((0, self.height, self.width, 3), np.uint8)
        if asked.min() < 0 or asked.max() >= self.num_frames:
            outside = asked[(asked < 0) | (asked >= self.num_frames)][0]
            raise DataError(f"{self.path}: frame {outside} was asked for; it has frames 0 to {self.num_frames - 1}.")
        wanted, places = np.unique(asked, return_inverse=True)
        frames = self._source.read(wanted)
        # A clip in order needs no second copy.
        return frames if np.array_equal(wanted, asked) else frames[places]

    def frames_at(self, seconds: Sequence[float] | np.ndarray) -> np.ndarray:
        """Decode the frames that are on screen at given times: (N,) seconds -> (N, H, W, 3) uint8 RGB.

        A frame is on screen from its own time until the next one's; before the first and after the last, those two.

        Raises:
            DataError: As `frames`; also for a time that is not a number.
        """
        return self.frames(self.indices_at(seconds))

    @property
    def duration_seconds(self) -> float:
        """When the last frame ends: `num_frames / frame_rate` at a constant rate, else as the file says.

        Raises:
            DataError: The timestamps cannot be read.
        """
        return self.num_frames / self.frame_rate if self._uneven is None else self._timing.end_seconds

    def seconds(self, indices: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Return when frames appear, the first at 0; the timestamps are read once, nothing is decoded.

        At a constant rate this is exactly `indices / frame_rate`, also where the file rounds its times to ticks.

        Args:
            indices: N frame numbers; None is every frame. Numbers outside the video go on from its ends at the average
                rate.

        Returns:
            (N,) float64.

        Raises:
            DataError: The timestamps cannot be read.
        """
        asked = np.arange(self.num_frames) if indices is None else np.asarray(indices, dtype=np.int64).reshape(-1)
        if self._uneven is None:
            return asked / self.frame_rate
        inside = asked.clip(0, self.num_frames - 1)
        beyond = asked - inside
        after_end = self.duration_seconds + (beyond - 1) / self.frame_rate
        return np.where(beyond > 0, after_end, self._uneven[inside] + beyond / self.frame_rate)

    @functools.cached_property
    def _uneven(self) -> np.ndarray | None:
        """(num_frames,) times of the frames; None where they are `number / frame_rate` up to the file's rounding."""
        told = self._timing.seconds()[: self.num_frames]
        even = np.arange(self.num_frames) / self.frame_rate
        # The first time and each later one are rounded.
        return None if np.abs(told - even).max(initial=0) <= 1e-6 + 2 * self._rounding else told

    @property
    def tick_seconds(self) -> float:
        """How finely the file can say when a frame appears, as far as that is no matter of its frame rate."""
        return 2 * self._rounding

    @property
    def _rounding(self) -> float:
        """By how much the file may have moved a time to fit its ticks (1/1000 s in Matroska), seconds."""
        return min(self._timing.tick_seconds / 2, _LARGEST_ROUNDING)

    def indices_at(self, seconds: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return the numbers of the frames that `frames_at` gives: (N,) int64.

        Raises:
            DataError: A time is not a number, or the timestamps cannot be read.
        """
        asked = np.asarray(seconds, dtype=np.float64).reshape(-1)
        if np.isnan(asked).any():
            raise DataError(f"{self.path}: a frame was asked for at the time nan; times are in seconds.")
        # A frame whose time the file rounded up counts as shown when it was due.
        slack = 1e-6 + self._rounding
        shown = np.searchsorted(self._timing.seconds()[: self.num_frames], asked + slack, side="right") - 1
        return np.clip(shown, 0, self.num_frames - 1)

    def close(self) -> None:
        """Release the file; attributes stay, and a later read opens it again."""
        self._source.close()
        self._timing.close()


def open_video(
    path: str | os.PathLike[str],
    *,
    backend: str = "auto",
    frame_rate: float | None = None,
    short_side: int | None = None,
    duration_seconds: float | None = None,
) -> VideoReader:
    """Open a video file or a folder of JPEG frames.

    Args:
        path: File, or folder of numbered JPEG files.
        backend: "pyav", "decord", "frames", or "auto": a folder is read as frames, a file by PyAV. decord is used
            where it is named only, and then refuses the files that it does not read exactly.
        frame_rate: Frames per second of a folder; ignored for files, which say it themselves.
        short_side: Shrink frames while decoding until the short side has this many pixels; smaller ones stay.
        duration_seconds: Of a folder without `frame_rate`, which is then frames / duration; ignored for files.

    Returns:
        A reader, to be closed (it is a context manager).

    Raises:
        ConfigError: Unknown backend, one that is not installed or does not fit the path, a bad `short_side`, a folder
            of which neither rate nor duration is known.
        DataError: The file or folder is missing, unreadable or truncated, or decord was named and refuses it.
    """
    if backend not in BACKENDS:
        hint = nearest(backend, BACKENDS)
        raise ConfigError(f"Unknown video backend '{backend}'.{hint} Known: {', '.join(BACKENDS)}.")
    if short_side is not None and short_side < 2:
        raise ConfigError(f"short_side must be at least 2 pixels, got {short_side}.")
    place = Path(path)
    if place.is_dir() or backend == "frames":
        return _open_folder(place, backend, frame_rate, short_side, duration_seconds)
    return _open_file(place, backend, short_side)


def open_packed(path: Path, copy: PackedSource, *, short_side: int | None = None) -> VideoReader:
    """Open the copy of a video that `ssdet data cache` made, as if it were the video itself.

    Args:
        path: The video.
        copy: Its copy.
        short_side: As in `open_video`.
    """
    copy.size = scaled_size(copy.height, copy.width, short_side)
    return VideoReader(path, "copy", copy, copy)


def loader_context() -> str:
    """Return the way to start worker processes that read video: "forkserver", or "spawn" where that does not exist.

    Never "fork": a forked worker inherits the codec libraries in whatever state their threads left them. With decord
    0.6.0 a reader inherited that way aborts the child, and with its successor the child hangs. Workers of the fork
    server start from a clean process that has opened no video, at a fraction of the cost of a spawned one.
    """
    return "forkserver" if os.name == "posix" else "spawn"


def _open_folder(
    place: Path, backend: str, frame_rate: float | None, short_side: int | None, duration: float | None
) -> VideoReader:
    if backend not in ("auto", "frames"):
        raise ConfigError(f"{place} is a folder, which backend '{backend}' cannot read; use 'frames' or 'auto'.")
    if not place.is_dir():
        raise DataError(f"{place}: no such folder of frames.")
    source = FolderSource(place, frame_rate, lambda height, width: scaled_size(height, width, short_side), duration)
    return VideoReader(place, "frames", source, source)


def _open_file(place: Path, backend: str, short_side: int | None) -> VideoReader:
    if backend == "decord" and import_decord() is None:
        raise ConfigError(
            "Video backend 'decord' is not installed here; use 'pyav', which reads every file, or 'auto'."
        )
    reference = PyavSource(place)
    try:
        reference.size = scaled_size(reference.header.height, reference.header.width, short_side)
        if backend != "decord":
            return VideoReader(place, "pyav", reference, reference)
        source = DecordSource(reference.header, reference.table, reference.size)
        # Its file is not needed beside decord's.
        reference.close()
        return VideoReader(place, "decord", source, reference)
    except BaseException:
        reference.close()
        raise
