"""Writing what was read from annotation tools and tables as one JSON or CSV of ours, and their classes beside it."""

import csv
import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from ssdet_cli.data.class_names import parse_classes, sorted_classes
from ssdet_cli.data.footage import Export
from ssdet_cli.data.lookup import read_text
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.files import write_atomically


@dataclass(frozen=True)
class Converted:
    """What was written.

    Attributes:
        annotations: The file.
        classes: Its file of classes.
        videos: How many videos.
        actions: How many actions.
        names: Classes in index order.
        notes: One sentence for each thing that was left out or understood in some way.
    """

    annotations: Path
    classes: Path
    videos: int
    actions: int
    names: tuple[str, ...]
    notes: tuple[str, ...]


def write_footage(merged: Export, output: Path) -> Converted:
    """Write videos as JSON or CSV, by the suffix of `output`, and their classes beside it.

    Raises:
        ConfigError: Files of classes of another set are in the way.
        DataError: There is no action in any video.
    """
    labels = list(dict.fromkeys(label for one in merged.videos.values() for label, _, _ in one.actions))
    names, at = _classes(output, merged.classes, labels)
    if not names:
        raise DataError(f"No action in {len(merged.videos)} video(s): there is nothing to write to {output}.")
    text = _json(merged, names) if output.suffix.lower() == ".json" else _csv(merged)
    write_atomically(output, text)
    write_atomically(at, "".join(f"{name}\n" for name in names))
    actions = sum(len(one.actions) for one in merged.videos.values())
    return Converted(output, at, len(merged.videos), actions, names, merged.notes)


def _classes(output: Path, ordered: tuple[str, ...], labels: list[str]) -> tuple[tuple[str, ...], Path]:
    """Class names in index order, and the file for them: `classes.txt`, unless another set has one there."""
    others = sorted(label for label in labels if label not in ordered)
    names = (*ordered, *others) if ordered else sorted_classes(others, output)
    for at in (output.with_name("classes.txt"), output.with_name(f"{output.stem}_classes.txt")):
        if not at.is_file():
            return names, at
        there = parse_classes(at, read_text(at)[0])
        if set(names) <= set(there):
            return there, at
    raise ConfigError(
        f"{at} is there and lacks the class '{next(name for name in names if name not in there)}'; add it."
    )


def _json(merged: Export, names: tuple[str, ...]) -> str:
    index = {name: number for number, name in enumerate(names)}
    entries = {}
    for name, one in merged.videos.items():
        told = {"subset": one.subset, "duration": one.duration, "path": one.place}
        actions = [[index[label], round(start, 4), round(end, 4)] for label, start, end in one.actions]
        entries[name] = {key: value for key, value in told.items() if value is not None} | {"actions": actions}
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items()) + "\n}\n"


def _csv(merged: Export) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("video", "label", "start", "end", "subset", "duration"))
    for name, one in merged.videos.items():
        told = (one.subset or "", "" if one.duration is None else f"{one.duration:g}")
        for label, start, end in one.actions or [("", None, None)]:
            times = ("" if time is None else f"{round(time, 4):.10g}" for time in (start, end))
            writer.writerow((one.place or name, label, *times, *told))
    return text.getvalue()
