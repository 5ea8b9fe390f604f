"""A video's frames as JPEG pictures one behind the other in one file, each to be had without any other.

    8 bytes     "ssdetpk1"
    8 bytes     length of the header, little endian
    header      JSON: see `PackedHeader`
    8 N bytes   when each frame appears, seconds, float64
    8 N + 8     where each picture begins, and where the last one ends, int64, counted from the first
    pictures

Measured against all-intra and short-GOP H.264 and MJPEG in MP4 (docs/sampling.md): to open a container and read its
index takes three times as long as to decode the sixteen pictures of a clip.
"""

import io
import json
import os
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from ssdet_cli.errors import DataError

_MAGIC = b"ssdetpk1"


@dataclass(frozen=True)
class PackedHeader:
    """What a file of pictures says of itself and of the video that it is a copy of.

    Attributes:
        num_frames: N.
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        frame_rate: Frames per second on average.
        end_seconds: When the last frame ends.
        tick_seconds: How finely the video could say when a frame appears.
        quality: Of the JPEG pictures.
        source_width: Of the video, pixels.
        source_height: Of the video, pixels.
        source_bytes: Length of the video file; of a folder of frames, that of the folder itself.
        source_modified: When it was last changed, nanoseconds.
    """

    num_frames: int
    width: int
    height: int
    frame_rate: float
    end_seconds: float
    tick_seconds: float
    quality: int
    source_width: int
    source_height: int
    source_bytes: int
    source_modified: int


def encode_picture(picture: np.ndarray, quality: int) -> bytes:
    """Return a picture (H, W, 3) uint8 RGB as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def write_packed(file: BinaryIO, header: PackedHeader, seconds: np.ndarray, pictures: Iterable[bytes]) -> int:
    """Write a whole file; returns its length.

    Raises:
        ValueError: The pictures are not as many as the header says.
        OSError: It cannot be written.
    """
    text = json.dumps(asdict(header)).encode()
    file.write(_MAGIC + struct.pack("<Q", len(text)) + text)
    file.write(np.ascontiguousarray(seconds, "<f8").tobytes())
    at = file.tell()
    offsets = np.zeros(header.num_frames + 1, "<i8")
    file.write(offsets.tobytes())
    count = 0
    for count, picture in enumerate(pictures, 1):
        if count > header.num_frames:
            break
        file.write(picture)
        offsets[count] = offsets[count - 1] + len(picture)
    if count != header.num_frames:
        raise ValueError(f"{count} pictures of {header.num_frames}.")
    end = file.tell()
    file.seek(at)
    file.write(offsets.tobytes())
    return end


def _header(file: BinaryIO) -> PackedHeader:
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ValueError("it begins otherwise")
    (length,) = struct.unpack("<Q", file.read(8))
    return PackedHeader(**json.loads(file.read(min(length, 1 << 20))))


class PackedSource:
    """One file, opened for its header and its tables and again for every read.

    Args:
        path: The file.

    Attributes:
        header: What the file says of itself.
        size: (height, width) of the returned frames, to be set before reading; None for the stored size.

    Raises:
        DataError: It is missing, none of these, or not whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size: tuple[int, int] | None = None
        try:
            with path.open("rb") as file:
                self.header = _header(file)
                count = self.header.num_frames
                self._seconds = np.frombuffer(file.read(8 * count), "<f8")
                self._offsets = np.frombuffer(file.read(8 * count + 8), "<i8")
                self._first = file.tell()
                missing = self._first + int(self._offsets[-1]) - os.fstat(file.fileno()).st_size
        except (OSError, ValueError, TypeError, KeyError, IndexError, struct.error) as error:
            raise DataError(f"{path}: no copy that `ssdet data cache` made ({error}).") from error
        if missing:
            raise DataError(f"{path}: {missing} bytes are missing; delete it and run `ssdet data cache` again.")
        self.num_frames, self.frame_rate = count, self.header.frame_rate
        self.width, self.height = self.header.width, self.header.height
        self.tick_seconds, self.end_seconds = self.header.tick_seconds, self.header.end_seconds

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """Read frames: (N,) numbers -> (N, H, W, 3) uint8 RGB.

        Raises:
            DataError: A picture is damaged.
        """
        height, width = self.size or (self.height, self.width)
        frames = np.empty((len(wanted), height, width, 3), np.uint8)
        decoder, converter = av.codec.CodecContext.create("mjpeg", "r"), VideoReformatter()
        decoder.thread_type, decoder.thread_count = "NONE", 1
        try:
            with self.path.open("rb", buffering=0) as file:
                for row, number in enumerate(wanted.tolist()):
                    begin, end = self._offsets[number : number + 2].tolist()
                    (picture,) = decoder.decode(av.Packet(os.pread(file.fileno(), end - begin, self._first + begin)))
                    rgb = converter.reformat(picture, width=width, height=height, format="rgb24", threads=1)
                    frames[row] = rgb.to_ndarray()
        except (OSError, ValueError) as error:  # errors of the codec library are of these kinds too
            again = "delete it and run `ssdet data cache` again"
            raise DataError(f"{self.path}: frame {number} is damaged ({error}); {again}.") from error
        return frames

    def seconds(self) -> np.ndarray:
        """(N,) float64: when each frame appears, the first at 0."""
        return self._seconds

    def close(self) -> None:
        """Nothing stays open."""
