"""Reading with PyAV: the usual backend, and where headers and timestamps come from for decord too.

Frame i is the i-th frame that decoding from the start presents. To reach it without decoding everything, the packets
are read once (not decoded) into a `FrameTable`; after a seek the frames are recognised by their timestamps and must
arrive one after the other as the table says. Files whose timestamps lie (AVI with B-frames) fail that check and are
decoded from the start and counted instead.
"""

import contextlib
import functools
import itertools
import stat
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter

from ssdet_cli.errors import DataError
from ssdet_cli.video._layout import Layout, read_layout
from ssdet_cli.video.patience import check_time

#: Up to this frame, decoding from the start is cheaper than reading all packets to find a keyframe.
_NEAR = 48
#: Pixels of the largest picture that is read, twice those of 8K; a damaged header may promise any number.
MOST_PIXELS = 2**26
#: Text in a file that is no UTF-8 keeps nobody from its pictures; from PyAV 19 on it never does.
LENIENT: dict[str, str] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
#: Codecs whose packets say whether any other frame refers to them (H.264: nal_ref_idc); in HEVC that holds within a
#: temporal layer only.
_TELLS_REFERENCES = {"h264"}
#: Codecs reorder frames over at most this distance.
_LONGEST_REORDERING = 16


@dataclass(frozen=True)
class FrameTable:
    """Timestamps of all frames, in order of presentation.

    Attributes:
        pts: (N,) int64, increasing, in units of `tick_seconds`.
        keyframes: (M,) int64, frame numbers that decoding can start from, increasing.
        tick_seconds: Unit of `pts`.
        leading: Some frames are stored after a keyframe and shown before it (open groups of pictures).
        last_ticks: How long the last frame is shown, in units of `tick_seconds`; 0 where the file does not say.
    """

    pts: np.ndarray
    keyframes: np.ndarray
    tick_seconds: float
    leading: bool
    last_ticks: int = 0

    @property
    def seconds(self) -> np.ndarray:
        """(N,) float64: when each frame appears, the first at 0."""
        return (self.pts - self.pts[0]) * self.tick_seconds

    @property
    def end_seconds(self) -> float:
        """When the last frame ends; where the file does not say, it is shown as long as the one before it."""
        ticks = self.last_ticks or int(np.diff(self.pts[-2:]).sum())
        return float(self.pts[-1] - self.pts[0] + ticks) * self.tick_seconds

    def keyframe_before(self, frame: int) -> int:
        """Return the last keyframe at or before `frame`; 0 where none is known."""
        position = int(np.searchsorted(self.keyframes, frame, side="right")) - 1
        return int(self.keyframes[position]) if position >= 0 else 0


@dataclass(frozen=True)
class Header:
    """What a file says about its video stream.

    Attributes:
        path: The file.
        num_frames: Frames, 0 where the header does not know.
        frame_rate: Frames per second on average, 0 where unknown.
        width: Of the upright picture, pixels.
        height: Of the upright picture, pixels.
        quarter_turns: Clockwise quarter turns from the stored picture to the upright one.
        container: Short names of the container format ("mov,mp4,m4a,3gp,3g2,mj2").
        codec: Name of the codec ("h264").
    """

    path: Path
    num_frames: int
    frame_rate: float
    width: int
    height: int
    quarter_turns: int
    container: str
    codec: str


class _Disordered(Exception):
    """The decoder presents other frames than the table says, so seeking cannot be trusted in this file."""


class PyavSource:
    """One file. The container is opened to read the header, used for one read, and closed; later reads reopen it.

    Args:
        path: The file.

    Attributes:
        header: What the file says about itself.
        size: (height, width) of the returned frames, to be set before reading; None for the stored size.

    Raises:
        DataError: The file is absent or no video, is damaged, or its end is missing.
    """

    def __init__(self, path: Path) -> None:
        _silence()
        self.path = path
        self.size: tuple[int, int] | None = None
        layout = _checked_layout(path)
        self._container: Any = _open(path)
        self._at_start = True
        try:
            self.header = _read_header(path, self._container, layout.quarter_turns)
        except BaseException:
            self.close()
            raise

    @functools.cached_property
    def table(self) -> FrameTable | None:
        """Timestamps of all frames, from reading every packet once; None where packets carry none or repeat them."""
        self._container, self._at_start = self._container or _open(self.path), False
        with _damage_told(self.path):
            return _read_table(self._container, self.path)

    @functools.cached_property
    def num_frames(self) -> int:
        """Frames in the file, without decoding them: from the header if it knows, else by reading the packets."""
        if self.header.num_frames:
            return self.header.num_frames
        return len(self.table.pts) if self.table is not None else self._count_by_decoding()

    @functools.cached_property
    def frame_rate(self) -> float:
        """Frames per second on average; measured where the header gives none or its own timestamps contradict it."""
        declared = self.header.frame_rate
        measured = 0.0
        if (not declared or not self.header.num_frames) and self.table is not None and self.num_frames > 1:
            measured = (self.num_frames - 1) / float(self.table.seconds[-1])
        if measured and abs(measured - declared) > 0.02 * measured:
            return measured
        if not declared:
            raise DataError(f"{self.path}: the file tells no frame rate; re-encode it, or extract its frames.")
        return declared

    def seconds(self) -> np.ndarray:
        """(N,) float64: when each frame appears, the first at 0."""
        return self.table.seconds if self._is_told else np.arange(self.num_frames) / self.frame_rate

    @property
    def end_seconds(self) -> float:
        """When the last frame ends."""
        return self.table.end_seconds if self._is_told else self.num_frames / self.frame_rate

    @property
    def _is_told(self) -> bool:
        """Whether the table has the times of all frames."""
        return self.table is not None and len(self.table.pts) == self.num_frames

    @property
    def tick_seconds(self) -> float:
        """How finely the file can say when a frame appears."""
        return self.table.tick_seconds if self.table is not None else 0.0

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """Decode frames.

        Args:
            wanted: (N,) int64 frame numbers, increasing.

        Returns:
            (N, H, W, 3) uint8 RGB, upright.

        Raises:
            DataError: The file ends before the last of them or cannot be decoded up to it.
        """
        # A table that is known already spares opening the file again to stand at its start.
        if (wanted[-1] >= _NEAR or "table" in vars(self)) and self._is_told:
            with contextlib.suppress(_Disordered):
                return self._read(wanted, self.table)
        return self._read(wanted, None)

    def close(self) -> None:
        """Close the container if it is still open."""
        container, self._container, self._at_start = self._container, None, True
        if container is not None:
            container.close()

    def _read(self, wanted: np.ndarray, table: FrameTable | None) -> np.ndarray:
        if table is None and not self._at_start:
            self.close()
        container, self._container = self._container or _open(self.path), None
        self._at_start = True
        with contextlib.closing(container):
            stream = _video_stream(container)
            # Loaders run one process per core already, and starting threads costs as much as a small clip.
            stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
            numbered = self._count(container) if table is None else self._seek(container, table, wanted)
            return self._collect(numbered, wanted)

    def _collect(self, numbered: Iterator[tuple[int, Any]], wanted: np.ndarray) -> np.ndarray:
        turns = self.header.quarter_turns
        height, width = self.size or (self.header.height, self.header.width)
        if turns % 2:
            height, width = width, height
        frames = np.empty((len(wanted), height, width, 3), np.uint8)
        # One converter for all frames keeps its tables; a thread per conversion costs more than it saves.
        converter = VideoReformatter()
        done, number = 0, -1
        with _damage_told(self.path, lambda: f"{number + 1} of {self.num_frames} frames could be read, then "):
            for number, frame in numbered:
                check_time(self.path)
                if number == wanted[done]:
                    rgb = converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
                    frames[done] = rgb.to_ndarray()
                    done += 1
                    if done == len(wanted):
                        return np.ascontiguousarray(np.rot90(frames, -turns, axes=(1, 2)))
        raise DataError(f"{self.path}: only {number + 1} of the promised {self.num_frames} frames could be read.")

    def _count(self, container: Any) -> Iterator[tuple[int, Any]]:
        """Number the frames from the start of the stream."""
        return enumerate(_decoded(container, _video_stream(container)))

    def _seek(self, container: Any, table: FrameTable, wanted: np.ndarray) -> Iterator[tuple[int, Any]]:
        """Number the frames by their timestamps, jumping over the keyframe intervals that hold none of `wanted`.

        Of codecs that say which frames no other refers to, those among them that are not wanted are not decoded.
        """
        position, decoded = -1, iter(())
        skips = self.header.codec in _TELLS_REFERENCES
        needed = frozenset(table.pts[wanted].tolist()) if skips else None
        for target in wanted.tolist():
            keyframe = table.keyframe_before(target)
            if position < 0 or keyframe > position + 1:
                decoded, position = self._decode_from(container, table, keyframe, needed), -1
            while position < target:
                found, frame = next(decoded, (None, None))
                # The first frame after a seek may lie before the keyframe; from there on none may be left out, unless
                # it is skipped, and never one that is wanted.
                latest = keyframe if position < 0 else target if skips else position + 1
                if found is None or found > latest or (position >= 0 and found <= position):
                    raise _Disordered
                position = found
                yield position, frame

    def _decode_from(
        self, container: Any, table: FrameTable, keyframe: int, needed: frozenset[int] | None
    ) -> Iterator[tuple[int, Any]]:
        """Number the frames from a keyframe; frames shown before it lack what they refer to and are passed over.

        With the timestamps that are `needed` given, others may be left out.
        """
        stream = _video_stream(container)
        try:
            container.seek(int(table.pts[keyframe]), stream=stream, backward=True)
        except av.FFmpegError as error:
            raise _Disordered from error
        started = False
        for frame in _decoded(container, stream) if needed is None else self._decode_needed(container, needed):
            started = started or frame.key_frame
            if not started:
                continue
            number = -1 if frame.pts is None else int(np.searchsorted(table.pts, frame.pts))
            if not 0 <= number < len(table.pts) or table.pts[number] != frame.pts:
                raise _Disordered
            yield number, frame

    def _decode_needed(self, container: Any, needed: frozenset[int]) -> Iterator[Any]:
        """Decode all frames but those that are not needed and that no other frame refers to."""
        stream = _video_stream(container)
        for packet in _packets(container, stream):
            check_time(self.path)
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts is None or packet.pts in needed else "NONREF"
            yield from packet.decode()

    def _count_by_decoding(self) -> int:
        with contextlib.closing(_open(self.path)) as container, _damage_told(self.path):
            count = 0
            for _ in _decoded(container, _video_stream(container)):
                check_time(self.path)
                count += 1
            return count


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int] | None:
    """Return the (height, width) at which the short side has `short_side` pixels.

    None stands for the size as it is: nothing was asked for, or the picture is that small already.
    """
    short = min(height, width)
    if short_side is None or short <= short_side:
        return None
    long = round(max(height, width) * short_side / short)
    return (short_side, long) if height <= width else (long, short_side)


@functools.cache
def _silence() -> None:
    """Keep the codecs' own messages off the terminal; what matters reaches the user as a DataError."""
    av.logging.set_level(av.logging.PANIC)


@contextlib.contextmanager
def _damage_told(path: Path, progress: Any = lambda: "") -> Iterator[None]:
    """Turn an error of the codec library into a DataError that names the file."""
    try:
        yield
    except av.FFmpegError as error:
        raise DataError(f"{path}: damaged, {progress()}{_reason(error)}.") from error


def _reason(error: av.FFmpegError) -> str:
    """Return the codec library's own words for what went wrong, in one line."""
    words = error.strerror or type(error).__name__
    if error.log:
        words = f"{words} ({error.log[2].strip()})"
    return " ".join(words.split()).rstrip(".")


def _checked_layout(path: Path) -> Layout:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: not a file but a pipe, a socket or a device.")
        layout = read_layout(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such video file.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    if layout.missing_bytes:
        missing = f"truncated, {layout.missing_bytes:,} bytes are missing at its end"
        raise DataError(f"{path}: {missing}{_what_is_left(path)}.")
    return layout


def _what_is_left(path: Path) -> str:
    """Say how many frames of a truncated file are there, where that can be known."""
    try:
        with contextlib.closing(_open(path)) as container:
            stream = _video_stream(container)
            promised = stream.frames
            whole = sum(1 for packet in _packets(container, stream) if packet.size and not packet.is_corrupt)
    except (DataError, av.FFmpegError):
        return ""
    return f"; {whole} of {promised} frames are there" if promised else f"; {whole} frames are there"


def _open(path: Path) -> Any:
    try:
        # The limit is that of the codecs which look into the file here.
        container = av.open(str(path), options={"max_pixels": str(MOST_PIXELS)}, **LENIENT)
    except (av.FFmpegError, OSError) as error:
        reason = _reason(error) if isinstance(error, av.FFmpegError) else error
        raise DataError(f"{path}: not a readable video file ({reason}).") from error
    return _checked_stream(container, path)


def _checked_stream(container: Any, place: object) -> Any:
    """Give a container back; DataError, and it is closed, where it holds no video that can be decoded."""
    stream = _video_stream(container)
    if stream is not None and stream.codec_context is not None:
        return container
    container.close()
    what = (
        "holds no video stream" if stream is None else "there is no decoder for its pictures (damaged, or re-encode it)"
    )
    raise DataError(f"{place}: {what}.")


def _video_stream(container: Any) -> Any:
    """Return the stream that players show (not the cover picture of a recording), None where there is none."""
    return container.streams.best("video")


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of a stream, the last one empty.

    Where another stream begins late in the file, PyAV fails over it at the end, when all of this one was given.
    """
    with contextlib.suppress(IndexError):
        yield from container.demux(stream)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Frames of a stream."""
    for packet in _packets(container, stream):
        yield from packet.decode()


def _read_header(path: Path, container: Any, quarter_turns: int) -> Header:
    stream = _video_stream(container)
    context = stream.codec_context
    if not (context.width and context.height):
        limit = f"or its pictures have more than {MOST_PIXELS:,} pixels"
        raise DataError(f"{path}: the size of its picture cannot be told; the file is damaged, {limit}.")
    if context.width * context.height > MOST_PIXELS:
        raise DataError(
            f"{path}: pictures of {context.width} x {context.height}; {MOST_PIXELS:,} pixels are the limit."
        )
    header = Header(
        path=path,
        num_frames=_frames_in_header(stream),
        frame_rate=float(stream.average_rate or 0),
        width=context.width,
        height=context.height,
        quarter_turns=quarter_turns,
        container=container.format.name,
        codec=context.name,
    )
    return replace(header, width=context.height, height=context.width) if quarter_turns % 2 else header


def _frames_in_header(stream: Any) -> int:
    """Return the declared count, or 0 where the index of the file or an edit list gives reason to doubt it."""
    entries = stream.index_entries
    if not stream.frames or len(entries) != stream.frames:
        return 0
    # Frames that an edit list cuts away, or that lack what they refer to, stand at the beginning.
    cut = any(entry.is_discard for entry in itertools.islice(entries, _LONGEST_REORDERING))
    return 0 if cut else stream.frames


def _read_table(container: Any, path: Path) -> FrameTable | None:
    stream = _video_stream(container)
    # Nine bytes per frame: ten hours are a million frames.
    stamps, is_key = array("q"), bytearray()
    last, last_ticks = None, 0
    for packet in _packets(container, stream):
        check_time(path)
        if packet.size and not packet.is_discard:
            if packet.pts is None:
                return None
            stamps.append(packet.pts)
            is_key.append(packet.is_keyframe)
            if last is None or packet.pts > last:
                last, last_ticks = packet.pts, packet.duration or 0
    return _table_of(np.array(stamps, np.int64), np.array(is_key, bool), float(stream.time_base), last_ticks)


def _table_of(stored: np.ndarray, is_key: np.ndarray, tick_seconds: float, last_ticks: int = 0) -> FrameTable | None:
    """Sort timestamps that come in the order of storage; None where one is there twice or there is no keyframe."""
    pts = np.unique(stored)
    if len(pts) != len(stored) or not is_key.any():
        return None
    keys = stored[is_key]
    # Keyframe that precedes each packet; those before the first (there should be none) are compared with the first.
    latest = keys[np.maximum(np.cumsum(is_key) - 1, 0)]
    # What is shown before the first keyframe refers to frames that are not in the file; decoders drop it.
    pts = pts[pts >= keys.min()]
    leading = bool((stored < latest).any())
    return FrameTable(pts, np.searchsorted(pts, np.sort(keys)), tick_seconds, leading, last_ticks)
