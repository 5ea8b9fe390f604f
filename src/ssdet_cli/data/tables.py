"""Tables that people write themselves: any usual separator, any usual name for a column."""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import MappingProxyType

from ssdet_cli.data.class_names import normal_form
from ssdet_cli.data.flaws import ReversedError
from ssdet_cli.errors import DataError

SEPARATORS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Column -> other names for it, the preferred ones first, as `normal_form` gives them.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "path": (
        *(
            "path",
            "video",
            "videopath",
            "filepath",
            "filename",
            "file",
            "videofile",
            "videoname",
            "clip",
            "clippath",
            "clipname",
        ),
        *("videoid", "clipid", "youtubeid", "vid", "id", "name"),
    ),
    "label": ("label", "labels", "class", "classname", "action", "actionname", "activity", "category", "event", "tag"),
    "start": ("start", "starts", "startseconds", "starttime", "timestart", "tstart", "begin", "begintime", "from"),
    "end": ("end", "ends", "endseconds", "endtime", "timeend", "tend", "stop", "stoptime", "to"),
    "start_frame": ("startframe", "framestart", "beginframe", "firstframe"),
    "end_frame": ("endframe", "frameend", "stopframe", "lastframe"),
    "split": ("split", "subset", "partition", "set"),
    "duration": ("duration", "durations", "durationseconds", "videoduration", "length", "lengthseconds"),
    "fps": ("fps", "framerate", "framespersecond"),
}


@dataclass(frozen=True)
class Table:
    """A table with a header.

    Attributes:
        columns: Which of `COLUMNS` there are, and the name that each has in the file.
        rows: Line in the file, column -> text without blanks around it.
        separator: Between the fields.
    """

    columns: dict[str, str]
    rows: list[tuple[int, dict[str, str]]]
    separator: str

    def understood(self, path: Path, documented: Mapping[str, str] = MappingProxyType({})) -> tuple[str, ...]:
        """Say what was taken for what, where the names (`documented`: column -> its) or the separator are others."""
        names = {column: documented.get(column, column) for column in self.columns}
        other = [f"{names[column]} is '{given}'" for column, given in self.columns.items() if given != names[column]]
        if self.separator != ",":
            other.append(f"fields are separated by a {_NAMES[self.separator]}")
        return (f"{path.name} is read as a table: {', '.join(other)}.",) if other else ()


def read_table(path: Path, text: str, needed: tuple[str, ...]) -> Table | None:
    """Read a table whose first line names its columns; None where that line does not name all that is `needed`.

    Raises:
        DataError: Quotes that do not close, or a field that is no field of a table; the message names the line.
    """
    if text.lstrip()[:1] in ("{", "[", "<"):  # JSON and XML name what a table could, and may be one line of megabytes
        return None
    header = text.lstrip("\r\n").partition("\n")[0].rstrip("\r")
    best: tuple[dict[int, str], str] = ({}, ",")
    for separator in SEPARATORS:
        found = _columns(_fields(header, separator))
        if len(found) > len(best[0]):
            best = found, separator
    places, separator = best
    if not set(needed) <= set(places.values()):
        return None
    names = _fields(header, separator)
    given = {column: names[place].strip() for place, column in places.items()}
    rows = []
    for line, row in _rows(path, text, separator):
        rows.append((line, {column: row[place].strip() for place, column in places.items() if place < len(row)}))
    return Table(given, rows[1:], separator)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:  # longer than a field can be: the first line of no table
        return []


def _columns(header: list[str]) -> dict[int, str]:
    """Place in the header -> column; where two could be one column, the preferred name wins."""
    places = {normal_form(name): place for place, name in reversed(list(enumerate(header)))}
    found = {}
    for column, aliases in COLUMNS.items():
        place = next((places[alias] for alias in aliases if alias in places), None)
        if place is not None:
            found[place] = column
    return found


def _rows(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from error


def part_of(start: float | None, end: float | None) -> tuple[float | None, float | None]:
    """Give back when a clip starts and ends, seconds; None is not told.

    Raises:
        ReversedError: It ends before it starts.
        ValueError: It ends where it starts.
    """
    if end is not None and end <= (start or 0.0):
        error = ReversedError if end < (start or 0.0) else ValueError
        raise error(f"the clip ends at {plain_number(end)} s and starts at {plain_number(start or 0.0)} s.")
    return start, end


def plain_number(value: float) -> str:
    """Write a number short where that is exact, else with all its digits."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def seconds_of(fields: Mapping[str, str], name: str) -> float | None:
    """Return a time in seconds, written as such or as [h:]mm:ss; None where the field is empty or absent.

    Raises:
        ValueError: It is neither, or below 0.
    """
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        seconds = _plain_or_clock(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{name} '{text}' is not a number of seconds from 0, nor h:mm:ss.")
    return seconds


def _plain_or_clock(text: str) -> float:
    with suppress(ValueError):  # nearly every field of a large file is such
        return float(text)
    clock = re.fullmatch(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:[.,]\d*)?)", text)
    if clock is not None:
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3].replace(",", "."))
    return float(re.sub(r"\s*s$", "", text).replace(",", "."))
