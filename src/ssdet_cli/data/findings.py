"""What `ssdet data check` can find, and how it is found in annotations, files and both together."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.flaws import Flaw
from ssdet_cli.data.statistics import Actions
from ssdet_cli.video.inspection import FileFacts

#: error: the file or line cannot be used. warning: labels or splits are doubtful. note: worth knowing.
Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

#: Actions of Charades end up to 1.54 s after their videos; what ends later than this is a mistake.
SLACK_SECONDS = 2.0
#: By how much the length of a file may differ from its annotation: seconds, or a part of it.
_LENGTH_SECONDS, _LENGTH_PART = 1.0, 0.02
_RATE_PART = 0.02
#: Rates outside are time-lapses, or headers that lie.
_PLAUSIBLE_RATES = (5.0, 121.0)

#: Code -> (severity, meaning), the worst first.
CODES: dict[str, tuple[Severity, str]] = {
    "missing": ("error", "an annotated video has no file"),
    "empty": ("error", "a file of 0 bytes, or a folder without frames"),
    "unreadable": ("error", "no frame can be decoded"),
    "truncated": ("error", "the end of the file is missing"),
    "damaged": ("error", "some frames can be decoded and others cannot"),
    "missing-frames": ("error", "a folder of frames has gaps in its numbers"),
    "crash": ("error", "the decoder died over the file"),
    "timeout": ("error", "the decoder did not come to an end with the file"),
    "out-of-memory": ("error", "the decoder asked for more memory than the limit"),
    "bad-annotation": ("error", "a line, video or action of the annotations cannot be read"),
    "unknown-class": ("error", "an action has a class that the set does not have"),
    "duplicate-across-splits": ("warning", "one video is in two splits"),
    "duplicate-within-split": ("warning", "one video is there twice"),
    "segment-end-before-start": ("warning", "actions end before they start; loading leaves them out"),
    "segment-outside-video": ("warning", "actions start after their video, or end more than 2 s after it"),
    "duration": ("warning", "the file is longer or shorter than its annotation says"),
    "frame-rate": ("warning", "the frame rate is implausible, not known, or contradicts the annotation"),
    "too-short": ("warning", "the video is shorter than a clip"),
    "split-unreadable": ("warning", "a split of the set cannot be loaded"),
    "class-never-seen": ("warning", "no video of the split shows the class"),
    "zero-length-segment": ("note", "actions end where they start"),
    "segment-past-end": ("note", "actions end up to 2 s after their video"),
    "no-actions": ("note", "nothing happens in the video; it is scored all the same"),
    "variable-frame-rate": ("note", "frames do not come at even times; they are labelled by their own times"),
    "no-index": ("note", "the header does not count the frames, so that opening reads the whole file"),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one video, class or line.

    Attributes:
        code: Of `CODES`.
        split: Where; several are joined by "+".
        subject: Video id, or name of a class.
        detail: In words.
        path: The file, where it is about one.
        count: Actions or lines that are meant.
    """

    code: str
    split: str
    subject: str
    detail: str
    path: str = ""
    count: int = 1

    @property
    def severity(self) -> Severity:
        """Of its code."""
        return CODES[self.code][0]

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"severity": self.severity, **asdict(self)}


@dataclass(frozen=True)
class Limits:
    """What counts as too short; 0 is no limit."""

    frames: int = 0
    seconds: float = 0.0


def of_flaws(split: str, flaws: Iterable[Flaw]) -> list[Finding]:
    """What loading met and left out."""
    return [Finding(flaw.code, split, flaw.video_id, flaw.message) for flaw in flaws]


def of_annotations(split: str, videos: VideoSet) -> Iterator[Finding]:
    """What the annotations of a frame-labelled split say against themselves."""
    actions = Actions.of(videos.records, len(videos.classes))
    gross = actions.outside | (actions.excess > SLACK_SECONDS)
    for code, chosen in (
        ("segment-end-before-start", actions.reversed),
        ("zero-length-segment", actions.without_length),
        ("segment-outside-video", gross & ~actions.reversed),
        ("segment-past-end", actions.past_end & ~gross & ~actions.reversed),
    ):
        yield from _by_video(code, split, videos, actions, np.flatnonzero(chosen))
    for row in np.flatnonzero(np.bincount(actions.video, minlength=len(videos)) == 0).tolist():
        yield Finding("no-actions", split, videos.records[row].video_id, "no actions")
    usable = ~actions.reversed & ~actions.outside
    yield from _unseen(split, videos, np.bincount(actions.label[usable], minlength=len(videos.classes)))


def of_weak_labels(split: str, videos: VideoSet) -> Iterator[Finding]:
    """Classes without a clip."""
    labels = [record.label for record in videos.records]
    yield from _unseen(split, videos, np.bincount(labels, minlength=len(videos.classes)))


def _unseen(split: str, videos: VideoSet, counts: np.ndarray) -> Iterator[Finding]:
    for label in np.flatnonzero(counts == 0).tolist():
        yield Finding("class-never-seen", split, videos.classes[label], f"class {label} has no example")


def _by_video(code: str, split: str, videos: VideoSet, actions: Actions, rows: np.ndarray) -> Iterator[Finding]:
    """One finding for each video, with the action that is the furthest off."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in rows.tolist():
        found[int(actions.video[row])].append(row)
    for video, own in found.items():
        record = videos.records[video]
        worst = max(own, key=lambda row: actions.end[row] if code != "segment-end-before-start" else actions.start[row])
        name = videos.classes[actions.label[worst]]
        times = f"{actions.start[worst]:g} to {actions.end[worst]:g} s"
        length = record.duration_seconds
        of = f" of a video of {length:g} s" if length is not None else ""
        more = f", and {len(own) - 1} more" if len(own) > 1 else ""
        yield Finding(code, split, record.video_id, f"{name}, {times}{of}{more}", str(record.path or ""), len(own))


def of_files(
    split: str,
    records: Sequence[VideoRecord],
    facts: Mapping[str, FileFacts],
    limits: Limits,
    frame_rate: float | None,
) -> Iterator[Finding]:
    """What is wrong with the files, and where they contradict the annotations.

    Args:
        split: Name.
        records: Of the split.
        facts: By absolute path.
        limits: What is too short.
        frame_rate: Of folders of frames, as it was given.
    """
    for record in records:
        if record.path is None:
            yield Finding("missing", split, record.video_id, "no file in the video folder")
            continue
        file = facts.get(os.path.abspath(record.path))
        if file is None:
            continue
        for code, detail in _of_file(record, file, limits, frame_rate):
            yield Finding(code, split, record.video_id, detail, file.path)


def _of_file(
    record: VideoRecord, file: FileFacts, limits: Limits, frame_rate: float | None
) -> Iterator[tuple[str, str]]:
    if file.code:
        yield file.code, file.detail
        return
    annotated, is_folder = record.duration_seconds, not file.content
    if is_folder and not frame_rate and not annotated:
        yield "frame-rate", "a folder of frames says no rate itself; give data.frame_rate=X"
    if is_folder and annotated and frame_rate and abs(file.frames / annotated - frame_rate) > _RATE_PART * frame_rate:
        seen = file.frames / annotated
        yield (
            "frame-rate",
            f"{file.frames} frames in {annotated:g} s are {seen:.4g}/s, and data.frame_rate={frame_rate:g}",
        )
    elif not is_folder and not _PLAUSIBLE_RATES[0] <= file.frame_rate <= _PLAUSIBLE_RATES[1]:
        yield "frame-rate", f"{file.frame_rate:g} frames per second"
    elif file.seconds and annotated:
        if abs(file.seconds - annotated) > max(_LENGTH_SECONDS, _LENGTH_PART * annotated):
            yield "duration", f"the file has {file.seconds:.2f} s, its annotation {annotated:.2f} s"
    used = (record.end_seconds or file.seconds) - record.start_seconds
    if file.seconds and record.start_seconds >= file.seconds:
        yield "segment-outside-video", f"the clip starts at {record.start_seconds:g} s of {file.seconds:.2f} s"
    elif file.seconds and (record.end_seconds or 0) > file.seconds:
        excess = record.end_seconds - file.seconds
        code = "segment-past-end" if excess <= SLACK_SECONDS else "segment-outside-video"
        yield code, f"the clip ends at {record.end_seconds:g} s of {file.seconds:.2f} s"
    frames = round(used * file.frame_rate) if file.frame_rate else file.frames
    if frames < limits.frames:
        yield "too-short", f"{frames} frames, a clip takes {limits.frames}"
    elif file.seconds and used < limits.seconds:
        yield "too-short", f"{used:.2f} s, at least {limits.seconds:g} s are asked for"
    if file.variable_rate:
        yield "variable-frame-rate", f"{file.frame_rate:.4g} frames per second on average"
    if file.counted:
        yield "no-index", f"{file.frames} frames were counted"


def duplicates(splits: Mapping[str, VideoSet], facts: Mapping[str, FileFacts]) -> Iterator[Finding]:
    """Videos that are there twice: by id across splits, by file, and by what is in the file."""
    ids: dict[str, list[str]] = defaultdict(list)
    uses: dict[str, list[tuple[str, VideoRecord]]] = defaultdict(list)
    # Training last: of two it is the training video that may go, a benchmark's test split must stay whole.
    for split, videos in sorted(splits.items(), key=lambda item: item[0] == "train"):
        for record in videos.records:
            ids[record.video_id].append(split)
            if record.path is not None:
                path = os.path.abspath(record.path)
                file = facts.get(path)
                uses[file.content if file is not None and file.content else path].append((split, record))
    for video_id, where in ids.items():
        if len(set(where)) > 1:
            yield Finding("duplicate-across-splits", "+".join(dict.fromkeys(where)), video_id, "the same id")
    for users in uses.values():
        if len(users) > 1:
            yield from _same_content(users)


def _same_content(users: list[tuple[str, VideoRecord]]) -> Iterator[Finding]:
    """Several clips of one file are no duplicates while they share no time."""
    first: list[tuple[str, VideoRecord]] = []
    for split, record in users:
        twin = next(((other, one) for other, one in first if _share_time(record, one)), None)
        first.append((split, record))
        if twin is None or (twin[1].video_id == record.video_id and twin[0] != split):  # told by its id already
            continue
        across = twin[0] != split
        code = "duplicate-across-splits" if across else "duplicate-within-split"
        same = "the same file" if twin[1].path == record.path else "the same content"
        where = f"{twin[0]}+{split}" if across else split
        yield Finding(code, where, record.video_id, f"{same} as {twin[1].video_id} ({twin[0]})", str(record.path))


def _share_time(one: VideoRecord, other: VideoRecord) -> bool:
    if one.path != other.path:
        return True
    ends = [float("inf") if record.end_seconds is None else record.end_seconds for record in (one, other)]
    return one.start_seconds < ends[1] and other.start_seconds < ends[0]
