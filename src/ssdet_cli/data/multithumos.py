"""MultiTHUMOS (Yeung et al., IJCV 2018): 65 classes, dense labels on the videos of THUMOS'14.

The release has one text file for each class, `annotations/<Class>.txt`, with lines `video start end` in seconds; most
repositories have the same labels as `multithumos.json`, in the form of `charades.json` with classes from 1.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.flaws import UnknownClassError, kept_raw, refuse
from ssdet_cli.data.frame_json import json_set
from ssdet_cli.data.lengths import decoded_lengths_follow
from ssdet_cli.data.lookup import (
    VIDEO_SUFFIXES,
    check_split,
    read_text,
    required,
    some,
    stand_in,
    with_paths,
    without_reversed,
)
from ssdet_cli.errors import DataError, NoSplitError

#: In the order of the ids 1 to 65 of `multithumos.json`, which holds no names.
MULTITHUMOS_CLASSES = tuple(
    """
    BaseballPitch BasketballDunk Billiards CleanAndJerk CliffDiving CricketBowling CricketShot Diving FrisbeeCatch
    GolfSwing HammerThrow HighJump JavelinThrow LongJump PoleVault Shotput SoccerPenalty TennisSwing ThrowDiscus
    VolleyballSpiking Walk Sit StandUp Stand Run Jump Fall PickUp Hug PatPerson HighFive FistPump ClapHands
    OneRaisedArmCelebrate TwoRaisedArmCelebrate Throw Drop OneHandedCatch TwoHandedCatch BodyRoll BodyTurn BodyBend
    BodyContract Squat BasketballDribble BasketballPass BasketballBlock BasketballShot BasketballGuard VolleyballSet
    VolleyballBump VolleyballBlock VolleyballServe WeightliftingClean WeightliftingJerk HammerThrowWindUp
    HammerThrowSpin HammerThrowRelease PoleVaultPlantPole ShotPutBend DiscusWindUp DiscusRelease TalkToCamera
    CloseUpTalkToCamera NoHuman
    """.split()
)


_WANTED = "multithumos.json, or the folder of the release's annotations with a text file for each class"
#: Beginning of a video's name -> split.
_PARTS = {"video_validation_": "train", "video_test_": "test"}


def load_multithumos(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read `multithumos.json`, or the text files of the release.

    The JSON counts classes from 1; here they count from 0. Some actions end minutes after the annotated end of their
    video, and either may be wrong. Where the video is there (or scores that know its length, see `lengths`), they keep
    their times and the annotated length is dropped for that of the file; of a folder of frames it stays, as the rate
    may follow from it. Where only the JSON is at hand, they are cut at the annotated end, and those that start after it
    are left out. A note says either. The text files tell no lengths.

    Args:
        videos: Folder of `<id>.mp4` (mkv, avi, webm, mov) or of frame folders, also in a folder for each part of
            THUMOS'14; None where only labels matter.
        annotations: The JSON, the folder that holds it, or the folder of `<Class>.txt`.
        split: "train" (the validation videos of THUMOS'14), "test" or "val" (both its test videos).

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: The file is missing, unreadable or contradicts itself.
    """
    check_split(split)
    path = required(annotations, "multithumos", _WANTED)
    if path.is_dir() and not (path / "multithumos.json").is_file():
        return _from_texts(videos, path, split)
    path = path / "multithumos.json" if path.is_dir() else path
    found = json_set("multithumos", videos, path, split, MULTITHUMOS_CLASSES, _from_one)
    if kept_raw():
        return found
    records, notes = _within_video(found.records)
    return replace(found, records=records, notes=(*notes, *found.notes))


def _from_texts(videos: Path | None, folder: Path, split: str) -> VideoSet:
    place = folder / "annotations" if (folder / "annotations").is_dir() else folder
    files = [place / f"{name}.txt" for name in MULTITHUMOS_CLASSES]
    missing = [file.stem for file in files if not file.is_file()]
    if len(missing) == len(files):
        raise DataError(f"{folder} holds neither multithumos.json nor {files[0].name}; 'multithumos' needs {_WANTED}.")
    if missing:
        raise DataError(
            f"{place}: {len(missing)} of its {len(files)} classes have no file, the first {missing[0]}.txt."
        )
    answer = "train" if split == "train" else "test"
    segments: dict[str, list[Segment]] = {}
    for label, file in enumerate(files):
        for video_id, start, end in _text_lines(file):
            if _PARTS[video_id[: video_id.rindex("_") + 1]] == answer:
                segments.setdefault(video_id, []).append(Segment(label, start, end))
    if not segments:
        raise NoSplitError(f"{place} holds no videos of the split '{split}'.")
    kept, odd = without_reversed(VideoRecord(name, segments=tuple(segments[name])) for name in sorted(segments))
    found, absent = with_paths(kept, videos)
    notes = (*stand_in(place, split, answer), *odd, *absent)
    return VideoSet(f"multithumos {split}", MULTITHUMOS_CLASSES, found, place, notes=notes)


def _text_lines(path: Path) -> Iterator[tuple[str, float, float]]:
    for number, line in enumerate(read_text(path)[0].splitlines(), start=1):
        if not line.strip():
            continue
        fields = line.split()
        try:
            video_id, start, end = fields[0], float(fields[1]), float(fields[2])
            known = video_id[: video_id.rindex("_") + 1] in _PARTS and math.isfinite(start + end) and start >= 0
        except (IndexError, ValueError):
            known = False
        if not known:
            refuse(
                f"{path}, line {number}: `video_validation_0000051 start end` is expected, found '{line}'.", fields[0]
            )
            continue
        yield video_id, start, end


def _from_one(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(MULTITHUMOS_CLASSES):
        return value - 1
    raise UnknownClassError(f"class {value!r} is not a number from 1 to {len(MULTITHUMOS_CLASSES)}.")


def _within_video(records: Iterable[VideoRecord]) -> tuple[tuple[VideoRecord, ...], tuple[str, ...]]:
    kept, doubted, outside, cut = [], [], [], []
    for record in records:
        duration = record.duration_seconds
        beyond = [] if duration is None else [part for part in record.segments if part.end > duration]
        if not beyond:
            kept.append(record)
            continue
        if record.path is not None or decoded_lengths_follow():
            doubted += [record.video_id] * len(beyond)
            is_folder = record.path is not None and record.path.suffix.lower() not in VIDEO_SUFFIXES
            kept.append(record if is_folder else replace(record, duration_seconds=None))
            continue
        inside = [segment for segment in record.segments if segment.start < duration]
        outside += [record.video_id] * (len(record.segments) - len(inside))
        cut += [record.video_id for segment in inside if segment.end > duration]
        segments = tuple(Segment(part.label, part.start, min(part.end, duration)) for part in inside)
        kept.append(replace(record, segments=segments))
    kept_whole = "actions end after the annotated end of their video, which may be wrong: that of the file counts"
    notes = (
        *([some(kept_whole, doubted)] if doubted else []),
        *([some("actions start after their video and are left out", outside)] if outside else []),
        *([some("actions end after their video and are cut at its end", cut)] if cut else []),
    )
    return tuple(kept), notes
