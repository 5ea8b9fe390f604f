"""Scores and segments for the tests of pictures: 0.05 everywhere, and what is asked for where something was found."""

from collections.abc import Sequence

import numpy as np

from ssdet_cli.evaluation.segments import Segment


def prediction(
    duration: float,
    classes: Sequence[str],
    spans: Sequence[tuple[int, float, float]],
    *,
    spacing: float = 0.25,
    score: float = 0.9,
) -> dict[str, object]:
    """Return scores, times, classes and segments: (class, start, end) each is one, at `score`."""
    seconds = np.arange(0, duration, spacing)
    scores = np.full((len(seconds), len(classes)), 0.05, np.float32)
    for label, start, end in spans:
        scores[(seconds >= start) & (seconds < end), label] = score
    segments = [Segment(classes[label], label, start, end, score) for label, start, end in spans]
    return {"scores": scores, "seconds": seconds, "classes": list(classes), "segments": segments}
