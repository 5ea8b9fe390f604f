"""Frame labels in one table: a line for each action of your own footage.

    video,label,start,end[,subset][,duration]
    kitchen_01,open fridge,2.5,9.0,training
    kitchen_01,pour water,0:00:04,0:00:06.25,training
    kitchen_02,,,,training                              a video in which nothing happens

Other names for the columns and other separators are understood (`tables`), times are seconds or h:mm:ss, and frames
where the columns are `start_frame`, `end_frame` and `fps`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.class_names import sorted_classes
from ssdet_cli.data.clip_tree import split_token
from ssdet_cli.data.file_kinds import text_kind
from ssdet_cli.data.flaws import refuse
from ssdet_cli.data.footage import Export, Footage, video_ids
from ssdet_cli.data.frame_json import known_class
from ssdet_cli.data.frame_splits import answering, answers, finished, is_read_as_named, told_of_file
from ssdet_cli.data.lookup import check_split, classes_beside, read_text, required, video_name
from ssdet_cli.data.tables import Table, read_table, seconds_of
from ssdet_cli.data.weak_splits import split_files
from ssdet_cli.errors import DataError, NoSplitError

#: Durations of one video that differ by no more were rounded.
_SAME_SECONDS = 0.1
_WANTED = "a table with the columns video,label,start,end[,subset][,duration]"


def load_csv(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read your own footage from one table, or from one for each split.

    Args:
        videos: Folder of `<id>.mp4` (mkv, avi, webm, mov) or of frame folders; None where only labels matter. An id is
            the name in the table without the suffix of a video.
        annotations: The table. Where it has no column for the split, or none of its videos is of the asked one,
            `val.csv` beside `train.csv` is read for its own, with a note (see `frame_splits.read_as_named`); where
            there is neither, a tenth of the videos is held out for validation and test.
        split: "train", "val" or "test"; "val" is answered by "test" where there is no validation split.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: The file is missing, unreadable or contradicts itself; the message names the line.
    """
    check_split(split)
    path = required(annotations, "csv", _WANTED)
    if path.is_dir():
        raise DataError(f"data.annotations ({path}) is a folder; 'csv' needs {_WANTED}.")
    files = split_files(path)
    tables = dict(zip(files, read_tables(list(files.values())), strict=True))
    names = {label for table in tables.values() for one in table.videos.values() for label, _, _ in one.actions}
    classes = classes_beside(path) or sorted_classes(names, path)
    if not classes:
        raise DataError(f"{path} holds no actions and no classes.txt beside it: the classes are unknown.")
    own = next(part for part, file in files.items() if file == path)
    table, asked, told = tables[own], split, ()
    if len(files) > 1 and not _answers(table, split):
        answer = own if is_read_as_named() else next((part for part in answers(split) if part in files), None)
        if answer is None:
            raise NoSplitError(f"{path} holds no videos of the split '{split}'; beside it are: {', '.join(files)}.")
        told = told_of_file(path, files[answer], split, answer)
        path, table, asked = files[answer], tables[answer], answer
    kept, notes = list(table.videos), ()
    if len(files) == 1 or _subsets(table):
        kept, notes = answering(path, {name: one.subset for name, one in table.videos.items()}, asked)
    records = [_record(path, name, table.videos[name], classes) for name in kept]
    places = {name: place for name in kept if (place := table.videos[name].place)}
    told = (*table.notes, *told, *notes)
    return finished("csv", videos, path, split, classes, records, read_text(path)[1], *told, places=places)


def _subsets(table: Export) -> set[str]:
    """What a table calls the splits of its videos; empty where it has no column for them."""
    return {one.subset for one in table.videos.values() if one.subset}


def _answers(table: Export, split: str) -> bool:
    """Whether a table says itself which of its videos answer for a split."""
    return any(split_token(subset) in answers(split) for subset in _subsets(table))


def read_tables(paths: Sequence[Path]) -> list[Export]:
    """Read tables of actions of one set; their notes say what was taken for what.

    Raises:
        DataError: One is no such table, or a line is wrong; the message names the line.
    """
    tables = [_table(path) for path in paths]
    ids = video_ids({fields.get("path", "") for table in tables for _, fields in table.rows})
    return [_export(path, table, ids) for path, table in zip(paths, tables, strict=True)]


def _table(path: Path) -> Table:
    text, _ = read_text(path)
    table = read_table(path, text, ("path", "label"))
    if table is None or not ({"start", "end"} <= table.columns.keys() or "start_frame" in table.columns):
        raise DataError(f"{path}, line 1: {_WANTED} is expected, and this is {text_kind(text)}.")
    return table


def _export(path: Path, table: Table, ids: Mapping[str, str]) -> Export:
    videos: dict[str, Footage] = {}
    for line, fields in table.rows:
        name = ids[fields.get("path", "")]
        try:
            _add_line(videos, name, fields)
        except ValueError as error:
            refuse(f"{path}, line {line}: {error}", name, error)
    if not videos:
        raise DataError(f"{path} lists no videos; needed: {_WANTED}.")
    return Export(videos, notes=table.understood(path, {"path": "video", "split": "subset"}))


def _add_line(videos: dict[str, Footage], name: str, fields: Mapping[str, str]) -> None:
    label, place = fields.get("label", ""), fields.get("path", "")
    if not name:
        raise ValueError("there is no video.")
    video = videos.setdefault(name, Footage(place=place if video_name(place) != name else None))
    subset, duration = fields.get("split") or None, seconds_of(fields, "duration")
    if video.subset is not None and subset not in (None, video.subset):
        raise ValueError(f"'{name}' is in the subset '{subset}' here and in '{video.subset}' above.")
    if video.duration and duration and abs(duration - video.duration) > _SAME_SECONDS:
        raise ValueError(
            f"'{name}' has the duration {duration:g} s here and {video.duration:g} s above; the column is that of "
            "whole videos, so name it otherwise where it says how long an action is."
        )
    video.subset, video.duration = subset or video.subset, duration or video.duration
    start, end = _time(fields, "start"), _time(fields, "end")
    if not label and start is None and end is None:
        return
    if not label or start is None or end is None:
        raise ValueError("label, start and end are needed, or none of them for a video without actions.")
    video.actions.append((label, start, end))


def _time(fields: Mapping[str, str], name: str) -> float | None:
    frame = fields.get(f"{name}_frame", "")
    if fields.get(name) or not frame:
        return seconds_of(fields, name)
    rate = seconds_of(fields, "fps")
    if not rate:
        raise ValueError(f"{name}_frame counts frames: a column fps is needed, or seconds in a column {name}.")
    if not frame.isdecimal():
        raise ValueError(f"{name}_frame '{frame}' is not a number of frames from 0.")
    return int(frame) / rate


def _record(path: Path, name: str, footage: Footage, classes: tuple[str, ...]) -> VideoRecord:
    segments = []
    for label, start, end in footage.actions:
        try:
            segments.append(Segment(class_number(label, classes, path), start, end))
        except ValueError as error:
            refuse(f"{path}, video '{name}': {error}", name, error)
    return VideoRecord(name, duration_seconds=footage.duration, segments=tuple(segments))


def class_number(label: str, classes: tuple[str, ...], path: Path) -> int:
    """Index of a class that a table names or numbers; ValueError, as of `known_class`, where there is none."""
    return known_class(int(label) if label.isdecimal() and label not in classes else label, classes, path)
