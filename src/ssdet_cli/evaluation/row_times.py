"""Rows that a file of lines leaves out, as far as the times of those that it holds tell.

Shape letters: L rows of a video.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import ByVideo, RecordLike

#: Rows that are further apart than so many steps have others between them.
GAP = 1.5
#: Where a protocol does not say when the first row is, one that comes later than so many steps has others before it.
#: Files that count frames from 1 begin at one step.
_LATE = 1.25
#: Annotated lengths and decoded videos differ: behind the last row there are others where it ends so much earlier.
END_SECONDS = 0.5
#: Of every so many rows one may be left in a whole file.
_MOST_THINNED = 4
#: What part of the videos decides about the file.
_MOST = 0.9
#: Parts of a step that times may be off by.
_NEAR = 0.1
#: Videos of fewer frames a second are rare.
_RARE_RATE = 20.0
#: A row that is so many seconds (and a step) behind the annotated end of its video is told.
BEYOND = 1.0
#: Times that go so many times beyond the annotated length are in no seconds.
_OTHER_UNIT = 1.5
#: Rows of a video in charades-localize.
_POINTS = 25


@dataclass(frozen=True)
class AbsentRows:
    """What a file leaves out of the videos that it holds.

    Attributes:
        counts: Video id -> rows; videos that lack none are absent.
        notes: Sentences on them, and on what cannot be known.
    """

    counts: Mapping[str, int]
    notes: tuple[str, ...] = ()


def refuse_frame_numbers(path: Path, records: Sequence[RecordLike], seconds: ByVideo) -> None:
    """See that times are seconds, as far as the annotated lengths tell.

    Args:
        path: The file, for messages.
        records: Annotated videos that it holds.
        seconds: Video id -> (L,) rising times, L at least 1.

    Raises:
        DataError: They are the numbers 1 to 25 (or 0 to 24) of charades-localize, some of which may be missing; or
            those of half of the videos go far beyond the annotated length, as numbers of frames and milliseconds do.
    """
    ends = {one.video_id: float(seconds[one.video_id][-1]) for one in records}
    lengths = {one.video_id: one.duration_seconds for one in records if one.duration_seconds}
    held = np.unique(np.concatenate([seconds[video_id] for video_id in ends])) if ends else np.zeros(0)
    whole = all(len(seconds[video_id]) == _POINTS for video_id in ends)
    # Rows a second apart end with their video; those of a file that lacks some are told from them by that.
    elsewhere = _most(abs(length - ends[video_id]) > GAP for video_id, length in lengths.items())
    for counted, first in (("1 to 25", 1), ("0 to 24", 0)):
        among = np.isin(held, np.arange(first, first + _POINTS)).all()
        if among and (whole or elsewhere) and 2 * len(held) > _POINTS:
            raise DataError(
                f"{path}: the rows of every video are among {counted}, so these are the frame numbers of "
                "charades-localize and no seconds; score it with --protocol charades-localize."
            )
    far = [video_id for video_id, length in lengths.items() if ends[video_id] > _OTHER_UNIT * length + BEYOND]
    if _most(video_id in far for video_id in lengths):
        raise DataError(
            f"{path}: a row of '{far[0]}' is at {ends[far[0]]:g}, and the video lasts {lengths[far[0]]:g} s; so it is "
            f"with {len(far):,} of {len(lengths):,} videos. Times are seconds, not numbers of frames or milliseconds."
        )


def _most(said: Iterable[bool]) -> bool:
    every = list(said)
    return bool(every) and 2 * sum(every) >= len(every)


def rows_beyond(path: Path, records: Sequence[RecordLike], seconds: ByVideo) -> tuple[str, ...]:
    """A sentence on rows that lie behind the annotated end of their video; see `refuse_frame_numbers`."""
    count: dict[str, int] = {}
    for record in records:
        times = seconds[record.video_id]
        if not record.duration_seconds or times[-1] <= record.duration_seconds + BEYOND:
            continue
        slack = max(BEYOND, median_step(times) or 0.0)
        if behind := int(np.count_nonzero(times > record.duration_seconds + slack)):
            count[record.video_id] = behind
    if not count:
        return ()
    first = next(record for record in records if record.video_id in count)
    return (
        f"{path.name}: {sum(count.values()):,} rows of {len(count):,} videos lie more than {BEYOND:g} s (and a step) "
        f"behind the annotated end of their video; the first: '{first.video_id}', {count[first.video_id]:,} rows up to "
        f"{seconds[first.video_id][-1]:.1f} s, of {first.duration_seconds:.1f} s.",
    )


def median_step(times: np.ndarray) -> float | None:
    """Time from one row of (L,) to the next; None of a single row.

    It is the median, of the shorter ones where a fifth or more are much shorter: there many rows are missing.
    """
    if len(times) < 2:
        return None
    steps = np.diff(times)
    step = _lower_median(steps)
    short = steps[steps <= 0.6 * step]
    return _lower_median(short) if len(short) >= 0.2 * len(steps) else step


def grid_step(times: np.ndarray) -> float | None:
    """Step of a grid on which (L,) times lie, some of its places left out; None of a single row."""
    if len(times) < 2:
        return None
    steps = np.diff(times)
    places = np.rint(steps / steps.min()).sum()
    return float((times[-1] - times[0]) / places)


def _lower_median(values: np.ndarray) -> float:
    """One of the values, where the mean of two would be none."""
    return float(np.sort(values)[(len(values) - 1) // 2])


def thinned(starts: np.ndarray) -> int:
    """Of how many rows one is left in a whole file, from the (V,) times of first rows in steps of their videos.

    A file of which every n-th line is kept begins some videos at 0 and others between two steps. Where all begin alike
    it is not seen, and 1.
    """
    for count in range(1, _MOST_THINNED + 1):
        if np.mean(_on_grid(starts * count)) >= _MOST:
            begun = (starts < _NEAR).any()
            return count if count == 1 or begun else 1
    return 1


def _on_grid(values: np.ndarray) -> np.ndarray:
    return np.abs(values - np.rint(values)) <= _NEAR


def thinned_ends(lengths: np.ndarray) -> int | None:
    """The same from the (V,) annotated lengths in steps, where a protocol spreads its rows over the whole length.

    Returns:
        None where the lengths fit none.
    """
    counts = (count for count in range(1, _MOST_THINNED + 1) if np.mean(_on_grid(lengths * count)) >= _MOST)
    return next(counts, None)


def absent_rows(
    path: Path,
    records: Sequence[RecordLike],
    seconds: ByVideo,
    steps: Mapping[str, float],
    *,
    late: float = _LATE,
    end_seconds: float = END_SECONDS,
    single: float = 1.5,
) -> AbsentRows:
    """Count the rows that are missing before, between and behind those that a file holds.

    Args:
        path: The file, for the notes.
        records: Annotated videos.
        seconds: Video id -> (L,) rising times, L at least 1.
        steps: Video id -> time from one row to the next; a video that is not there is taken to have the usual one.
        late: Steps from 0 to a first row that is late.
        end_seconds: From where a row should end to the annotated length.
        single: Usual steps that a video of a single row may last.
    """
    usual = _lower_median(np.array(list(steps.values()))) if steps else None
    held = [record for record in records if record.video_id in seconds]
    places = np.zeros((len(held), 3), np.int64)
    for place, record in zip(places, held, strict=True):
        step = steps.get(record.video_id, usual)
        if step is not None:
            over = single if record.video_id not in steps else 1.5
            last = max(over * step, step + end_seconds)
            place[:] = _missing(seconds[record.video_id], step, record.duration_seconds, late, last)
    counts = {
        record.video_id: int(count) for record, count in zip(held, places.sum(axis=1).tolist(), strict=True) if count
    }
    notes = []
    if counts:
        first = next(iter(counts))
        before, between, behind = places.sum(axis=0).tolist()
        notes.append(
            f"{path.name} leaves out {before + between + behind:,} rows of {len(counts):,} of {len(held):,} videos: "
            f"{before:,} before the first row of a video, {between:,} between two and {behind:,} behind the last, up "
            f"to the annotated length. They are in no ranking, and the score is over the others; the first: '{first}' "
            f"({counts[first]:,} rows)."
        )
    endless = sum(record.duration_seconds is None for record in held)
    if endless:
        notes.append(
            f"{path.name}: {endless:,} of {len(held):,} videos have no annotated length, so that rows behind their "
            "last one cannot be missed."
        )
    if usual is None and (alone := [one for one in held if (one.duration_seconds or 0) > end_seconds]):
        notes.append(
            f"{path.name} holds a single row of every video, which does not tell how many are missing; the first: "
            f"'{alone[0].video_id}', which lasts {alone[0].duration_seconds:g} s."
        )
    return AbsentRows(counts, tuple(notes))


def _missing(times: np.ndarray, step: float, length: float | None, late: float, last: float) -> tuple[int, int, int]:
    """Rows before, between and behind those of a video, whose last row ends at most `last` seconds after it begins."""
    before = round(times[0] / step) if times[0] > late * step else 0
    gaps = np.diff(times) / step
    between = int((np.rint(gaps[gaps > GAP]) - 1).sum())
    rest = (length or 0) - times[-1]
    behind = round(rest / step) - 1 if rest > last else 0
    return before, between, behind


def rare_rates(path: Path, steps: Mapping[str, float]) -> tuple[str, ...]:
    """Sentences where every frame is a row, and the rows are suspiciously far apart."""
    if not steps:
        return ()
    every = np.array(list(steps.values()))
    usual = _lower_median(every)
    if usual > 1 / _RARE_RATE:
        return (
            f"{path.name}: rows are {usual:.3g} s apart, which are all frames of videos of {1 / usual:.3g} frames per "
            "second; if theirs have more, rows are missing, which the file does not tell.",
        )
    parts = every / usual
    odd = (parts > GAP) & (np.abs(parts - np.rint(parts)) < 0.02)
    if not odd.any() or np.mean(np.abs(parts - 1) < 0.02) < 0.5:
        return ()
    first = list(steps)[int(odd.argmax())]
    return (
        f"{path.name}: rows of {odd.sum():,} videos are two or more times as far apart as those of most, the first: "
        f"'{first}' ({steps[first]:.3g} s against {usual:.3g} s). They have fewer frames per second, or rows are "
        "missing, which the file does not tell.",
    )
