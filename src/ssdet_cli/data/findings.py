"""What `ssdet data check` can find, and how it is found in annotations, files and both together."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
#: By how much the number of a folder's frames may differ from its rate and annotation: a part of it, or frames.
_RATE_PART, _RATE_FRAMES = 0.02, 2
#: Where only the file tells the length, actions that end less than this after it were rounded.
_FILE_SLACK_SECONDS = 0.1
#: Numbers that the frames of a folder begin with.
_FIRST_NUMBERS = (0, 1)
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
    "segment-end-before-start": (
        "warning",
        "actions or clips end before they start; loading leaves such actions out and refuses such clips",
    ),
    "segment-outside-video": ("warning", "actions start after their video, or end more than 2 s after it"),
    "late-start": (
        "warning",
        "a folder of frames begins with a higher number than 1; its first frame counts as second 0",
    ),
    "duration": ("warning", "the file is longer or shorter than its annotation says"),
    "frame-rate": (
        "warning",
        "the frame rate is implausible, not known, or contradicts the annotation, as where frames are missing",
    ),
    "too-short": ("warning", "the video is shorter than a clip"),
    "split-unreadable": ("warning", "a split of the set cannot be loaded"),
    "class-never-seen": ("warning", "no video of the split shows the class"),
    "zero-length-segment": ("note", "actions end where they start"),
    "segment-past-end": ("note", "actions end up to 2 s after their video"),
    "no-actions": ("note", "nothing happens in the video; it is scored all the same"),
    "no-split": ("note", "the set has no such split"),
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


def with_file_lengths(videos: VideoSet, facts: Mapping[str, FileFacts]) -> VideoSet:
    """Fill in the lengths of the files that can be read, by absolute path, where the annotations tell none."""

    def told(record: VideoRecord) -> VideoRecord:
        if record.duration_seconds is not None or record.path is None:
            return record
        file = facts.get(os.path.abspath(record.path))
        return (
            record if file is None or file.code or not file.seconds else replace(record, duration_seconds=file.seconds)
        )

    return replace(videos, records=tuple(map(told, videos.records)))


def of_annotations(split: str, videos: VideoSet, annotated: VideoSet | None = None) -> Iterator[Finding]:
    """What the annotations of a frame-labelled split say against themselves.

    Args:
        split: Name.
        videos: With the lengths of the files where the annotations tell none.
        annotated: As the annotations have them, which tells the two apart; None is `videos`.
    """
    actions = Actions.of(videos.records, len(videos.classes))
    by_file = np.array([record.duration_seconds is None for record in (annotated or videos).records], dtype=bool)
    gross = actions.outside | (actions.excess > SLACK_SECONDS)
    past_end = actions.past_end & ~(by_file[actions.video] & (actions.excess <= _FILE_SLACK_SECONDS))
    for code, chosen in (
        ("segment-end-before-start", actions.reversed),
        ("zero-length-segment", actions.without_length),
        ("segment-outside-video", gross & ~actions.reversed),
        ("segment-past-end", past_end & ~gross & ~actions.reversed),
    ):
        yield from _by_video(code, split, videos, actions, np.flatnonzero(chosen), by_file)
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


def _by_video(
    code: str, split: str, videos: VideoSet, actions: Actions, rows: np.ndarray, by_file: np.ndarray
) -> Iterator[Finding]:
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
        of = f" of a {'file' if by_file[video] else 'video'} of {round(length, 3):g} s" if length is not None else ""
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
    usual_rate = frame_rate or _usual_rate(records, facts)
    for record in records:
        if record.path is None:
            yield Finding("missing", split, record.video_id, "no file in the video folder")
            continue
        file = facts.get(os.path.abspath(record.path))
        if file is None:
            continue
        if not file.content and not file.code:
            for code, detail in _of_folder(record, file, frame_rate, usual_rate):
                yield Finding(code, split, record.video_id, detail, file.path)
        for code, detail in _of_file(record, file, limits):
            yield Finding(code, split, record.video_id, detail, file.path)


def _usual_rate(records: Sequence[VideoRecord], facts: Mapping[str, FileFacts]) -> float:
    """The median of frames over annotated seconds of the folders of frames; 0 where there are fewer than three."""
    rates = []
    for record in records:
        file = facts.get(os.path.abspath(record.path)) if record.path is not None and record.duration_seconds else None
        if file is not None and not file.content and not file.code:
            rates.append(file.frames / record.duration_seconds)
    return float(np.median(rates)) if len(rates) > 2 else 0.0


def _of_folder(
    record: VideoRecord, file: FileFacts, frame_rate: float | None, usual_rate: float
) -> Iterator[tuple[str, str]]:
    """What the numbers of a folder's frames say against its annotation; `usual_rate` is given, or that of the set."""
    if file.first_number > max(_FIRST_NUMBERS):
        yield "late-start", f"its first frame has the number {file.first_number}, {file.frames} are there"
    annotated = record.duration_seconds
    if not annotated:
        if not frame_rate:
            yield "frame-rate", "a folder of frames says no rate itself; give data.frame_rate=X"
        return
    due = usual_rate * annotated
    if usual_rate and abs(file.frames - due) > max(_RATE_PART * due, _RATE_FRAMES):
        told = f"data.frame_rate={frame_rate:g}" if frame_rate else f"its set has {usual_rate:.4g}/s"
        lacking = f": another rate, or {round(due) - file.frames} frames are missing" if file.frames < due else ""
        yield (
            "frame-rate",
            f"{file.frames} frames in {annotated:g} s are {file.frames / annotated:.4g}/s, and {told}{lacking}",
        )


def _of_file(record: VideoRecord, file: FileFacts, limits: Limits) -> Iterator[tuple[str, str]]:
    if file.code:
        yield file.code, file.detail
        return
    annotated, is_folder = record.duration_seconds, not file.content
    if not is_folder and not _PLAUSIBLE_RATES[0] <= file.frame_rate <= _PLAUSIBLE_RATES[1]:
        yield "frame-rate", f"{file.frame_rate:g} frames per second"
    elif not is_folder and file.seconds and annotated:
        if abs(file.seconds - annotated) > max(_LENGTH_SECONDS, _LENGTH_PART * annotated):
            yield "duration", f"the file has {file.seconds:.2f} s, its annotation {annotated:.2f} s"
    end = file.seconds if record.end_seconds is None else min(record.end_seconds, file.seconds or record.end_seconds)
    used = max(0.0, end - record.start_seconds)
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
    for split, videos in sorted(splits.items(), key=lambda item: ("test", "val", "train").index(item[0])):
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
