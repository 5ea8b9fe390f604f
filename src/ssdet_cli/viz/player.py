"""A page with a video and what was found in it: a timeline to click on, the actions of the moment, a list.

The page is one file that asks nobody for anything but the video beside it. Its timeline is drawn without JavaScript.
"""

import base64
import json
import os
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ssdet_cli.files import write_atomically
from ssdet_cli.viz import style
from ssdet_cli.viz.clock import axis_ticks, clock, spoken
from ssdet_cli.viz.score_bins import Bins, Found, bin_scores, check_scores, full_height, rank_classes, scored_span
from ssdet_cli.viz.timeline import NOTHING_FOUND, shown, summary

#: Values of a score curve; a curve is drawn from half of them, one for a pixel.
_BINS = 2000
#: Segments in the list: the surest, where there are more.
_MOST_SEGMENTS = 5000
#: Top of the scores in a lane of height 100; bars are above it. Width of a lane in the same units.
_TOP, _WIDE = 30, _BINS // 2
_UNKNOWN, _FULL = 65535, 65534


def write_player(
    path: Path,
    *,
    video: Path | None,
    scores: np.ndarray,
    seconds: np.ndarray,
    duration: float,
    classes: Sequence[str],
    segments: Sequence[Found],
    title: str,
    top_k: int = 10,
    folder: Path | None = None,
    overlay: Path | None = None,
    overlay_start: float = 0.0,
) -> None:
    """Write the page, whole or not at all; ten hours of video make less than 1 MB.

    The video is referred to and not copied: by a relative path, and where it lies outside of the page's folder also by
    its full one, for a page that is moved.

    Args:
        path: HTML file to write; its folder is made.
        video: What the page plays; None, or a folder of frames, leaves the timeline alone.
        scores: (T, K) in [0, 1]; NaN is a frame without a score. May be mapped from a file: it is read part by part.
        seconds: (T,) start of every scored frame, rising.
        duration: Of the video, seconds.
        classes: K names.
        segments: What was found, see `score_bins.Found`.
        title: Headline.
        top_k: Rows: classes with segments first, then by their highest score.
        folder: Where the page will lie, if it is moved after it was written; None is where it is written.
        overlay: MP4 file of the video's frames beside the page, which is played where the video cannot be: browsers do
            not know every format, and play no folder of frames.
        overlay_start: Where in the video the overlay begins, seconds.

    Raises:
        ValueError: Scores, times and classes do not fit each other, or `top_k` is below 1.
        SsdetError: The file cannot be written.
    """
    check_scores(scores, seconds, classes, top_k)
    names, title = [style.printable(name) for name in classes], style.printable(title)
    begin, end = scored_span(seconds, duration)
    bins = bin_scores(scores, seconds, begin, end, _BINS)
    rows = rank_classes(bins.best, segments, top_k)
    colors = {label: _hex(color) for label, color in zip(rows, style.class_colors(len(rows)), strict=True)}
    height = full_height(bins.best[rows])
    lanes = "".join(
        _row(place, label, names[label], colors[label], bins, segments, (begin, end), height)
        for place, label in enumerate(rows, 1)
    )
    listed = sorted(sorted(segments, key=lambda item: -item.score)[:_MOST_SEGMENTS], key=lambda item: item.start)
    span = f"{clock(begin)} to {clock(end, 0.1 if end - begin < 60 else 1)}"
    data = {
        "begin": begin,
        "end": end,
        "classes": names,
        "colors": colors,
        "rows": [{"label": label, "mean": _packed(bins.mean[label])} for label in rows],
        "segments": [
            [item.class_index, round(item.start, 3), round(item.end, 3), round(item.score, 5)] for item in listed
        ],
    }
    sources = video_sources(folder or path.parent, video) if video is not None and not video.is_dir() else []
    page = _PAGE.format(
        title=escape(title),
        css=_asset("player.css"),
        script=_asset("player.js"),
        summary=f"{span} · {summary(segments)}" if segments else span,
        nothing="" if segments else f'<p class="warning">{NOTHING_FOUND}</p>',
        height=len(rows),
        video=_video(sources, video, overlay, overlay_start),
        shown=shown(len(rows), len(classes)),
        scale="" if height == 1 else f" A full row is {height:g}.",
        lanes=lanes,
        axis=_axis(begin, end),
        listed=_told(len(listed), len(segments)),
        # No "<" may end the script that it stands in.
        data=json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    )
    write_atomically(path, page)


def video_sources(folder: Path, video: Path) -> list[str]:
    """Return the addresses at which a page in `folder` finds a video, to be tried in this order."""
    place = Path(os.path.abspath(video))
    try:
        relative = Path(os.path.relpath(place, os.path.abspath(folder)))
    except ValueError:  # another drive
        return [place.as_uri()]
    address = quote(os.fsencode(relative.as_posix()))
    return [address, place.as_uri()] if ".." in relative.parts else [address]


def _told(listed: int, found: int) -> str:
    if listed < found:
        return f"The surest {listed:,} of {found:,}."
    return "Click to go to its beginning." if found else "None."


def _row(
    place: int,
    label: int,
    name: str,
    color: str,
    bins: Bins,
    segments: Sequence[Found],
    span: tuple[float, float],
    full: float,
) -> str:
    own = [(item.start, item.end) for item in segments if item.class_index == label]
    total = f"{len(own):,} ×, {spoken(sum(end - start for start, end in own))} in all" if own else ""
    live = f'<span class="scripted" hidden>{" · " if own else ""}score <output></output></span>'
    peak, mean = (np.fmax.reduce(curve[label].reshape(-1, 2), axis=1) / full for curve in (bins.peak, bins.mean))
    described = f"{name}: {len(own):,} segment{'s' * (len(own) != 1)}"
    return (
        f'<div class="name" style="--color:{color};grid-row:{place}">{escape(name)}'
        f"<small>{total}{live}</small></div>"
        f'<svg class="lane" data-label="{label}" style="--color:{color};grid-row:{place}" viewBox="0 0 {_WIDE} 100" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(described)}">'
        f'<path class="peak" d="{_stairs(peak)}"/><path class="mean" d="{_stairs(mean)}"/>'
        f'<path class="bars" d="{_bars(own, span)}"/></svg>\n'
    )


def _stairs(values: np.ndarray) -> str:
    """Return the outline of an area as an SVG path; only what changes is written."""
    levels = (100 - (100 - _TOP) * np.nan_to_num(values).clip(0, 1)).round().astype(int)
    changes = np.flatnonzero(np.diff(levels)) + 1
    steps = "".join(f"H{place}V{levels[place]}" for place in changes.tolist())
    return f"M0 100V{levels[0]}{steps}H{len(levels)}V100Z"


def _bars(own: Sequence[tuple[float, float]], span: tuple[float, float]) -> str:
    """Return segments as an SVG path; what the eye cannot keep apart is one."""
    begin, end = span
    unit = (end - begin) / _WIDE
    merged: list[list[float]] = []
    for start, stop in sorted(own):
        left, right = (start - begin) / unit, (stop - begin) / unit
        if merged and left - merged[-1][1] < 0.5:
            merged[-1][1] = max(merged[-1][1], right)
        else:
            merged.append([left, right])
    return "".join(f"M{a:.4g} 0h{max(b - a, 1.0):.4g}v{_TOP - 8}h-{max(b - a, 1.0):.4g}z" for a, b in merged)


def _axis(begin: float, end: float) -> str:
    ticks, step = axis_ticks(begin, end, 8)
    marks = []
    for tick in ticks:
        share = 100 * (tick - begin) / (end - begin)
        edge = ' class="first"' if share < 3 else ' class="last"' if share > 97 else ""
        marks.append(f'<span{edge} style="left:{share:.2f}%">{clock(tick, step)}</span>')
    return "".join(marks)


def _video(sources: Sequence[str], video: Path | None, overlay: Path | None, overlay_start: float) -> str:
    tags = "".join(f'<source src="{escape(source)}">' for source in sources)
    if overlay is not None:
        tags += f'<source src="{escape(quote(os.fsencode(overlay.name)))}" data-begin="{overlay_start:g}">'
    if not tags:
        what = "No video belongs to this page." if video is None else f"{video.name} is a folder of pictures."
        return f'<p class="warning">{escape(what)} The timeline stands alone.</p>'
    name = escape(style.printable(video.name if video is not None else overlay.name))
    cannot = (
        f"This browser cannot play {name}: it is not where it was, or in a format that browsers do not know. "
        "Open it in another player, or convert it: <code>ffmpeg -i IN -c:v libx264 -pix_fmt yuv420p OUT.mp4</code>. "
        "The timeline works without it."
    )
    instead = ""
    if overlay is not None:
        why = "is a folder of pictures" if not sources else "cannot be played by this browser"
        shown = escape(style.printable(overlay.name))
        instead = f'<p id="overlaid" class="quiet" hidden>{name} {why}: this is {shown}, without sound.</p>'
    return (
        f'<video id="video" controls preload="metadata" playsinline>{tags}{cannot}</video>{instead}'
        f'<p id="unplayable" class="warning" role="status" hidden>{cannot}</p>'
    )


def _packed(values: np.ndarray) -> str:
    """Two bytes for a value in [0, 1] in steps of 1/65534, so that two digits of it are right; 65535 is none."""
    levels = np.nan_to_num(values.astype(np.float64) * _FULL, nan=_UNKNOWN).round().clip(0, _UNKNOWN).astype("<u2")
    return base64.b64encode(levels.tobytes()).decode()


def _hex(color: style.Color) -> str:
    return "#" + bytes(color).hex()


def _asset(name: str) -> str:
    return files("ssdet_cli.viz").joinpath(name).read_text(encoding="utf-8")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
{css}</style></head><body>
<h1>{title}</h1><p class="quiet">{summary}</p>{nothing}
<div class="stage"><div>{video}</div>
<section class="scripted" aria-label="Now" hidden><div id="clock"></div><p id="none" class="quiet">no action</p>
<ul id="now"></ul></section></div>
<h2>Timeline</h2><p class="quiet">{shown}. Bars: segments. Areas: scores, pale up to the highest, full up to the
mean.{scale} <span class="scripted" hidden>Click to go there; <kbd>←</kbd> <kbd>→</kbd> a step, <kbd>Page Up</kbd>
<kbd>Page Down</kbd> from action to action, <kbd>Space</kbd> plays.</span></p>
<div id="timeline" class="timeline" style="grid-template-rows:repeat({height},auto) auto">
{lanes}<div class="axis">{axis}</div>
<div id="over" class="over scripted" hidden><div id="playhead"></div><div id="hint" hidden></div></div></div>
<noscript><p class="quiet">A list of the segments and a timeline to click on need JavaScript.</p></noscript>
<section class="scripted" hidden><h2>Segments</h2><p class="quiet">{listed}</p><div id="list"></div></section>
<script type="application/json" id="data">{data}</script>
<script>
{script}</script></body></html>
"""
