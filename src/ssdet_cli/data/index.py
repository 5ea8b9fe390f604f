"""What is known of video files without opening them: one JSON line for each file, appended while they are looked at.

    {"ssdet_index": 1, "root": "/data/kinetics"}
    {"path": "train/abseiling/a.mp4", "size": 635539, "mtime_ns": 17..., "depth": "ends", "frames": 280, ...}

Paths are relative to `root`, which is "." where the index lies in the folder of the videos, so that both move together.
Of two lines for one path the later one counts. An entry whose file has another size or time of change is ignored.
"""

import errno
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import TracebackType

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.files import write_atomically
from ssdet_cli.video.inspection import FileFacts, stamp

#: An index of this name in the folder of the videos is found by itself.
INDEX_NAME = "ssdet-index.jsonl"
#: Codes that say more of the machine than of the file: looked at again the next time.
PASSING = ("missing", "crash", "timeout", "out-of-memory")
_DEFAULTS = {one.name: one.default for one in fields(FileFacts) if one.default is not MISSING}
_STAT_THREADS, _STAT_CHUNK = 16, 512


class VideoIndex:
    """Facts by absolute path.

    Args:
        path: The index file; empty where it is not there yet.

    Raises:
        DataError: It is no index, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.facts: dict[str, FileFacts] = {}
        if path.exists():
            self._read()

    def known(self, path: str | Path) -> FileFacts | None:
        """What is known of a file as it is now; one look at its size and time, nothing is opened."""
        facts = self.facts.get(os.path.abspath(path))
        return facts if facts is not None and stamp(facts.path) == (facts.size, facts.mtime_ns) else None

    def all_known(self, paths: Iterable[str | Path]) -> dict[str, FileFacts]:
        """The same for many files, by absolute path; file systems across a network answer several at a time."""
        wanted = [path for path in map(os.path.abspath, paths) if path in self.facts]
        # A task for every file would cost more than the look at it.
        parts = [wanted[first : first + _STAT_CHUNK] for first in range(0, len(wanted), _STAT_CHUNK)]
        with ThreadPoolExecutor(_STAT_THREADS) as threads:
            found = [
                one for part in threads.map(lambda part: [self.known(path) for path in part], parts) for one in part
            ]
        return {facts.path: facts for facts in found if facts is not None}

    def unusable(self, paths: Iterable[str | Path]) -> dict[str, FileFacts]:
        """Those of the files that are known to be bad, and have not changed since."""
        bad = [path for path in paths if (facts := self.facts.get(os.path.abspath(path))) is not None and facts.code]
        return {facts.path: facts for path in bad if (facts := self.known(path)) is not None and facts.code}

    def _read(self) -> None:
        try:
            with open(self.path, encoding="utf-8") as file:
                root = self._root(file.readline())
                for number, line in enumerate(file, start=2):
                    if line.endswith("\n"):  # the last line of a run that was killed may be cut off
                        self._add(root, line, number)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"Cannot read the index {self.path}: {error}.") from error

    def _root(self, line: str) -> str:
        try:
            head = json.loads(line)
            if head["ssdet_index"] != 1:
                raise DataError(f"{self.path} is an index of version {head['ssdet_index']}; this ssdet reads 1.")
            return os.path.normpath(os.path.join(os.path.abspath(self.path.parent), head["root"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}, line 1: this is no index of videos; `ssdet data check` writes one."
            ) from error

    def _add(self, root: str, line: str, number: int) -> None:
        try:
            facts = FileFacts(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.path}, line {number}: this is no line of an index of videos.") from error
        place = os.path.join(root, facts.path)
        object.__setattr__(facts, "path", place)  # a quarter of a million copies take a second
        self.facts[place] = facts


class IndexWriter:
    """Appends facts to an index as they come in; a context manager.

    Args:
        index: What is there already, and where.
        root: Folder that paths are relative to, where they are below it.

    Raises:
        SsdetError: The disk is full or the folder cannot be written.
    """

    def __init__(self, index: VideoIndex, root: Path) -> None:
        self.index, self.root = index, os.path.abspath(root)
        if not index.path.exists():
            write_atomically(index.path, self._head())
        self._mend_tail()
        self._file = open(index.path, "ab", buffering=0)  # closed by __exit__

    def __enter__(self) -> "IndexWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, facts: FileFacts) -> None:
        """Append the facts of one file."""
        self.index.facts[facts.path] = facts
        line = self._line(facts).encode()
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise SsdetError(
                f"Cannot write {self.index.path}: {error.strerror}; what was there before is whole."
            ) from error

    def rewrite(self) -> None:
        """Write the index anew, a line for each file and sorted; whole or not at all."""
        lines = [self._line(self.index.facts[path]) for path in sorted(self.index.facts)]
        write_atomically(self.index.path, "".join([self._head(), *lines]))

    def _head(self) -> str:
        beside = os.path.abspath(self.index.path.parent)
        return json.dumps({"ssdet_index": 1, "root": "." if beside == self.root else self.root}) + "\n"

    def _line(self, facts: FileFacts) -> str:
        plain = {name: value for name, value in vars(facts).items() if value != _DEFAULTS.get(name, MISSING)}
        if facts.path.startswith(self.root + os.sep):
            plain["path"] = facts.path[len(self.root) + 1 :]
        return json.dumps({"depth": facts.depth, **plain}, ensure_ascii=False) + "\n"

    def _mend_tail(self) -> None:
        """Cut off the line that a killed run left unfinished."""
        with open(self.index.path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 65536))
            tail = file.read()
            if tail and not tail.endswith(b"\n"):
                file.truncate(size - (len(tail) - tail.rfind(b"\n") - 1))


def find_index(data: DataConfig) -> VideoIndex | None:
    """Read the index that `data.index` names, or the one in the folder of the videos; None where there is none.

    Raises:
        DataError: The named file is not there, or one that is found is no index.
    """
    if data.index is not None:
        if not data.index.is_file():
            raise DataError(f"data.index: there is no {data.index}; `ssdet data check` writes one.")
        return VideoIndex(data.index)
    beside = data.videos / INDEX_NAME if data.videos is not None else None
    return VideoIndex(beside) if beside is not None and beside.is_file() else None


def without_unusable(videos: VideoSet, data: DataConfig) -> tuple[VideoSet, str]:
    """The records whose files no index calls bad, and a sentence on those that are left out; only those are looked at.

    Raises:
        DataError: As `find_index`, or nothing is left.
    """
    index = find_index(data)
    bad = index.unusable(record.path for record in videos.records if record.path is not None) if index else {}
    bad = {path: facts for path, facts in bad.items() if facts.reader in ("", data.backend)}
    if not bad:
        return videos, ""
    kept = tuple(one for one in videos.records if one.path is None or os.path.abspath(one.path) not in bad)
    first = next(iter(bad.values()))
    told = f"cannot be read by {index.path}, the first is {first.path} ({first.code}: {first.detail})"
    if not kept:
        raise DataError(f"{videos.name}: all its {len(videos)} videos {told}.")
    left = f"{videos.name}: {len(videos) - len(kept)} of {len(videos)} videos are left out, as they {told}."
    return replace(videos, records=kept), left
