"""Frame labels in the forms of Charades: its CSV files and `charades.json` (Sigurdsson et al., ECCV 2016).

The same two forms carry any frame-labelled set: a CSV with the columns `id`, `actions` and `length`, or a JSON (see
`frame_json`), with class names in a text file beside it. SlowFast's lists of labelled frames are read as well.
"""

import csv
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.file_kinds import text_kind
from ssdet_cli.data.flaws import refuse
from ssdet_cli.data.frame_json import json_set, known_class
from ssdet_cli.data.frame_lists import frame_list_records, is_frame_list
from ssdet_cli.data.frame_splits import answers, finished, is_read_as_named, told_of_file
from ssdet_cli.data.lookup import SPLITS, check_split, classes_beside, read_text, required
from ssdet_cli.data.tables import seconds_of
from ssdet_cli.errors import DataError, NoSplitError

CHARADES_CLASSES = 157
_WANTED = "Charades_v1_train.csv or Charades_v1_test.csv, the folder that holds them, or charades.json"


def load_charades(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Charades, or another set in its CSV form.

    Class names come from the file of classes beside the annotations; without one they are c000 to c156. Actions that
    end after their video are kept as they are, actions that end before they start are left out with a note.

    Args:
        videos: Folder of `<id>.mp4` (mkv, avi, webm, mov) or of frame folders; None where only labels matter.
        annotations: A CSV, `charades.json`, or a folder with `Charades_v1_<split>.csv`, `<split>.csv` or
            `charades.json`. Of a CSV with "train", "val" or "test" in its name, the file of the asked split is read,
            with a note where that is another one; see `frame_splits.read_as_named`.
        split: "train", "val" or "test"; "val" is answered by "test", as Charades has two splits.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: A file is missing, unreadable or contradicts itself; the message names file, line or video.
    """
    check_split(split)
    given = required(annotations, "charades", _WANTED)
    path, answer = _split_file(given, split)
    classes = classes_beside(path) or tuple(f"c{index:03d}" for index in range(CHARADES_CLASSES))
    if path.suffix.lower() == ".json":
        return json_set("charades", videos, path, split, classes, lambda value: known_class(value, classes, path))
    text, sha256 = read_text(path)
    if is_frame_list(text):
        records = frame_list_records(path, text, classes)
    else:
        records = _csv_records(path, text, classes)
    return finished(
        "charades", videos, path, answer, classes, records, sha256, *told_of_file(given, path, split, answer)
    )


def _split_file(annotations: Path, split: str) -> tuple[Path, str]:
    """Return the file to read for a split and the split that it answers."""
    if annotations.is_dir():
        return _in_folder(annotations, split)
    words = [word for word in SPLITS if re.search(rf"(?<![a-z]){word}(?![a-z])", annotations.stem.lower())]
    if annotations.suffix.lower() == ".json" or len(words) != 1 or words[0] == split:
        return annotations, split
    if is_read_as_named():
        return annotations, words[0]
    for answer in answers(split):
        sibling = annotations.with_stem(re.sub(words[0], answer, annotations.stem, flags=re.IGNORECASE))
        if sibling.is_file():
            return sibling, answer
    raise NoSplitError(f"{annotations} is the '{words[0]}' split and {sibling.name} for '{answer}' is not beside it.")


def _in_folder(folder: Path, split: str) -> tuple[Path, str]:
    for answer in answers(split):
        for name in (f"Charades_v1_{answer}.csv", f"{answer}.csv"):
            if (folder / name).is_file():
                return folder / name, answer
    if (folder / "charades.json").is_file():
        return folder / "charades.json", split
    raise NoSplitError(f"{folder} holds no annotations of the split '{split}'; needed: {_WANTED}.")


def _csv_records(path: Path, text: str, classes: tuple[str, ...]) -> Iterator[VideoRecord]:
    lines = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        lacking = [name for name in ("id", "actions", "length") if name not in (lines.fieldnames or ())]
    except csv.Error:  # a field longer than any, as of JSON in one line
        lacking = ["id"]
    if lacking:
        raise DataError(
            f"{path}, line 1: the column '{lacking[0]}' is missing; a Charades CSV with id, actions and length is "
            f"expected, and this is {text_kind(text)}. --dataset csv reads video,label,start,end."
        )
    first_line: dict[str, int] = {}
    try:
        for row in lines:
            where = f"{path}, line {lines.line_num}"
            try:
                if row["id"] in first_line:
                    raise ValueError(f"the id '{row['id']}' stands in line {first_line[row['id']]} already.")
                record = _csv_record(where, row, classes)
            except ValueError as error:
                refuse(f"{where}: {error}", row["id"] or "", error)
                continue
            first_line[record.video_id] = lines.line_num
            yield record
    except csv.Error as error:
        raise DataError(f"{path}, line {lines.line_num}: {error}") from error


def _csv_record(where: str, row: dict[str, str | None], classes: tuple[str, ...]) -> VideoRecord:
    if not row["id"] or row["length"] is None or row["actions"] is None:
        raise ValueError("the line has too few fields or no id.")
    duration, segments = _time(row["length"], "length"), []
    for triple in filter(str.strip, row["actions"].split(";")):
        try:
            segments.append(_csv_segment(triple, classes))
        except ValueError as error:
            refuse(f"{where}: {error}", row["id"], error)
    return VideoRecord(row["id"], duration_seconds=duration, segments=tuple(segments))


def _csv_segment(triple: str, classes: tuple[str, ...]) -> Segment:
    fields = triple.split()
    if len(fields) != 3 or not re.fullmatch(r"c\d+", fields[0]):
        raise ValueError(f"an action must be `cNNN start end`, got '{triple.strip()}'.")
    label = known_class(int(fields[0][1:]), classes)
    return Segment(label, _time(fields[1], "start"), _time(fields[2], "end"))


def _time(text: str, what: str) -> float:
    seconds = seconds_of({what: text}, what)
    if seconds is None:
        raise ValueError(f"{what} '{text}' is not a number of seconds from 0.")
    return seconds
