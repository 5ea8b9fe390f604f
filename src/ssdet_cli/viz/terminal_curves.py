"""Curves as text: braille dots, two by four in a character, and letters where a terminal has no braille."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Bits of a braille character's dots, by column and row from the top (Unicode, braille patterns from U+2800).
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_AXIS = 10
"""Characters of the labels on the left."""


@dataclass(frozen=True)
class Curve:
    """One line of a panel.

    Attributes:
        name: For the legend.
        x: Rising positions.
        y: A value at each.
        marked: Every point is a character of its own instead of a line of dots: few points, as of validation.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    marked: bool = False


@dataclass(frozen=True)
class Cell:
    """A character, and the number of the curve that it is of; -1 is the frame."""

    letter: str
    curve: int = -1


def draw_panel(
    title: str, curves: Sequence[Curve], width: int, height: int, *, braille: bool = True
) -> list[list[Cell]]:
    """Draw one panel: a title with the legend, `height` rows of curves with labels on the left, and the x axis.

    Values that are not finite are left out; a panel without any says so.

    Args:
        title: Of the panel.
        curves: Over one axis of x, which is labelled with its ends.
        width: Characters of a row.
        height: Rows of the curves.
        braille: False draws with letters that every terminal has.

    Returns:
        Rows of cells, `height` + 2 of them.
    """
    points = [
        [(x, _bounded(y)) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
        for curve in curves
    ]
    heading = _plain(f"{title}  ") + [
        cell
        for number, curve in enumerate(curves)
        for cell in (Cell(_mark(curve, braille), number), *_plain(f" {curve.name}  "))
    ]
    rows = [heading[:width]]
    every = [point for part in points for point in part]
    if not every:
        return [*rows, _plain("no values yet"[:width])]
    columns = max(8, width - _AXIS - 2)
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)
    if high == low:  # a flat line lies in the middle
        low, high = low - abs(low or 1.0) / 10, high + abs(high or 1.0) / 10
    area = _Area(columns, height, braille)
    for number, (curve, part) in enumerate(zip(curves, points, strict=True)):
        places = [(_share(x, left, right), _share(y, low, high)) for x, y in part]
        if curve.marked:
            area.mark(places, number, _mark(curve, braille))
        else:
            area.line(places, number)
    edge = "│" if braille else "|"
    for row, cells in enumerate(area.rows()):
        value = high - (high - low) * row / max(1, height - 1)
        label = label_of(value) if row in (0, height // 2, height - 1) else ""
        rows.append([*_plain(f"{label:>{_AXIS}} {edge}"), *cells])
    ends = f"{left:g}", f"step {right:g}"
    gap = max(1, columns - len(ends[0]) - len(ends[1]))
    rows.append(_plain((" " * (_AXIS + 2) + ends[0] + " " * gap + ends[1])[: max(width, _AXIS + 2 + columns)]))
    return rows


def _bounded(value: float) -> float:
    """The value, or what differences and their parts can still be computed with."""
    return max(-1e300, min(1e300, value))


def label_of(value: float) -> str:
    """A value in few characters, ten at most."""
    return f"{value:.2e}" if value and not 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


def _plain(text: str) -> list[Cell]:
    return [Cell(letter) for letter in text]


def _mark(curve: Curve, braille: bool) -> str:
    if curve.marked:
        return "●" if braille else "o"
    return "⣀" if braille else "."


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


class _Area:
    """The drawing itself, a grid of dots that later curves draw over."""

    def __init__(self, columns: int, height: int, braille: bool) -> None:
        self.columns, self.height, self.braille = columns, height, braille
        self.across, self.down = (2, 4) if braille else (1, 1)
        self.bits = [[0] * columns for _ in range(height)]
        self.owner = [[-1] * columns for _ in range(height)]
        self.letters: dict[tuple[int, int], str] = {}

    def _dot(self, place: tuple[float, float]) -> tuple[int, int]:
        x, y = place
        return round(x * (self.columns * self.across - 1)), round((1 - y) * (self.height * self.down - 1))

    def line(self, places: Sequence[tuple[float, float]], number: int) -> None:
        """Join points; of several in one column of dots, all of their span is drawn."""
        dots = [self._dot(place) for place in places]
        for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            for step in range(steps + 1):
                self._set(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps), number)

    def _set(self, x: int, y: int, number: int) -> None:
        row, column = y // self.down, x // self.across
        self.bits[row][column] |= _DOTS[x % self.across][y % self.down]
        self.owner[row][column] = number

    def mark(self, places: Sequence[tuple[float, float]], number: int, letter: str) -> None:
        """Put a letter at every point."""
        for x, y in map(self._dot, places):
            row, column = y // self.down, x // self.across
            self.letters[row, column] = letter
            self.owner[row][column] = number

    def rows(self) -> list[list[Cell]]:
        """The cells, from the top."""
        return [
            [Cell(self._letter(row, column), self.owner[row][column]) for column in range(self.columns)]
            for row in range(self.height)
        ]

    def _letter(self, row: int, column: int) -> str:
        if (row, column) in self.letters:
            return self.letters[row, column]
        bits = self.bits[row][column]
        if not bits:
            return " "
        return chr(0x2800 + bits) if self.braille else "."
