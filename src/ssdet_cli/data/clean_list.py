"""The list of what is left when bad videos are taken out; no file is touched.

clean/train.csv, val.csv, test.csv     path,label,start,end,duration: `ssdet pretrain --data clean/train.csv`
clean/annotations.json                 `ssdet finetune --dataset json --annotations clean/annotations.json`
clean/classes.txt                      all class names in their order, also of classes that lost their videos
"""

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clip_tree import CLASS_LIST, FRAME_LIST, WEAK_LISTS, list_folder
from ssdet_cli.data.lookup import video_name
from ssdet_cli.data.tables import plain_number
from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.files import write_atomically
from ssdet_cli.video.inspection import FileFacts

_SUBSETS = {"train": "training", "val": "validation", "test": "testing"}


def write_clean_list(
    folder: Path,
    splits: Mapping[str, VideoSet],
    classes: tuple[str, ...],
    facts: Mapping[str, FileFacts],
    videos: Path | None,
) -> Path | None:
    """Write the lists of clean splits, of one kind of labels; those of an earlier check that have no successor go.

    Args:
        folder: Where.
        splits: An id of a frame-labelled video is in one of them only; a weakly labelled clip has a path.
        classes: In index order.
        facts: By absolute path.
        videos: The video folder, from which the paths of frame-labelled videos start.

    Returns:
        What to give to a command; None where nothing is left.

    Raises:
        SsdetError: The disk is full or the folder cannot be written.
    """
    lists = _lists(splits, classes, facts, videos)
    for name, text in lists.items():
        write_atomically(folder / name, text)
    for name in (CLASS_LIST, *WEAK_LISTS, FRAME_LIST):
        if name not in lists:
            _remove(folder / name)
    return next((folder / name for name in lists if name != CLASS_LIST), None)


def refuse_foreign(folder: Path) -> None:
    """See that a folder for the lists is not one of the videos.

    Raises:
        ConfigError: It holds videos or folders.
    """
    videos, inner = list_folder(folder)
    if videos or inner:
        held = (videos or inner)[0]
        raise ConfigError(f"--output: the clean list would go to {folder}, which holds {held}; give another folder.")


def _lists(
    splits: Mapping[str, VideoSet], classes: tuple[str, ...], facts: Mapping[str, FileFacts], root: Path | None
) -> dict[str, str]:
    """Name -> text of every file."""
    splits = {split: videos for split, videos in splits.items() if videos.records}
    records = [record for videos in splits.values() for record in videos.records]
    if not records:
        return {}
    lists = {CLASS_LIST: "".join(f"{name}\n" for name in classes)}
    if records[0].label is None:
        return lists | {FRAME_LIST: _frame_json(splits, facts, root)}
    return lists | {f"{split}.csv": _weak_csv(videos, classes, facts) for split, videos in splits.items()}


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SsdetError(f"Cannot remove {path}, which an earlier check wrote: {error.strerror}.") from error


def _weak_csv(videos: VideoSet, classes: tuple[str, ...], facts: Mapping[str, FileFacts]) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    # Folders of frames have no other time than that of their annotation.
    timed = {record for record in videos.records if record.duration_seconds and _is_folder(record.path, facts)}
    lines.writerow(("path", "label", "start", "end", *(("duration",) if timed else ())))
    for record in videos.records:
        start = plain_number(record.start_seconds) if record.start_seconds else ""
        end = "" if record.end_seconds is None else plain_number(record.end_seconds)
        duration = plain_number(record.duration_seconds) if record in timed else ""
        fields = (os.path.abspath(record.path), classes[record.label], start, end)
        lines.writerow((*fields, duration) if timed else fields)
    return text.getvalue()


def _is_folder(path: Path, facts: Mapping[str, FileFacts]) -> bool:
    file = facts.get(os.path.abspath(path))
    return path.is_dir() if file is None else not file.content


def _frame_json(splits: Mapping[str, VideoSet], facts: Mapping[str, FileFacts], root: Path | None) -> str:
    document = {}
    for split, videos in splits.items():
        for record in videos.records:
            actions = [[segment.label, segment.start, segment.end] for segment in record.segments]
            entry = {"subset": _SUBSETS[split], "duration": _duration(record, facts), "actions": actions}
            entry["path"] = _in_folders(record, root)
            document[record.video_id] = {key: value for key, value in entry.items() if value is not None}
    return json.dumps(document, ensure_ascii=False) + "\n"


def _in_folders(record: VideoRecord, root: Path | None) -> str | None:
    """Path of a video that lies in a folder of the video folder, where its id does not say so."""
    if record.path is None or root is None or not record.path.is_relative_to(root):
        return None
    place = record.path.relative_to(root).as_posix()
    return place if "/" in place and video_name(place) != record.video_id else None


def _duration(record: VideoRecord, facts: Mapping[str, FileFacts]) -> float | None:
    """As annotated; of the file where the annotation does not say."""
    if record.duration_seconds is not None or record.path is None:
        return record.duration_seconds
    file = facts.get(os.path.abspath(record.path))
    return file.seconds if file is not None and file.seconds else None
