"""Segment mAP of per-frame scores: actions with a begin and an end, matched by temporal intersection over union.

Matching and AP are those of ActivityNet (Caba Heilbron et al., CVPR 2015) and of all segment detectors since, at tIoU
0.1 to 0.9. Networks that score frames have no segments of their own: each class is thresholded at nine levels.

Shape letters: T scored frames of a video, K classes, D detections and G annotated actions of one class.
"""

from dataclasses import dataclass

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.average_precision import mean_ap, weighted_ap
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import ByVideo, EvaluationResult, VideoSetLike, missing_videos
from ssdet_cli.evaluation.summary import described

#: Of an annotated action's and a detection's time together, the part that both hold.
OVERLAPS = np.arange(1, 10) / 10
#: Thresholds, as parts of the range of a class's scores.
LEVELS = np.arange(1, 10) / 10
#: Of two nested detections the outer one goes if it is not more than so many times as long as the inner one.
_TIMES = 2.0


@dataclass(frozen=True)
class Stretches:
    """Stretches of videos, one entry each.

    Attributes:
        videos: Number of the video.
        labels: Class index.
        starts: Seconds.
        ends: Seconds.
        scores: 0 of annotated actions.
    """

    videos: np.ndarray
    labels: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray

    def at(self, index: np.ndarray) -> "Stretches":
        """Some of them."""
        return Stretches(
            self.videos[index], self.labels[index], self.starts[index], self.ends[index], self.scores[index]
        )


class SegmentMap(FrameMap):
    """`segment-map`: the mean of mAP over tIoU 0.1 to 0.9."""

    name = "segment-map"
    #: Its AP is none of rows, so that none can be resampled.
    rows = None
    #: What a report looks at beside it.
    frame_rows = FrameMap.rows
    conventions = (
        "Detections are runs of frames above 10, 20, ... 90 % of the range of their class's scores in the set; of "
        "nested ones the outer goes unless it is more than twice as long; a detection's score is the mean of its "
        "frames. In the order of falling scores each takes the free action of its class and video with the highest "
        "tIoU that is enough. AP as in ActivityNet: precision made to fall with recall. Per class the mean over tIoU "
        "0.1 to 0.9; mAP is the mean over classes that have an action. Actions are cut at the annotated end of the "
        "video; those of missing videos count."
    )

    def score(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> EvaluationResult:
        """Score (L, K) predictions per video at its (L,) `seconds`, which are required here.

        Raises:
            DataError: No video has a prediction, one belongs to no annotated video, or a shape does not fit.
        """
        self.check(video_set, predictions, seconds)
        count = len(video_set.classes)
        actions, found = _actions(video_set), _detections(video_set, predictions, seconds)
        positives = np.bincount(actions.labels, minlength=count)
        ap = np.full((len(OVERLAPS), count), np.nan)
        for label in np.flatnonzero(positives):
            mine = found.at(np.flatnonzero(found.labels == label))
            ranked = mine.at(np.argsort(-mine.scores, kind="stable"))
            ap[:, label] = _ap(match(ranked, actions.at(np.flatnonzero(actions.labels == label))), positives[label])
        measures = {f"mAP@tIoU={overlap:.1f}": mean_ap(row) for overlap, row in zip(OVERLAPS, ap, strict=True)}
        per_class, missing = ap.mean(axis=0), missing_videos(video_set, predictions)
        return described(
            self,
            video_set,
            missing,
            ap=per_class,
            mAP=mean_ap(per_class),
            wAP=weighted_ap(per_class, positives),
            positives=positives,
            frames=sum(map(len, predictions.values())),
            missing_frames=0,
            notes=(f"{len(found.labels):,} detections against {positives.sum():,} actions.",),
            measures=measures,
        )


def _actions(video_set: VideoSetLike) -> Stretches:
    """What is annotated, as far as the video lasts; what has no length is nothing."""
    rows = []
    for number, record in enumerate(video_set.records):
        last = np.inf if record.duration_seconds is None else record.duration_seconds
        rows += [(number, part.label, part.start, min(part.end, last)) for part in record.segments]
    videos, labels, starts, ends = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    kept = np.flatnonzero(ends > starts)
    all_of_them = Stretches(videos.astype(np.int64), labels.astype(np.int64), starts, ends, np.zeros(len(starts)))
    return all_of_them.at(kept)


def _detections(video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo) -> Stretches:
    levels = _levels(predictions)
    parts = []
    for number, record in enumerate(video_set.records):
        if len(times := seconds.get(record.video_id, ())):
            apart = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
            edges = np.append(times, max(times[-1] + apart, record.duration_seconds or 0.0))
            labels, first, stop, scores = detect(predictions[record.video_id], edges, levels)
            parts.append((np.full(len(labels), number), labels, edges[first], edges[stop], scores))
    if not parts:
        raise DataError(f"None of the {len(video_set.records)} videos of {video_set.source} has a scored frame.")
    return Stretches(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _levels(predictions: ByVideo) -> np.ndarray:
    """(9, K) thresholds, from the highest down; infinite for a class whose scores are all alike."""
    scored = [np.where(np.isfinite(scores), scores, np.nan) for scores in predictions.values() if len(scores)]
    if not scored:
        return np.empty((len(LEVELS), 0))
    low, high = (keep.reduce([keep.reduce(one) for one in scored]) for keep in (np.fmin, np.fmax))
    levels = low + LEVELS[::-1, None] * (high - low)
    return np.where(high > low, levels, np.inf)


def detect(
    scores: np.ndarray, edges: np.ndarray, levels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Find runs of frames at or above any of several thresholds.

    Args:
        scores: (T, K).
        edges: (T + 1,) seconds, when each frame begins and when the last one ends.
        levels: (levels, K) thresholds, falling.

    Returns:
        Class, first frame, frame behind the last, and mean score of each.
    """
    count = len(scores)
    sums = np.concatenate((np.zeros((1, scores.shape[1])), np.cumsum(scores, axis=0, dtype=np.float64)))
    labels, first, stop = (np.empty(0, np.int64) for _ in range(3))
    for level in levels:
        above = np.zeros((scores.shape[1], count + 2), np.int8)
        above[:, 1:-1] = (scores >= level).T
        change = np.diff(above, axis=1)
        label, begin = np.nonzero(change == 1)
        end = np.nonzero(change == -1)[1]
        # Every detection so far lies in one of these runs: the longest inside decides.
        inside = np.searchsorted(label * (count + 1) + begin, labels * (count + 1) + first, "right") - 1
        longest = np.zeros(len(label))
        np.maximum.at(longest, inside, edges[stop] - edges[first])
        kept = edges[end] - edges[begin] > _TIMES * longest
        labels, first, stop = (
            np.concatenate(pair) for pair in ((labels, label[kept]), (first, begin[kept]), (stop, end[kept]))
        )
    return labels, first, stop, (sums[stop, labels] - sums[first, labels]) / np.maximum(stop - first, 1)


def match(ranked: Stretches, actions: Stretches) -> np.ndarray:
    """(9, D) bool: which detections of a class, in the order of falling scores, find an action at each overlap."""
    hits = np.zeros((len(OVERLAPS), len(ranked.videos)), dtype=bool)
    for video in np.intersect1d(ranked.videos, actions.videos):
        mine, own = np.flatnonzero(ranked.videos == video), actions.at(np.flatnonzero(actions.videos == video))
        starts, ends = ranked.starts[mine, None], ranked.ends[mine, None]
        common = np.minimum(ends, own.ends) - np.maximum(starts, own.starts)
        overlap = np.maximum(common, 0) / (np.maximum(ends, own.ends) - np.minimum(starts, own.starts))
        free = np.ones((len(OVERLAPS), len(own.starts)), dtype=bool)
        for row in np.flatnonzero(overlap.max(axis=1) >= OVERLAPS[0]):
            fitting = np.where(free & (overlap[row] >= OVERLAPS[:, None]), overlap[row], -1)
            best = fitting.argmax(axis=1)
            hit = np.flatnonzero(fitting.max(axis=1) > 0)
            free[hit, best[hit]] = False
            hits[hit, mine[row]] = True
    return hits


def _ap(hits: np.ndarray, actions: int) -> np.ndarray:
    """(9,) AP of (9, D) hits in the order of falling scores."""
    if not hits.shape[1]:
        return np.zeros(len(hits))
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (falling * hits).sum(axis=1) / actions
