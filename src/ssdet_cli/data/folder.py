"""Weak labels: one class per clip, from a folder per class or from a list."""

import csv
import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ssdet_cli.catalog import nearest
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.lookup import (
    IMAGE_SUFFIXES,
    SPLITS,
    VIDEO_SUFFIXES,
    check_split,
    classes_beside,
    read_text,
    some,
    stand_in,
)
from ssdet_cli.errors import ConfigError, DataError

#: Part of a set without a validation split that is held out.
HELD_OUT = 0.1
_SUPPORTED = "a folder per class, a CSV with the header path,label[,start,end], or lines `path label`"


@dataclass(frozen=True)
class Entry:
    """One line of a list."""

    line: int
    path: str
    label: str
    start: float = 0.0
    end: float | None = None


def load_weak_folder(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read clips that have one label each.

    Classes are the sorted names of folders or labels over all splits, or those of a `classes.txt` beside a list.
    A set without a validation split holds out a tenth of its training clips, chosen by a hash of their names, so the
    same clips on every machine; "test" is answered by "val" where there is no test split.

    Args:
        videos: `<root>/<class>/<clip>` or `<root>/<split>/<class>/<clip>`, where a clip is a video file or a folder of
            frames; or a list file; or the folder that a list's paths start from.
        annotations: A list, where it is not in `videos`: a CSV with the header `path,label[,start,end]` (seconds) or
            lines `path label`. Of `train.csv`, the asked split's `val.csv` is read where it exists.
        split: "train", "val" or "test".

    Raises:
        ConfigError: Nothing given, or no such split.
        DataError: Nothing found, or a line is wrong; the message names the file and line.
    """
    check_split(split)
    if videos is None and annotations is None:
        raise ConfigError(f"The dataset 'folder' needs data.videos (--data): {_SUPPORTED}.")
    for path in (videos, annotations):
        if path is not None and not path.exists():
            raise DataError(f"{path} does not exist; needed: {_SUPPORTED}.")
    if annotations is not None:
        if annotations.is_dir():
            raise DataError(f"data.annotations ({annotations}) is a folder; a list of `path label` is needed there.")
        return _from_list(annotations, videos or annotations.parent, split)
    if videos.is_dir():
        return _from_folders(videos, split)
    return _from_list(videos, videos.parent, split)


def held_out(names: Iterable[str]) -> set[str]:
    """Return the tenth of the names that a hash picks; at least one."""
    places = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names}
    return {name for name, place in places.items() if place < HELD_OUT} or {min(places, key=places.__getitem__)}


def _choose_split(
    parts: dict[str, list[VideoRecord]], split: str, source: Path
) -> tuple[list[VideoRecord], tuple[str, ...]]:
    """Pick the records of a split out of what there is, holding some out where there is no validation split.

    Returns:
        The records, and a note where another split answers.
    """
    for answer in {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]:
        if answer in parts and (answer != "train" or len(parts) > 1):
            return parts[answer], stand_in(source, split, answer)
    records = parts.get("train", [])
    if len(records) < 2:
        raise DataError(f"{source} holds {len(records)} clip(s) for training; at least 2 are needed to hold one out.")
    apart = held_out(record.video_id for record in records)
    return [record for record in records if (record.video_id in apart) == (split != "train")], ()


# A folder per class


def _from_folders(root: Path, split: str) -> VideoSet:
    roots = {name: root / name for name in SPLITS if any(child.is_dir() for child in _children(root / name))}
    roots = {"train": root} if "train" not in roots else roots
    classes = sorted({child.name for part in roots.values() for child in _children(part) if child.is_dir()})
    if not classes:
        raise DataError(f"{root} holds no folders of classes; needed: {_SUPPORTED}.")
    parts, notes = {}, []
    for name, part in roots.items():
        parts[name] = [record for label, kind in enumerate(classes) for record in _clips(root, part / kind, label)]
        filled = {record.label for record in parts[name]}
        empty = [kind for label, kind in enumerate(classes) if label not in filled]
        if empty:
            notes.append(some(f"classes of '{name}' have no videos", empty))
    if not any(parts.values()):
        raise DataError(f"{root} holds no videos ({', '.join(VIDEO_SUFFIXES)}) in its {len(classes)} class folders.")
    records, stood_in = _choose_split(parts, split, root)
    return VideoSet(f"folder {split}", tuple(classes), tuple(records), root, notes=(*stood_in, *notes))


def _clips(root: Path, folder: Path, label: int) -> list[VideoRecord]:
    return [
        VideoRecord(path.relative_to(root).as_posix(), path, label=label)
        for path in _children(folder)
        if _is_clip(path)
    ]


def _children(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _is_clip(path: Path) -> bool:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return True
    return path.is_dir() and any(frame.suffix.lower() in IMAGE_SUFFIXES for frame in path.iterdir())


# A list


def _from_list(path: Path, root: Path, split: str) -> VideoSet:
    files = _split_files(path)
    entries = {name: _read_list(file) for name, file in files.items()}
    named = classes_beside(path)
    classes = named or _classes_of(entry for part in entries.values() for entry in part)
    parts, notes = {}, []
    for name, part in entries.items():
        parts[name], repeated = _records(files[name], part, root, classes)
        if repeated:
            notes.append(some("lines repeat a clip and are left out", repeated))
    source = files.get(split) or next(iter(files.values()))
    records, stood_in = _choose_split(parts, split, source)
    if not any(record.path.exists() for record in records[:20]):
        raise DataError(f"{source}: its first clip {records[0].path} does not exist; paths start from {root}.")
    return VideoSet(f"folder {split}", classes, tuple(records), source, read_text(source)[1], (*stood_in, *notes))


def _split_files(path: Path) -> dict[str, Path]:
    """Return the lists of a set: `path` for training, and `val`/`test` in the place of `train`, or after the name."""
    own = next((word for word in SPLITS if path.stem == word or path.stem.endswith(f"_{word}")), None)
    stem = path.stem if own is None else path.stem[: -len(own)].rstrip("_")
    files = {}
    for word in SPLITS:
        for name in (f"{stem}_{word}" if stem else word, *((stem,) if word == "train" and stem else ())):
            if path.with_stem(name).is_file():
                files.setdefault(word, path.with_stem(name))
    return files or {"train": path}


def _read_list(path: Path) -> list[Entry]:
    text, _ = read_text(path)
    header = [name.strip() for name in text.partition("\n")[0].split(",")]
    is_csv = {"path", "label"} <= set(header)
    entries = []
    for line, fields in _csv_lines(path, text, header) if is_csv else _plain_lines(text):
        try:
            entries.append(_entry(line, fields))
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error} Needed: {_SUPPORTED}.") from error
    if not entries:
        raise DataError(f"{path} lists no clips; needed: {_SUPPORTED}.")
    return entries


def _csv_lines(path: Path, text: str, header: list[str]) -> list[tuple[int, dict[str, str]]]:
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}.") from error
    return [(line, dict(zip(header, row, strict=False))) for line, row in rows[1:]]


def _plain_lines(text: str) -> list[tuple[int, dict[str, str]]]:
    """Split `path label` at the last blank: a path may hold blanks, a label may not."""
    lines = [(number, line.strip().rsplit(None, 1)) for number, line in enumerate(text.split("\n"), start=1)]
    return [(number, dict(zip(("path", "label"), fields, strict=False))) for number, fields in lines if fields]


def _entry(line: int, fields: dict[str, str]) -> Entry:
    path, label = fields.get("path", "").strip(), fields.get("label", "").strip()
    if not path or not label:
        raise ValueError("there is no path or no label.")
    start, end = _seconds(fields, "start") or 0.0, _seconds(fields, "end")
    if end is not None and end <= start:
        raise ValueError(f"the clip ends at {end:g} s and starts at {start:g} s.")
    return Entry(line, path, label, start, end)


def _seconds(fields: dict[str, str], name: str) -> float | None:
    text = fields.get(name, "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{name} '{text}' is not a number of seconds from 0.")
    return seconds


def _classes_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Sorted labels; whole numbers stay what they are, indices from 0."""
    labels = {entry.label for entry in entries}
    if all(label.isdecimal() for label in labels):
        return tuple(str(index) for index in range(max(map(int, labels)) + 1))
    return tuple(sorted(labels))


def _label(path: Path, entry: Entry, index: dict[str, int]) -> int:
    if entry.label in index:
        return index[entry.label]
    if entry.label.isdecimal() and int(entry.label) < len(index):
        return int(entry.label)
    hint = nearest(entry.label, index)
    raise DataError(f"{path}, line {entry.line}: '{entry.label}' is none of the {len(index)} classes.{hint}")


def _clip_id(entry: Entry) -> str:
    """The path, and the part of the file where a list cuts several clips out of one."""
    if entry.start == 0 and entry.end is None:
        return entry.path
    return f"{entry.path}@{entry.start:g}-{'end' if entry.end is None else f'{entry.end:g}'}"


def _records(
    path: Path, entries: list[Entry], root: Path, classes: tuple[str, ...]
) -> tuple[list[VideoRecord], list[str]]:
    index = {name: label for label, name in enumerate(classes)}
    records: dict[str, VideoRecord] = {}
    repeated = []
    for entry in entries:
        label = _label(path, entry, index)
        video_id = _clip_id(entry)
        if video_id in records:
            repeated.append(video_id)
            continue
        records[video_id] = VideoRecord(
            video_id, root / entry.path, label=label, start_seconds=entry.start, end_seconds=entry.end
        )
    return list(records.values()), repeated
