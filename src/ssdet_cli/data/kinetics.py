"""Kinetics (Kay et al., arXiv 1705.06950; 600 and 700 classes: arXiv 1808.01340, 1907.06987) as it is found on disks.

Annotations: the official CSVs (`label,youtube_id,time_start,time_end,split[,is_cc]`), the authors' JSON (ActivityNet's
form), SlowFast's lists (`path label`), a list of class names, or none where there is a folder per class.
Clips: `<id>_<start, six digits>_<end, six digits>.mp4` (Kinetics' own downloader), `<id>_<start>_<end>.mp4`, `<id>.mp4`
or folders of frames of these names, in one folder, in folders of splits, of classes, or of both.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.class_names import normal_form, parse_classes, sorted_classes
from ssdet_cli.data.clip_tree import Clip, split_token, walk_clips
from ssdet_cli.data.folder import folder_set, list_set
from ssdet_cli.data.kinetics_files import WANTED, AnnotatedClip, official_clips
from ssdet_cli.data.lookup import VIDEO_SUFFIXES, check_split, classes_beside, read_text, some
from ssdet_cli.data.weak_lists import Labels
from ssdet_cli.data.weak_splits import choose_split, split_files
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.decode import open_video

#: A file that ends this long before the annotated part does holds that part alone.
_CUT_SECONDS = 0.5


def load_kinetics(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Kinetics, or a part of it.

    The class order is that of a file of class names (`annotations` itself, or beside the annotations: `classes.txt`,
    `label_map*.txt`, ...), else the labels are sorted. A clip that is annotated and not there has no path, and is told.

    Args:
        videos: Folder of the clips, in any of the layouts above; None where only annotations matter.
        annotations: See above; or the folder that holds the files of the splits; None is a folder per class.
        split: "train", "val" or "test".

    Raises:
        ConfigError: Nothing given, or no such split.
        DataError: Something is absent or of another kind, a line is wrong, or no clip is there.
    """
    return _load("kinetics", None, videos, annotations, split)


def load_kinetics400(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Kinetics-400, see `load_kinetics`; another number of classes is told."""
    return _load("kinetics400", 400, videos, annotations, split)


def load_kinetics600(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Kinetics-600, see `load_kinetics`; another number of classes is told."""
    return _load("kinetics600", 600, videos, annotations, split)


def load_kinetics700(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read Kinetics-700, see `load_kinetics`; another number of classes is told."""
    return _load("kinetics700", 700, videos, annotations, split)


def _load(dataset: str, count: int | None, videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    check_split(split)
    if videos is None and annotations is None:
        raise ConfigError(f"The dataset '{dataset}' needs data.videos (--data): the folder of the clips.")
    for path in (videos, annotations):
        if path is not None and not path.exists():
            raise DataError(f"{path} does not exist; '{dataset}' needs the folder of the clips, and {WANTED}.")
    if videos is not None and videos.is_file() and annotations is None:
        videos, annotations = videos.parent, videos
    found = _read(dataset, videos, annotations, split)
    if count is not None and len(found.classes) != count:
        told = (
            f"{dataset} has {count} classes and {found.source} {len(found.classes)}: labels are numbered among these."
        )
        found = replace(found, notes=(told, *found.notes))
    return found


def _read(dataset: str, videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    if annotations is None:
        return folder_set(dataset, videos, split, classes_beside(videos / "classes"))
    path = _first_file(annotations) if annotations.is_dir() else annotations
    entries = official_clips(path)
    if entries is not None:
        return _annotated_set(dataset, videos, path, entries, split)
    text, _ = read_text(path)
    if _is_class_list(text):
        if videos is None:
            raise ConfigError(f"{path} is a list of classes; '{dataset}' needs data.videos (--data) as well.")
        return folder_set(dataset, videos, split, parse_classes(path, text))
    return list_set(dataset, path, videos or path.parent, split)


def _first_file(folder: Path) -> Path:
    """The annotations of any split in a folder; `split_files` finds the others."""
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in (".csv", ".json", ".txt"))
    named = [file for file in files if split_token(file.stem)]
    if not named:
        raise DataError(f"{folder} holds no annotations such as train.csv and val.csv; needed: {WANTED}.")
    return min(
        named, key=lambda file: (split_token(file.stem) != "train", (".csv", ".json", ".txt").index(file.suffix))
    )


def _is_class_list(text: str) -> bool:
    """Whether every line is a name, and none of them that of a file."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return bool(lines) and not any(
        os.sep in line or os.path.splitext(line.split()[0])[1].lower() in VIDEO_SUFFIXES for line in lines
    )


def _annotated_set(
    dataset: str, videos: Path | None, path: Path, entries: dict[str, list[AnnotatedClip]], split: str
) -> VideoSet:
    labelled = {part: [entry for entry in own if entry.label] for part, own in entries.items()}
    nameless = sum(map(len, entries.values())) - sum(map(len, labelled.values()))
    classes = classes_beside(path) or (videos and classes_beside(videos / "classes"))
    classes = classes or sorted_classes(entry.label for own in labelled.values() for entry in own)
    if not classes:
        raise DataError(f"{path} labels no clip (as Kinetics' test set); needed: {WANTED}.")
    labels = Labels(classes)
    notes = [f"{nameless} clips have no label (as in Kinetics' test set) and are left out."] if nameless else []
    parts, repeated = {}, []
    for part, own in labelled.items():
        parts[part] = list(_records(own, labels, repeated).values())
    records, stood_in = choose_split(parts, split, path)
    if repeated:
        notes.append(some("clips are annotated twice and taken once", repeated))
    if videos is not None:
        wanted = {entry.names[0]: entry for own in labelled.values() for entry in own}
        records, told = _with_clips(records, wanted, videos)
        notes += told
    source = split_files(path).get(split, path)
    return VideoSet(f"{dataset} {split}", classes, tuple(records), source, read_text(source)[1], (*stood_in, *notes))


def _records(entries: Iterable[AnnotatedClip], labels: Labels, repeated: list[str]) -> dict[str, VideoRecord]:
    records: dict[str, VideoRecord] = {}
    for entry in entries:
        video_id = entry.names[0]
        if video_id in records:
            repeated.append(video_id)
            continue
        length = None if entry.start is None or entry.end is None else entry.end - entry.start
        records[video_id] = VideoRecord(video_id, None, length, label=labels.index(entry.label, entry.where))
    return records


def _with_clips(
    records: Sequence[VideoRecord], wanted: dict[str, AnnotatedClip], videos: Path
) -> tuple[list[VideoRecord], list[str]]:
    """Find the clips of records, by their names, wherever they are below `videos`."""
    if not videos.is_dir():
        raise DataError(f"data.videos ({videos}) is a file; the folder of the clips is needed there.")
    there: dict[str, list[Clip]] = {}
    for clip in walk_clips(videos):
        there.setdefault(clip.stem, []).append(clip)
    found, whole, missing = [], [], []
    for record in records:
        entry = wanted[record.video_id]
        name = next((name for name in entry.names if name in there), None)
        if name is None:
            missing.append(record.video_id)
        elif name == entry.youtube_id and entry.start is not None:
            whole.append(len(found))
        clip = None if name is None else _best(there[name], entry)
        found.append(record if clip is None else replace(record, path=Path(clip.path)))
    if len(missing) == len(found):
        held = f"{len(there)} others, such as {next(iter(there))}" if there else "no clip at all"
        raise DataError(
            f"{videos} holds none of the {len(found)} annotated clips, such as {missing[0]}.mp4, but {held}."
        )
    notes = [some("annotated clips are not there", missing)] if missing else []
    return found, notes + _cut_whole_videos(found, whole, wanted)


def _best(clips: Sequence[Clip], entry: AnnotatedClip) -> Clip:
    """Of clips with the same name the one in a folder of the right class, then of the right split."""
    wanted = normal_form(entry.label)

    def fits(clip: Clip) -> tuple[bool, bool]:
        return (
            any(normal_form(folder) == wanted for folder in clip.folders),
            any(split_token(folder) == entry.split for folder in clip.folders),
        )

    return max(clips, key=fits) if len(clips) > 1 else clips[0]


def _cut_whole_videos(found: list[VideoRecord], whole: Sequence[int], wanted: dict[str, AnnotatedClip]) -> list[str]:
    """Set the part of `<id>.mp4` that is meant, where these files are whole videos and not that part already."""
    files = [place for place in whole if not found[place].path.is_dir()]
    latest = sorted(files, key=lambda place: wanted[found[place].video_id].start, reverse=True)
    if not latest or _are_cut([(found[place].path, wanted[found[place].video_id]) for place in latest[:3]]):
        return []
    for place in files:
        entry = wanted[found[place].video_id]
        found[place] = replace(found[place], duration_seconds=None, start_seconds=entry.start, end_seconds=entry.end)
    return [f"{len(files)} clips are whole videos <id>.mp4: the annotated part of each is used."]


def _are_cut(files: Iterable[tuple[Path, AnnotatedClip]]) -> bool:
    """Whether files end before the annotated part does, by the first header that can be read."""
    for path, entry in files:
        try:
            with open_video(path, backend="pyav") as video:
                return video.duration_seconds < (entry.end or entry.start) - _CUT_SECONDS
        except DataError:
            continue
    return False
