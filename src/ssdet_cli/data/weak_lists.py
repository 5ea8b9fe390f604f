"""Lists of clips with one label each: tables with a header, and lines as SlowFast and mmaction2 write them.

path,label[,start,end][,split][,duration]
                                    a header; other names for the columns and other separators are understood
videos/run/a.mp4 1                  `path label` (SlowFast, PySlowFast's train.csv)
videos/run/a.mp4,run                the same with a comma, semicolon or tab
frames/run/a 300 1                  `path frames label` (mmaction2's rawframes, SlowFast's three fields)
videos/run/a.mp4                    no label: all are class 0 (SlowFast's test lists)
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ssdet_cli.catalog import nearest
from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.class_names import normal_form
from ssdet_cli.data.clip_tree import Listings, split_token
from ssdet_cli.data.file_kinds import text_kind
from ssdet_cli.data.flaws import UnknownClassError, note_two_labels, refuse
from ssdet_cli.data.lookup import VIDEO_SUFFIXES, read_text, some
from ssdet_cli.data.tables import part_of, plain_number, read_table, seconds_of
from ssdet_cli.errors import DataError

SUPPORTED = "a folder per class, a CSV with the header path,label[,start,end], or lines `path label`"
_VIDEO = re.compile("|".join(re.escape(suffix) for suffix in VIDEO_SUFFIXES) + r"|/|\\", re.IGNORECASE)
_FILE_FIRST = re.compile(rf"(.*?(?:{'|'.join(map(re.escape, VIDEO_SUFFIXES))}))\s+(.+)", re.IGNORECASE)


class Entry(NamedTuple):
    """One line of a list.

    Attributes:
        line: In the file, from 1.
        path: As it stands there.
        label: Name or number.
        start: Where the clip begins in the file, seconds.
        end: Where it ends; None is the end of the file.
        split: Which the line says it belongs to; None where it does not.
        duration: Of the whole clip, seconds, which tells the rate of a folder of frames; None where it is not told.
    """

    line: int
    path: str
    label: str
    start: float = 0.0
    end: float | None = None
    split: str | None = None
    duration: float | None = None


def read_list(path: Path) -> tuple[list[Entry], tuple[str, ...]]:
    """Read a list.

    Returns:
        Its lines, and notes on what was taken for what.

    Raises:
        DataError: It is none, is empty, or a line is wrong; the message names the line.
    """
    text, _ = read_text(path)
    if text.lstrip()[:1] in ("{", "[", "<"):
        raise DataError(f"{path} is {text_kind(text)}; needed: {SUPPORTED}.")
    table = read_table(path, text, ("path", "label"))
    if table is not None:
        if "youtube" in table.columns["path"].lower():
            raise DataError(
                f"{path}, line 1: this is a CSV of Kinetics, which `--dataset kinetics` reads; {SUPPORTED}."
            )
        rows, notes = table.rows, table.understood(path)
    else:
        rows, notes = _plain_lines(path, text)
    entries = []
    for line, fields in rows:
        try:
            entries.append(_entry(line, fields))
        except ValueError as error:
            refuse(f"{path}, line {line}: {error} Needed: {SUPPORTED}.", fields.get("path", "").strip(), error)
    if not entries:
        raise DataError(f"{path} lists no clips; needed: {SUPPORTED}.")
    return entries, notes


def _plain_lines(path: Path, text: str) -> tuple[list[tuple[int, dict[str, str]]], tuple[str, ...]]:
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if lines and all(len(line.split()) == 1 and _VIDEO.search(line) for _, line in lines) and not _separated(lines):
        return [(line, {"path": name, "label": "0"}) for line, name in lines], (
            f"{path.name} lists no labels: all its clips are class 0.",
        )
    separator = _separated(lines)
    rows = [(number, _halves(line, separator)) for number, line in lines]
    files = [bool(_VIDEO.search(fields[0])) for _, fields in rows]
    if len(files) > 1 and not files[0] and all(files[1:]):
        raise DataError(
            f"{path}, line 1: '{lines[0][1]}' looks like a header, and its columns are not known; needed: {SUPPORTED}."
        )
    # A number between two is that of frames.
    inner = [_halves(fields[0], separator) for _, fields in rows]
    if all(len(fields) == 2 and fields[1].isdecimal() for fields in (*(fields for _, fields in rows), *inner)):
        rows = [(number, [parts[0], fields[1]]) for (number, fields), parts in zip(rows, inner, strict=True)]
    return [(number, dict(zip(("path", "label"), fields, strict=False))) for number, fields in rows], ()


def _halves(line: str, separator: str | None) -> list[str]:
    """Path and label: a path that ends in a video's suffix may hold blanks, and then so may the label."""
    match = _FILE_FIRST.fullmatch(line) if separator is None else None
    if match is not None and not re.fullmatch(r"\d+\s+\d+", match[2]):
        return [match[1], match[2]]
    return [field.strip() for field in line.rsplit(separator, 1)]


def _separated(lines: Sequence[tuple[int, str]]) -> str | None:
    """The separator that leaves a label, and no part of a path, at the end of every line; None is any blank."""
    for separator in (",", ";", "\t", "|"):
        ends = [line.rpartition(separator)[::2] for _, line in lines]
        if ends and all(before and label.strip() and not _VIDEO.search(label) for before, label in ends):
            return separator
    return None


def _entry(line: int, fields: dict[str, str]) -> Entry:
    path, label = fields.get("path", "").strip(), fields.get("label", "").strip()
    if not path or not label:
        raise ValueError("there is no path or no label.")
    start, end = part_of(seconds_of(fields, "start"), seconds_of(fields, "end"))
    split = fields.get("split")
    if split and split_token(split) is None:
        raise ValueError(f"the split '{split}' is none of train, val and test.")
    own = split_token(split) if split else None
    return Entry(line, path, label, start or 0.0, end, own, seconds_of(fields, "duration"))


class Labels:
    """Class indices of what a list or a folder calls a class: its name, a spelling of it, or its number."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.count = len(classes)
        self._exact = {name: index for index, name in enumerate(classes)}
        self._normal = {normal_form(name): index for name, index in self._exact.items()}

    def find(self, label: str) -> int | None:
        """The index, None where there is none."""
        index = self._exact.get(label)
        if index is None and label.isdecimal():
            return int(label) if int(label) < self.count else None
        return self._normal.get(normal_form(label)) if index is None else index

    def index(self, label: str, where: str) -> int:
        """The index.

        Raises:
            DataError: There is none; the message begins with `where` and names the nearest.
        """
        index = self.find(label)
        if index is None:
            hint = nearest(label, self._exact)
            raise DataError(f"{where}: '{label}' is none of the {self.count} classes.{hint}")
        return index

    def known(self, label: str, where: str, video_id: str) -> int | None:
        """The index of a video's class; None where there is none and flaws are collected, see `flaws.refuse`.

        Raises:
            DataError: There is none, and they are not.
        """
        try:
            return self.index(label, where)
        except DataError as error:
            refuse(str(error), video_id, UnknownClassError(str(error)))
            return None


def list_records(
    path: Path, entries: Sequence[Entry], root: Path, labels: Labels, listings: Listings
) -> tuple[list[VideoRecord], tuple[str, ...]]:
    """Turn the lines of a list into records; a clip that is not there has no path.

    Raises:
        DataError: A label is none of the classes.
    """
    records: dict[str, VideoRecord] = {}
    repeated, doubtful, first = [], [], {}
    for entry in entries:
        video_id = _clip_id(entry)
        if video_id in records:
            repeated.append(video_id)
            if labels.find(entry.label) != records[video_id].label:
                doubtful.append(video_id)
                note_two_labels(f"{path}, line {entry.line}", video_id, entry.label, first[video_id])
            continue
        label = labels.known(entry.label, f"{path}, line {entry.line}", video_id)
        if label is None:
            continue
        first[video_id] = entry.label
        found = listings.find(os.path.join(root, entry.path))
        place = Path(found) if found is not None else None
        records[video_id] = VideoRecord(
            video_id, place, entry.duration, label=label, start_seconds=entry.start, end_seconds=entry.end
        )
    notes = (some("lines repeat a clip and are left out", repeated),) if repeated else ()
    if doubtful:
        notes += (some("of them give it another label, and the first one counts", doubtful),)
    return list(records.values()), notes


def _clip_id(entry: Entry) -> str:
    """The path, and the part of the file where a list cuts several clips out of one."""
    if entry.start == 0 and entry.end is None:
        return entry.path
    return f"{entry.path}@{plain_number(entry.start)}-{'end' if entry.end is None else plain_number(entry.end)}"
