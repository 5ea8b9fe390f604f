"""The files of a prediction."""

import json
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
from ssdet_cli.video.stream import goes_on


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
        thresholds_from: Where those come from, see `Prediction`.
        segments: By start; their `class_index` is a column of the scores.
        classes: K names.
        partial: Somebody interrupted it before the video was over.
    """

    name: str
    location: str
    checkpoint: str
    scores: np.ndarray
    times: np.ndarray
    duration: float
    thresholds: np.ndarray
    thresholds_from: str
    segments: Sequence[Segment]
    classes: Sequence[str]
    partial: bool = False

    @property
    def stem(self) -> str:
        """Name of files of this video."""
        return Path(self.name).name


def write_files(place: Path, rows: ScoreRows, found: Found, segments: Sequence[Segment]) -> None:
    """Write `segments.json`, `segments.csv`, `scores.npz` and subtitles as `.srt` and `.vtt`.

    `segments` are those that were found, with their index among all classes of the checkpoint.
    """
    facts = {
        "name": found.stem,
        "video": found.location,
        "checkpoint": found.checkpoint,
        "duration": round(found.duration, 3),
        "partial": found.partial,
        "frames": len(found.times),
        "classes": list(found.classes),
        "thresholds": found.thresholds.tolist(),
        "thresholds_from": found.thresholds_from,
    }
    write_atomically(place / "segments.json", json_text(segments, facts))
    write_atomically(place / "segments.csv", csv_text(segments))
    write_atomically(place / f"{found.stem}.srt", srt_text(segments))
    write_atomically(place / f"{found.stem}.vtt", vtt_text(segments))
    rows.write_npz(place / "scores.npz")


def drop_earlier(folder: Path) -> None:
    """Delete what is named after the video that a folder holds the prediction of, so that no two are mixed there."""
    try:
        name = json.loads((folder / "segments.json").read_text(encoding="utf-8"))["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    for suffix in (".srt", ".vtt", ".png", ".html", ".overlay.mp4"):
        (folder / f"{name}{suffix}").unlink(missing_ok=True)


def write_pictures(
    place: Path, folder: Path, source: Source, found: Found, part: Part, top_k: int | None, overlay: bool
) -> tuple[str, ...]:
    """Write the timeline, the page and, of what can be read twice, the overlay.

    Args:
        place: Where.
        folder: Where the files will be moved to.
        source: The video.
        found: What is in it.
        part: What of it was looked at.
        top_k: Classes to show; None leaves that to each picture.
        overlay: Whether there shall be one.

    Returns:
        Sentences on what there is none of.
    """
    from ssdet_cli.viz.overlay import write_overlay
    from ssdet_cli.viz.player import write_player
    from ssdet_cli.viz.timeline import write_timeline

    rows = {} if top_k is None else {"top_k": top_k}
    shown = {"scores": found.scores, "seconds": found.times, "classes": list(found.classes), "segments": found.segments}
    whole = {**shown, **rows, "duration": found.duration, "title": found.stem}
    write_timeline(place / f"{found.stem}.png", **whole)
    local = None if goes_on(source.location) else Path(source.location)
    film = place / f"{found.stem}.overlay.mp4"
    try:
        if overlay and local is not None:
            inside = {"start": part.start, "end": part.end, "frame_rate": part.frame_rate}
            write_overlay(film, local, **shown, **rows, **inside)
    finally:  # the page is worth having without it, and shows it where a browser cannot play the video
        stand_in = {"overlay": film, "overlay_start": part.start} if film.is_file() else {}
        write_player(place / f"{found.stem}.html", video=local, folder=folder, **whole, **stand_in)
    if overlay and local is None:
        return (f"{source.location} cannot be read a second time, so there is no overlay of it.",)
    return ()
