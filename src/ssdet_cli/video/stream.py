"""A video that is read once, from its beginning to its end or for as long as it goes on.

    with open_stream("clip.mp4", short_side=224) as video:
        for index, seconds, picture in Sampler(video, spacing=0.4):
            ...                                              # (H, W, 3) uint8 RGB

Files, folders of JPEG frames, cameras (`/dev/video0`), named pipes and everything with an address that FFmpeg opens
(`rtsp://`, `http://`, `udp://`, `file:`). Frames are decoded one after the other and nothing is kept, so that memory
does not depend on the length; `decode.open_video` is for reading here and there.
"""

import contextlib
import re
import stat
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ssdet_cli.errors import DataError
from ssdet_cli.video._folder import FolderSource
from ssdet_cli.video._pyav import (
    LENIENT,
    PyavSource,
    _checked_stream,
    _damage_told,
    _decoded,
    _open,
    _packets,
    _reason,
    _silence,
    _video_stream,
    scaled_size,
)
from ssdet_cli.video.ahead import in_thread

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
#: Seconds that another machine has to answer.
_PATIENCE = 30.0
#: A live picture that comes this much later than the one before it, or earlier, is the work of another clock, seconds.
_JUMP = 60.0
#: Frames per second where nothing tells.
_RATE = 25.0
#: Coarser ticks than this are not roundings of a time (see `decode`).
_LARGEST_ROUNDING = 0.0005
#: From here on jumping to a keyframe is worth while, seconds.
_FAR = 5.0
#: By how much a place is searched too early: not every file is exact about its keyframes, seconds.
_BEFORE = 1.0


class Picture(NamedTuple):
    """One frame.

    Attributes:
        seconds: When it appears, the video's first frame at 0.
        lasts: For how long it is shown, as far as can be told.
        read: Turns it into (H, W, 3) uint8 RGB, upright.
    """

    seconds: float
    lasts: float
    read: Callable[[], np.ndarray]


class Stream(Protocol):
    """An open video.

    Attributes:
        duration: As the file says, seconds; None where it does not, or has no end.
        num_frames: As the file says, there may be more; None where it does not, or has no end.
        live: It may go on for ever.
        rounding: By how much the times of its frames may be rounded, seconds.
    """

    duration: float | None
    num_frames: int | None
    live: bool
    rounding: float

    def pictures(self, start: float = 0.0) -> Generator[Picture, None, None]:
        """Every frame in order, from the beginning or from a place at or before `start`; to be called once."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


def local_path(location: str) -> Path | None:
    """The path that a location means; None for an address."""
    path = Path(location)
    if path.exists() or not _ADDRESS.match(location):
        return path
    if location.lower().startswith("file:"):
        named = Path(urlsplit(location).path)
        return named if named.exists() else Path(unquote(str(named)))
    return None


def goes_on(location: str) -> bool:
    """Whether a location is no file and no folder: an address, a camera, a pipe."""
    path = local_path(location)
    if path is None:
        return True
    if not path.exists():
        return False
    kind = path.stat().st_mode
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or stat.S_ISSOCK(kind)


@contextlib.contextmanager
def open_stream(
    location: str, *, short_side: int | None = None, frame_rate: float | None = None
) -> Iterator["AvStream | FolderStream"]:
    """Open a video for one pass.

    Args:
        location: File, folder of JPEG frames, device, pipe or address.
        short_side: Frames are shrunk until the short side has so many pixels; smaller ones stay.
        frame_rate: Frames per second of a folder.

    Raises:
        ConfigError: A folder without `frame_rate`.
        DataError: There is no such thing, or it is no video, or it is damaged.
    """
    path = local_path(location)
    if path is not None and path.is_dir():
        yield FolderStream(path, frame_rate, short_side)
        return
    stream = AvStream(location, path, short_side)
    try:
        yield stream
    except BaseException:
        stream.close()
        raise
    stream.close()


class FolderStream:
    """A folder of JPEG frames, see `Stream`."""

    live, rounding = False, 0.0

    def __init__(self, path: Path, frame_rate: float | None, short_side: int | None) -> None:
        self._source = FolderSource(path, frame_rate, lambda height, width: scaled_size(height, width, short_side))
        self.duration: float | None = self._source.end_seconds
        self.num_frames: int | None = self._source.num_frames

    def pictures(self, start: float = 0.0) -> Generator[Picture, None, None]:
        """See `Stream`."""
        lasts = 1 / self._source.frame_rate
        for number, seconds in enumerate(self._source.seconds().tolist()):
            yield Picture(seconds, lasts, partial(self._one, number))

    def _one(self, number: int) -> np.ndarray:
        return self._source.read(np.array([number]))[0]

    def close(self) -> None:
        """Nothing stays open."""


class AvStream:
    """Anything that FFmpeg opens, see `Stream`.

    Args:
        location: As given.
        path: What it is on this machine, if anything.
        short_side: See `open_stream`.

    Raises:
        DataError: See `open_stream`.
    """

    def __init__(self, location: str, path: Path | None, short_side: int | None) -> None:
        _silence()
        self.location = location if path is None else str(path)
        self._short_side, self._turns, self._promised = short_side, 0, 0
        self._is_file = path is not None and not goes_on(location)
        if self._is_file:
            # Says what is wrong with a file better than the decoder would, and knows which way up it is.
            source = PyavSource(path)
            self._turns, self._promised = source.header.quarter_turns, source.header.num_frames
            source.close()
            self._container: Any = _open(path)
        else:
            self._container = in_thread(lambda: _connect(self.location))
        self.num_frames: int | None = self._promised or None
        stream = self._video
        self.duration = _duration(self._container, stream)
        self.live = not self._is_file and self.duration is None
        self._tick = float(stream.time_base or 0)
        self.rounding = min(self._tick / 2, _LARGEST_ROUNDING)
        self._apart = 1 / float(stream.average_rate or stream.guessed_rate or _RATE)
        # Closing a container waits for its decoding threads and holds the GIL, which such a thread takes to report an
        # error (PyAV 18): each would wait for the other for ever. So there are none.
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1

    @property
    def _video(self) -> Any:
        return _video_stream(self._container)

    def close(self) -> None:
        """Close the container, unless another thread is reading from it: that one does."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def pictures(self, start: float = 0.0) -> Generator[Picture, None, None]:
        """See `Stream`.

        Raises:
            DataError: It is damaged, or ends before the last frame that it promises.
        """
        container, self._container = self._container, None
        count, converter = 0, VideoReformatter()
        before, offset = None, 0.0
        try:
            with _damage_told(self.location, lambda: f"{count} frames could be read, then "):
                frames, first = self._begin(container, start)
                for frame in frames:
                    count += 1
                    told = None if first is None or frame.pts is None else (frame.pts - first) * self._tick
                    before, offset = self._in_order(told, before, offset)
                    lasts = (frame.duration or 0) * self._tick or self._apart
                    yield Picture(before, lasts, partial(self._rgb, frame, converter))
        finally:
            container.close()
        if 0 < count < self._promised:
            raise DataError(f"{self.location}: only {count} of the promised {self._promised} frames could be read.")

    def _begin(self, container: Any, start: float) -> tuple[Iterator[Any], int | None]:
        """Frames, from a keyframe before `start` where that is far; and the time stamp of the video's very first."""
        frames = self._decoded(container)
        head = next(frames, None)
        if head is None:
            return frames, None
        if not self._is_file or start < _FAR or head.pts is None:
            return chain((head,), frames), head.pts
        frames, found = self._decoded(container), None
        with contextlib.suppress(av.FFmpegError):  # a format that cannot be searched is read from its beginning
            wanted = head.pts + int((start - _BEFORE) / self._tick)
            container.seek(wanted, stream=_video_stream(container), backward=True)
            found = next((frame for frame in frames if frame.key_frame), None)
        if found is None or found.pts is None or (found.pts - head.pts) * self._tick > start:
            container.seek(0, backward=True)
            return self._decoded(container), head.pts
        self._promised = 0  # what was passed over is not counted
        return chain((found,), frames), head.pts

    def _decoded(self, container: Any) -> Iterator[Any]:
        stream = _video_stream(container)
        if not self.live:
            yield from _decoded(container, stream)
            return
        for packet in _packets(container, stream):
            # Who comes in the middle gets frames without those that they refer to; they are passed over.
            with contextlib.suppress(av.InvalidDataError):
                yield from packet.decode()

    def _in_order(self, seconds: float | None, before: float | None, offset: float) -> tuple[float, float]:
        """The time of a picture, later than that of the one before it, and by what it is moved for that."""
        if before is None:
            return seconds or 0.0, offset
        due = before + self._apart
        if seconds is None:
            return due, offset
        moved = seconds + offset
        if self.live and not before < moved < before + _JUMP:
            return due, due - seconds
        return (moved if moved > before else due), offset

    def _rgb(self, frame: Any, converter: VideoReformatter) -> np.ndarray:
        # From the frame and not from the header: a stream may change its size.
        height, width = scaled_size(frame.height, frame.width, self._short_side) or (frame.height, frame.width)
        rgb = converter.reformat(frame, width=width, height=height, format="rgb24", threads=1).to_ndarray()
        return np.ascontiguousarray(np.rot90(rgb, -self._turns)) if self._turns else rgb


class Sampler:
    """Pictures at the distance that a network was trained with; to be iterated once.

    Yields (index, seconds, picture (H, W, 3)): `index` counts them from the beginning of the video, also where `start`
    lies later, and `seconds` rises. `ended` is when the last picture that was seen ends.

    Args:
        video: An open one.
        spacing: Seconds from one to the next; the picture nearest to that time is taken, the later one of two.
        stride: Or frames from one to the next.
        start: The first is not before this, seconds.
        end: All are before this, seconds; None is as long as it goes on.

    Raises:
        ValueError: Not exactly one of `spacing` and `stride`.
    """

    def __init__(
        self,
        video: Stream,
        *,
        spacing: float | None = None,
        stride: int | None = None,
        start: float = 0.0,
        end: float | None = None,
    ) -> None:
        if (spacing is None) == (stride is None):
            raise ValueError("Give spacing or stride.")
        self.video, self.spacing, self.stride, self.start, self.end = video, spacing, stride, start, end
        self.ended = 0.0

    def __iter__(self) -> Generator[tuple[int, float, np.ndarray], None, None]:
        pictures = self.video.pictures(self.start if self.spacing is not None else 0.0)
        try:
            yield from self._by_time(pictures) if self.spacing is not None else self._by_number(pictures)
        finally:
            pictures.close()

    def _seen(self, pictures: Iterator[Picture]) -> Iterator[Picture]:
        for picture in pictures:
            self.ended = picture.seconds + picture.lasts
            yield picture

    def _is_over(self, seconds: float) -> bool:
        return self.end is not None and seconds >= self.end

    def _by_number(self, pictures: Iterator[Picture]) -> Iterator[tuple[int, float, np.ndarray]]:
        for number, picture in enumerate(self._seen(pictures)):
            if self._is_over(picture.seconds):
                return
            if number % self.stride == 0 and picture.seconds >= self.start - self._slack:
                yield number // self.stride, picture.seconds, picture.read()

    @property
    def _slack(self) -> float:
        return 1e-6 + self.video.rounding

    def _by_time(self, pictures: Iterator[Picture]) -> Iterator[tuple[int, float, np.ndarray]]:
        index = int(np.ceil(self.start / self.spacing - 1e-6))
        latest: Picture | None = None
        for picture in self._seen(pictures):
            # A frame whose time the file rounded up counts as shown when it was due.
            while latest is not None and index * self.spacing + self._slack < (latest.seconds + picture.seconds) / 2:
                if self._is_over(index * self.spacing):
                    return
                yield index, index * self.spacing, latest.read()
                index += 1
            latest = picture
        while latest is not None and index * self.spacing + self._slack < self.ended:
            if self._is_over(index * self.spacing):
                return
            yield index, index * self.spacing, latest.read()
            index += 1


def _connect(location: str) -> Any:
    """Open what is no file.

    Raises:
        DataError: It cannot be opened, or has no picture.
    """
    is_camera = location.startswith("/dev/video")
    options = {"rtsp_transport": "tcp"} if location.startswith("rtsp") else {}
    patience = (_PATIENCE, None) if _ADDRESS.match(location) else None
    try:
        container = av.open(
            location,
            format="v4l2" if is_camera else None,
            options=options,
            timeout=patience,
            **LENIENT,
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = _reason(error) if isinstance(error, av.FFmpegError) else error
        raise DataError(f"{location}: cannot be opened as video ({reason}).") from error
    return _checked_stream(container, location)


def _duration(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration else None
