"""Writing video files that every browser and player opens, and single pictures."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from ssdet_cli.errors import SsdetError

#: Frame rates are kept as fractions with a denominator up to this, so that 30000/1001 stays what it is.
_LARGEST_DENOMINATOR = 1001 * 1000
#: The same for MPEG-4, which stores its time base in 16 bits, and where a finer time base is made of the rate.
_LARGEST_MPEG4_DENOMINATOR = 1001
#: Ticks in a second, at least, where frames come with their times.
_FINEST = 10_000
#: Quantiser of the fallback encoder, in the units of FFmpeg (118 = one step), near the quality of H.264 at crf 18.
_MPEG4_QUALITY = 3 * 118


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[np.ndarray],
    frame_rate: float | Fraction,
    *,
    crf: int = 18,
    deterministic: bool = False,
    codec: str | None = None,
) -> None:
    """Encode frames as they come; memory does not grow with their number.

    H.264 (or MPEG-4 where this PyAV has no libx264), yuv420p, index at the front. Odd sizes are made even by repeating
    the last row or column. The file appears under its name when it is complete, and never half-written.

    Args:
        path: MP4 file to write; its folder is made.
        frames: (H, W, 3) uint8 RGB each, all of one size.
        frame_rate: Frames per second; a `Fraction` is kept exactly, 30000 / 1001 as a float becomes that fraction.
        crf: Quality, 0 (lossless) to 51 (worst); MPEG-4 has a fixed one.
        deterministic: Encode in one thread, so that the same frames give the same bytes on any number of cores.
        codec: Encoder, by its FFmpeg name; None chooses as above.

    Raises:
        ValueError: There are no frames, one has another shape or type, or the frame rate is not above 0.
        SsdetError: The file cannot be written (full disk, no permission, no such encoder); nothing is left behind.
    """
    codec, rate = codec or _best_codec(), _exact_rate(frame_rate)
    if codec == "mpeg4":
        rate = rate.limit_denominator(_LARGEST_MPEG4_DENOMINATOR)
    options = {"crf": str(crf)}
    if deterministic:  # x264's look-ahead by macroblocks varies from run to run, in one thread too
        options["x264-params"] = "mbtree=0"
    numbered = ((number, 1, frame) for number, frame in enumerate(frames))
    _write(Path(path), numbered, rate, 1 / rate, codec, options, threads=1 if deterministic else 0)


def write_timed_video(
    path: str | os.PathLike[str],
    frames: Iterable[tuple[float, float, np.ndarray]],
    frame_rate: float | Fraction,
    *,
    crf: int = 18,
    preset: str = "medium",
    codec: str | None = None,
) -> None:
    """Encode frames that say themselves when they are shown, else as `write_video` does; their rate may vary.

    Args:
        path: MP4 file to write; its folder is made.
        frames: (when it appears, for how long it is shown, (H, W, 3) uint8 RGB) each; seconds, the times rise from 0.
        frame_rate: The usual frames per second. Times at that rate are kept exactly, others to less than 0.1 ms.
        crf: As for `write_video`.
        preset: How much x264 tries for a small file, by its name for that.
        codec: As for `write_video`.

    Raises:
        ValueError: As `write_video`, or the times do not rise.
        SsdetError: As `write_video`.
    """
    codec, rate = codec or _best_codec(), _exact_rate(frame_rate).limit_denominator(_LARGEST_MPEG4_DENOMINATOR)
    rate = max(rate, Fraction(1, _LARGEST_MPEG4_DENOMINATOR))
    ticks = rate.numerator * -(-_FINEST // rate.numerator)
    base = Fraction(1, min(ticks, 2**16 - 1) if codec == "mpeg4" else ticks)
    # A file ends with the packet that is stored last; without B-frames that is the picture shown last.
    options = {"crf": str(crf), "preset": preset, "bf": "0"}
    _write(Path(path), _ticked(frames, base), rate, base, codec, options)


def _ticked(frames: Iterable[tuple[float, float, np.ndarray]], base: Fraction) -> Iterator[tuple[int, int, np.ndarray]]:
    """Round times to ticks; two that differ stay different.

    Raises:
        ValueError: A frame does not appear later than the one before it.
    """
    before, tick = -1.0, -1
    for seconds, lasts, frame in frames:
        if not seconds > before:
            raise ValueError(f"A frame at {seconds} s follows one at {before} s; times must rise from 0.")
        before, tick = seconds, max(round(seconds / base), tick + 1)
        yield tick, max(1, round(lasts / base)), frame


def _write(
    place: Path,
    frames: Iterable[tuple[int, int, np.ndarray]],
    rate: Fraction,
    base: Fraction,
    codec: str,
    options: dict[str, str],
    threads: int = 0,
) -> None:
    """Write (tick at which it appears, ticks that it is shown, picture) each; a tick is `base` seconds."""
    av.logging.set_level(av.logging.PANIC)
    with _appears_when_complete(place) as draft, _failure_told(place):
        checked = _checked(frames)
        first = next(checked, None)
        if first is None:
            raise ValueError(f"{place}: a video needs at least one frame.")
        with av.open(str(draft), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            stream = _add_stream(container, first[2], rate, base, codec, options)
            stream.codec_context.thread_count = threads
            _encode(container, stream, chain([first], checked))


def write_image(path: str | os.PathLike[str], image: np.ndarray) -> None:
    """Write a picture, (H, W, 3) uint8 RGB, in the format of the file's suffix; its folder is made.

    Raises:
        ValueError: Another shape or type, or an unknown suffix.
        SsdetError: The disk is full or the folder cannot be written.
    """
    place = Path(path)
    with _appears_when_complete(place) as draft, _failure_told(place):
        Image.fromarray(next(_checked([(0, 1, image)]))[2]).save(draft)


def _best_codec() -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _exact_rate(frame_rate: float | Fraction) -> Fraction:
    if not frame_rate > 0 or frame_rate == float("inf"):
        raise ValueError(f"frame_rate must be above 0 and finite, got {frame_rate}.")
    return (
        frame_rate if isinstance(frame_rate, Fraction) else Fraction(frame_rate).limit_denominator(_LARGEST_DENOMINATOR)
    )


def _checked(frames: Iterable[tuple[int, int, np.ndarray]]) -> Iterator[tuple[int, int, np.ndarray]]:
    shape = None
    for number, (tick, ticks, frame) in enumerate(frames):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8 or not frame.size:
            raise ValueError(f"frame {number} must be (H, W, 3) uint8, got {frame.shape} {frame.dtype}.")
        shape = shape or frame.shape
        if frame.shape != shape:
            raise ValueError(f"Every frame must have the shape {shape} of the first, got {frame.shape}.")
        yield tick, ticks, frame


def _add_stream(
    container: Any, frame: np.ndarray, rate: Fraction, base: Fraction, codec: str, options: dict[str, str]
) -> Any:
    if codec == "mpeg4":
        options = {"flags": "+qscale", "global_quality": str(_MPEG4_QUALITY)}
    try:
        stream = container.add_stream(codec, rate=rate, options=options)
    except av.codec.codec.UnknownCodecError as error:
        raise SsdetError(f"Encoder '{codec}' is not in this PyAV; leave the choice to ssdet.") from error
    stream.height, stream.width = (side + side % 2 for side in frame.shape[:2])
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = base
    return stream


def _encode(container: Any, stream: Any, frames: Iterable[tuple[int, int, np.ndarray]]) -> None:
    converter = VideoReformatter()
    lasts: dict[int, int] = {}  # of the frames that are in the encoder, by when they appear

    def mux(picture: av.VideoFrame | None) -> None:
        for packet in stream.encode(picture):
            packet.duration = lasts.pop(packet.pts, 0)
            container.mux(packet)

    for tick, ticks, frame in frames:
        padding = [(0, side % 2) for side in frame.shape[:2]]
        even = np.pad(frame, [*padding, (0, 0)], mode="edge") if any(map(any, padding)) else frame
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        picture = converter.reformat(picture, format="yuv420p", threads=1)
        picture.pts, picture.time_base = tick, stream.codec_context.time_base
        lasts[tick] = ticks
        mux(picture)
    mux(None)


@contextlib.contextmanager
def _appears_when_complete(place: Path) -> Iterator[Path]:
    """Yield a temporary name beside `place`, renamed to it on success and removed otherwise."""
    draft = place.with_name(f".{place.stem}-{os.getpid()}.partial{place.suffix}")
    try:
        with _failure_told(place):
            place.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        with _failure_told(place):
            draft.replace(place)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


@contextlib.contextmanager
def _failure_told(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise SsdetError(f"Cannot write {place}: {error.strerror or error}.") from error
