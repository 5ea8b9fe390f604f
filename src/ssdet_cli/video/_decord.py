"""Reading with decord, where it is asked for by name.

A decord reader goes on decoding after it has been read from, without bound, so one lives from opening to the end of
the first read and no longer. On some files it waits for ever (MPEG-TS) or returns the wrong frames after a seek (AVI
with B-frames, open groups of pictures): it gets only containers on which it was seen to be right and streams whose
keyframes stand alone, its count of frames must agree with PyAV's, and it is given a time limit. It does not survive a
fork (see `decode.loader_context`).
"""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.video._pyav import FrameTable, Header
from ssdet_cli.video.patience import within

_CONTAINERS = {"mp4", "matroska"}
#: The FFmpeg 4.1 inside decord 0.6.0 knows AV1 by name only.
_UNKNOWN_CODECS = {"av1", "libdav1d", "vvc"}
#: Its picture library keeps rows that are a multiple of this wide, pixels.
_ROW = 32
#: Seconds after which decord counts as stuck, and what it may take longer per frame from the first to the last.
_PATIENCE_SECONDS, _PATIENCE_PER_FRAME = 30.0, 0.25


@functools.cache
def import_decord() -> ModuleType | None:
    """Import decord, silenced; None where it is not installed or its libraries do not load."""
    try:
        import decord
    except (ImportError, OSError):
        return None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


class DecordSource:
    """One file. The reader is opened at once, used for one read, and dropped; later reads open another.

    Args:
        header: What PyAV found in the file.
        table: The timestamps that PyAV found in it.
        size: (height, width) of the returned frames; None for the stored size.

    Raises:
        DataError: decord does not read this file exactly, does not open it, or counts its frames differently.
    """

    def __init__(self, header: Header, table: FrameTable | None, size: tuple[int, int] | None) -> None:
        self.path: Path = header.path
        self.size = size
        self._decord = import_decord()
        width = size[1] if size else header.width
        reason = _unsuitable(header, table) or ("" if returns_width(width) else f"cannot return a width of {width}")
        if reason:
            raise DataError(f"{self.path}: decord {reason}; use backend 'pyav'.")
        self._reader: Any = self._open()
        self.num_frames = len(self._reader)
        if len(table.pts) != self.num_frames:
            self.close()
            counts = f"counts {self.num_frames} frames where {len(table.pts)} can be shown"
            raise DataError(f"{self.path}: decord {counts}; use backend 'pyav'.")

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """Decode frames: (N,) increasing numbers -> (N, H, W, 3) uint8 RGB.

        Raises:
            DataError: decord fails, or is stuck; the message has its reason.
        """
        patience = _PATIENCE_SECONDS + _PATIENCE_PER_FRAME * float(wanted[-1] - wanted[0])
        try:
            return within(patience, self._take_batch, wanted.tolist())
        except TimeoutError as error:
            raise DataError(
                f"{self.path}: decord returned nothing within {patience:.0f} s; use backend 'pyav'."
            ) from error
        except (self._decord.DECORDError, RuntimeError) as error:
            raise DataError(f"{self.path}: decord cannot decode it ({_reason(error)}).") from error

    def close(self) -> None:
        """Drop the reader."""
        self._reader = None

    def _take_batch(self, wanted: list[int]) -> np.ndarray:
        # The only reference is local, so that the reader and its threads end with this call.
        reader, self._reader = self._reader or self._open(), None
        return reader.get_batch(wanted).asnumpy()

    def _open(self) -> Any:
        height, width = self.size or (-1, -1)
        cpu = self._decord.cpu(0)
        try:
            return self._decord.VideoReader(str(self.path), ctx=cpu, width=width, height=height, num_threads=1)
        except (self._decord.DECORDError, RuntimeError) as error:
            raise DataError(f"{self.path}: decord cannot open it ({_reason(error)}).") from error


def returns_width(width: int) -> bool:
    """Whether decord can return pictures that are so many pixels wide.

    It takes the bytes of a padded row divided by the width for the number of channels where that comes out even, and
    then refuses the pictures: at 4, 6, 8, 12, 16, 24, 48 and 72 pixels (decord 0.6.0).
    """
    padded = -(-width // _ROW) * _ROW
    return padded == width or 3 * padded % width != 0


def _unsuitable(header: Header, table: FrameTable | None) -> str | None:
    """Return why decord must not be given this file, or None."""
    if header.codec in _UNKNOWN_CODECS:
        return f"has no decoder for {header.codec}"
    if not _CONTAINERS & set(header.container.split(",")):
        return f"is not reliable on {header.container} files"
    if table is None or table.leading:
        return "does not find the right frames in a stream " + ("with open groups" if table else "without timestamps")
    return "turns pictures in its own way" if header.quarter_turns else None


def _reason(error: Exception) -> str:
    """Return the last sentence of a decord error, which follows source positions of its C++ files, in one line."""
    return " ".join(str(error).split()).rsplit(": ", 1)[-1].rstrip(".")[-160:]
