"""Drawings of what is behind a score, as SVG; colours come from the page, so that they follow light and dark."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 440, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 44
#: Points of a small curve.
_FEW = 25


def scatter(rows: Sequence[tuple[str, int, float]], unit: str) -> str:
    """AP of classes against what they were trained on: (name, number, AP 0 to 1), the numbers on a log axis.

    A class without any stands at the left, behind the axis.
    """
    width, height = 640, 330
    high = max(1, max((count for _, count, _ in rows), default=1))
    low = min((count for _, count, _ in rows if count), default=1)
    first, last = math.floor(math.log10(low)), max(math.ceil(math.log10(high)), math.floor(math.log10(low)) + 1)
    left = _LEFT + (36 if any(not count for _, count, _ in rows) else 0)

    def x_of(count: float) -> float:
        if not count:
            return _LEFT + 12
        return left + (math.log10(count) - first) / (last - first) * (width - left - _RIGHT)

    marks = [(x_of(10**power), f"{10**power:,}") for power in range(first, last + 1)]
    if left > _LEFT:
        marks.insert(0, (x_of(0), "0"))
    texts = [_text(x, height - 24, label, "end" if x > width - 40 else "middle") for x, label in marks]
    lines = [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - _BOTTOM}"/>' for x, _ in marks]
    dots = [
        f'<circle cx="{x_of(count):.1f}" cy="{_y(ap, height):.1f}" r="4"><title>'
        f"{escape(name)}: AP {100 * ap:.1f} %, {count:,} {escape(unit)}</title></circle>"
        for name, count, ap in rows
    ]
    below = _text((left + width) / 2, height - 6, unit, "middle")
    content = "".join((*lines, *_levels(width, height), *texts, below, _up("AP, %", height), *dots))
    return _svg(width, height, content, "AP over training data")


def recall_chart(common: Mapping[str, Any], curves: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Precision against recall: a thin line for each class, a thick one for all together."""
    thin = "".join(
        f'<path class="thin" d="{_path(curve)}"><title>{escape(name)}</title></path>' for name, curve in curves
    )
    thick = f'<path class="thick" d="{_path(common)}"><title>all classes together</title></path>'
    # Many lines would be one patch; of few each is to be seen.
    thin = f'<g style="--seen:{min(0.6, max(0.22, 6 / max(1, len(curves)))):.2f}">{thin}</g>'
    return _square(thin + thick, "recall, %", "precision, %", "precision against recall")


def small_curve(curve: Mapping[str, Any]) -> str:
    """Precision against recall without any words, and a ring at the highest F1."""
    points = list(zip(curve["recall"], curve["precision"], strict=True))
    best = curve["best_point"]
    ring = ""
    if best is not None:
        ring = f'<circle cx="{100 * points[best][0]:.1f}" cy="{60 - 60 * points[best][1]:.1f}" r="3"/>'
    step = max(1, len(points) // _FEW)
    some = points[::step] + (points[-1:] if (len(points) - 1) % step else [])
    path = "L".join(f"{100 * recall:.1f},{60 - 60 * precision:.1f}" for recall, precision in some)
    drawn = f'<path class="thick" d="M{path}"/>' if path else ""
    return (
        f'<svg viewBox="-4 -4 108 68" aria-hidden="true"><rect class="box" width="100" height="60"/>{drawn}{ring}</svg>'
    )


def calibration_chart(found: Mapping[str, Any]) -> str:
    """How often scores of each part of [0, 1] are right, against the diagonal: as often as they say."""
    bins = len(found["counts"])
    wide = (_WIDTH - _LEFT - _RIGHT) / bins
    bars = []
    for place, (count, mean, share) in enumerate(
        zip(found["counts"], found["mean_score"], found["positive"], strict=True)
    ):
        if not count:
            continue
        told = f"{count:,} scores of {mean:.3f} on average: {100 * share:.1f} % are right"
        x, y = _LEFT + place * wide, _y(share, _HEIGHT)
        bars.append(
            f'<rect class="bar" x="{x + 1:.1f}" y="{min(y, _HEIGHT - _BOTTOM - 1):.1f}" width="{wide - 2:.1f}" '
            f'height="{max(1, _HEIGHT - _BOTTOM - y):.1f}"><title>{escape(told)}</title></rect>'
        )
    line = f'<path class="ideal" d="M{_LEFT},{_HEIGHT - _BOTTOM}L{_WIDTH - _RIGHT},{_TOP}"/>'
    return _square("".join(bars) + line, "score, %", "right, %", "calibration")


def lane(scores: Sequence[Sequence[float]], begin: float, end: float, threshold: float | None) -> str:
    """Scores of one class over time as an area, stretched to the width there is; a row lasts until the next."""
    length = end - begin
    path, before = [], None
    for second, value in scores:
        x, y = 1000 * (second - begin) / length, 100 - 100 * value
        if before is not None:
            path.append(f"{x:.1f},{before:.1f}")
        path.append(f"{x:.1f},{y:.1f}")
        before = y
    outline = "L".join((f"{1000 * (scores[0][0] - begin) / length:.1f},100", *path, f"1000,{before:.1f}", "1000,100"))
    level = ""
    if threshold is not None:
        y = 100 - 100 * threshold
        level = f'<line class="level" x1="0" x2="1000" y1="{y:.1f}" y2="{y:.1f}"/>'
    return (
        f'<svg class="scores" viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path d="M{outline}Z"/>{level}</svg>'
    )


def _path(curve: Mapping[str, Any]) -> str:
    points = zip(curve["recall"], curve["precision"], strict=True)
    wide = _WIDTH - _LEFT - _RIGHT
    path = "L".join(f"{_LEFT + recall * wide:.1f},{_y(precision, _HEIGHT):.1f}" for recall, precision in points)
    return f"M{path}" if path else ""


def _y(share: float, height: float) -> float:
    return height - _BOTTOM - share * (height - _BOTTOM - _TOP)


def _levels(width: float, height: float) -> list[str]:
    """Lines at quarters, with their numbers on the left."""
    found = []
    for part in range(0, 101, 25):
        y = _y(part / 100, height)
        found.append(f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        found.append(_text(_LEFT - 6, y + 4, str(part), "end"))
    return found


def _square(content: str, across: str, up: str, label: str) -> str:
    """A chart of two shares."""
    wide = _WIDTH - _LEFT - _RIGHT
    texts = [
        _text(_LEFT + part / 100 * wide, _HEIGHT - 26, str(part), "end" if part == 100 else "middle")
        for part in range(0, 101, 25)
    ]
    texts.append(_text(_LEFT + wide / 2, _HEIGHT - 8, across, "middle"))
    texts.append(_up(up, _HEIGHT))
    return _svg(_WIDTH, _HEIGHT, "".join((*_levels(_WIDTH, _HEIGHT), *texts)) + content, label)


def _up(text: str, height: float) -> str:
    """What the numbers on the left are."""
    middle = (_TOP + height - _BOTTOM) / 2
    return f'<text x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">{escape(text)}</text>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(width: float, height: float, content: str, label: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{content}</svg>'
