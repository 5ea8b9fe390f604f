"""From the files of annotation tools, and from one of our forms to another: `ssdet data convert`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssdet_cli.catalog import nearest
from ssdet_cli.data import DATASETS
from ssdet_cli.data.cvat import is_cvat, read_cvat
from ssdet_cli.data.elan import is_elan, read_elan
from ssdet_cli.data.file_kinds import text_kind
from ssdet_cli.data.footage import Export, Footage
from ssdet_cli.data.footage_files import Converted, write_footage
from ssdet_cli.data.frame_json import benchmark_of, json_entries
from ssdet_cli.data.frame_lists import is_frame_list
from ssdet_cli.data.lengths import decoded_lengths
from ssdet_cli.data.lookup import SPLITS, classes_beside, find_videos, read_json, read_text, some
from ssdet_cli.data.multithumos import MULTITHUMOS_CLASSES
from ssdet_cli.data.segment_table import class_number, read_tables
from ssdet_cli.data.tables import read_table
from ssdet_cli.data.via import is_via, read_via
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.decode import VideoReader, open_video

TOOLS = ("via", "cvat", "elan")
#: Our own forms that it reads.
FORMS = ("charades", "csv", "json", "multithumos", "tsu")
_SUBSETS = {"train": "training", "val": "validation", "test": "testing"}
_SUFFIXES = (".json", ".csv")


def convert(
    inputs: Sequence[Path],
    output: Path,
    *,
    form: str | None = None,
    frame_rate: float | None = None,
    videos: Path | None = None,
    tiers: Sequence[str] = (),
    subset: str | None = None,
    force: bool = False,
) -> Converted:
    """Read annotations of any known form, and write them as one JSON or CSV with a file of classes beside it.

    Classes keep the order of the input where it has one; else they are sorted. A file of classes that is beside the
    output already decides where it holds all of them.

    Args:
        inputs: Files, or folders of files; of one form.
        output: `*.json` or `*.csv`.
        form: One of `TOOLS` and `FORMS`; None tells it by the content.
        frame_rate: Frames per second of the videos, for forms that count frames.
        videos: Folder of the videos, which say their frame rate and duration themselves.
        tiers: Tiers (ELAN), attributes (VIA) or labels (CVAT) to take; none is all.
        subset: What the videos belong to where the input does not say: "train", "val" or "test".
        force: Write over a file that is there.

    Raises:
        ConfigError: An unknown form, suffix or tier, a file that is there, no frame rate where one is needed.
        DataError: An input is missing, of no known form, or contradicts itself, or two videos have one name.
    """
    if output.suffix.lower() not in _SUFFIXES:
        raise ConfigError(f"--output {output}: its suffix must be .json or .csv.")
    if form is not None and form not in (*TOOLS, *FORMS):
        raise ConfigError(
            f"Unknown form '{form}'.{nearest(form, (*TOOLS, *FORMS))} Known: {', '.join((*TOOLS, *FORMS))}."
        )
    if output.exists() and not force:
        raise ConfigError(f"{output} exists already; name another file, or give --force to write over it.")
    headers = _Headers(videos, frame_rate)
    exports = [_read(path, form, headers, tiers) for path in _files(inputs, form)]
    merged = _merged(exports)
    if not merged.videos:
        raise DataError(f"{inputs[0]} holds no videos.")
    for name, footage in merged.videos.items():
        footage.duration = footage.duration or headers.duration(name)
        footage.subset = footage.subset or (_SUBSETS[subset] if subset else None)
    return write_footage(merged, output)


# Reading


class _Headers:
    """Times of frames and durations, as videos say them or as they are given."""

    def __init__(self, folder: Path | None, frame_rate: float | None) -> None:
        self.folder, self.frame_rate = folder, frame_rate
        self.found = find_videos(folder)

    def clock(self, name: str) -> Callable[[float], float]:
        """Number of a frame, or between two -> seconds; by the video's own times, as its rate may vary."""
        if self.frame_rate is not None:
            return lambda frame: frame / self.frame_rate
        if name not in self.found:
            where = (
                f"{self.folder} holds no {name}.*"
                if self.folder
                else "--videos DIR, which says it itself, is not given"
            )
            raise ConfigError(f"Frames are counted in '{name}': give its frame rate with --fps X ({where}).")
        with self._opened(name) as video:
            count, seconds = video.num_frames, video.seconds(np.arange(video.num_frames + 1))
            rate = video.frame_rate
        # Beyond the end, frames go on at the average rate.
        return lambda frame: float(np.interp(frame, np.arange(count + 1), seconds)) + max(0.0, frame - count) / rate

    def duration(self, name: str) -> float | None:
        if name not in self.found:
            return None
        with self._opened(name) as video:
            return video.duration_seconds

    def _opened(self, name: str) -> VideoReader:
        path = self.found[name]
        return open_video(path, backend="auto" if path.is_dir() else "pyav", frame_rate=self.frame_rate)


def _files(inputs: Iterable[Path], form: str | None) -> list[Path]:
    """The files that are meant; a folder of several files of a tool stands for all of them."""
    files = []
    for path in inputs:
        if not path.exists():
            raise DataError(f"{path} does not exist.")
        inside = (
            sorted(file for file in path.iterdir() if file.suffix.lower() in (".eaf", ".xml")) if path.is_dir() else []
        )
        files += inside if inside and form in (None, *TOOLS) else [path]
    return files


def form_of(path: Path) -> str:
    """Tell the form of a file or folder by its content.

    Raises:
        DataError: It is of none that is known; the message says what it is.
    """
    if path.is_dir():
        if (path / f"{MULTITHUMOS_CLASSES[0]}.txt").is_file() or (path / "annotations").is_dir():
            return "multithumos"
        return "charades" if any(path.glob("Charades_v1_*.csv")) else _unknown(path, "a folder")
    text, _ = read_text(path)
    for name, fits in (("via", is_via), ("cvat", is_cvat), ("elan", is_elan)):
        if fits(text):
            return name
    if text.lstrip().startswith("{"):
        document, _ = read_json(path)
        return benchmark_of(dict(json_entries(path, document))) or "json"
    if is_frame_list(text) or {"id", "actions", "length"} <= set(text.partition("\n")[0].strip().split(",")):
        return "charades"
    if read_table(path, text, ("path", "label", "start", "end")) or read_table(
        path, text, ("path", "label", "start_frame")
    ):
        return "csv"
    return _unknown(path, text_kind(text))


def _unknown(path: Path, what: str) -> str:
    raise DataError(f"{path} is {what}, and of no form that is known: {', '.join((*TOOLS, *FORMS))}.")


def _read(path: Path, form: str | None, headers: _Headers, tiers: Sequence[str]) -> Export:
    form = form or form_of(path)
    if path.is_dir() and form in (*TOOLS, "csv", "json"):
        raise DataError(f"{path} is a folder; a file of the form {form} is expected.")
    if form == "cvat":
        return read_cvat(path, headers.clock, tiers)
    if form in TOOLS:
        return {"via": read_via, "elan": read_elan}[form](path, tiers)
    if tiers:
        raise ConfigError(f"--tier chooses among the tiers of a tool's file; {path} is of the form {form}.")
    return _of_table(path) if form == "csv" else _of_dataset(form, path)


def _of_table(path: Path) -> Export:
    """A table, with numbers of classes replaced by the names beside it."""
    found, classes = read_tables([path])[0], classes_beside(path)
    if classes is None:
        return found
    for footage in found.videos.values():
        try:
            footage.actions = [
                (classes[class_number(label, classes, path)], *times) for label, *times in footage.actions
            ]
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
    return replace(found, classes=classes)


def _of_dataset(form: str, path: Path) -> Export:
    """Every split of a set, or of the file given, each video under the first that it is in."""
    videos: dict[str, Footage] = {}
    classes: tuple[str, ...] = ()
    notes: dict[str, None] = {}
    errors, same = [], []
    for split in ("train", "test", "val"):
        try:
            with decoded_lengths(True):  # who reads what is written has the videos
                found = DATASETS.get(form)(None, path, split)
        except DataError as error:
            errors.append(error)
            continue
        if path.is_file() and found.source != path:  # another file of the set, which is not asked for
            continue
        same.append({record.video_id for record in found.records})
        classes = found.classes
        notes |= dict.fromkeys(found.notes)
        for record in found.records:
            actions = [(classes[part.label], part.start, part.end) for part in record.segments]
            videos.setdefault(record.video_id, Footage(_SUBSETS[split], record.duration_seconds, actions))
    if not videos:
        raise errors[0]
    if len(same) == len(SPLITS) and (
        all(one == same[0] for one in same) or any("no subsets" in note for note in notes)
    ):
        videos = {name: replace(one, subset=None) for name, one in videos.items()}
    kept = tuple(note for note in notes if " split: " not in note and "no subsets" not in note)
    return Export(videos, classes, kept)


def _merged(exports: Sequence[Export]) -> Export:
    """All videos; the actions of a video that several files annotate are put together."""
    videos: dict[str, Footage] = {}
    twice = []
    for export in exports:
        for name, footage in export.videos.items():
            if name in videos:
                twice.append(name)
                held = videos[name]
                if held.place != footage.place:
                    raise DataError(
                        f"'{name}' is {held.place or name} in one file and {footage.place or name} in another: convert "
                        "each file on its own, and give the videos names of their own."
                    )
                footage = Footage(
                    held.subset or footage.subset,
                    held.duration or footage.duration,
                    held.actions + footage.actions,
                    held.place,
                )
            videos[name] = footage
    classes = tuple(dict.fromkeys(name for export in exports for name in export.classes))
    notes = tuple(dict.fromkeys(note for export in exports for note in export.notes))
    told = (some("videos are in several files, whose actions are put together", twice),) if twice else ()
    return Export(videos, classes, (*notes, *told))
