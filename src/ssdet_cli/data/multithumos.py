"""MultiTHUMOS (Yeung et al., IJCV 2018): 65 classes, dense labels on the videos of THUMOS'14."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.charades import json_set
from ssdet_cli.data.flaws import UnknownClassError, kept_raw
from ssdet_cli.data.lookup import check_split, required, some

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


def load_multithumos(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read `multithumos.json`.

    The file counts classes from 1; here they count from 0. Some actions end minutes after their video: they are cut at
    its annotated end, and those that start after it are left out, with a note.

    Args:
        videos: Folder of `<id>.mp4` (mkv, avi, webm, mov) or of frame folders; None where only labels matter.
        annotations: The file, or the folder that holds it.
        split: "train" (the validation videos of THUMOS'14), "test" or "val" (both its test videos).

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: The file is missing, unreadable or contradicts itself.
    """
    check_split(split)
    path = required(annotations, "multithumos", "multithumos.json or the folder that holds it")
    path = path / "multithumos.json" if path.is_dir() else path
    found = json_set("multithumos", videos, path, split, MULTITHUMOS_CLASSES, _from_one)
    if kept_raw():
        return found
    records, notes = _within_video(found.records)
    return replace(found, records=records, notes=(*notes, *found.notes))


def _from_one(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= len(MULTITHUMOS_CLASSES):
        return value - 1
    raise UnknownClassError(f"class {value!r} is not a number from 1 to {len(MULTITHUMOS_CLASSES)}.")


def _within_video(records: Iterable[VideoRecord]) -> tuple[tuple[VideoRecord, ...], tuple[str, ...]]:
    kept, outside, cut = [], [], []
    for record in records:
        duration = record.duration_seconds
        inside = [segment for segment in record.segments if segment.start < duration]
        outside += [record.video_id] * (len(record.segments) - len(inside))
        cut += [record.video_id for segment in inside if segment.end > duration]
        segments = tuple(Segment(part.label, part.start, min(part.end, duration)) for part in inside)
        kept.append(replace(record, segments=segments))
    notes = (
        *([some("actions start after their video and are left out", outside)] if outside else []),
        *([some("actions end after their video and are cut at its end", cut)] if cut else []),
    )
    return tuple(kept), notes
