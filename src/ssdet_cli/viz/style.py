"""One look for every picture: colours that colour-blind viewers tell apart, fonts, and text that always fits."""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]

PAGE: Color = (13, 17, 23)
PANEL: Color = (23, 29, 39)
LANE: Color = (33, 41, 54)
INK: Color = (236, 240, 246)
MUTED: Color = (150, 161, 178)
STILL: Color = (142, 152, 168)
"""Background class: grey, since nothing happens."""
ICE: Color = (190, 235, 255)
"""Frame and hatching of frozen frames."""

_CLASSES: tuple[Color, ...] = (
    (255, 176, 32),
    (92, 155, 255),
    (46, 204, 150),
    (232, 116, 178),
    (240, 228, 66),
    (255, 112, 67),
    (120, 214, 240),
    (179, 136, 255),
)

SUPERSAMPLE = 4
"""Shapes are drawn this many times larger and reduced: Pillow draws polygons without anti-aliasing."""

_DASH = 28


def class_colors(count: int) -> list[Color]:
    """Return `count` colours; amber and blue come first, the pair that every kind of colour blindness separates."""
    return [_CLASSES[index % len(_CLASSES)] for index in range(count)]


def blend(first: Color, second: Color, weight: float) -> Color:
    """Return `first` at weight 0, `second` at weight 1, and what lies between."""
    return tuple(round(a + (b - a) * weight) for a, b in zip(first, second, strict=True))


@lru_cache(maxsize=64)
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans (it comes with matplotlib and knows Latin, Greek and Cyrillic) at `size` pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", name)
    # The basic layout is part of every Pillow; the other one depends on the system and fails on control characters.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def printable(text: str) -> str:
    """Return `text` in one line: file names may hold line breaks and bytes that no font can draw."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shorten(text: str, face: ImageFont.FreeTypeFont, width: float) -> str:
    """Return `text`, its middle replaced by an ellipsis where it is wider than `width` pixels."""
    text = printable(text)
    if face.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tail = kept // 3
        short = text[: kept - tail].rstrip() + "…" + text[len(text) - tail :].lstrip()
        if face.getlength(short) <= width:
            return short
    return "…"


def wrap(text: str, face: ImageFont.FreeTypeFont, width: float, max_lines: int) -> list[str]:
    """Break `text` at spaces into at most `max_lines` lines of `width` pixels; what still sticks out is shortened.

    A remark in brackets at the end gets the last line, so that it stays readable however long the rest is.
    """
    text = printable(text)
    remark = re.search(r"\s(\([^()]*\))$", text)
    if remark and max_lines > 1 and face.getlength(text) > width:
        return [*wrap(text[: remark.start()], face, width, max_lines - 1), shorten(remark[1], face, width)]
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and (len(lines) == max_lines or face.getlength(joined) <= width):
            lines[-1] = joined
        else:
            lines.append(word)
    return [shorten(line, face, width) for line in lines]


def share_row(
    weights: np.ndarray, colors: Sequence[Color], width: int, *, frozen: bool = False, seam: float | None = None
) -> np.ndarray:
    """Return one row of pixels that says who is on in a frame.

    Args:
        weights: (K,) label weights of the frame, which sum to 1.
        colors: K colours.
        width: Pixels.
        frozen: The frame stands still: ice blue.
        seam: Where, in [0, 1] of the width, class 0 on the left meets class 1 on the right; None: all classes are
            everywhere, drawn as dashes as long as their weights (mixed colours would look like yet another class).

    Returns:
        (width, 3) uint8 RGB.
    """
    palette = np.asarray(colors, dtype=np.float64)
    place = (np.arange(width * SUPERSAMPLE) + 0.5) / (width * SUPERSAMPLE)
    if frozen:
        shades = np.tile(np.asarray(ICE, dtype=np.float64), (len(place), 1))
    elif seam is not None:
        shades = palette[(place >= seam).astype(int)]
    else:
        periods = max(1, round(width / _DASH))
        within = place * periods % 1
        owner = np.searchsorted(np.cumsum(weights), within, side="right")
        shades = palette[owner.clip(max=len(palette) - 1)]
    return shades.reshape(width, SUPERSAMPLE, 3).mean(axis=1).round().astype(np.uint8)


def coverage(width: int, height: int, draw_shapes: Callable[[ImageDraw.ImageDraw, int], None]) -> Image.Image:
    """Return an anti-aliased "L" mask of `width` x `height`.

    Args:
        width: Pixels.
        height: Pixels.
        draw_shapes: Called with an `ImageDraw` of the enlarged mask and the factor by which it is enlarged.
    """
    large = Image.new("L", (width * SUPERSAMPLE, height * SUPERSAMPLE), 0)
    draw_shapes(ImageDraw.Draw(large), SUPERSAMPLE)
    return large.reduce(SUPERSAMPLE)


def rounded(width: int, height: int, radius: float) -> Image.Image:
    """Return the mask of a rectangle with round corners."""

    def shapes(draw: ImageDraw.ImageDraw, factor: int) -> None:
        draw.rounded_rectangle((0, 0, width * factor - 1, height * factor - 1), radius * factor, fill=255)

    return coverage(width, height, shapes)


def hatching(width: int, height: int, spacing: float) -> Image.Image:
    """Return the mask of slanted lines, one every `spacing` pixels."""

    def shapes(draw: ImageDraw.ImageDraw, factor: int) -> None:
        tall, step = height * factor, spacing * factor
        for index in range(int((width * factor + tall) / step) + 2):
            draw.line((index * step - tall, tall, index * step, 0), fill=255, width=max(1, round(step * 0.22)))

    return coverage(width, height, shapes)


def snowflake(size: int) -> Image.Image:
    """Return the mask of a six-armed snowflake in a square of `size` pixels."""

    def shapes(draw: ImageDraw.ImageDraw, factor: int) -> None:
        centre, arm = size * factor / 2, size * factor * 0.47
        stroke = max(1, round(size * factor * 0.075))
        for angle in np.arange(6) * np.pi / 3 + np.pi / 6:
            tip = centre + arm * np.array([np.cos(angle), np.sin(angle)])
            draw.line((centre, centre, *tip), fill=255, width=stroke)
            for turn in (-np.pi / 4, np.pi / 4):
                root = centre + 0.55 * (tip - centre)
                twig = root + 0.36 * arm * np.array([np.cos(angle + turn), np.sin(angle + turn)])
                draw.line((*root, *twig), fill=255, width=stroke)

    return coverage(size, size, shapes)


def curve_points(values: np.ndarray, width: float, height: float) -> list[tuple[float, float]]:
    """Return the outline of a weight over time in a box, y downwards, from the left edge to the right one.

    Every frame has an equal share of the width and its value at the share's centre. Neighbours are joined by a line,
    but a jump by more than one half is drawn upright: a label that switches must not look like a ramp.

    Args:
        values: (T,) weights in [0, 1].
        width: Pixels of the box.
        height: Pixels of the box.
    """
    step = width / len(values)
    y = height * (1 - np.clip(values, 0, 1))
    points = [(0.0, float(y[0]))]
    for index, level in enumerate(y):
        if index and abs(values[index] - values[index - 1]) > 0.5:
            points += [(index * step, float(y[index - 1])), (index * step, float(level))]
        points.append(((index + 0.5) * step, float(level)))
    return [*points, (float(width), float(y[-1]))]


def scale_points(points: Sequence[tuple[float, float]], factor: float) -> list[tuple[float, float]]:
    """Return `points` times `factor`, for drawing on an enlarged mask."""
    return [(x * factor, y * factor) for x, y in points]
