"""Writing H.264 files that every player and browser opens."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

from ssdet_cli.errors import SsdetError

#: Frame rates are kept as fractions with a denominator up to this, so that 30000/1001 stays what it is.
_LARGEST_DENOMINATOR = 1001 * 1000


def write_video(
    path: Path,
    frames: Iterable[np.ndarray],
    frame_rate: float | Fraction,
    *,
    crf: int = 18,
    deterministic: bool = False,
) -> None:
    """Encode frames as H.264 (yuv420p, index at the front), in constant memory, whole or not at all.

    Args:
        path: File to write; its folder is made.
        frames: (H, W, 3) uint8 RGB each, all of one size; an odd side is padded by its last row or column.
        frame_rate: Frames per second; a Fraction is kept exactly.
        crf: Quality of x264, 0 (lossless) to 51.
        deterministic: One encoding thread, so that equal frames give equal bytes.

    Raises:
        SsdetError: The file cannot be written (full disk, no permission); nothing is left behind.
        ValueError: There is no frame, or a frame has another shape than the first.
    """
    stream_of = iter(frames)
    first = next(stream_of, None)
    if first is None:
        raise ValueError(f"{path}: a video needs at least one frame.")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix or '.mp4'}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(temporary), "w", options={"movflags": "+faststart"}) as container:
            _encode(container, chain([first], stream_of), frame_rate, crf, deterministic)
        os.replace(temporary, path)
    except (OSError, av.FFmpegError) as error:
        raise SsdetError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _encode(
    container: av.container.OutputContainer,
    frames: Iterator[np.ndarray],
    frame_rate: float | Fraction,
    crf: int,
    deterministic: bool,
) -> None:
    stream, shape = None, None
    for frame in frames:
        if stream is None:
            shape = frame.shape
            stream = _stream(container, shape, frame_rate, crf, deterministic)
        if frame.shape != shape:
            raise ValueError(f"Every frame must have the shape {shape} of the first, got {frame.shape}.")
        container.mux(stream.encode(av.VideoFrame.from_ndarray(_even(frame), format="rgb24")))
    container.mux(stream.encode())


def _stream(
    container: av.container.OutputContainer,
    shape: tuple[int, ...],
    frame_rate: float | Fraction,
    crf: int,
    deterministic: bool,
) -> av.VideoStream:
    rate = Fraction(frame_rate).limit_denominator(_LARGEST_DENOMINATOR)
    if "libx264" in av.codecs_available:
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
    else:  # a build of FFmpeg without x264
        stream = container.add_stream("mpeg4", rate=rate, options={"qscale:v": "3"})
    stream.height, stream.width, stream.pix_fmt = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2, "yuv420p"
    if deterministic:
        stream.thread_count = 1
    return stream


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(frame)
