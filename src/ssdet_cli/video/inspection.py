"""What one video file is, and what is wrong with it: headers, timestamps, and as many decoded frames as are asked for.

Nothing here raises for a bad file; a file that brings the decoder down is the caller's to survive.
"""

import contextlib
import hashlib
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.video._layout import read_layout
from ssdet_cli.video._pyav import PyavSource
from ssdet_cli.video.decode import VideoReader, open_video

#: How far a file is looked at: its headers; also its timestamps and its first, middle and last frame; or every frame.
Depth = Literal["headers", "ends", "all"]
DEPTHS: tuple[Depth, ...] = ("headers", "ends", "all")
#: Frames of an all-frames check that are held at a time, and their short side in pixels.
_CHUNK, _SMALL = 2048, 16
#: The same for decord, which cannot return some widths below.
_SMALL_BY_DECORD = 80
#: Bytes from the head, middle and tail of a file that tell two files of one size apart.
_SAMPLE = 16384
_NUMBERED = re.compile(r"(\d+)\.(?:jpe?g|png)$", re.IGNORECASE)


@dataclass(frozen=True)
class FileFacts:
    """A video file or folder of frames at one moment.

    Attributes:
        path: Absolute.
        size: Bytes; 0 for a folder.
        mtime_ns: When it was changed last, nanoseconds since 1970.
        depth: How far it was looked at.
        code: What makes it unusable ("missing", "empty", "unreadable", "truncated", "damaged", "missing-frames",
            "crash", "timeout", "out-of-memory"); empty where nothing does.
        detail: The same in words.
        frames: In the video.
        frame_rate: Frames per second on average; 0 for a folder whose rate is not known.
        seconds: Until the last frame ends; 0 where the rate is not known.
        width: Pixels.
        height: Pixels.
        variable_rate: The frames do not come at even times; known from depth "ends" on.
        counted: The header does not tell the number of frames, so that opening reads the whole file.
        content: Hash of size, head, middle and tail; empty for a folder.
        first_number: The lowest number of a folder's frames.
        reader: "decord" where it decoded, which refuses what the usual reader takes; else empty.
    """

    path: str
    size: int = 0
    mtime_ns: int = 0
    depth: Depth = "ends"
    code: str = ""
    detail: str = ""
    frames: int = 0
    frame_rate: float = 0.0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    variable_rate: bool = False
    counted: bool = False
    content: str = ""
    first_number: int = 0
    reader: str = ""


@dataclass(frozen=True)
class Inspection:
    """One file to look at.

    Attributes:
        path: Absolute.
        depth: How far.
        backend: Reader that decodes, as `open_video` names them.
        frame_rate: Of folders of frames; None where it is not known.
    """

    path: str
    depth: Depth = "ends"
    backend: str = "auto"
    frame_rate: float | None = None


def special_reader(backend: str, depth: Depth) -> str:
    """What `FileFacts.reader` says of files that are looked at in this way."""
    return "decord" if backend == "decord" and depth != "headers" else ""


def stamp(path: str) -> tuple[int, int] | None:
    """Size (0 for a folder) and time of the last change: what shows that a file is as before; None where it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return 0 if stat.S_ISDIR(found.st_mode) else found.st_size, found.st_mtime_ns


def inspect(job: Inspection) -> FileFacts:
    """Look at one file."""
    stamped = stamp(job.path)
    if stamped is None:
        return FileFacts(job.path, depth=job.depth, code="missing", detail="no such file")
    facts = FileFacts(job.path, *stamped, depth=job.depth, reader=special_reader(job.backend, job.depth))
    try:
        if os.path.isdir(job.path):
            return _folder(job, facts)
        if not os.path.isfile(job.path):  # to open a pipe is to wait for its writer
            return replace(facts, code="unreadable", detail="not a file but a pipe, a socket or a device")
        return _file(job, facts)
    except DataError as error:
        return _bad(facts, "unreadable", error)
    except OSError as error:
        return replace(facts, code="unreadable", detail=f"cannot be read ({error.strerror or error})")


def _bad(facts: FileFacts, code: str, error: DataError) -> FileFacts:
    """Say what is wrong with a file; lack of memory is no fault of it and goes on as MemoryError."""
    if isinstance(error.__cause__, MemoryError):
        raise error.__cause__
    return replace(facts, code=code, detail=str(error).replace(f"{facts.path}: ", "").removeprefix(f"{code}, "))


def _file(job: Inspection, facts: FileFacts) -> FileFacts:
    if not facts.size:
        return replace(facts, code="empty", detail="0 bytes")
    if read_layout(Path(job.path)).missing_bytes:
        facts = replace(facts, code="truncated", detail="its end is missing")
    facts = replace(facts, content=_content(job.path, facts.size))
    # Headers need no decoder, and decord would make an index of each file.
    try:
        with contextlib.closing(PyavSource(Path(job.path))) as source:
            reader = VideoReader(source.path, "pyav", source, source)
            facts = _with_header(facts, reader, even=job.depth == "headers")
            facts = replace(facts, counted=not source.header.num_frames)
    except DataError as error:
        return _bad(facts, facts.code or "unreadable", error)
    return facts if job.depth == "headers" else _decoded(job, facts)


def _with_header(facts: FileFacts, reader: VideoReader, *, even: bool) -> FileFacts:
    frames, rate = reader.num_frames, reader.frame_rate
    facts = replace(facts, frames=frames, frame_rate=rate, width=reader.width, height=reader.height)
    if even:
        return replace(facts, seconds=frames / rate)
    uneven = not np.array_equal(reader.seconds(), np.arange(frames) / rate)
    return replace(facts, seconds=float(reader.duration_seconds), variable_rate=uneven)


def _decoded(job: Inspection, facts: FileFacts) -> FileFacts:
    """Decode what the depth says with the reader that training would take."""
    frames = facts.frames
    if not frames:
        return replace(facts, code="empty", detail="holds no frames")
    chunks = [[0], sorted({frames // 2, frames - 1})]
    if job.depth == "all":
        chunks = [range(first, min(first + _CHUNK, frames)) for first in range(0, frames, _CHUNK)]
    done, side = 0, _SMALL_BY_DECORD if job.backend == "decord" else _SMALL
    try:
        rate = facts.frame_rate or 1.0
        with open_video(job.path, backend=job.backend, frame_rate=rate, short_side=side) as reader:
            for chunk in chunks:
                reader.frames(chunk)
                done += len(chunk)
    except DataError as error:
        return _bad(facts, "damaged" if done or "frames could be read" in str(error) else "unreadable", error)
    return facts


def _folder(job: Inspection, facts: FileFacts) -> FileFacts:
    names = os.listdir(job.path)
    visible = (name for name in names if not name.startswith("."))
    numbers = sorted(int(match[1]) for name in visible if (match := _NUMBERED.search(name)))
    if not numbers:
        return replace(facts, code="empty", detail="a folder without numbered frames")
    facts = replace(facts, frames=len(numbers), frame_rate=job.frame_rate or 0.0, first_number=numbers[0])
    facts = replace(facts, seconds=len(numbers) / job.frame_rate if job.frame_rate else 0.0)
    if numbers[-1] - numbers[0] + 1 != len(numbers) or len(set(numbers)) < len(numbers):
        return replace(facts, code="missing-frames", detail=_gaps(numbers))
    try:
        with open_video(job.path, frame_rate=job.frame_rate or 1.0) as reader:
            facts = replace(facts, width=reader.width, height=reader.height)
    except DataError as error:
        return _bad(facts, "unreadable", error)
    return facts if job.depth == "headers" else _decoded(replace(job, backend="frames"), facts)


def _gaps(numbers: list[int]) -> str:
    """What is wrong with sorted numbers that should follow each other."""
    there = set(numbers)
    missing = numbers[-1] - numbers[0] + 1 - len(there)
    if not missing:
        return f"{len(numbers) - len(there)} numbers are there more than once"
    first = next(number for number in range(numbers[0], numbers[-1]) if number not in there)
    return f"{missing} missing between {numbers[0]} and {numbers[-1]}, the first is {first}"


def _content(path: str, size: int) -> str:
    told = hashlib.blake2b(str(size).encode(), digest_size=12)
    with open(path, "rb") as file:
        for place in (0, max(0, size // 2 - _SAMPLE // 2), max(0, size - _SAMPLE)):
            file.seek(place)
            told.update(file.read(_SAMPLE))
    return told.hexdigest()
