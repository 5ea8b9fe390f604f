"""What sets with several official splits of the same clips (UCF101, HMDB51) do alike."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.class_names import normal_form
from ssdet_cli.data.clip_tree import Clip, walk_clips
from ssdet_cli.data.flaws import refuse
from ssdet_cli.data.lookup import VIDEO_SUFFIXES, check_split, read_text, required, some
from ssdet_cli.data.weak_lists import Labels
from ssdet_cli.data.weak_splits import choose_split
from ssdet_cli.errors import DataError


@dataclass(frozen=True)
class Listed:
    """A clip of an official list: the line, for messages; its file name; its class."""

    where: str
    name: str
    label: str


@dataclass(frozen=True)
class Fold:
    """One official split.

    Attributes:
        dataset: Name, for messages.
        folder: Of the lists.
        number: From 1.
        chosen: Whether one of its files was named; else it is the first for want of a choice.
    """

    dataset: str
    folder: Path
    number: int
    chosen: bool


def official_fold(dataset: str, annotations: Path | None, split: str, pattern: str, wanted: str) -> Fold:
    """Tell which official split the annotations mean: the first of a folder, or that of a file by its name.

    Args:
        dataset: Name.
        annotations: Folder of the lists, or one of them.
        split: "train", "val" or "test".
        pattern: Of the name of a list without its suffix; its group is the number.
        wanted: What the dataset needs, in words.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: They do not exist, or the name is of another form.
    """
    check_split(split)
    path = required(annotations, dataset, wanted)
    if path.is_dir():
        return Fold(dataset, path, 1, chosen=False)
    match = re.fullmatch(pattern, path.stem)
    if match is None:
        raise DataError(f"{path} is no list of an official split; needed: {wanted}.")
    return Fold(dataset, path.parent, int(match[1]), chosen=True)


def matched_lines(path: Path, pattern: str, wanted: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Give the lines of a list, for messages, and what `pattern` finds in each; empty lines are passed over.

    Raises:
        DataError: A line is of another form than `wanted`.
    """
    for number, line in enumerate(read_text(path)[0].splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(pattern, line.strip())
        if match is None:
            refuse(f"{path}, line {number}: `{wanted}` is expected, found '{line.strip()}'.")
            continue
        yield f"{path}, line {number}", match


def fold_set(
    fold: Fold,
    videos: Path | None,
    classes: tuple[str, ...],
    clips: Mapping[str, Sequence[Listed]],
    split: str,
) -> VideoSet:
    """Make the set of one official split; clips are found by class and name, wherever they are below `videos`.

    Args:
        fold: Which one; where it was not chosen, a note says so.
        videos: Root of the clips; None where only labels matter.
        classes: In index order.
        clips: Of training and test.
        split: "train", "val" or "test".

    Raises:
        DataError: A class is unknown, the split is empty, or none of its clips is there.
    """
    if videos is not None and not videos.is_dir():
        raise DataError(f"data.videos ({videos}) is no folder; the folder of the clips is needed there.")
    labels = Labels(classes)
    held_by = {
        clip: label
        for listed in clips.values()
        for clip in listed
        if (label := labels.known(clip.label, clip.where, _stem(clip.name))) is not None
    }
    classes_of: dict[str, set[int]] = {}
    for clip, label in held_by.items():
        classes_of.setdefault(_stem(clip.name), set()).add(label)
    found = _Found(videos, classes, {stem.lower() for stem, of in classes_of.items() if len(of) > 1})

    def record(clip: Listed) -> VideoRecord:
        stem, label = _stem(clip.name), held_by[clip]
        # A name stands for one clip, unless the lists give it to several classes.
        name = stem if len(classes_of[stem]) == 1 else f"{classes[label]}/{stem}"
        return VideoRecord(name, found.path(stem, classes[label]), label=label)

    if videos is not None:
        found.prefer((_stem(clip.name), classes[label]) for clip, label in held_by.items())
    parts = {part: [record(clip) for clip in listed if clip in held_by] for part, listed in clips.items()}
    records, notes = choose_split(parts, split, fold.folder)
    if not fold.chosen:
        read = f"{fold.folder} holds several official splits: split {fold.number} is read"
        notes = (f"{read}; name a file of another for that one.", *notes)
    missing = [record.video_id for record in records if record.path is None]
    if videos is not None and len(missing) == len(records):
        raise DataError(
            f"{videos} holds none of the {len(records)} listed clips, such as {missing[0]}.avi, but {found.held}."
        )
    notes += found.notes
    if videos is not None and missing:
        notes += (some("listed clips are not there", missing),)
    name = f"{fold.dataset} {split}, split {fold.number}"
    return VideoSet(name, classes, tuple(records), fold.folder, notes=notes)


class _Found:
    """The clips below a folder, by class and name.

    A clip that lies in the folder of its class is taken before one that lies in none, and one that lies in that of
    another class is not taken. Names that differ in capitals alone are the same where none is the same exactly. Folders
    of optical flow are passed over, unless the root itself is named as one and holds nothing else.

    Args:
        root: None holds nothing.
        classes: Their names.
        shared: Names of clips, in lower case, that several classes have: only the folder of its class tells one.
    """

    def __init__(self, root: Path | None, classes: Sequence[str], shared: Collection[str]) -> None:
        self._shared = shared
        self._classes = {normal_form(name) for name in classes}
        self._by_name: dict[str, list[Clip]] = {}
        self._first, self._count, self._flow = "", 0, set[str]()
        self._rank: dict[tuple[str, ...], int] = {}
        self._several: dict[tuple[str, ...], int] = {}
        clips, of_flow = [], []
        for clip in walk_clips(root) if root is not None else ():
            flow = [number for number, folder in enumerate(clip.folders, start=1) if _is_flow(folder)]
            (of_flow if flow else clips).append(clip)
            if flow:
                self._flow.add("/".join(clip.folders[: flow[-1]]))
        if not clips and root is not None and _is_flow(root.absolute().name):
            clips, self._flow = of_flow, set()
        for clip in clips:
            self._first, self._count = self._first or clip.stem, self._count + 1
            self._by_name.setdefault(clip.stem.lower(), []).append(clip)

    def prefer(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Of copies of the set, take the one that holds the most of the clips, given by name and class."""
        for stem, label in wanted:
            several = self._candidates(stem, label)
            for clip in several:
                self._rank[self._copy(clip)] = self._rank.get(self._copy(clip), 0) + 1
            if len(several) > 1:
                copies = tuple(sorted({"/".join(self._copy(clip)) or "." for clip in several}))
                self._several[copies] = self._several.get(copies, 0) + 1

    def path(self, stem: str, label: str) -> Path | None:
        """Where a clip is; None where it is not there."""
        found = self._candidates(stem, label)
        return Path(min(found, key=self._order).path) if found else None

    @property
    def held(self) -> str:
        """What is there, in words."""
        if self._count:
            return f"{self._count} others, such as {self._first}"
        return f"clips of optical flow alone ({', '.join(sorted(self._flow))})" if self._flow else "no clip at all"

    @property
    def notes(self) -> tuple[str, ...]:
        """On what was passed over."""
        notes = []
        if self._flow:
            told = ", ".join(sorted(self._flow))
            notes.append(f"Folders of optical flow are passed over ({told}); give one itself to read it.")
        for copies, count in self._several.items():
            best = min(copies, key=lambda copy: (-self._rank[_folders(copy)], copy))
            where = f"in {', '.join(copies)}: those in {best} are read" if len(copies) > 1 else f"in {best}"
            notes.append(f"{count} listed clips are there more than once, {where}.")
        return tuple(notes)

    def _candidates(self, stem: str, label: str) -> list[Clip]:
        named = self._by_name.get(stem.lower(), [])
        own = [clip for clip in named if normal_form(label) in map(normal_form, clip.folders)]
        if not own and stem.lower() not in self._shared:
            own = [clip for clip in named if not self._classes & set(map(normal_form, clip.folders))]
        exact = [clip for clip in own if clip.stem == stem]
        # Two that differ from the list in their capitals alone are two clips, and which is meant is not told.
        return exact or (own if len({clip.stem for clip in own}) == 1 else [])

    def _copy(self, clip: Clip) -> tuple[str, ...]:
        """The folders that it lies in, without that of its class."""
        return tuple(folder for folder in clip.folders if normal_form(folder) not in self._classes)

    def _order(self, clip: Clip) -> tuple[int, str, int, str]:
        copy = self._copy(clip)
        suffix = os.path.splitext(clip.name)[1].lower()
        kind = VIDEO_SUFFIXES.index(suffix) if suffix in VIDEO_SUFFIXES else len(VIDEO_SUFFIXES)
        return -self._rank.get(copy, 0), "/".join(copy) or ".", kind, clip.path


def _folders(copy: str) -> tuple[str, ...]:
    return () if copy == "." else tuple(copy.split("/"))


def _is_flow(folder: str) -> bool:
    return folder.lower() in ("u", "v") or "flow" in re.split(r"[^a-z]+", folder.lower())


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name
