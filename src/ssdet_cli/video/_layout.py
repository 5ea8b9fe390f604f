"""What the outer structure of a video file says without decoding: is its end missing, does it ask to be turned.

Decoders notice a missing end late or never, and neither backend tells the rotation before a frame is decoded.
Sources: ISO/IEC 14496-12 (boxes, `tkhd` matrix), the RIFF specification, RFC 8794 (EBML).
"""

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_ISO_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}
#: Boxes that hold samples or are needed to find them, also those of fragments.
_ISO_SAMPLE_BOXES = {b"moov", b"mdat", b"moof", b"styp", b"sidx", b"ssix", b"prft", b"emsg"}
_EBML_HEADER, _MATROSKA_SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


@dataclass(frozen=True)
class Layout:
    """The outer structure of a file.

    Attributes:
        missing_bytes: By how much the file is shorter than it says; 0 where it is whole or does not say, and where only
            what follows the samples of an MP4 is no whole box.
        quarter_turns: Clockwise quarter turns that bring its pictures upright, 0 to 3.
    """

    missing_bytes: int = 0
    quarter_turns: int = 0


def read_layout(path: Path) -> Layout:
    """Read the structure of an MP4/MOV, AVI or Matroska/WebM file; of others nothing is known.

    Raises:
        OSError: The file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[4:8] in _ISO_FIRST_BOXES:
            boxes = list(_boxes(file, 0, size))
            return Layout(_missing_from_boxes(boxes, size), _quarter_turns(file, boxes))
        if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
            return Layout(_missing_from_riff(head, size))
        if head[:4] == _EBML_HEADER:
            return Layout(_missing_from_matroska(file, size))
    return Layout()


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (type, offset of the payload, offset of the end) of the boxes in [start, end); the last may end beyond."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:  # the file ends inside an outer box
            return
        length, kind = struct.unpack(">I4s", head)
        payload = start + 8
        if length == 1:
            wide = file.read(8)
            length, payload = (int.from_bytes(wide, "big") if len(wide) == 8 else end - start), start + 16
        elif length == 0:
            length = end - start
        if length < payload - start:
            return
        yield kind, payload, start + length
        start += length


def _missing_from_boxes(boxes: list[tuple[bytes, int, int]], size: int) -> int:
    """Bytes that the last box lacks; 0 where all samples lie before it, as where a tag of another format follows."""
    if not boxes:
        return 0
    kind, _, end = boxes[-1]
    whole = {other for other, _, _ in boxes[:-1]}
    if kind not in _ISO_SAMPLE_BOXES and {b"moov", b"mdat"} <= whole:
        return 0
    return max(0, end - size)


def _quarter_turns(file: BinaryIO, boxes: list[tuple[bytes, int, int]]) -> int:
    for kind, start, end in boxes:
        if kind == b"moov":
            for track, track_start, track_end in _boxes(file, start, end):
                for inner, payload, _ in _boxes(file, track_start, track_end) if track == b"trak" else ():
                    if inner == b"tkhd" and (turns := _turns_of_track(file, payload)) is not None:
                        return turns
    return 0


def _turns_of_track(file: BinaryIO, payload: int) -> int | None:
    """Return the quarter turns of a `tkhd` box, None for a track without a picture."""
    file.seek(payload)
    version = file.read(1)
    file.seek(payload + (52 if version == b"\x01" else 40))
    fields = file.read(44)
    if len(fields) < 44:
        return None
    values = struct.unpack(">9i2I", fields)
    a, b, width = values[0], values[1], values[9]
    return round(math.degrees(math.atan2(b, a)) / 90) % 4 if width else None


def _missing_from_riff(head: bytes, size: int) -> int:
    declared = int.from_bytes(head[4:8], "little")
    # Writers that cannot seek back leave these; some count the padding byte at the end and some do not.
    unknown = declared in (0, 0xFFFFFFFF)
    missing = declared + 8 - size
    return missing if missing > 1 and not unknown else 0


def _missing_from_matroska(file: BinaryIO, size: int) -> int:
    file.seek(4)
    header = _ebml_size(file)
    if header is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _MATROSKA_SEGMENT:
        return 0
    length = _ebml_size(file)
    return 0 if length is None else max(0, file.tell() + length - size)


def _ebml_size(file: BinaryIO) -> int | None:
    """Read an EBML length; None where it is unknown (all ones, as live recorders write) or cut off."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    more = 8 - first[0].bit_length()
    rest = file.read(more)
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + rest, "big")
    return None if len(rest) < more or value == (1 << 7 * (more + 1)) - 1 else value
