"""What every loader of annotations does: read a file, find class names beside it, find videos by id."""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.class_names import parse_classes
from ssdet_cli.data.file_kinds import HEAD_BYTES, binary_kind, text_kind
from ssdet_cli.data.flaws import kept_raw, refuse
from ssdet_cli.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
#: Entries of a folder that tell whether it is a video of frames.
_PEEK = 16
#: What files, folders and columns call the splits.
SPLIT_WORDS = {
    "train": ("train", "training", "trainlist"),
    "val": ("val", "valid", "validate", "validation", "vallist"),
    "test": ("test", "testing", "testlist"),
}
#: In order of preference where one id has several files.
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_CLASS_FILES = (
    "label_map*.txt",
    "labels.txt",
    "kinetics*labels*.csv",
    "*classnames.json",
    "classInd.txt",
    "Action_list*",
)


def check_split(split: str) -> None:
    """Raise ConfigError where `split` is not train, val or test."""
    if split not in SPLITS:
        raise ConfigError(f"split '{split}' is unknown; use train, val or test.")


def required(annotations: Path | None, dataset: str, wanted: str) -> Path:
    """Return the annotation path.

    Raises:
        ConfigError: None was given.
        DataError: It does not exist.
    """
    if annotations is None:
        raise ConfigError(f"The dataset '{dataset}' needs data.annotations (--annotations): {wanted}.")
    if not annotations.exists():
        raise DataError(f"The annotations {annotations} do not exist; '{dataset}' needs {wanted}.")
    return annotations


def read_text(path: Path) -> tuple[str, str]:
    """Return the text of a UTF-8 file (byte order mark removed, lines end in \\n or \\r\\n) and its bytes' SHA-256.

    Raises:
        DataError: It cannot be read or is no text; a video, a picture or an archive is named as such.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            kind = binary_kind(head)
            if kind is not None:
                raise DataError(f"{path} is {kind}; annotations are a text file.")
            content = head + file.read()
        text = content.decode("utf-8-sig")
        text = text if "\n" in text else text.replace("\r", "\n")  # line ends of old Macs
        return text, hashlib.sha256(content).hexdigest()
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, where a file is expected.") from error
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}).") from error


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """Return the object in a JSON file and the SHA-256 of the file.

    Raises:
        DataError: It cannot be read, is no JSON or no object, or a name stands twice in one object.
    """
    text, sha256 = read_text(path)
    if text.lstrip()[:1] not in ("{", "["):
        raise DataError(f"{path} is {text_kind(text)}, where JSON is expected.")
    try:
        document = json.loads(text, object_pairs_hook=partial(_once, path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: no valid JSON ({error.msg}).") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise DataError(f"{path}: no JSON that can be read ({error}).") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} must hold an object of video id -> {{subset, duration, actions}}.")
    return document, sha256


def _once(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; of a name that stands twice, the first counts where flaws are collected."""
    found = dict(pairs)
    if len(found) < len(pairs):
        found = {}
        for name, value in pairs:
            if name in found:
                refuse(f"{path}: '{name}' stands twice in one object.", name)
            found.setdefault(name, value)
    return found


def classes_beside(path: Path) -> tuple[str, ...] | None:
    """Class names from the `class_file` beside `path`, in the forms of `parse_classes`; None where there is none.

    Raises:
        DataError: As `parse_classes`.
    """
    file = class_file(path)
    return parse_classes(file, read_text(file)[0]) if file is not None else None


def class_file(path: Path) -> Path | None:
    """`<stem>_classes.txt`, `classes.txt` or the only `*_classes.txt` in the folder of `path`.

    Without those, the only file of the names by which Kinetics, UCF101 and TSU hand them around.
    """
    named = [path.with_name(f"{path.stem}_classes.txt"), path.with_name("classes.txt")]
    found = [file for file in named if file.is_file()]
    for patterns in (("*_classes.txt",), _CLASS_FILES):
        others = sorted({file for pattern in patterns for file in path.parent.glob(pattern) if file != path})
        if not found and len(others) == 1:
            found = others
    return found[0] if found else None


def find_videos(folder: Path | None, wanted: Collection[str] = ()) -> dict[str, Path]:
    """Return id -> video file `<id>.mp4` (mkv, avi, webm, mov) or folder of frames `<id>/` in `folder`.

    Where some of the `wanted` ids are not directly in it, its other folders are looked into as well: sets come in
    several parts (`validation/`, `test/`; `Charades_v1_480/`). Of folders that hold the same videos the one with the
    most files counts, as far as it goes: the same one for every split.

    Raises:
        DataError: `folder` is not a folder.
    """
    return _videos_and_copies(folder, wanted)[0]


def _videos_and_copies(folder: Path | None, wanted: Collection[str]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """As `find_videos`, and a note where several of the folders hold the same videos."""
    if folder is None:
        return {}, ()
    if not folder.is_dir():
        what = "does not exist" if not folder.exists() else "is a file and no folder"
        raise DataError(f"The video folder {folder} {what}.")
    found, inner = _videos_in(folder)
    missing = set(wanted) - found.keys()
    parts: list[tuple[str, dict[str, Path]]] = []
    sizes: dict[str, int] = {}
    for name in inner if missing else ():
        if name not in wanted:
            own = _videos_in(folder / name)[0]
            sizes[name] = len(own)
            # Features and optical flow come in folders of the same names.
            parts.append((name, {one: own[one] for one in sorted(missing & own.keys()) if _is_video(own[one])}))
    taken: dict[str, int] = {}
    for name, own in sorted(parts, key=lambda part: -sizes[part[0]]):
        fresh = own.keys() - found.keys()
        taken[name] = len(fresh)
        found.update((video_id, own[video_id]) for video_id in fresh)
    copies = [name for name, own in parts if _shares(name, own, parts)]
    if not copies:
        return found, ()
    read = ", ".join(f"{taken[name]} from {name}" for name in sorted(copies, key=lambda name: -taken[name]))
    return found, (f"{folder} holds some videos more than once, in {', '.join(copies)}: {read} are read.",)


def video_name(name: str) -> str:
    """A path as annotations write it, without the suffix of a video and with slashes between its folders."""
    name = name.strip().replace("\\", "/")
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def _at(videos: Path, place: str) -> Path | None:
    """The video at a path with folders, from the video folder on; the first of them may be the way to that folder."""
    parts = place.strip().replace("\\", "/").rstrip("/").split("/")
    suffixes = ("",) if os.path.splitext(parts[-1])[1].lower() in VIDEO_SUFFIXES else ("", *VIDEO_SUFFIXES)
    for first in range(len(parts) - 1):
        for suffix in suffixes:
            path = videos / f"{'/'.join(parts[first:])}{suffix}"
            if path.exists():
                return path
    return None


def _shares(name: str, own: Mapping[str, Path], parts: Iterable[tuple[str, Mapping[str, Path]]]) -> bool:
    """Whether another folder holds one of a folder's videos."""
    return any(other != name and own.keys() & theirs.keys() for other, theirs in parts)


def refuse_undecodable(folder: str | Path, name: str) -> None:
    """See that a file's name is text, as indices, lists and reports are.

    Raises:
        DataError: It is bytes of some other encoding than the file system's.
    """
    if not name.isascii() and any("\udc80" <= letter <= "\udcff" for letter in name):
        raise DataError(f"{folder} holds {ascii(name)}, a name that is not UTF-8 text; rename it.")


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES or is_frame_folder(path)


def is_frame_folder(folder: str | Path) -> bool:
    """Whether the first entries of a folder are numbered pictures.

    Raises:
        DataError: It may not be read.
    """
    try:
        with os.scandir(folder) as entries:
            visible = (entry.name for entry in entries if not entry.name.startswith("."))
            names = [os.path.splitext(name) for name in islice(visible, _PEEK)]
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    pictures = [stem for stem, suffix in names if suffix.lower() in IMAGE_SUFFIXES and stem[-1:].isdigit()]
    videos = any(suffix.lower() in VIDEO_SUFFIXES for _, suffix in names)
    return bool(pictures) and not videos


def _videos_in(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Id -> path, a video file before a folder and in the order of `VIDEO_SUFFIXES`; and the names of all folders.

    Raises:
        DataError: As `refuse_undecodable`.
    """
    ranked: dict[str, tuple[int, str]] = {}
    inner = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        video_id, suffix = os.path.splitext(entry.name)
        if suffix.lower() in VIDEO_SUFFIXES:
            rank = VIDEO_SUFFIXES.index(suffix.lower())
        elif entry.is_dir():
            video_id, rank = entry.name, len(VIDEO_SUFFIXES)
            inner.append(entry.name)
        else:
            continue
        refuse_undecodable(folder, entry.name)
        if video_id not in ranked or rank < ranked[video_id][0]:
            ranked[video_id] = (rank, entry.name)
    return {video_id: folder / name for video_id, (_, name) in ranked.items()}, inner


def with_paths(
    records: Iterable[VideoRecord], videos: Path | None, places: Mapping[str, str] = MappingProxyType({})
) -> tuple[tuple[VideoRecord, ...], tuple[str, ...]]:
    """Return the records with the paths of their videos, and notes on those that have none or several.

    A video whose path with folders is told is there; where it is not, and for all others, the id counts.

    Args:
        records: Videos by id. An id with folders is a path, too, and a suffix in it is none of its name.
        videos: The video folder; None leaves the records as they are.
        places: Id -> path with folders.

    Raises:
        DataError: `videos` is not a folder, or holds none of them.
    """
    records = tuple(records)
    if videos is None:
        return records, ()
    told = {one.video_id: places.get(one.video_id, one.video_id) for one in records}
    placed = {one: path for one, place in told.items() if "/" in place and (path := _at(videos, place)) is not None}
    names = {one: video_name(one) for one in told if one not in placed}
    by_name, copies = _videos_and_copies(videos, {*names, *names.values()})
    paths = placed | {one: by_name[key] for one, name in names.items() for key in (name, one) if key in by_name}
    missing = [record.video_id for record in records if record.video_id not in paths]
    if records and len(missing) == len(records):
        others = [path for path in by_name.values() if _is_video(path)]
        held = f"{len(others)} others, such as {others[0].name}" if others else "no video at all"
        first = f"{video_name(missing[0])}.mp4"
        raise DataError(
            f"{videos} holds none of the {len(records)} annotated videos, such as {first}; it holds {held}."
        )
    found = tuple(replace(record, path=paths.get(record.video_id)) for record in records)
    return found, (*copies, *([some("videos have no file in the video folder", missing)] if missing else []))


def without_reversed(records: Iterable[VideoRecord]) -> tuple[tuple[VideoRecord, ...], tuple[str, ...]]:
    """Drop actions that end before they start, and say which videos had some; a check keeps them."""
    if kept_raw():
        return tuple(records), ()
    kept, odd = [], []
    for record in records:
        segments = tuple(segment for segment in record.segments if segment.end >= segment.start)
        odd += [record.video_id] * (len(record.segments) - len(segments))
        kept.append(record if len(segments) == len(record.segments) else replace(record, segments=segments))
    return tuple(kept), (some("actions end before they start and are left out", odd),) if odd else ()


def stand_in(source: Path, split: str, answer: str) -> tuple[str, ...]:
    """Return a note where another split answers for the one that was asked for."""
    return () if answer == split else (f"{source} has no '{split}' split: {split} is the {answer} split.",)


def some(what: str, video_ids: list[str]) -> str:
    """Return a sentence: how many, and the first five videos."""
    distinct = list(dict.fromkeys(video_ids))
    more = ", ..." if len(distinct) > 5 else ""
    return f"{len(video_ids)} {what} ({', '.join(distinct[:5])}{more})."
