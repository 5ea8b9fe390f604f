"""What a frame-labelled split holds, in numbers; everything is counted on intervals, no frame is laid out.

Shape letters: V videos, S actions, K classes. Frames are those of a grid of `frame_rate` per second: frame f shows the
time f / frame_rate, a video of d seconds has floor(d * frame_rate) of them, and an action is on where
start < f / frame_rate < end (the per-frame convention of the literature).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ssdet_cli.data.annotations import VideoRecord

#: Frames of Charades' JPEG archive, and of its per-frame literature.
FRAME_RATE = 24.0
#: Frames under which videos are counted: Coarse-Fine's authors drop what has fewer than 162, and 64 frames at stride 10
#: make a clip of 640.
_SHORT = (162, 640)
#: Frames over which they are counted: two such clips.
_LONG = (1280,)
#: Times in files have decimals that binary numbers do not hit.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Actions:
    """All actions of a split as columns, in annotation order.

    Attributes:
        num_classes: K.
        duration: (V,) seconds, NaN where it is not known.
        video: (S,) row of the video of each action.
        label: (S,) class.
        start: (S,) seconds.
        end: (S,) seconds.
    """

    num_classes: int
    duration: np.ndarray
    video: np.ndarray
    label: np.ndarray
    start: np.ndarray
    end: np.ndarray

    @classmethod
    def of(cls, records: Sequence[VideoRecord], num_classes: int) -> "Actions":
        """Take the actions of records."""
        durations = [np.nan if one.duration_seconds is None else one.duration_seconds for one in records]
        flat = [(row, one.label, one.start, one.end) for row, record in enumerate(records) for one in record.segments]
        table = np.array(flat, dtype=np.float64).reshape(-1, 4)
        return cls(
            num_classes,
            np.array(durations, dtype=np.float64),
            table[:, 0].astype(np.int64),
            table[:, 1].astype(np.int64),
            table[:, 2],
            table[:, 3],
        )

    @cached_property
    def excess(self) -> np.ndarray:
        """(S,) seconds by which an action ends after its video; negative or NaN where it does not."""
        return self.end - self.duration[self.video]

    @cached_property
    def past_end(self) -> np.ndarray:
        """(S,) bool: ends after its video."""
        return self.excess > _ROUNDING

    @cached_property
    def outside(self) -> np.ndarray:
        """(S,) bool: starts at or after the end of its video."""
        return self.start >= self.duration[self.video]

    @cached_property
    def reversed(self) -> np.ndarray:
        """(S,) bool: ends before it starts."""
        return self.end < self.start

    @cached_property
    def without_length(self) -> np.ndarray:
        """(S,) bool: ends where it starts."""
        return self.end == self.start


def overlapping_pairs(actions: Actions) -> int:
    """Count the pairs of actions of one class in one video that share time; one without length may lie in another."""
    proper, point = actions.end > actions.start, actions.without_length
    groups = actions.video * actions.num_classes + actions.label
    inside = 0
    for group, time in zip(groups[point].tolist(), actions.start[point].tolist(), strict=True):
        inside += int(((groups == group) & (actions.start < time) & (time < actions.end)).sum())
    group = groups[proper]
    # Ranks stand for times, so that one sorted key can hold group and time exactly.
    _, rank = np.unique(np.concatenate((actions.start[proper], actions.end[proper])), return_inverse=True)
    count = len(group)
    first, last = group * (2 * count + 1) + rank[:count], group * (2 * count + 1) + rank[count:]
    order = np.argsort(first, kind="stable")
    group, first = group[order], first[order]
    before = np.arange(count) - np.searchsorted(group, group)
    done = np.searchsorted(np.sort(last), first, side="right") - np.searchsorted(group, group)
    return int((before - done).sum()) + inside


def exact_duplicates(actions: Actions) -> int:
    """Count the actions that repeat another one of their video."""
    table = np.stack((actions.video, actions.label, actions.start, actions.end), axis=1)
    return len(table) - len(np.unique(table, axis=0))


@dataclass(frozen=True)
class FrameRuns:
    """Where classes are on, in frames: the actions of one class in a video united, and cut to the video.

    Attributes:
        frames: (V,) frames of each video; 0 where its duration is not known.
        video: (R,) row of the video of each run.
        label: (R,) class.
        first: (R,) first frame.
        stop: (R,) frame behind the last.
    """

    frames: np.ndarray
    video: np.ndarray
    label: np.ndarray
    first: np.ndarray
    stop: np.ndarray

    @classmethod
    def of(cls, actions: Actions, frame_rate: float = FRAME_RATE) -> "FrameRuns":
        """Lay the actions on the grid."""
        known = np.nan_to_num(actions.duration)
        frames = np.floor(known * frame_rate + _ROUNDING).astype(np.int64)
        first = np.floor(actions.start * frame_rate + _ROUNDING).astype(np.int64) + 1
        stop = np.minimum(np.ceil(actions.end * frame_rate - _ROUNDING).astype(np.int64), frames[actions.video])
        kept = stop > first
        video, label, first, stop = actions.video[kept], actions.label[kept], first[kept], stop[kept]
        order = np.lexsort((first, label, video))
        video, label, first, stop = video[order], label[order], first[order], stop[order]
        if not len(video):
            return cls(frames, video, label, first, stop)
        # Groups in different bands, so that a running maximum never reaches from one into the next.
        group = np.cumsum(np.diff(video * actions.num_classes + label, prepend=-1) != 0)
        band = group * (int(stop.max()) + 1)
        reach = np.maximum.accumulate(band + stop)
        begins = np.flatnonzero(np.concatenate(([True], band[1:] + first[1:] > reach[:-1])))
        ends = np.append(begins[1:], len(video)) - 1
        return cls(frames, video[begins], label[begins], first[begins], (reach - band)[ends])

    def labels_per_frame(self) -> np.ndarray:
        """(N,) int64: frames that carry 0, 1, 2, ... labels."""
        at = np.concatenate((self.first, self.stop))
        video = np.concatenate((self.video, self.video))
        change = np.repeat((1, -1), len(self.first))
        order = np.lexsort((at, video))
        at, video, change = at[order], video[order], change[order]
        # Every run ends, so the count is 0 again where the next video begins.
        on = np.cumsum(change)[:-1]
        length = np.where(np.diff(video) == 0, np.diff(at), 0)
        found = np.bincount(on, weights=length, minlength=1).astype(np.int64)
        found[0] = self.frames.sum() - found[1:].sum()
        return np.trim_zeros(found, "b") if found.any() else found[:1]

    def frames_of_classes(self, num_classes: int) -> np.ndarray:
        """(K,) int64: frames in which each class is on."""
        return np.bincount(self.label, weights=self.stop - self.first, minlength=num_classes).astype(np.int64)

    def together(self, num_classes: int) -> np.ndarray:
        """(K, K) int64: frames in which two classes are on at once; the diagonal is each class by itself."""
        both = np.zeros(num_classes * num_classes, dtype=np.int64)
        for begin, end in self._videos():
            label, first, stop = self.label[begin:end], self.first[begin:end], self.stop[begin:end]
            shared = np.minimum(stop[:, None], stop) - np.maximum(first[:, None], first)
            one, other = np.nonzero(shared > 0)
            np.add.at(both, label[one] * num_classes + label[other], shared[one, other])
        return both.reshape(num_classes, num_classes)

    def _videos(self) -> zip:
        edges = np.flatnonzero(np.diff(self.video, prepend=-1, append=-1))
        return zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)


def split_statistics(
    records: Sequence[VideoRecord], num_classes: int, frame_rate: float = FRAME_RATE
) -> dict[str, Any]:
    """All numbers of one frame-labelled split, plain enough for JSON.

    Args:
        records: Raw, as the annotation file has them.
        num_classes: K.
        frame_rate: Of the grid that frames are counted on.
    """
    actions = Actions.of(records, num_classes)
    runs = FrameRuns.of(actions, frame_rate)
    per_video = np.bincount(actions.video, minlength=len(records))
    pairs = np.unique(actions.video * num_classes + actions.label)
    classes_per_video = np.bincount(pairs // num_classes, minlength=len(records)) if len(pairs) else per_video
    lengths = (actions.end - actions.start)[~actions.reversed]
    return {
        "videos": len(records),
        "segments": len(actions.video),
        "videos_without_actions": int((per_video == 0).sum()),
        "segments_per_video": _summary(per_video),
        "classes_per_video_with_actions": _summary(classes_per_video[classes_per_video > 0]),
        "duration_seconds": {**_summary(actions.duration), "total_hours": float(np.nansum(actions.duration)) / 3600},
        "videos_by_frames": _by_frames(actions.duration, frame_rate),
        "segment_seconds": _summary(lengths),
        "end_after_video": {
            "segments": int(actions.past_end.sum()),
            "videos": len(np.unique(actions.video[actions.past_end])),
            "largest_seconds": float(actions.excess[actions.past_end].max(initial=0)),
            "more_than_1_second": int((actions.excess > 1 + _ROUNDING).sum()),
        },
        "end_before_start": {
            "segments": int(actions.reversed.sum()),
            "videos": len(np.unique(actions.video[actions.reversed])),
        },
        "start_after_video": int(actions.outside.sum()),
        "end_equals_start": int(actions.without_length.sum()),
        "overlapping_pairs_of_one_class": overlapping_pairs(actions),
        "exact_duplicates": exact_duplicates(actions),
        "per_frame": _per_frame(runs, num_classes, frame_rate),
        "segments_of_classes": np.bincount(actions.label, minlength=num_classes).tolist(),
        "videos_of_classes": np.bincount(pairs % num_classes, minlength=num_classes).tolist(),
        "histograms": {
            "duration_seconds": histogram(actions.duration),
            "segment_seconds": histogram(lengths[lengths > 0]),
        },
        "together_frames": runs.together(num_classes).tolist(),
    }


def weak_statistics(records: Sequence[VideoRecord], num_classes: int, seconds: Sequence[float]) -> dict[str, Any]:
    """The numbers of a split with one class for each clip; `seconds` are the lengths that are known."""
    lengths = np.array(seconds, dtype=np.float64)
    labels = np.array([record.label for record in records], dtype=np.int64)
    return {
        "videos": len(records),
        "duration_seconds": {**_summary(lengths), "total_hours": float(lengths.sum()) / 3600},
        "videos_of_classes": np.bincount(labels, minlength=num_classes).tolist(),
        "histograms": {"duration_seconds": histogram(lengths)},
    }


def histogram(values: np.ndarray, bins: int = 24) -> dict[str, list[float]]:
    """Counts between edges that grow by one factor: lengths of actions and videos lie over decades."""
    values = values[np.isfinite(values) & (values > 0)]
    if not len(values):
        return {"edges": [], "counts": []}
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, bins + 1) if high > low else np.array([low, low * 1.01])
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return {"edges": edges.tolist(), "counts": np.histogram(values, edges)[0].tolist()}


def _by_frames(duration: np.ndarray, frame_rate: float) -> dict[str, dict[str, int]]:
    """Count the videos with fewer or more frames than usual clips; a key is a number of frames, as JSON has it."""
    frames = duration[np.isfinite(duration)] * frame_rate
    return {
        "fewer_than": {str(limit): int((frames < limit - _ROUNDING).sum()) for limit in _SHORT},
        "more_than": {str(limit): int((frames > limit + _ROUNDING).sum()) for limit in _LONG},
    }


def _per_frame(runs: FrameRuns, num_classes: int, frame_rate: float) -> dict[str, Any]:
    counts = runs.labels_per_frame()
    total, labels = int(counts.sum()), int(counts @ np.arange(len(counts)))
    prevalence = runs.frames_of_classes(num_classes) / max(total, 1)
    return {
        "frame_rate": frame_rate,
        "frames": total,
        "labels_mean": labels / max(total, 1),
        "labels_mean_where_any": labels / max(total - int(counts[0]), 1),
        "labels_max": len(counts) - 1,
        "with_1_or_more": float(counts[1:].sum() / max(total, 1)),
        "with_2_or_more": float(counts[2:].sum() / max(total, 1)),
        "frames_with_labels": counts.tolist(),
        "prevalence_of_classes": prevalence.tolist(),
        "prevalence_mean": float(prevalence.mean()) if num_classes else 0.0,
        "prevalence_max": float(prevalence.max(initial=0)),
    }


def _summary(values: np.ndarray) -> dict[str, float | None]:
    values = values[np.isfinite(values)]
    if not len(values):
        return dict.fromkeys(("min", "p1", "median", "mean", "p99", "max"))
    low, one, middle, most, high = np.percentile(values, (0, 1, 50, 99, 100)).tolist()
    return {"min": low, "p1": one, "median": middle, "mean": float(values.mean()), "p99": most, "max": high}
