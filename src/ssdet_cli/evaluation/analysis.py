"""What is behind a score: curves, calibration, what goes on together, kinds of errors, the best and worst videos.

`docs/evaluation.md` defines every number of it. Shape letters: N rows, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssdet_cli.evaluation.curves import Calibration, Curve, Curves, look_at
from ssdet_cli.evaluation.error_types import error_types
from ssdet_cli.evaluation.interface import VideoSetLike
from ssdet_cli.evaluation.relations import Relations, relations_of_names
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.evaluation.together import together
from ssdet_cli.evaluation.video_ranking import best_and_worst

_DIGITS = 5


@dataclass(frozen=True)
class Training:
    """How much each class was trained on.

    Attributes:
        frames: Of each class.
        unit: What is counted.
        of: Which videos.
    """

    frames: tuple[int, ...]
    unit: str
    of: str


@dataclass(frozen=True)
class Analysis:
    """See the module; what a protocol's rows do not give is None, and `notes` say why.

    Attributes:
        classes: K names.
        per_class_AP: Of the result; None where a class has none.
        training: Of the classes.
        curves: Precision against recall, and calibration.
        together: See `together.together`.
        errors: See `error_types.error_types`.
        videos: See `video_ranking.best_and_worst`.
        notes: Sentences on what is not there.
    """

    classes: tuple[str, ...]
    per_class_AP: tuple[float | None, ...]
    training: Training | None
    curves: Curves = Curves((), None, None)
    together: dict[str, Any] | None = None
    errors: dict[str, Any] | None = None
    videos: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def to_plain(self, *, timelines: bool = False) -> dict[str, Any]:
        """Return lists, numbers and text for JSON; with what the drawings of the videos show, or without."""
        return {
            "notes": list(self.notes),
            "training": None if self.training is None else self._training(),
            "precision_recall": {
                "common": _plain_curve(self.curves.common),
                "per_class": [_plain_curve(curve) for curve in self.curves.per_class],
            },
            "calibration": _plain_calibration(self.curves.calibration),
            "together": self.together,
            "errors": self.errors,
            "videos": self.videos if timelines or self.videos is None else _without_timelines(self.videos),
        }

    def _training(self) -> dict[str, Any]:
        told = self.training
        return {
            "frames": list(told.frames),
            "unit": told.unit,
            "of": told.of,
            "rank_correlation": rank_correlation(told.frames, self.per_class_AP),
        }


def analyse(
    rows: Rows | None,
    video_set: VideoSetLike,
    per_class_AP: Sequence[float | None],
    *,
    training: Training | None = None,
    relations: Relations | None = None,
    notes: tuple[str, ...] = (),
) -> Analysis:
    """Look behind a score.

    Args:
        rows: What was ranked; None where nothing was.
        video_set: The annotations that it was ranked against.
        per_class_AP: Of the result.
        training: What the classes were trained on, if known.
        relations: What classes share; None compares the words of their names.
        notes: Sentences that belong to it.
    """
    known = {"classes": tuple(video_set.classes), "per_class_AP": tuple(per_class_AP), "training": training}
    if rows is None or not len(rows.scores):
        return Analysis(**known, notes=(*notes, "The protocol ranks no rows, so that there is nothing else to show."))
    curves = look_at(rows.scores, rows.targets)
    thresholds = class_thresholds(curves.per_class)
    segments = {record.video_id: record.segments for record in video_set.records}
    errors = error_types(rows, segments, thresholds, relations or relations_of_names(video_set.classes))
    said = list(notes)
    if curves.common is None:
        said.append("No class has a positive row: there are no curves, thresholds and errors.")
    elif rows.seconds is None:
        said.append("A row is no moment of a video: kinds of errors over time and timelines are not shown.")
    if curves.calibration is None:
        said.append("The scores are no probabilities (not all are between 0 and 1): calibration is not shown.")
    return Analysis(
        **known,
        curves=curves,
        together=together(rows.scores, rows.targets, thresholds),
        errors=errors,
        videos=best_and_worst(rows, segments, thresholds),
        notes=tuple(said),
    )


def class_thresholds(curves: Sequence[Curve | None]) -> np.ndarray:
    """(K,) scores from which on as many rows are found as have the action; +inf for a class without any.

    The threshold of the highest F1 would find a class that cannot be told in nearly every row, and its errors would be
    all that is seen.
    """
    return np.array([np.inf if curve is None or curve.even is None else curve.even for curve in curves])


def rank_correlation(one: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """Spearman's: Pearson's correlation of ranks, equal values at the mean of theirs; None below 3 pairs or if all are
    equal. Pairs that lack a number are left out.
    """
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    if len(pairs) < 3:
        return None
    ranks = [_ranks(np.array(values, np.float64)) for values in zip(*pairs, strict=True)]
    if any(np.ptp(values) == 0 for values in ranks):
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def _numbers(values: np.ndarray) -> list[float | None]:
    return [round(value, _DIGITS) if np.isfinite(value) else None for value in np.asarray(values, np.float64).tolist()]


def _plain_curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    best = curve.best
    return {
        "recall": _numbers(curve.recall),
        "precision": _numbers(curve.precision),
        "best_F1": None if best is None else round(float(curve.f1[best]), _DIGITS),
        "best_point": best,
        "threshold": curve.even if curve.even is not None and np.isfinite(curve.even) else None,
    }


def _plain_calibration(found: Calibration | None) -> dict[str, Any] | None:
    return found and {
        "expected_error": round(found.error, _DIGITS),
        "counts": found.counts.tolist(),
        "mean_score": _numbers(found.mean_score),
        "positive": _numbers(found.positive),
    }


def _without_timelines(videos: dict[str, Any]) -> dict[str, Any]:
    short = {end: [{key: one[key] for key in ("video", "AP")} for one in videos[end]] for end in ("best", "worst")}
    return {**videos, **short}
