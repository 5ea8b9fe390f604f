"""What a file really is, so that a wrong one can be named: video, picture, archive, JSON, XML, table."""

import re

#: (offset, first bytes there, what it is).
_MAGIC = (
    (4, b"ftyp", "a video (MP4 or MOV)"),
    (0, b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"FLV\x01", "a video (FLV)"),
    (0, b"\x00\x00\x01\xba", "a video (MPEG)"),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a video (WMV)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"\x89PNG\r\n\x1a\n", "a picture (PNG)"),
    (0, b"GIF8", "a picture (GIF)"),
    (0, b"PK\x03\x04", "a ZIP archive (or a spreadsheet); unpack it (or save it as CSV)"),
    (0, b"Rar!", "a RAR archive; unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it"),
    (257, b"ustar", "a tar archive; unpack it"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"\x80\x02", "a Python pickle"),
    (0, b"\x80\x04", "a Python pickle"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"SQLite format 3", "an SQLite database"),
    (0, b"%PDF", "a PDF"),
    (0, b"version https://git-lfs", "a Git LFS pointer and not the file itself; fetch it with `git lfs pull`"),
)
#: Bytes that `binary_kind` wants to see.
HEAD_BYTES = 512


def binary_kind(head: bytes) -> str | None:
    """Say what a file that begins with `head` is, where it is no annotation; None for text and for what is unknown."""
    return next((kind for at, magic, kind in _MAGIC if head[at : at + len(magic)] == magic), None)


def text_kind(text: str) -> str:
    """Say in a few words what a text is: a form that has a name, or how it begins."""
    begin = text.lstrip()[:4000]
    if not begin:
        return "empty"
    if begin[0] in "{[":
        return "a VIA project" if '"attribute"' in text and '"metadata"' in text and '"view"' in text else "JSON"
    if begin[0] == "<":
        return _xml_kind(begin)
    if begin.startswith("#") and "CSV_HEADER = metadata_id" in begin:
        return "a VIA export (CSV)"
    first = begin.splitlines()[0]
    columns = [name.strip().strip('"') for name in re.split(r"[,;\t]", first)]
    if len(columns) > 1:
        more = ", ..." if len(columns) > 6 else ""
        return f"a table whose first line is {', '.join(columns[:6])}{more}"
    return f"text that begins with '{first[:40]}'"


def _xml_kind(begin: str) -> str:
    if re.search(r"<!doctype html|<html", begin, re.IGNORECASE):
        return "a web page (HTML), as a failed download leaves it"
    if "<ANNOTATION_DOCUMENT" in begin:
        return "an ELAN file (EAF)"
    if re.search(r"<annotations\b", begin):
        return "a CVAT file (XML)"
    return "XML"
