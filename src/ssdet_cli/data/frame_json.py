"""Frame labels in one JSON: the form of `charades.json`, and that of ActivityNet.

    {id: {"subset": "training", "duration": 31.2, "actions": [[class, start, end], ...]}, ...}
    {"database": {id: {"subset": "training", "duration": 31.2, "annotations": [{"label": name, "segment": [2.5, 9]}]}}}

Times are seconds. `duration` may be absent (the file's own is taken where it matters), and so may `subset`, of all
videos at once. `path` may say where below the videos a file lies whose name alone would not tell.
"""

import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssdet_cli.catalog import nearest
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.class_names import numbered, sorted_classes
from ssdet_cli.data.flaws import UnknownClassError, refuse, tolerating
from ssdet_cli.data.frame_splits import answering, finished
from ssdet_cli.data.lookup import check_split, class_file, classes_beside, read_json, required
from ssdet_cli.data.tables import seconds_of
from ssdet_cli.errors import DataError

#: What the ids of a set look like, for sets whose annotations have the same form and another meaning.
_IDS = {
    "charades": r"[0-9A-Z]{5}",
    "multithumos": r"video_(validation|test)_\d{7}",
    "tsu": r"P\d\dT\d\dC\d\d",
}


@dataclass(frozen=True)
class Entry:
    """One video of a JSON: split and seconds (None where not told), and its actions as they stand there.

    `place` is its path with folders, where it is told.
    """

    subset: str | None
    duration: Any
    actions: list[Any]
    place: str | None = None


def load_json(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read your own footage from one JSON.

    A class is a number from 0, or a name. Names are numbered in the order of the file of classes beside it, without one
    sorted; numbers without such a file are c000 to the highest that the file holds in any split.

    Args:
        videos: Folder of `<id>.mp4` (mkv, avi, webm, mov) or of frame folders; None where only labels matter.
        annotations: The file.
        split: "train", "val" or "test" (subset "training", "validation", "testing"); "val" is answered by "test"
            where there is no validation subset, and both by a held out tenth where there are no subsets at all.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: The file is missing, unreadable or contradicts itself; the message names file and video.
    """
    check_split(split)
    path = required(annotations, "json", "a JSON file of video id -> {subset, duration, actions}")
    classes = classes_beside(path) or _own_classes(path)
    return json_set("json", videos, path, split, classes, lambda value: known_class(value, classes, path))


def json_set(
    dataset: str,
    videos: Path | None,
    path: Path,
    split: str,
    classes: tuple[str, ...],
    class_index: Callable[[Any], int],
) -> VideoSet:
    """Read one split of a JSON file; `class_index` turns what stands for a class into an index or raises ValueError.

    Raises:
        DataError: The file is of another dataset, is unreadable or contradicts itself.
    """
    document, sha256 = read_json(path)
    entries = dict(json_entries(path, document))
    told = _of_another_set(dataset, path, entries)
    kept, notes = answering(path, {video_id: entry.subset for video_id, entry in entries.items()}, split)
    records = [_record(path, video_id, entries[video_id], class_index) for video_id in kept]
    places = {video_id: place for video_id in kept if (place := entries[video_id].place)}
    return finished(dataset, videos, path, split, classes, records, sha256, *told, *notes, places=places)


def json_entries(path: Path, document: dict[str, Any]) -> Iterator[tuple[str, Entry]]:
    """Give the videos of either form in the order of the file.

    Raises:
        DataError: One is no such object, or has one class for all of it; or times count features.
    """
    document = document["database"] if isinstance(document.get("database"), dict) else document
    _refuse_feature_indices(path, document)
    for video_id, entry in document.items():
        actions = entry.get("actions", entry.get("annotations")) if isinstance(entry, dict) else None
        if isinstance(actions, dict):
            raise DataError(
                f"{path}: '{video_id}' has one class for the whole clip, as in Kinetics, where labels in seconds are "
                "expected; `ssdet pretrain --dataset kinetics` reads it."
            )
        if actions is None:
            refuse(f"{path}: '{video_id}' must be an object with subset, duration and actions.", video_id)
            continue
        if not isinstance(actions, list):
            refuse(f"{path}, video '{video_id}': actions must be a list of [class, start, end].", video_id)
            continue
        place = entry.get("path")
        yield (
            video_id,
            Entry(entry.get("subset"), entry.get("duration"), actions, place if isinstance(place, str) else None),
        )


def _refuse_feature_indices(path: Path, document: dict[str, Any]) -> None:
    """Refuse `i3d_train.json` and the like, whose actions are numbers of features and not seconds.

    {id: {"actions": [[class, first, last], ...], "len": seconds, "num_frames": features}}, of
    https://github.com/piergiaj/tgm-icml19.

    Raises:
        DataError: It is one of them.
    """
    for entry in document.values():
        if not isinstance(entry, dict) or "duration" in entry or not {"len", "num_frames"} <= entry.keys():
            return
        actions = entry.get("actions")
        if not isinstance(actions, list) or not all(_counts(action) for action in actions):
            return
    if document:
        raise DataError(
            f"{path}: its actions count features ('len' and 'num_frames' stand in the place of 'duration', as in "
            "i3d_train.json and vgg_train.json), where seconds are expected; give charades.json or a Charades CSV."
        )


def _counts(action: Any) -> bool:
    """Whether the times of an action are whole numbers."""
    times = action[1:] if isinstance(action, list) else (None,)
    return all(isinstance(time, int) or (isinstance(time, float) and time.is_integer()) for time in times)


def action_parts(action: Any) -> tuple[Any, float, float]:
    """Class, start and end of an action in either form; ValueError where it is none."""
    if isinstance(action, dict) and isinstance(action.get("segment"), list) and len(action["segment"]) == 2:
        action = [action.get("label"), *action["segment"]]
    if not isinstance(action, list) or len(action) != 3:
        raise ValueError(f"an action must be [class, start, end], got {action!r}.")
    return action[0], _seconds(action[1], "start"), _seconds(action[2], "end")


def known_class(value: Any, classes: tuple[str, ...], path: Path | None = None) -> int:
    """Return the index that `value`, an index or a name, stands for; ValueError where there is none.

    The error names the file of classes beside `path`, whose annotations these are.
    """
    if isinstance(value, str) and value in classes:
        return classes.index(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(classes):
        return value
    file = class_file(path) if path is not None else None
    told = f", those of {file.name}" if file is not None else ""
    if isinstance(value, str):
        raise UnknownClassError(
            f"class '{value}' is not among the {len(classes)} known{told}.{nearest(value, classes)}"
        )
    raise UnknownClassError(f"class {value!r} is not a number from 0 to {len(classes) - 1} nor a name{told}.")


def _record(path: Path, video_id: str, entry: Entry, class_index: Callable[[Any], int]) -> VideoRecord:
    where, duration, segments = f"{path}, video '{video_id}'", None, []
    try:
        # 0 stands where somebody did not know it.
        duration = None if entry.duration is None else _seconds(entry.duration, "duration") or None
    except ValueError as error:
        refuse(f"{where}: {error}", video_id, error)
    for action in entry.actions:
        try:
            label, start, end = action_parts(action)
            segments.append(Segment(class_index(label), start, end))
        except ValueError as error:
            refuse(f"{where}: {error}", video_id, error)
    return VideoRecord(video_id, duration_seconds=duration, segments=tuple(segments))


def _seconds(value: Any, what: str) -> float:
    if isinstance(value, str) and value.strip():
        return seconds_of({what: value}, what)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{what} {value!r} is not a number of seconds from 0.")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{what} is no number of seconds but one of {len(str(value))} digits.") from error


def benchmark_of(video_ids: Collection[str]) -> str | None:
    """The dataset whose videos are named like all of these; None where it is none that is known."""
    for name, form in _IDS.items():
        if video_ids and all(re.fullmatch(form, video_id) for video_id in video_ids):
            return name
    return None


def _of_another_set(dataset: str, path: Path, entries: dict[str, Entry]) -> tuple[str, ...]:
    """Refuse the annotations of one benchmark under the name of another; a note where they are read as one's own.

    Raises:
        DataError: They are.
    """
    alike = next(
        (name for name, form in _IDS.items() if entries and all(re.fullmatch(form, one) for one in entries)), None
    )
    if alike in (None, dataset) or (alike == "charades" and dataset == "json"):
        return ()
    what = f"{path} holds videos such as {next(iter(entries))}, which are named as those of {alike}"
    if dataset == "json":
        return (f"{what}: --dataset {alike} knows its class names and numbers.",)
    if dataset in _IDS:
        raise DataError(f"{what} and not of {dataset}; give --dataset {alike}.")
    return ()


def _own_classes(path: Path) -> tuple[str, ...]:
    """Class names out of the file itself, over all its splits."""
    document, _ = read_json(path)
    labels: dict[Any, str] = {}
    for video_id, entry in json_entries(path, document):
        for action in entry.actions:
            try:
                labels.setdefault(action_parts(action)[0], video_id)
            except (ValueError, TypeError) as error:
                if not tolerating():  # whoever reads the actions notes it then
                    raise DataError(f"{path}, video '{video_id}': {error}") from error
    if not labels:
        raise DataError(f"{path} holds no actions and no classes.txt beside it: the classes are unknown.")
    if all(isinstance(label, str) and not label.isdecimal() for label in labels):
        return sorted_classes(labels, path)
    for label, video_id in labels.items():
        if not isinstance(label, int):
            raise DataError(
                f"{path}, video '{video_id}': class {label!r} is not a number as others are, and no classes.txt beside "
                "the file lists the names."
            )
    return tuple(f"c{index:03d}" for index in range(numbered(max(labels), path)))
