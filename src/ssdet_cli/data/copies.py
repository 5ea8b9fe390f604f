"""Resized copies of videos for sets that are read a hundred times: where they are, making one, reading one.

The copy of a video has its name and a hash of its path, and says of which state of the file it is a copy: of a file
that has changed since there is none.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.video._packed import PackedHeader, PackedSource, encode_picture, write_packed
from ssdet_cli.video.decode import VideoReader, open_packed, open_video

SUFFIX = ".frames"
#: Bytes of decoded frames that are held while a copy is made.
_HELD = 64 * 2**20
_LONGEST_NAME = 120

_log = logging.getLogger("ssdet")
_told: set[str] = set()


@dataclass(frozen=True)
class CopySettings:
    """How copies are made.

    Attributes:
        folder: Where they go.
        short_side: Frames are shrunk to this, pixels; smaller ones stay.
        quality: Of the JPEG pictures.
        frame_rate: Frames per second of folders of frames.
    """

    folder: Path
    short_side: int = 256
    quality: int = 90
    frame_rate: float | None = None


def copy_path(folder: Path, source: Path) -> Path:
    """Where the copy of a video is."""
    place = source.absolute()
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
    name = os.fsdecode(os.fsencode(place.name)[:_LONGEST_NAME]).encode("utf-8", "replace").decode()
    return folder / f"{name}-{digest}{SUFFIX}"


def is_copied(settings: CopySettings, source: Path, duration: float | None = None) -> bool:
    """Whether there is a whole copy of the file as it is now, made with these settings."""
    try:
        header = PackedSource(copy_path(settings.folder, source)).header
    except DataError:
        return False
    shrunk = min(header.source_height, header.source_width, settings.short_side)
    alike = min(header.height, header.width) == shrunk and header.quality == settings.quality
    rate = settings.frame_rate or (header.num_frames / duration if duration else None)
    return alike and _is_of(header, source) and (not source.is_dir() or rate in (None, header.frame_rate))


def _is_of(header: PackedHeader, source: Path) -> bool:
    try:
        found = source.stat()
    except OSError:
        return False
    return (header.source_bytes, header.source_modified) == (found.st_size, found.st_mtime_ns)


def open_copy(folder: Path, source: Path, short_side: int | None) -> VideoReader | None:
    """Open the copy of a video; None where there is none of its present state, or one with too few pixels."""
    try:
        copy = PackedSource(copy_path(folder, source))
    except DataError:
        return None
    header = copy.header
    if not _is_of(header, source):
        _tell("stale", f"{source} has changed since it was copied to {folder}; it is read itself. ")
        return None
    needed = min(header.source_height, header.source_width, short_side or header.source_width)
    if min(header.height, header.width) < needed:
        held = min(header.height, header.width)
        what = f"The copies in {folder} have {held} pixels on the short side and {needed} are needed"
        _tell("small", f"{what}; the videos themselves are read. ")
        return None
    return open_packed(source, copy, short_side=short_side)


def _tell(kind: str, what: str) -> None:
    if kind not in _told:
        _told.add(kind)
        _log.warning("%s`ssdet data cache` makes copies anew.", what)


def note_on_copies(folder: Path | None, videos: VideoSet) -> str | None:
    """Say how many videos of a set have a copy; nothing is opened. None where no folder of copies is configured.

    Raises:
        DataError: There is no such folder.
    """
    if folder is None:
        return None
    try:
        there = set(os.listdir(folder))
    except OSError as error:
        made = f"make it with `ssdet data cache --output {folder}`"
        raise DataError(f"data.cache={folder}: no such folder of copies ({error.strerror}); {made}.") from error
    paths = [record.path for record in videos.records if record.path is not None]
    count = sum(copy_path(folder, path).name in there for path in paths)
    rest = "" if count == len(paths) else "; the others are read themselves"
    return f"{videos.name}: {count} of {len(paths)} videos have a copy in {folder}{rest}."


def make_copy(
    source: Path, settings: CopySettings, alive: Callable[[], None] = lambda: None, duration: float | None = None
) -> int:
    """Copy a video; the copy appears when it is complete.

    Args:
        source: File or folder of frames.
        settings: Where to and how.
        alive: Called after every part.
        duration: Seconds that a folder of frames shows, which count where the settings tell no frame rate.

    Returns:
        Its length, bytes.

    Raises:
        DataError: The video cannot be read to its end.
        SsdetError: The copy cannot be written.
    """
    place = copy_path(settings.folder, source)
    draft = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        with _open(source, settings, duration) as reader:
            header = _header_of(reader, source, settings, duration)
            with draft.open("wb") as file:
                size = write_packed(file, header, reader.seconds(), _pictures(reader, settings.quality, alive))
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, place)
    except OSError as error:
        raise SsdetError(f"Cannot write {place}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return size


def expected_bytes(source: Path, settings: CopySettings, duration: float | None = None) -> int:
    """About how long the copy of a video will be, from the picture in its middle.

    Raises:
        DataError: The video cannot be read.
    """
    with _open(source, settings, duration) as reader:
        (picture,) = reader.frames([reader.num_frames // 2])
        return reader.num_frames * (len(encode_picture(picture, settings.quality)) + 16)


def _open(source: Path, settings: CopySettings, duration: float | None) -> VideoReader:
    # decord would make its index anew for every part.
    backend = "frames" if source.is_dir() else "pyav"
    return open_video(
        source,
        backend=backend,
        frame_rate=settings.frame_rate,
        short_side=settings.short_side,
        duration_seconds=duration,
    )


def _header_of(reader: VideoReader, source: Path, settings: CopySettings, duration: float | None) -> PackedHeader:
    found = source.stat()
    with _open(source, CopySettings(settings.folder, 1 << 20, frame_rate=settings.frame_rate), duration) as whole:
        width, height = whole.width, whole.height
    return PackedHeader(
        num_frames=reader.num_frames,
        width=reader.width,
        height=reader.height,
        frame_rate=reader.frame_rate,
        end_seconds=reader.duration_seconds,
        tick_seconds=reader.tick_seconds,
        quality=settings.quality,
        source_width=width,
        source_height=height,
        source_bytes=found.st_size,
        source_modified=found.st_mtime_ns,
    )


def _pictures(reader: VideoReader, quality: int, alive: Callable[[], None]) -> Iterator[bytes]:
    at_once = max(1, _HELD // (3 * reader.width * reader.height))
    for first in range(0, reader.num_frames, at_once):
        numbers = np.arange(first, min(first + at_once, reader.num_frames))
        for picture in reader.frames(numbers):
            yield encode_picture(picture, quality)
        alive()
