"""Kinetics (Kay et al., arXiv 1705.06950; 600 and 700 classes: arXiv 1808.01340, 1907.06987) as it is found on disks.

Annotations: the official CSVs (`label,youtube_id,time_start,time_end,split[,is_cc]`), the authors' JSON (ActivityNet's
form), SlowFast's lists (`path label`), a list of class names, or none where there is a folder per class.
Clips: `<id>_<start, six digits>_<end, six digits>.mp4` (Kinetics' own downloader), `<id>_<start>_<end>.mp4`, `<id>.mp4`
or folders of frames of these names, in one folder, in folders of splits, of classes, or of both.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.class_names import normal_form, parse_classes, sorted_classes
from ssdet_cli.data.clip_tree import Clip, split_token, walk_clips
from ssdet_cli.data.flaws import note_two_labels
from ssdet_cli.data.folder import folder_set, list_set
from ssdet_cli.data.kinetics_files import WANTED, AnnotatedClip, official_clips
from ssdet_cli.data.lookup import VIDEO_SUFFIXES, check_split, classes_beside, read_text, some
from ssdet_cli.data.weak_lists import Labels
from ssdet_cli.data.weak_splits import choose_split, split_files
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.decode import open_video

#: A file that ends this long before the annotated part does holds that part alone.
_CUT_SECONDS = 0.5
#: Files of the latest starts that are looked at to tell whole videos from their annotated parts.
_VOTERS = 9


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
    kinds = (".csv", ".json", ".txt")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in kinds)
    named = [file for file in files if split_token(file.stem)]
    if not named:
        raise DataError(f"{folder} holds no annotations such as train.csv and val.csv; needed: {WANTED}.")
    return min(named, key=lambda file: (split_token(file.stem) != "train", kinds.index(file.suffix.lower())))


def _is_class_list(text: str) -> bool:
    """Whether every line is a name, and none of them that of a file; a name and a number on all is a list of clips."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if all(re.search(r"\s\d+$", line) for line in lines):
        return False
    return not any(os.sep in line or os.path.splitext(line.split()[0])[1].lower() in VIDEO_SUFFIXES for line in lines)


def _annotated_set(
    dataset: str, videos: Path | None, path: Path, clips: dict[str, list[AnnotatedClip]], split: str
) -> VideoSet:
    labelled = {part: [clip for clip in own if clip.label] for part, own in clips.items()}
    nameless = sum(map(len, clips.values())) - sum(map(len, labelled.values()))
    classes = classes_beside(path) or (videos and classes_beside(videos / "classes"))
    classes = classes or sorted_classes({clip.label for own in labelled.values() for clip in own}, path)
    if not classes:
        raise DataError(f"{path} labels no clip (as Kinetics' test set); needed: {WANTED}.")
    notes = [f"{nameless} clips have no label (as in Kinetics' test set) and are left out."] if nameless else []
    own, stood_in = choose_split(labelled, split, path)
    once = {clip.video_id: clip for clip in reversed(own)}
    if len(once) < len(own):
        notes.append(f"{len(own) - len(once)} clips are annotated twice and taken once.")
        doubtful = [clip for clip in own if clip.label != once[clip.video_id].label]
        for clip in doubtful:
            note_two_labels(f"{clip.file}, {clip.place}", clip.video_id, clip.label, once[clip.video_id].label)
        if doubtful:
            told = "of them have another label the second time, and the first one counts"
            notes.append(some(told, [clip.video_id for clip in doubtful]))
    own = list(reversed(once.values()))
    paths, renamed, missing = _find_clips(own, videos) if videos is not None else ({}, [], [])
    if missing:
        notes.append(some("annotated clips are not there", missing))
    parts, told = _parts_of_whole_videos(renamed, paths)
    notes += told
    labels = Labels(classes)
    found = (_record(clip, labels, paths.get(clip.video_id), clip.video_id in parts) for clip in own)
    records = tuple(record for record in found if record is not None)
    source = split_files(path).get(split, path)
    return VideoSet(f"{dataset} {split}", classes, records, source, read_text(source)[1], (*stood_in, *notes))


def _record(clip: AnnotatedClip, labels: Labels, path: str | None, part: bool) -> VideoRecord | None:
    label = labels.known(clip.label, f"{clip.file}, {clip.place}", clip.video_id)
    if label is None:
        return None
    place = None if path is None else Path(path)
    if part:
        return VideoRecord(clip.video_id, place, label=label, start_seconds=clip.start, end_seconds=clip.end)
    length = None if clip.start is None or clip.end is None else clip.end - clip.start
    return VideoRecord(clip.video_id, place, length, label=label)


def _find_clips(clips: Sequence[AnnotatedClip], videos: Path) -> tuple[dict[str, str], list[AnnotatedClip], list[str]]:
    """Find files by their names, wherever they are below `videos`.

    Returns:
        Video id -> path; the clips whose file has another name than that; the ids that have none.
    """
    if not videos.is_dir():
        raise DataError(f"data.videos ({videos}) is a file; the folder of the clips is needed there.")
    there: dict[str, list[Clip]] = {}
    for found in walk_clips(videos):
        there.setdefault(found.stem, []).append(found)
    paths: dict[str, str] = {}
    renamed, missing = [], []
    for clip in clips:
        files = there.get(clip.video_id)
        if files is None:
            files = next((there[name] for name in clip.other_names if name in there), None)
            (missing if files is None else renamed).append(clip)
        if files is not None:
            paths[clip.video_id] = (files[0] if len(files) == 1 else _best(files, clip)).path
    if not paths:
        held = f"{len(there)} others, such as {next(iter(there))}" if there else "no clip at all"
        raise DataError(
            f"{videos} holds none of the {len(clips)} annotated clips, such as {missing[0].video_id}.mp4, but {held}."
        )
    return paths, renamed, [clip.video_id for clip in missing]


def _best(files: Sequence[Clip], clip: AnnotatedClip) -> Clip:
    """Of files with the same name the one in a folder of the right class, then of the right split."""
    wanted = normal_form(clip.label)

    def fits(file: Clip) -> tuple[bool, bool]:
        return (
            any(normal_form(folder) == wanted for folder in file.folders),
            any(split_token(folder) == clip.split for folder in file.folders),
        )

    return max(files, key=fits)


def _parts_of_whole_videos(clips: Sequence[AnnotatedClip], paths: dict[str, str]) -> tuple[set[str], tuple[str, ...]]:
    """Ids of the clips whose file `<id>.mp4` is a whole video, and not the annotated part of it already.

    The headers of up to `_VOTERS` files decide for all, by majority; as whole videos where that is even. The second
    value is a note on what was decided, where there are such files.
    """
    whole = [
        clip
        for clip in clips
        if os.path.splitext(os.path.basename(paths[clip.video_id]))[0] == clip.youtube_id
        and os.path.isfile(paths[clip.video_id])
    ]
    if not whole:
        return set(), ()
    latest = sorted(whole, key=lambda clip: clip.start, reverse=True)[:_VOTERS]
    votes = [vote for clip in latest if (vote := _is_cut(clip, paths[clip.video_id])) is not None]
    cut = sum(votes)
    if 2 * cut > len(votes):
        told = f"{len(whole)} clips are files <id>.mp4 that are taken as the annotated part alone"
        return set(), (f"{told}: {cut} of {len(votes)} that were looked at end before that part would.",)
    told = f"{len(whole)} clips are whole videos <id>.mp4: the annotated part of each is used"
    by = f"{len(votes) - cut} of {len(votes)} that were looked at reach so far" if votes else "no header could be read"
    return {clip.video_id for clip in whole}, (f"{told} ({by}).",)


def _is_cut(clip: AnnotatedClip, path: str) -> bool | None:
    """Whether a file ends before the annotated part does; None where its header cannot be read."""
    try:
        with open_video(path, backend="pyav") as video:
            return video.duration_seconds < (clip.end or clip.start) - _CUT_SECONDS
    except DataError:
        return None
