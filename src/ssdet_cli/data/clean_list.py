"""The list of what is left when bad videos are taken out; no file is touched.

clean/train.csv, val.csv, test.csv     path,label,start,end: `ssdet pretrain --data clean/train.csv`
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
from ssdet_cli.files import write_atomically
from ssdet_cli.video.inspection import FileFacts

_SUBSETS = {"train": "training", "val": "validation", "test": "testing"}


def write_clean_list(
    folder: Path, splits: Mapping[str, VideoSet], classes: tuple[str, ...], facts: Mapping[str, FileFacts]
) -> Path | None:
    """Write the lists of clean splits, of one kind of labels.

    Returns:
        What to give to a command; None where nothing is left.

    Raises:
        SsdetError: The disk is full or the folder cannot be written.
    """
    splits = {split: videos for split, videos in splits.items() if videos.records}
    records = [record for videos in splits.values() for record in videos.records]
    if not records:
        return None
    write_atomically(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    if records[0].label is None:
        write_atomically(folder / "annotations.json", _frame_json(splits, facts))
        return folder / "annotations.json"
    for split, videos in splits.items():
        write_atomically(folder / f"{split}.csv", _weak_csv(videos, classes))
    return folder / f"{next(iter(splits))}.csv"


def _weak_csv(videos: VideoSet, classes: tuple[str, ...]) -> str:
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("path", "label", "start", "end"))
    for record in videos.records:
        start = f"{record.start_seconds:g}" if record.start_seconds else ""
        end = "" if record.end_seconds is None else f"{record.end_seconds:g}"
        lines.writerow((os.path.abspath(record.path), classes[record.label], start, end))
    return text.getvalue()


def _frame_json(splits: Mapping[str, VideoSet], facts: Mapping[str, FileFacts]) -> str:
    document = {}
    for split, videos in splits.items():
        for record in videos.records:
            actions = [[segment.label, segment.start, segment.end] for segment in record.segments]
            entry = {"subset": _SUBSETS[split], "duration": _duration(record, facts), "actions": actions}
            document.setdefault(record.video_id, {key: value for key, value in entry.items() if value is not None})
    return json.dumps(document, ensure_ascii=False) + "\n"


def _duration(record: VideoRecord, facts: Mapping[str, FileFacts]) -> float | None:
    """As annotated; of the file where the annotation does not say."""
    if record.duration_seconds is not None or record.path is None:
        return record.duration_seconds
    file = facts.get(os.path.abspath(record.path))
    return file.seconds if file is not None and file.seconds else None
