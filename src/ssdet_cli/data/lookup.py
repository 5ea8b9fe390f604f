"""What every loader of annotations does: read a file, find class names beside it, find videos by id."""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.flaws import kept_raw
from ssdet_cli.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
#: In order of preference where one id has several files.
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


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
    """Return the text of a UTF-8 file (byte order mark removed, line ends as they are) and the SHA-256 of its bytes.

    Raises:
        DataError: It cannot be read or is not UTF-8.
    """
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig"), hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}).") from error


def read_json(path: Path) -> tuple[dict[str, Any], str]:
    """Return the object in a JSON file and the SHA-256 of the file.

    Raises:
        DataError: It cannot be read, is no JSON or no object.
    """
    text, sha256 = read_text(path)
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: no valid JSON ({error.msg}).") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} must hold an object of video id -> {{subset, duration, actions}}.")
    return document, sha256


def classes_beside(path: Path) -> tuple[str, ...] | None:
    """Class names from `<stem>_classes.txt`, `classes.txt` or the only `*_classes.txt` in the folder of `path`.

    Lines are names, or `cNNN name` in order.

    Raises:
        DataError: A name stands twice, or the numbers do not count from 0.
    """
    named = [path.with_name(f"{path.stem}_classes.txt"), path.with_name("classes.txt")]
    others = sorted(path.parent.glob("*_classes.txt"))
    found = [file for file in named if file.is_file()] or (others if len(others) == 1 else [])
    return _read_classes(found[0]) if found else None


def _read_classes(path: Path) -> tuple[str, ...]:
    lines = [line.strip() for line in read_text(path)[0].splitlines()]
    lines = [line for line in lines if line]
    numbered = [re.fullmatch(r"c(\d+)\s+(.+)", line) for line in lines]
    if all(numbered):
        for index, match in enumerate(numbered):
            if int(match[1]) != index:
                raise DataError(f"{path}, line {index + 1}: class c{match[1]} stands where c{index:03d} should.")
        lines = [match[2] for match in numbered]
    twice = {line for line in lines if lines.count(line) > 1}
    if twice:
        raise DataError(f"{path} holds the class '{sorted(twice)[0]}' twice.")
    return tuple(lines)


def find_videos(folder: Path | None) -> dict[str, Path]:
    """Return id -> video file `<id>.mp4` (mkv, avi, webm, mov) or folder of frames `<id>/` directly in `folder`.

    Raises:
        DataError: `folder` is not a folder.
    """
    if folder is None:
        return {}
    if not folder.is_dir():
        raise DataError(f"The video folder {folder} does not exist.")
    ranked: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            continue
        if suffix in VIDEO_SUFFIXES:
            video_id, rank = path.stem, VIDEO_SUFFIXES.index(suffix)
        elif path.is_dir():
            video_id, rank = path.name, len(VIDEO_SUFFIXES)
        else:
            continue
        if video_id not in ranked or rank < ranked[video_id][0]:
            ranked[video_id] = (rank, path)
    return {video_id: path for video_id, (_, path) in ranked.items()}


def with_paths(records: Iterable[VideoRecord], videos: Path | None) -> tuple[tuple[VideoRecord, ...], tuple[str, ...]]:
    """Return the records with the paths of their videos, and a note on those that have none.

    Raises:
        DataError: `videos` is not a folder, or holds none of them.
    """
    records = tuple(records)
    if videos is None:
        return records, ()
    paths = find_videos(videos)
    missing = [record.video_id for record in records if record.video_id not in paths]
    if records and len(missing) == len(records):
        raise DataError(f"{videos} holds none of the {len(records)} annotated videos, such as {missing[0]}.mp4.")
    found = tuple(replace(record, path=paths.get(record.video_id)) for record in records)
    return found, (some("videos have no file in the video folder", missing),) if missing else ()


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
