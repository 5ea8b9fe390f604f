"""Drawings of a dataset's statistics as SVG; colours come from the page, so that they follow light and dark."""

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 460, 190
_LEFT, _BOTTOM, _TOP = 8, 30, 18
#: Of a heat map: a square, and room for the names.
_SIDE, _NAMES = 17, 190


def ranked_bars(names: Sequence[str], counts: Sequence[int], unit: str) -> str:
    """One thin bar for each class, the most frequent first; a bar names itself under the pointer."""
    order = sorted(range(len(names)), key=lambda index: -counts[index])
    most = max(counts, default=0) or 1
    step = (_WIDTH - 2 * _LEFT) / max(len(names), 1)
    bars = []
    for place, index in enumerate(order):
        tall = (_HEIGHT - _BOTTOM - _TOP) * counts[index] / most
        label = f"{names[index]}: {counts[index]:,} {unit}"
        bars.append(_bar(_LEFT + place * step, tall, max(step - 0.6, 0.6), label, empty=not counts[index]))
    below = f"{len(names)} classes, most: {names[order[0]]} {most:,}" if names else ""
    return _chart("".join(bars), _text(_LEFT, _HEIGHT - 10, below), f"{unit} of each class")


def histogram_bars(edges: Sequence[float], counts: Sequence[int], unit: str) -> str:
    """Bars between edges that grow by one factor, with the edges that are easy to read named below."""
    most = max(counts, default=0) or 1
    step = (_WIDTH - 2 * _LEFT) / max(len(counts), 1)
    bars, texts = [], []
    for place, count in enumerate(counts):
        tall = (_HEIGHT - _BOTTOM - _TOP) * count / most
        label = f"{_number(edges[place])} to {_number(edges[place + 1])} {unit}: {count:,}"
        bars.append(_bar(_LEFT + place * step, tall, max(step - 1.5, 1), label))
    last = len(edges) - 1
    named = {round(share * last): _number(edges[round(share * last)]) for share in (0, 0.25, 0.5, 0.75, 1) if edges}
    for place, number in named.items():
        if place not in (0, last) and number in (named[0], named[last]):
            continue  # edges that look alike
        anchor = "start" if place == 0 else "end" if place == last else "middle"
        texts.append(_text(_LEFT + place * step, _HEIGHT - 10, number + (f" {unit}" if place == last else ""), anchor))
    return _chart("".join(bars), "".join(texts), f"distribution in {unit}")


def count_bars(counts: Sequence[int], unit: str) -> str:
    """Bars over 0, 1, 2, ...; each as high as its share, with the share above it."""
    total = sum(counts) or 1
    most = max(counts, default=0) or 1
    step = (_WIDTH - 2 * _LEFT) / max(len(counts), 1)
    bars, texts = [], []
    for number, count in enumerate(counts):
        tall = (_HEIGHT - _BOTTOM - _TOP) * count / most
        bars.append(_bar(_LEFT + number * step, tall, max(step - 3, 1), f"{number} {unit}: {count:,}"))
        middle = _LEFT + (number + 0.5) * step
        texts.append(_text(middle, _HEIGHT - 10, str(number), "middle"))
        if count / total >= 0.005 and step >= 18:
            texts.append(_text(middle, _HEIGHT - _BOTTOM - tall - 4, f"{100 * count / total:.0f}", "middle"))
    return _chart("".join(bars), "".join(texts), f"frames by {unit}")


def heat_map(
    names: Sequence[str],
    shares: Sequence[Sequence[float | None]],
    say: str = "{column} in {share} of the frames of {row}",
    *,
    diagonal: bool = False,
) -> str:
    """Of the frames of a row's class, the part in which a column's class is on as well, as a square's strength.

    Args:
        names: Of the classes.
        shares: A line for each row; None is no frame at all.
        say: What a square says under the pointer.
        diagonal: Whether a class is shown with itself.
    """
    side, left, top = _SIDE, _NAMES, 8
    width, height = map_width(len(names)), top + side * len(names) + 22
    cells = []
    for row, own in enumerate(shares):
        y = top + row * side
        cells.append(_text(left - 6, y + 12, f"{_short(names[row])} {row + 1}", "end"))
        for column, share in enumerate(own):
            if share is None or (row == column and not diagonal):
                continue
            told = say.format(row=names[row], column=names[column], share=f"{100 * share:.1f} %")
            cells.append(
                f'<rect class="cell" x="{left + column * side}" y="{y}" width="{side - 1}" height="{side - 1}" '
                f'style="fill-opacity:{min(1.0, share) ** 0.6:.3f}"><title>{escape(told)}</title></rect>'
            )
    numbers = "".join(
        _text(left + column * side + side / 2, height - 8, str(column + 1), "middle") for column in range(len(names))
    )
    return _svg(width, height, "".join(cells) + numbers, "classes that are on together")


def map_width(names: int) -> int:
    """Width of a `heat_map` in its own units."""
    return _NAMES + _SIDE * names + 8


def _short(name: str) -> str:
    return name if len(name) <= 27 else f"{name[:26]}…"


def _bar(x: float, tall: float, width: float, label: str, *, empty: bool = False) -> str:
    y, tall = _HEIGHT - _BOTTOM - max(tall, 1), max(tall, 1)
    kind = ' class="none"' if empty else ""
    return (
        f'<rect{kind} x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{tall:.2f}">'
        f"<title>{escape(label)}</title></rect>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _chart(bars: str, texts: str, label: str) -> str:
    floor = _HEIGHT - _BOTTOM + 0.5
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _LEFT}" y1="{floor}" y2="{floor}"/>'
    return _svg(_WIDTH, _HEIGHT, bars + line + texts, label)


def _svg(width: float, height: float, content: str, label: str) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">{content}</svg>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
