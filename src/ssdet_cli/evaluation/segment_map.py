"""Segment mAP of per-frame scores: actions with a begin and an end, matched by temporal intersection over union.

Matching and AP are those of ActivityNet (Caba Heilbron et al., CVPR 2015) and of all segment detectors since, at tIoU
0.1 to 0.9. Networks that score frames have no segments of their own: each class is thresholded at nine levels.

Shape letters: T scored frames of a video, K classes, D detections and G annotated actions of one class, V videos,
B draws of them.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.average_precision import weighted_ap
from ssdet_cli.evaluation.bootstrap import Advance, Draws, draw_blocks, mean_over_classes
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import ByVideo, EvaluationResult, VideoSetLike, missing_videos
from ssdet_cli.evaluation.summary import described

#: Of an annotated action's and a detection's time together, the part that both hold.
OVERLAPS = np.arange(1, 10) / 10
#: Thresholds, as parts of the range of a class's scores.
LEVELS = np.arange(1, 10) / 10
#: Of two nested detections the outer one goes if it is not more than so many times as long as the inner one.
_TIMES = 2.0
#: Between frames that are further apart, in steps from one frame to the next, there is nothing on screen.
_GAP = 1.5


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
    #: Its AP is none of rows.
    rows = None
    #: What a report looks at beside it.
    frame_rows = FrameMap.rows
    conventions = (
        "Detections are runs of frames above 10, 20, ... 90 % of the range of their class's scores in the set; of "
        "nested ones the outer goes unless it is more than twice as long; a detection's score is the mean of its "
        "frames. A frame lasts until the next one; the last, and one before a gap of more than 1.5 steps, lasts one "
        "step, though not beyond the video; a step is the median of the video. Rows without a score are in no "
        "detection. In the order of falling scores each takes the free action of its class and video with the highest "
        "tIoU that is enough. AP as in ActivityNet: precision made to fall with recall. Per class the mean over tIoU "
        "0.1 to 0.9; mAP is the mean over classes that have an action. Actions are cut at the annotated end of the "
        "video; those of missing videos count."
    )

    def score(self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None) -> EvaluationResult:
        """Score (L, K) predictions per video at its (L,) `seconds`, which are required here.

        Raises:
            DataError: No video has a prediction, one belongs to no annotated video, or a shape does not fit.
        """
        matched = self.resampling(video_set, predictions, seconds)
        once = matched.draw(np.ones((1, matched.videos), np.int32))
        per_class, positives = once.ap[0], matched.actions.sum(axis=0)
        detections = sum(len(videos) for videos, _ in matched.found.values())
        return described(
            self,
            video_set,
            missing_videos(video_set, predictions),
            ap=per_class,
            mAP=float(mean_over_classes(once.ap)[0]),
            wAP=weighted_ap(per_class, positives),
            positives=positives,
            frames=sum(map(len, predictions.values())),
            missing_frames=int(sum(np.isneginf(scores).all(axis=1).sum() for scores in predictions.values())),
            notes=(f"{detections:,} detections against {positives.sum():,} actions.",),
            measures={name: float(value[0]) for name, value in once.measures.items()},
        )

    def resampling(
        self, video_set: VideoSetLike, predictions: ByVideo, seconds: ByVideo | None = None
    ) -> "MatchResampling":
        """Detections and whether they find an action; see `score`."""
        self.check(video_set, predictions, seconds)
        per_video = np.zeros((len(video_set.records), len(video_set.classes)), np.int64)
        actions, detections = _actions(video_set), _detections(video_set, predictions, seconds)
        np.add.at(per_video, (actions.videos, actions.labels), 1)
        found = {}
        for label in range(len(video_set.classes)):
            mine = detections.at(np.flatnonzero(detections.labels == label))
            ranked = mine.at(np.argsort(-mine.scores, kind="stable"))
            found[label] = ranked.videos, match(ranked, actions.at(np.flatnonzero(actions.labels == label)))
        return MatchResampling(per_video, found)


@dataclass(frozen=True)
class MatchResampling:
    """AP of matched detections; see `bootstrap.Resampling`.

    Videos are matched one by one, so that a draw of them only changes how often detections and actions count. The
    thresholds stay those of the whole set.

    Attributes:
        actions: (V, K), annotated ones of each video; V are all videos, as actions of missing ones count.
        found: Class -> (D,) videos of its detections in the order of falling scores, and (9, D) bool of `match`.
    """

    actions: np.ndarray
    found: Mapping[int, tuple[np.ndarray, np.ndarray]]

    @property
    def videos(self) -> int:
        """All annotated videos."""
        return len(self.actions)

    @property
    def steps(self) -> int:
        """One a class."""
        return len(self.found)

    def draw(self, weights: np.ndarray, advance: Advance = lambda done: None) -> Draws:
        """AP of every class, the mean over the overlaps; `measures` are mAP at each of them."""
        actions = weights @ self.actions
        ap = np.full((len(OVERLAPS), *actions.shape), np.nan)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            ranked = zip(*self.found.values(), strict=True)
            columns = pool.map(partial(resampled_ap, weights=weights), *ranked, actions.T)
            for label, column in zip(self.found, columns, strict=True):
                ap[..., label] = column
                advance(label + 1)
        measures = {f"mAP@tIoU={at:.1f}": mean_over_classes(one) for at, one in zip(OVERLAPS, ap, strict=True)}
        return Draws(ap.mean(axis=0), measures)


def resampled_ap(videos: np.ndarray, hits: np.ndarray, actions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AP of one class at each overlap, as if each detection were repeated on the spot.

    Args:
        videos: (D,) video of each detection, in the order of falling scores.
        hits: (9, D) bool, see `match`.
        actions: (B,) annotated ones in each draw.
        weights: (B, V) int32, how often each video counts.

    Returns:
        (9, B); NaN where a draw holds no action.
    """
    total = np.zeros((len(hits), len(weights)))
    at = np.flatnonzero(hits.any(axis=0))  # precision rises nowhere else, and is asked for nowhere else
    if len(at):
        ranked, begins = videos[: at[-1] + 1], np.concatenate(([0], at[:-1] + 1))
        for part in draw_blocks(len(weights), len(ranked)):
            each = np.take(weights[part], ranked, axis=1, mode="clip")  # which checks no index: all are right
            rank = np.maximum(np.cumsum(np.add.reduceat(each, begins, axis=1), axis=1), 1)
            for level, hit in zip(total, hits[:, at], strict=True):
                own = each[:, at] * hit
                precision = np.cumsum(own, axis=1) / rank
                falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
                level[part] = (falling * own).sum(axis=1)
    return np.where(actions > 0, total / np.maximum(actions, 1), np.nan)


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
    steps = np.concatenate([np.diff(seconds[video_id]) for video_id in predictions])
    usual = float(np.median(steps)) if len(steps) else np.inf
    parts = []
    for number, record in enumerate(video_set.records):
        if len(times := seconds.get(record.video_id, ())):
            step = float(np.median(np.diff(times))) if len(times) > 1 else usual
            scores, edges = _on_screen(predictions[record.video_id], times, step, record.duration_seconds or 0.0)
            labels, first, stop, means = detect(scores, edges, levels)
            parts.append((np.full(len(labels), number), labels, edges[first], edges[stop], means))
    if not parts:
        raise DataError(f"None of the {len(video_set.records)} videos of {video_set.source} has a scored frame.")
    return Stretches(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _on_screen(scores: np.ndarray, times: np.ndarray, step: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    """Put a row without a score into every gap, and say when each row begins and ends.

    Args:
        scores: (T, K).
        times: (T,) seconds.
        step: Seconds from one row to the next; infinite where nothing tells it.
        length: Seconds of the video, 0 where that is not known.
    """
    gaps = np.flatnonzero(np.diff(times) > _GAP * step) + 1
    end = times[-1] + step
    if times[-1] < length < end or np.isinf(end):
        end = max(times[-1], length)
    edges = np.append(np.insert(times, gaps, times[gaps - 1] + step), end)
    return np.insert(scores, gaps, -np.inf, axis=0), edges


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
        scores: (T, K); what is not finite belongs to no run.
        edges: (T + 1,) seconds, when each frame begins and when the last one ends.
        levels: (levels, K) thresholds, falling.

    Returns:
        Class, first frame, frame behind the last, and mean score of each.
    """
    count, known = len(scores), np.isfinite(scores)
    finite = np.where(known, scores, 0)
    sums = np.concatenate((np.zeros((1, scores.shape[1])), np.cumsum(finite, axis=0, dtype=np.float64)))
    labels, first, stop = (np.empty(0, np.int64) for _ in range(3))
    for level in levels:
        above = np.zeros((scores.shape[1], count + 2), np.int8)
        above[:, 1:-1] = (known & (scores >= level)).T
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
