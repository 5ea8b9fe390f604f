"""What sets with several official splits of the same clips (UCF101, HMDB51) do alike."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clip_tree import walk_clips
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
    """Make the set of one official split; clips are found by name, wherever they are below `videos`.

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
    there = {clip.stem: clip.path for clip in walk_clips(videos)} if videos is not None else {}
    labels = Labels(classes)
    parts = {
        part: [
            VideoRecord(
                _stem(clip.name),
                Path(there[_stem(clip.name)]) if _stem(clip.name) in there else None,
                label=labels.index(clip.label, clip.where),
            )
            for clip in listed
        ]
        for part, listed in clips.items()
    }
    records, notes = choose_split(parts, split, fold.folder)
    if not fold.chosen:
        read = f"{fold.folder} holds several official splits: split {fold.number} is read"
        notes = (f"{read}; name a file of another for that one.", *notes)
    missing = [record.video_id for record in records if record.path is None]
    if videos is not None and len(missing) == len(records):
        held = f"{len(there)} others, such as {next(iter(there))}" if there else "no clip at all"
        raise DataError(
            f"{videos} holds none of the {len(records)} listed clips, such as {missing[0]}.avi, but {held}."
        )
    if videos is not None and missing:
        notes += (some("listed clips are not there", missing),)
    name = f"{fold.dataset} {split}, split {fold.number}"
    return VideoSet(name, classes, tuple(records), fold.folder, notes=notes)


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name
