"""Weak labels: one class per clip, from a folder per class or from a list."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.class_names import normal_form, sorted_classes
from ssdet_cli.data.clip_tree import Listings, class_folders, list_folder, split_token
from ssdet_cli.data.lookup import SPLITS, VIDEO_SUFFIXES, check_split, classes_beside, is_frame_folder, read_text, some
from ssdet_cli.data.weak_lists import SUPPORTED, Entry, Labels, list_records, read_list
from ssdet_cli.data.weak_splits import choose_split, split_files
from ssdet_cli.errors import ConfigError, DataError


def load_weak_folder(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read clips that have one label each.

    Classes are the sorted names of folders or labels over all splits, or those of a `classes.txt` beside a list or in
    the folder. A set without a validation split holds out a tenth of its training clips, chosen by a hash of their
    names, so the same clips on every machine; "test" is answered by "val" where there is no test split.

    Args:
        videos: `<root>/<class>/<clip>` or `<root>/<split>/<class>/<clip>`, where a clip is a video file or a folder of
            frames; or a list file; or the folder that a list's paths start from.
        annotations: A list, where it is not in `videos`: any table with a column of paths and one of labels, or lines
            `path label` (see `weak_lists`). Of `train.csv`, the asked split's `val.csv` is read where it exists.
        split: "train", "val" or "test".

    Raises:
        ConfigError: Nothing given, or no such split.
        DataError: Nothing found, or a line is wrong; the message names the file and line.
    """
    check_split(split)
    if videos is None and annotations is None:
        raise ConfigError(f"The dataset 'folder' needs data.videos (--data): {SUPPORTED}.")
    for path in (videos, annotations):
        if path is not None and not path.exists():
            raise DataError(f"{path} does not exist; needed: {SUPPORTED}.")
    if annotations is not None:
        if annotations.is_dir():
            raise DataError(f"data.annotations ({annotations}) is a folder; a list of `path label` is needed there.")
        return list_set("folder", annotations, videos or annotations.parent, split)
    if videos.is_dir():
        return folder_set("folder", videos, split, classes_beside(videos / "classes"))
    return list_set("folder", videos, videos.parent, split)


# A folder per class


def folder_set(dataset: str, root: Path, split: str, classes: Sequence[str] | None) -> VideoSet:
    """Read a folder per class; one that `ssdet data check` left there is none.

    Args:
        dataset: Name, for messages.
        root: `<root>/<class>/<clip>` or `<root>/<split>/<class>/<clip>`.
        split: "train", "val" or "test".
        classes: In index order, with which folders agree in their letters and digits; None takes the folders' names.

    Raises:
        DataError: No class folders, none of the classes, or no clips in them.
    """
    roots = _split_roots(root)
    folders = {name: class_folders(part) for name, part in roots.items()}
    names = sorted({folder for part in folders.values() for folder in part})
    if not names:
        held = f", but {len(list_folder(root)[0])} videos of no class" if list_folder(root)[0] else ""
        raise DataError(f"{root} holds no folders of classes{held}; needed: {SUPPORTED}.")
    labels = Labels(classes or names)
    others = [name for name in names if labels.find(name) is None]
    if len(others) == len(names):
        raise DataError(
            f"{root}: none of its {len(names)} folders, such as {names[0]}, is one of the {labels.count} classes."
        )
    spelled = Counter(map(normal_form, names if classes is None else ()))
    alike = [name for name in names if spelled[normal_form(name)] > 1]
    notes = [some("folders differ in signs alone and are classes of their own", alike)] if alike else []
    notes += [some(f"folders are none of the {labels.count} classes and are left out", others)] if others else []
    parts = {}
    for part, inner in folders.items():
        known = sorted((labels.find(name), name) for name in inner if labels.find(name) is not None)
        parts[part] = [record for label, name in known for record in _clips(root, roots[part] / name, label)]
        empty = sorted(set(range(labels.count)) - {record.label for record in parts[part]})
        if empty:
            notes.append(some(f"classes of '{part}' have no videos", [(classes or names)[label] for label in empty]))
    if not any(parts.values()):
        raise DataError(
            f"{root} holds no videos ({', '.join(VIDEO_SUFFIXES)}, or folders of JPEG frames) in its {len(names)} "
            "class folders."
        )
    records, stood_in = choose_split(parts, split, root)
    return VideoSet(f"{dataset} {split}", tuple(classes or names), tuple(records), root, notes=(*stood_in, *notes))


def _split_roots(root: Path) -> dict[str, Path]:
    """The folders of the splits, or the root itself for training where it holds the classes."""
    inner = class_folders(root)
    roots = {name: root / name for name in SPLITS if name in inner and list_folder(root / name)[1]}
    named = {name: split_token(name) for name in inner}
    if "train" not in roots and inner and all(named.values()) and "train" in named.values():
        roots = {split: root / name for name, split in sorted(named.items(), reverse=True)}
    return roots if "train" in roots else {**roots, "train": root}


def _clips(root: Path, folder: Path, label: int) -> list[VideoRecord]:
    videos, inner = list_folder(folder)
    place = folder.relative_to(root).as_posix()
    names = sorted([*videos, *(name for name in inner if is_frame_folder(os.path.join(folder, name)))])
    return [VideoRecord(f"{place}/{name}", folder / name, label=label) for name in names]


# A list


def list_set(dataset: str, path: Path, root: Path, split: str, classes: Sequence[str] | None = None) -> VideoSet:
    """Read a list; lines whose clip is not there are kept without a path, and told.

    Args:
        dataset: Name, for messages.
        path: One of the lists of the set.
        root: Where its paths start.
        split: "train", "val" or "test".
        classes: In index order; None takes those beside the list, or its sorted labels.

    Raises:
        DataError: A line is wrong, or no clip is there.
    """
    files = split_files(path)
    read = {name: read_list(file) for name, file in files.items()}
    classes = classes or classes_beside(path)
    entries = [entry for part, _ in read.values() for entry in part]
    classes = tuple(classes or sorted_classes((entry.label for entry in entries), path))
    labels, listings = Labels(classes), Listings()
    parts: dict[str, list[VideoRecord]] = {}
    notes: list[str] = []
    understood: dict[str, set[str]] = {}
    for name, (lines, told) in read.items():
        for part, own in _by_split(lines, name).items():
            records, repeated = list_records(files[name], own, root, labels, listings)
            parts.setdefault(part, []).extend(records)
            notes += repeated
            for note in told:
                understood.setdefault(note, set()).update(record.video_id for record in records)
    source = files.get(split) or next(iter(files.values()))
    records, stood_in = choose_split(parts, split, source)
    chosen = {record.video_id for record in records}
    notes = [*(note for note, own in understood.items() if own & chosen), *notes]
    missing = [record.video_id for record in records if record.path is None]
    if len(missing) == len(records):
        raise DataError(
            f"{source}: none of its {len(records)} clips is there; the first clip {root / missing[0]} does not exist; "
            f"paths start from {root}."
        )
    if missing:
        notes.append(some("clips are not there", missing))
    return VideoSet(f"{dataset} {split}", classes, tuple(records), source, read_text(source)[1], (*stood_in, *notes))


def _by_split(entries: Sequence[Entry], otherwise: str) -> dict[str, list[Entry]]:
    parts: dict[str, list[Entry]] = {}
    for entry in entries:
        parts.setdefault(entry.split or otherwise, []).append(entry)
    return parts
