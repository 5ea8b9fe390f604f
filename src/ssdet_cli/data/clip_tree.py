"""Which clips lie where: every folder is listed once, and no file is looked at."""

import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ssdet_cli.data.lookup import SPLIT_WORDS, VIDEO_SUFFIXES, is_frame_folder, refuse_undecodable
from ssdet_cli.errors import DataError

#: Folders below the root in which clips are looked for: a split, a part of it, a class.
DEPTH = 4
#: In the folder of a check, and of its clean list (`clean_list`).
CLEAN_FOLDER = "clean"
CLASS_LIST = "classes.txt"
WEAK_LISTS = ("train.csv", "val.csv", "test.csv")
FRAME_LIST = "annotations.json"
CHECK_REPORTS = ("report.json", "report.html")
#: Folder of what commands make where nothing else is said.
_MADE = "ssdet-data"
_SPLIT_TOKEN = re.compile(
    r"(?<![a-z])(" + "|".join(word for words in SPLIT_WORDS.values() for word in words) + r")(?![a-z])", re.IGNORECASE
)


class Clip(NamedTuple):
    """A video file or a folder of frames.

    Attributes:
        folders: Names of the folders from the root to it.
        name: Of the file or folder.
        path: Where it is.
    """

    folders: tuple[str, ...]
    name: str
    path: str

    @property
    def stem(self) -> str:
        """The name without the suffix of a video."""
        stem, suffix = os.path.splitext(self.name)
        return stem if suffix.lower() in VIDEO_SUFFIXES else self.name


@cache
def split_token(name: str) -> str | None:
    """The split that a file or folder is named after ("validate", "train_256", "videos_val"), None for none or two."""
    words = {word.lower() for word in _SPLIT_TOKEN.findall(name)}
    splits = {split for split, known in SPLIT_WORDS.items() if words & set(known)}
    return splits.pop() if len(splits) == 1 else None


def walk_clips(root: Path, depth: int = DEPTH) -> Iterator[Clip]:
    """Find all clips below a folder, sorted within each folder; what begins with a dot is passed over.

    A folder whose first entries are pictures with numbers is one clip.
    """
    yield from _walk(str(root), (), depth)


def _walk(folder: str, folders: tuple[str, ...], depth: int) -> Iterator[Clip]:
    videos, inner = list_folder(folder)
    for name in sorted(videos):
        yield Clip(folders, name, os.path.join(folder, name))
    for name in sorted(inner):
        path = os.path.join(folder, name)
        if is_frame_folder(path):
            yield Clip(folders, name, path)
        elif depth > 1:
            yield from _walk(path, (*folders, name), depth - 1)


def list_folder(folder: str | Path) -> tuple[list[str], list[str]]:
    """Names of the video files and of the folders in a folder, none that begins with a dot; empty where it is none.

    Raises:
        DataError: It may not be read, or holds a name that is no text.
    """
    videos, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if os.path.splitext(entry.name)[1].lower() in VIDEO_SUFFIXES:
                    videos.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                else:
                    continue
                refuse_undecodable(folder, entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return videos, folders


def class_folders(folder: str | Path) -> list[str]:
    """Names of the folders in a folder, without those that `ssdet` itself put there.

    Raises:
        DataError: It may not be read.
    """
    return [name for name in list_folder(folder)[1] if name != _MADE and not is_of_a_check(os.path.join(folder, name))]


def is_of_a_check(folder: str | Path) -> bool:
    """Whether `ssdet data check` made a folder, its own or that of its clean list; one that holds videos never is.

    Raises:
        DataError: It may not be read.
    """

    def holds(name: str) -> bool:
        return os.path.isfile(os.path.join(folder, name))

    of_check = all(map(holds, CHECK_REPORTS))
    if not of_check and not (holds(CLASS_LIST) and any(map(holds, (*WEAK_LISTS, FRAME_LIST)))):
        return False  # as almost always; a folder of a thousand clips is then not listed
    videos, inner = list_folder(folder)
    return not videos and set(inner) <= {CLEAN_FOLDER}


class Listings:
    """Which files exist, by listings of their folders, each read once."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str | None:
        """Return the path where it is there, or the only one that differs from it by the suffix of a video."""
        folder, name = os.path.split(path)
        if folder not in self._known:
            self._known[folder] = self._list(folder or ".")
        found = self._known[folder].get(name)
        return os.path.join(folder, found) if found is not None else None

    @staticmethod
    def _list(folder: str) -> dict[str, str]:
        try:
            names = sorted(os.listdir(folder))
        except (OSError, ValueError):  # a line may hold anything, also what can be no path
            return {}
        videos = [name for name in names if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES]
        return {**{os.path.splitext(name)[0]: name for name in reversed(videos)}, **{name: name for name in names}}
