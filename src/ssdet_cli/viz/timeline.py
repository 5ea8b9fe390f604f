"""One picture of what was found in a video: a row per class, bars over scores, time in minutes."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ssdet_cli.files import write_atomically
from ssdet_cli.viz import style
from ssdet_cli.viz.clock import clock, spoken
from ssdet_cli.viz.score_bins import Bins, Found, bin_scores, check_scores, full_height, rank_classes, scored_span
from ssdet_cli.viz.score_tracks import ScoreTracks, Track

NOTHING_FOUND = "No action found: no score reaches the threshold of its class."
_WIDTH, _MARGIN, _HEADER, _FOOTER, _SIZE = 1600, 32, 116, 54, 18
#: More values than the widest lane has pixels would be drawn on top of each other.
_BINS = 1400


def write_timeline(
    path: Path,
    *,
    scores: np.ndarray,
    seconds: np.ndarray,
    duration: float,
    classes: Sequence[str],
    segments: Sequence[Found],
    title: str,
    top_k: int = 10,
) -> None:
    """Write the picture as PNG, 1600 pixels wide; whole or not at all.

    Args:
        path: Its folder is made.
        scores: (T, K) in [0, 1]; NaN is a frame without a score. May be mapped from a file: it is read part by part.
        seconds: (T,) start of every scored frame, rising.
        duration: Of the video, seconds. Time that has no scores before the first or after the last is left out.
        classes: K names.
        segments: What was found, see `score_bins.Found`.
        title: Headline.
        top_k: Rows: classes with segments first, then by their highest score.

    Raises:
        ValueError: Scores, times and classes do not fit each other, or `top_k` is below 1.
        SsdetError: The file cannot be written.
    """
    check_scores(scores, seconds, classes, top_k)
    begin, end = scored_span(seconds, duration)
    bins = bin_scores(scores, seconds, begin, end, _BINS)
    rows = rank_classes(bins.best, segments, top_k)
    height = full_height(bins.best[rows])
    tracks = make_tracks(rows, bins, classes, segments)
    panel = ScoreTracks(
        tracks, begin, end, _WIDTH - 2 * _MARGIN, font_size=_SIZE, full_height=height, right="1:00:00 in all"
    )
    image = Image.new("RGB", (_WIDTH, _HEADER + panel.height + _FOOTER), style.PAGE)
    image.paste(panel.picture(), (_MARGIN, _HEADER))
    _draw_header(image, title, f"{clock(begin)} to {clock(end, 0.1 if end - begin < 60 else 1)}", segments)
    _draw_footer(image, shown(len(rows), len(classes)), len(seconds) > _BINS, height)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    write_atomically(path, buffer.getvalue())


def make_tracks(rows: Sequence[int], bins: Bins, classes: Sequence[str], segments: Sequence[Found]) -> list[Track]:
    """Return the rows of classes, with the time that each one takes in all."""
    tracks = []
    for label, color in zip(rows, style.class_colors(len(rows)), strict=True):
        bars = [(segment.start, segment.end) for segment in segments if segment.class_index == label]
        best = f"best {bins.best[label]:.2f}" if bins.best[label] >= 0 else "no scores"
        notes: tuple[str, ...] = (best,)
        if bars:
            notes = (f"{spoken(sum(end - start for start, end in bars))} in all", f"{len(bars):,} × · {best}")
        tracks.append(Track(classes[label], color, bins.peak[label], bins.mean[label], bars, notes))
    return tracks


def summary(segments: Sequence[Found]) -> str:
    """Say how much was found."""
    if not segments:
        return NOTHING_FOUND
    count, kinds = len(segments), len({segment.class_index for segment in segments})
    return f"{count:,} segment{'s' * (count > 1)} of {kinds} class{'es' * (kinds > 1)}"


def shown(rows: int, classes: int) -> str:
    """Say how many of the classes have a row."""
    return f"{rows} of {classes} classes" if rows < classes else "All classes" if rows > 1 else "The only class"


def _draw_header(image: Image.Image, title: str, span: str, segments: Sequence[Found]) -> None:
    draw, headline, small = ImageDraw.Draw(image), style.font(32, bold=True), style.font(19)
    room = image.width - 2 * _MARGIN
    draw.text((_MARGIN, 44), style.shorten(title, headline, room), style.INK, headline, anchor="lm")
    draw.text((_MARGIN, 86), f"{span}  ·  ", style.MUTED, small, anchor="lm")
    ink = style.MUTED if segments else style.class_colors(1)[0]
    left = _MARGIN + small.getlength(f"{span}  ·  ")
    draw.text((left, 86), summary(segments), ink, small, anchor="lm")


def _draw_footer(image: Image.Image, shown: str, crowded: bool, height: float) -> None:
    text = f"{shown}.  Bars: segments.  Areas: scores"
    text += ", pale up to the highest of a pixel, full up to their mean" if crowded else ""
    text += f"; a full row is {height:g}." if height < 1 else "."
    face = style.font(16)
    ImageDraw.Draw(image).text((_MARGIN, image.height - 28), text, style.MUTED, face, anchor="lm")
