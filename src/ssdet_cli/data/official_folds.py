"""What sets with several official splits of the same clips (UCF101, HMDB51) do alike."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clip_tree import walk_clips
from ssdet_cli.data.lookup import VIDEO_SUFFIXES, some
from ssdet_cli.data.weak_lists import Labels
from ssdet_cli.data.weak_splits import choose_split
from ssdet_cli.errors import DataError


@dataclass(frozen=True)
class Listed:
    """A clip of an official list: the line, for messages; its file name; its class."""

    where: str
    name: str
    label: str


def fold_of(path: Path, pattern: str, wanted: str) -> int:
    """Return the number of the official split that a file belongs to.

    Raises:
        DataError: Its name is of another form.
    """
    match = re.fullmatch(pattern, path.stem)
    if match is None:
        raise DataError(f"{path} is no list of an official split; needed: {wanted}.")
    return int(match[1])


def fold_set(
    dataset: str,
    videos: Path | None,
    source: Path,
    classes: tuple[str, ...],
    clips: Mapping[str, Sequence[Listed]],
    split: str,
    fold: int,
    *,
    told: bool,
) -> VideoSet:
    """Make the set of one official split; clips are found by name, wherever they are below `videos`.

    Args:
        dataset: Name, for messages.
        videos: Root of the clips; None where only labels matter.
        source: Folder of the lists.
        classes: In index order.
        clips: Of training and test.
        split: "train", "val" or "test".
        fold: Number of the official split.
        told: Whether to note which one is taken.

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
    records, notes = choose_split(parts, split, source)
    if told:
        notes = (
            f"{source} holds several official splits: split {fold} is read; name a file of another for that one.",
        ) + notes
    missing = [record.video_id for record in records if record.path is None]
    if videos is not None and len(missing) == len(records):
        held = f"{len(there)} others, such as {next(iter(there))}" if there else "no clip at all"
        raise DataError(
            f"{videos} holds none of the {len(records)} listed clips, such as {missing[0]}.avi, but {held}."
        )
    if videos is not None and missing:
        notes += (some("listed clips are not there", missing),)
    return VideoSet(f"{dataset} {split}, split {fold}", classes, tuple(records), source, notes=notes)


def _stem(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name
