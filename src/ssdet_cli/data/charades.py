"""Frame labels in the forms of Charades: its CSV files and `charades.json` (Sigurdsson et al., ECCV 2016).

The same two forms carry any frame-labelled set: a CSV with the columns `id`, `actions` and `length`, or an object
`{id: {subset, duration, actions: [[class, start, end], ...]}}`, with class names in a text file beside it.
"""

import csv
import math
import re
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

from ssdet_cli.catalog import nearest
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.flaws import UnknownClassError, refuse
from ssdet_cli.data.lookup import (
    check_split,
    classes_beside,
    read_json,
    read_text,
    required,
    stand_in,
    with_paths,
    without_reversed,
)
from ssdet_cli.errors import DataError

CHARADES_CLASSES = 157
#: Names that files give to the splits.
SUBSETS = {"train": ("training", "train"), "val": ("validation", "val"), "test": ("testing", "test")}
_WANTED = "Charades_v1_train.csv or Charades_v1_test.csv, the folder that holds them, or charades.json"


def load_charades(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Charades, or another set in its CSV form.

    Class names come from the file of classes beside the annotations; without one they are c000 to c156. Actions that
    end after their video are kept as they are, actions that end before they start are left out with a note.

    Args:
        videos: Folder of `<id>.mp4` (mkv, avi, webm, mov) or of frame folders; None where only labels matter.
        annotations: A CSV, `charades.json`, or a folder with `Charades_v1_<split>.csv`, `<split>.csv` or
            `charades.json`. Of a CSV with "train", "val" or "test" in its name, the file of the asked split is read.
        split: "train", "val" or "test"; "val" is answered by "test", as Charades has two splits.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: A file is missing, unreadable or contradicts itself; the message names file, line or video.
    """
    check_split(split)
    path, answer = _split_file(required(annotations, "charades", _WANTED), split)
    classes = classes_beside(path) or tuple(f"c{index:03d}" for index in range(CHARADES_CLASSES))
    if path.suffix.lower() == ".json":
        return json_set("charades", videos, path, split, classes, lambda value: known_class(value, classes))
    text, sha256 = read_text(path)
    records = _csv_records(path, text, classes)
    return _finished("charades", videos, path, answer, classes, records, sha256, *stand_in(path, split, answer))


def load_json(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read `{id: {subset, duration, actions: [[class, start, end], ...]}}`, times in seconds, classes from 0.

    A class is a number, or a name out of the file of classes beside the annotations. Without such a file the classes
    are c000 to the highest number that the file holds in any split.

    Args:
        videos: As `load_charades`.
        annotations: The file.
        split: "train", "val" or "test" (subset "training", "validation", "testing"); "val" is answered by "test"
            where there is no validation subset.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: As `load_charades`.
    """
    check_split(split)
    path = required(annotations, "json", "a JSON file of video id -> {subset, duration, actions}")
    classes = classes_beside(path) or _numbered_classes(path)
    return json_set("json", videos, path, split, classes, lambda value: known_class(value, classes))


def json_set(
    dataset: str,
    videos: Path | None,
    path: Path,
    split: str,
    classes: tuple[str, ...],
    class_index: Callable[[Any], int],
) -> VideoSet:
    """Read one split of a JSON file; `class_index` turns what stands for a class into an index or raises ValueError."""
    document, sha256 = read_json(path)
    records = []
    answer = _answering_subset(path, document, split)
    names = SUBSETS[answer]
    for video_id, entry in document.items():
        if entry["subset"] in names:
            records.append(_json_record(path, video_id, entry, class_index))
    return _finished(dataset, videos, path, split, classes, records, sha256, *stand_in(path, split, answer))


def known_class(value: Any, classes: tuple[str, ...]) -> int:
    """Return the index that `value`, an index or a name, stands for; ValueError where there is none."""
    if isinstance(value, str) and value in classes:
        return classes.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return value
    if isinstance(value, str):
        raise UnknownClassError(f"class '{value}' is not among the {len(classes)} known.{nearest(value, classes)}")
    raise UnknownClassError(f"class {value!r} is not a number from 0 to {len(classes) - 1} nor a name.")


def _finished(
    dataset: str,
    videos: Path | None,
    path: Path,
    split: str,
    classes: tuple[str, ...],
    records: Iterator[VideoRecord] | list[VideoRecord],
    sha256: str,
    *notes: str,
) -> VideoSet:
    kept, reversed_notes = without_reversed(records)
    if not kept:
        raise DataError(f"{path} holds no videos.")
    found, path_notes = with_paths(kept, videos)
    return VideoSet(f"{dataset} {split}", classes, found, path, sha256, (*notes, *reversed_notes, *path_notes))


def _split_file(annotations: Path, split: str) -> tuple[Path, str]:
    """Return the file to read for a split and the split that it answers."""
    if annotations.is_dir():
        return _in_folder(annotations, split)
    words = [word for word in SUBSETS if re.search(rf"(?<![a-z]){word}(?![a-z])", annotations.stem.lower())]
    if annotations.suffix.lower() == ".json" or len(words) != 1 or words[0] == split:
        return annotations, split
    for answer in _answers(split):
        sibling = annotations.with_stem(re.sub(words[0], answer, annotations.stem, flags=re.IGNORECASE))
        if sibling.is_file():
            return sibling, answer
    raise DataError(f"{annotations} is the '{words[0]}' split and {sibling.name} for '{answer}' is not beside it.")


def _in_folder(folder: Path, split: str) -> tuple[Path, str]:
    for answer in _answers(split):
        for name in (f"Charades_v1_{answer}.csv", f"{answer}.csv"):
            if (folder / name).is_file():
                return folder / name, answer
    if (folder / "charades.json").is_file():
        return folder / "charades.json", split
    raise DataError(f"{folder} holds no annotations of the split '{split}'; needed: {_WANTED}.")


def _answers(split: str) -> tuple[str, ...]:
    return ("val", "test") if split == "val" else (split,)


def _answering_subset(path: Path, document: dict[str, Any], split: str) -> str:
    """Return the split whose subset answers `split`, which may be another."""
    subsets = set()
    for video_id, entry in document.items():
        if not isinstance(entry, dict) or not {"subset", "duration", "actions"} <= entry.keys():
            raise DataError(f"{path}: '{video_id}' must be an object with subset, duration and actions.")
        subsets.add(str(entry["subset"]))
    for answer in _answers(split):
        if subsets & set(SUBSETS[answer]):
            return answer
    raise DataError(f"{path} holds no videos of the split '{split}'; its subsets: {', '.join(sorted(subsets))}.")


def _json_record(path: Path, video_id: str, entry: dict[str, Any], class_index: Callable[[Any], int]) -> VideoRecord:
    duration, segments = None, []
    try:
        duration = _seconds(entry["duration"], "duration")
    except ValueError as error:
        refuse(f"{path}, video '{video_id}': {error}", video_id, error)
    if not isinstance(entry["actions"], list):
        raise DataError(f"{path}, video '{video_id}': actions must be a list of [class, start, end].")
    for action in entry["actions"]:
        try:
            segments.append(_json_segment(action, class_index))
        except ValueError as error:
            refuse(f"{path}, video '{video_id}': {error}", video_id, error)
    return VideoRecord(video_id, duration_seconds=duration, segments=tuple(segments))


def _json_segment(action: Any, class_index: Callable[[Any], int]) -> Segment:
    if not isinstance(action, list) or len(action) != 3:
        raise ValueError(f"an action must be [class, start, end], got {action!r}.")
    label, start, end = action
    return Segment(class_index(label), _seconds(start, "start"), _seconds(end, "end"))


def _seconds(value: Any, what: str) -> float:
    try:
        seconds = float("nan") if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{what} {value!r} is not a number of seconds from 0.")
    return seconds


def _numbered_classes(path: Path) -> tuple[str, ...]:
    document, _ = read_json(path)
    highest = -1
    for video_id, entry in document.items():
        for action in entry.get("actions", ()) if isinstance(entry, dict) else ():
            label = action[0] if isinstance(action, list) and action else None
            if not isinstance(label, int):
                raise DataError(
                    f"{path}, video '{video_id}': class {label!r} is not a number, and no classes.txt beside the file "
                    "lists the names."
                )
            highest = max(highest, label)
    if highest < 0:
        raise DataError(f"{path} holds no actions and no classes.txt beside it: the classes are unknown.")
    return tuple(f"c{index:03d}" for index in range(highest + 1))


def _csv_records(path: Path, text: str, classes: tuple[str, ...]) -> Iterator[VideoRecord]:
    lines = csv.DictReader(StringIO(text, newline=""), strict=True)
    lacking = [name for name in ("id", "actions", "length") if name not in (lines.fieldnames or ())]
    if lacking:
        raise DataError(f"{path}, line 1: the column '{lacking[0]}' is missing; it is no Charades CSV.")
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
    duration, segments = _seconds(row["length"], "length"), []
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
    return Segment(label, _seconds(fields[1], "start"), _seconds(fields[2], "end"))
