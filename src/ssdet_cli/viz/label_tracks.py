"""Soft labels over time as tracks: one row per class, a filled area as high as the weight, a moving playhead."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from ssdet_cli.viz import style
from ssdet_cli.viz.style import Color


def tracks_height(num_classes: int, font_size: int, *, axis: bool = False) -> int:
    """Return the even height in pixels at which `num_classes` rows are comfortable to read."""
    rows = num_classes * 2.75 * font_size + 1.1 * font_size
    return 2 * round((rows + (1.3 * font_size if axis else 0)) / 2)


@dataclass(frozen=True)
class _Layout:
    """Where things stand, in pixels: lanes are (top, bottom), shared left and right edges."""

    lanes: tuple[tuple[int, int], ...]
    left: int
    right: int
    lamp: int
    name_left: int
    value_right: int
    radius: int

    @property
    def lane_width(self) -> int:
        return self.right - self.left


def _layout(rows: int, names: Sequence[str], width: int, height: int, size: int, axis: bool) -> _Layout:
    pad = max(4, round(0.7 * size))
    face = style.font(size, bold=True)
    lamp = max(4, round(0.62 * size))
    value = round(face.getlength("0.00"))
    name_width = min(max(map(face.getlength, names)), 0.27 * width)
    name_left = pad + lamp + pad // 2
    top, bottom = round(0.75 * size), height - (round(1.75 * size) if axis else round(0.55 * size))
    edges = np.linspace(top, bottom, rows + 1)
    gap = min(0.45 * size, 0.2 * (edges[1] - edges[0]))
    lanes = tuple((round(a), max(round(a) + 2, round(b - gap))) for a, b in zip(edges, edges[1:], strict=False))
    right = width - pad - value - pad // 2
    left = min(round(name_left + name_width + 0.6 * pad), right - 8)
    return _Layout(lanes, left, right, lamp, name_left, width - pad, max(2, round(0.25 * size)))


class LabelTracks:
    """A panel of label tracks, drawn once; every frame adds only the playhead, the lamps and the current values.

    Args:
        weights: (K, T) label weights in [0, 1], one row per class.
        names: K class names; long ones are wrapped to two lines and then shortened.
        colors: K colours.
        width: Pixels of the panel.
        height: Pixels of the panel; `tracks_height` suggests one.
        font_size: Pixels; default: what fits the rows.
        seconds: Duration, written under the tracks; None leaves the axis away.

    Raises:
        ValueError: Shapes, names and colours do not fit each other, or the panel is too small to hold anything.
    """

    def __init__(
        self,
        weights: np.ndarray,
        names: Sequence[str],
        colors: Sequence[Color],
        width: int,
        height: int,
        *,
        font_size: int | None = None,
        seconds: float | None = None,
    ) -> None:
        weights = np.asarray(weights, dtype=np.float64)
        if weights.ndim != 2 or 0 in weights.shape or not len(names) == len(colors) == len(weights):
            raise ValueError(f"{len(names)} names and {len(colors)} colours for weights {weights.shape}; need (K, T).")
        if width < 120 or height < 8 * len(weights):
            raise ValueError(f"A panel of {width}x{height} pixels is too small for {len(weights)} tracks.")
        self.weights, self.names, self.colors = weights, [style.printable(name) for name in names], list(colors)
        self.width, self.height, self.seconds = width, height, seconds
        fitting = int(np.clip(height / (2.75 * len(weights) + 1.1), 7, width / 26))
        self.font_size = font_size or max(7, fitting)
        self._at = _layout(len(weights), self.names, width, height, self.font_size, seconds is not None)
        empty, full = self._panel(filled=False), self._panel(filled=True)
        self._played = np.asarray(full)
        self._ahead = np.asarray(Image.blend(empty, full, 0.38))
        self._lamp = lamp_mask(self._at.lamp)

    def frame(self, playhead: float) -> np.ndarray:
        """Return the panel (height, width, 3) uint8 RGB as it is while frame number `playhead` is shown.

        Args:
            playhead: Frame in [0, T - 1]; held at the ends.
        """
        frames = self.weights.shape[1]
        position = float(np.clip(playhead, 0, frames - 1))
        at = self._at
        x = at.left + (position + 0.5) / frames * at.lane_width
        picture = self._ahead.copy()
        picture[:, : round(x)] = self._played[:, : round(x)]
        image = Image.fromarray(picture)
        draw_playhead(image, x, at.lanes[0][0], at.lanes[-1][1], self.font_size)
        self._draw_values(image, self.weights[:, round(position)])
        return np.asarray(image)

    def _panel(self, *, filled: bool) -> Image.Image:
        image = Image.new("RGB", (self.width, self.height), style.PAGE)
        corner = round(0.6 * self.font_size)
        image.paste(style.PANEL, (0, 0), style.rounded(self.width, self.height, corner))
        for row, (top, bottom) in enumerate(self._at.lanes):
            lane = self._lane(row, bottom - top, filled=filled)
            image.paste(lane, (self._at.left, top), style.rounded(*lane.size, self._at.radius))
            self._draw_name(image, row)
        if self.seconds is not None:
            self._draw_axis(image)
        return image

    def _lane(self, row: int, height: int, *, filled: bool) -> Image.Image:
        width, color = self._at.lane_width, self.colors[row]
        lane = Image.new("RGB", (width, height), style.LANE)
        if not filled:
            return lane
        fill_lane(lane, self.weights[row], color, self.font_size)
        return lane

    def _draw_name(self, image: Image.Image, row: int) -> None:
        at, (top, bottom) = self._at, self._at.lanes[row]
        room = at.left - at.name_left - round(0.4 * self.font_size)
        face, draw = style.font(self.font_size, bold=True), ImageDraw.Draw(image)
        if any(face.getlength(name) > room for name in self.names):
            face = style.font(max(7, round(0.84 * self.font_size)), bold=True)
        lines = style.wrap(self.names[row], face, room, 2 if bottom - top >= 2.3 * face.size else 1)
        pitch = 1.2 * face.size
        first = (top + bottom) / 2 - pitch * (len(lines) - 1) / 2
        for index, line in enumerate(lines):
            draw.text((at.name_left, first + index * pitch), line, style.INK, face, anchor="lm")

    def _draw_axis(self, image: Image.Image) -> None:
        at, face = self._at, style.font(max(7, round(0.8 * self.font_size)))
        draw, y = ImageDraw.Draw(image), at.lanes[-1][1] + round(0.95 * self.font_size)
        for share, anchor in ((0.0, "lm"), (0.5, "mm"), (1.0, "rm")):
            text = f"{share * self.seconds:.{1 if self.seconds >= 1 else 2}f} s"
            draw.text((at.left + share * at.lane_width, y), text, style.MUTED, face, anchor=anchor)

    def _draw_values(self, image: Image.Image, values: np.ndarray) -> None:
        draw, at = ImageDraw.Draw(image), self._at
        face = style.font(self.font_size, bold=True)
        for value, color, (top, bottom) in zip(values, self.colors, at.lanes, strict=True):
            middle, on = (top + bottom) / 2, float(value) >= 0.005
            ink = style.blend(color, style.INK, 0.2) if on else style.blend(style.PANEL, style.MUTED, 0.6)
            draw.text((at.value_right, middle), f"{value:.2f}", ink, face, anchor="rm")
            lamp = style.blend(style.LANE, color, float(np.sqrt(np.clip(value, 0, 1))))
            image.paste(lamp, (at.name_left - at.lamp - at.lamp // 2, round(middle - at.lamp / 2)), self._lamp)


def fill_lane(lane: Image.Image, values: np.ndarray, color: Color, font_size: int) -> None:
    """Draw a weight over time into its lane: a filled area that fades towards the bottom, with an edge.

    Args:
        lane: What it is drawn on; the area is as high as the picture where the weight is 1.
        values: (T,) weights in [0, 1], spread evenly over the width.
        color: Of the class.
        font_size: Of the panel, pixels; the edge goes with it.
    """
    width, height = lane.size
    head = min(2.0, 0.08 * height)
    outline = [(x, y + head) for x, y in style.curve_points(values, width, height - head)]
    stroke = max(1.2, 0.11 * font_size)

    def area(draw: ImageDraw.ImageDraw, factor: int) -> None:
        draw.polygon(style.scale_points([(0, height), *outline, (width, height)], factor), fill=255)

    def edge(draw: ImageDraw.ImageDraw, factor: int) -> None:
        draw.line(style.scale_points(outline, factor), fill=255, width=round(stroke * factor), joint="curve")

    fade = np.linspace(0.80, 0.34, height)[:, None]
    mask = Image.fromarray((np.asarray(style.coverage(width, height, area)) * fade).astype(np.uint8))
    lane.paste(color, (0, 0), mask)
    lane.paste(style.blend(color, style.INK, 0.25), (0, 0), style.coverage(width, height, edge))


def draw_playhead(image: Image.Image, x: float, top: int, bottom: int, font_size: int) -> None:
    """Draw the line that stands at the present, with its handle, over the lanes from `top` to `bottom`."""
    thick = max(2, round(0.13 * font_size))
    left = round(x - thick / 2)
    ImageDraw.Draw(image).rectangle((left, top - 1, left + thick - 1, bottom), fill=style.INK)
    handle = _handle_mask(max(5, round(0.7 * font_size)) | 1)
    image.paste(style.INK, (round(x - handle.width / 2), max(1, top - round(0.62 * handle.height))), handle)


@lru_cache(maxsize=8)
def _handle_mask(wide: int) -> Image.Image:
    def shapes(draw: ImageDraw.ImageDraw, factor: int) -> None:
        edge = wide * factor
        draw.polygon([(0, 0), (edge, 0), (edge / 2, edge * 0.8)], fill=255)

    return style.coverage(wide, wide, shapes)


@lru_cache(maxsize=8)
def lamp_mask(size: int) -> Image.Image:
    """Return the mask of a lamp: a disc of `size` pixels."""

    def shapes(draw: ImageDraw.ImageDraw, factor: int) -> None:
        draw.ellipse((0, 0, size * factor - 1, size * factor - 1), fill=255)

    return style.coverage(size, size, shapes)


def draw_tracks(
    weights: np.ndarray,
    names: Sequence[str],
    colors: Sequence[Color],
    width: int,
    height: int,
    playhead: float,
) -> np.ndarray:
    """Return one picture of label tracks; for many frames of one video build `LabelTracks` once.

    Args:
        weights: (K, T) label weights in [0, 1].
        names: K class names.
        colors: K colours.
        width: Pixels.
        height: Pixels.
        playhead: Frame in [0, T - 1].

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        ValueError: Shapes, names and colours do not fit each other.
    """
    return LabelTracks(weights, names, colors, width, height).frame(playhead)
