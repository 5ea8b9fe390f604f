"""The files of a prediction."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssdet_cli.data.inputs import Source
from ssdet_cli.evaluation.score_rows import ScoreRows
from ssdet_cli.evaluation.segment_files import csv_text, json_text, srt_text, vtt_text
from ssdet_cli.evaluation.segments import Segment
from ssdet_cli.files import write_atomically
from ssdet_cli.recipes.scanner import Part


@dataclass(frozen=True)
class Found:
    """What was found in one video.

    Attributes:
        name: Of the video.
        location: Where it is.
        checkpoint: What found it.
        scores: (T, K) float32, perhaps mapped from a file.
        times: (T,) float64, likewise.
        duration: When what was seen ends, seconds.
        thresholds: (K,).
        segments: By start.
        classes: K names.
    """

    name: str
    location: str
    checkpoint: str
    scores: np.ndarray
    times: np.ndarray
    duration: float
    thresholds: np.ndarray
    segments: Sequence[Segment]
    classes: Sequence[str]

    @property
    def stem(self) -> str:
        """Name of files of this video."""
        return Path(self.name).name


def write_files(place: Path, rows: ScoreRows, found: Found) -> None:
    """Write `segments.json`, `segments.csv`, `scores.npz` and subtitles as `.srt` and `.vtt`."""
    facts = {
        "video": found.location,
        "checkpoint": found.checkpoint,
        "duration": round(found.duration, 3),
        "frames": len(found.times),
        "classes": list(found.classes),
        "thresholds": found.thresholds.tolist(),
    }
    write_atomically(place / "segments.json", json_text(found.segments, facts))
    write_atomically(place / "segments.csv", csv_text(found.segments))
    write_atomically(place / f"{found.stem}.srt", srt_text(found.segments))
    write_atomically(place / f"{found.stem}.vtt", vtt_text(found.segments))
    rows.write_npz(place / "scores.npz")


def write_pictures(
    place: Path, source: Source, found: Found, part: Part, top_k: int | None, *, overlay: bool
) -> tuple[str, ...]:
    """Write the timeline and, of a video file, the overlay and the page; returns what there is to say about it."""
    from ssdet_cli.viz.timeline import write_timeline

    shown = {"scores": found.scores, "seconds": found.times, "classes": list(found.classes), "segments": found.segments}
    whole = {**shown, "duration": found.duration, "title": found.stem, "top_k": top_k or 10}
    write_timeline(place / f"{found.stem}.png", **whole)
    if source.file is None:
        return (f"{source.location} is no video file, so there is no overlay and no page of it.",)
    from ssdet_cli.viz.player import write_player

    write_player(place / f"{found.stem}.html", video=source.file, **whole)
    if overlay:
        from ssdet_cli.viz.overlay import write_overlay

        inside = {"start": part.start, "end": part.end, "top_k": top_k or 5}
        write_overlay(place / f"{found.stem}.overlay.mp4", source.file, **shown, **inside)
    return ()
