"""One picture that puts several versions of a clip side by side, frames over time, with their label weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ssdet_cli.viz import style
from ssdet_cli.viz.style import Color

_MARGIN, _TITLES, _GAP = 40, 250, 10
_HEADER, _FOOTER, _STRIP, _ROW_GAP = 134, 30, 26, 20
_GOAL_HEIGHT, _MIN_COLUMNS, _MAX_COLUMNS = 1080, 4, 16
_BETWEEN, _BAR = 15, 4
"""Room between a frame and its strip, and the bar in it that says who is on in the frame."""
_FREEZE_BORDER = 4


@dataclass(frozen=True)
class SheetRow:
    """One version of the clip.

    Attributes:
        title: Name of the version.
        note: A short sentence under the title.
        frames: (N, h, w, 3) uint8 RGB, the frames of the N columns.
        weights: (K, T) label weights over the whole clip; every frame's column sums to 1.
        frozen: (T,) bool, True where a frame stands still and therefore is background.
        seam: (T,) in [0, 1] of the width, where class 0 on the left meets class 1 on the right; None: no seam.
        accent: Colours that the bar at the title runs through, from top to bottom.
    """

    title: str
    note: str
    frames: np.ndarray
    weights: np.ndarray
    frozen: np.ndarray
    seam: np.ndarray | None = None
    accent: tuple[Color, ...] = (style.INK,)


def sheet_columns(rows: int, frame_width: int, frame_height: int, num_frames: int, width: int = 1920) -> np.ndarray:
    """Return the frames that a sheet shows, evenly spread, as many as fill a page of 16:9.

    Args:
        rows: Versions below each other.
        frame_width: Pixels of a frame; only the proportion matters.
        frame_height: Pixels of a frame.
        num_frames: T, frames of the clip.
        width: Pixels of the sheet.

    Returns:
        (N,) frame indices: the middles of N equal parts of the clip.
    """
    room = (_GOAL_HEIGHT - _HEADER - _FOOTER) / rows - _STRIP - _ROW_GAP - _BETWEEN
    across = (width - 2 * _MARGIN - _TITLES) / (room * frame_width / frame_height + _GAP)
    count = int(np.clip(round(across), _MIN_COLUMNS, _MAX_COLUMNS))
    count = min(count, num_frames)
    return ((np.arange(count) + 0.5) * num_frames / count).astype(int)


def contact_sheet(
    rows: Sequence[SheetRow],
    columns: np.ndarray,
    *,
    names: Sequence[str],
    colors: Sequence[Color],
    title: str,
    subtitle: str,
    column_titles: Sequence[str],
    width: int = 1920,
) -> np.ndarray:
    """Draw the sheet: a row per version, a column per time, under every row a strip of label weights.

    The strip shows the classes' weights stacked, so the share of a colour is the share of its class; frozen frames
    wear an ice-blue border with a snowflake and are hatched in the strip.

    Args:
        rows: Versions of one clip, of equal frame size.
        columns: (N,) frame indices from `sheet_columns`.
        names: K class names for the legend.
        colors: K colours.
        title: Headline.
        subtitle: Line under it.
        column_titles: N texts above the columns.
        width: Pixels; the height follows.

    Returns:
        (height, width, 3) uint8 RGB, both sizes even.

    Raises:
        ValueError: No row, or a row without a frame for every column.
    """
    if not rows or any(len(row.frames) != len(columns) for row in rows):
        raise ValueError(f"Every one of {len(rows)} rows needs a frame for each of {len(columns)} columns.")
    grid = _grid(rows, len(columns), width)
    image = Image.new("RGB", (width, grid.page_height), style.PAGE)
    _draw_header(image, title, subtitle, names, colors)
    face, draw = style.font(17), ImageDraw.Draw(image)
    for column, text in enumerate(column_titles):
        draw.text((grid.centre(column), _HEADER - 16), text, style.MUTED, face, anchor="mm")
    for index, row in enumerate(rows):
        _draw_row(image, row, columns, colors, grid, grid.row_top(index))
    _draw_footer(image, any(row.frozen.any() for row in rows))
    return np.asarray(image)


@dataclass(frozen=True)
class _Grid:
    left: int
    cell: float
    thumb_width: int
    thumb_height: int
    rows: int

    @property
    def page_height(self) -> int:
        return 2 * round((self.row_top(self.rows) + _FOOTER) / 2)

    def row_top(self, row: int) -> int:
        return _HEADER + row * (self.thumb_height + _BETWEEN + _STRIP + _ROW_GAP)

    def centre(self, column: int) -> float:
        return self.left + (column + 0.5) * self.cell


def _grid(rows: Sequence[SheetRow], columns: int, width: int) -> _Grid:
    height, frame_width = rows[0].frames.shape[1:3]
    left = _MARGIN + _TITLES
    cell = (width - _MARGIN - left) / columns
    most = max(80.0, (_GOAL_HEIGHT - _HEADER - _FOOTER) / len(rows) - _STRIP - _ROW_GAP - _BETWEEN)
    scale = min((cell - _GAP) / frame_width, most / height)
    return _Grid(left, cell, max(2, int(frame_width * scale)), max(2, int(height * scale)), len(rows))


def _draw_header(image: Image.Image, title: str, subtitle: str, names: Sequence[str], colors: Sequence[Color]) -> None:
    draw, room = ImageDraw.Draw(image), image.width - 2 * _MARGIN
    headline, small = style.font(34, bold=True), style.font(19)
    draw.text((_MARGIN, 44), style.shorten(title, headline, room), style.INK, headline, anchor="lm")
    shown = [style.shorten(name, small, room / 4) for name in names]
    taken = sum(small.getlength(name) + 54 for name in shown)
    draw.text((_MARGIN, 82), style.shorten(subtitle, small, room - taken), style.MUTED, small, anchor="lm")
    x, chip = image.width - _MARGIN + 24 - taken, style.rounded(18, 18, 5)
    for name, color in zip(shown, colors, strict=True):
        image.paste(color, (round(x), 73), chip)
        draw.text((x + 27, 82), name, style.INK, small, anchor="lm")
        x += small.getlength(name) + 54


def _draw_row(
    image: Image.Image, row: SheetRow, columns: np.ndarray, colors: Sequence[Color], grid: _Grid, top: int
) -> None:
    _draw_titles(image, row, top, grid.thumb_height + _BETWEEN + _STRIP)
    for column, (frame, picture) in enumerate(zip(columns, row.frames, strict=True)):
        thumb = Image.fromarray(picture).resize((grid.thumb_width, grid.thumb_height), Image.Resampling.LANCZOS)
        left = round(grid.centre(column) - grid.thumb_width / 2)
        mask = style.rounded(*thumb.size, 7)
        if row.frozen[frame]:
            thumb = _frozen(thumb)
        image.paste(thumb, (left, top), mask)
        bar = _share_bar(row, int(frame), colors, grid.thumb_width)
        image.paste(bar, (left, top + grid.thumb_height + 3), style.rounded(*bar.size, 2))
    strip_top, wide = top + grid.thumb_height + _BETWEEN, round(image.width - _MARGIN - grid.left)
    strip = _strip(row, colors, wide, _STRIP)
    image.paste(strip, (grid.left, strip_top), style.rounded(*strip.size, 6))
    draw = ImageDraw.Draw(image)
    for frame in columns:
        x = round(grid.left + (frame + 0.5) / row.weights.shape[1] * wide)
        draw.rectangle((x, strip_top - 6, x + 1, strip_top - 2), style.MUTED)


def _draw_titles(image: Image.Image, row: SheetRow, top: int, height: int) -> None:
    draw, room = ImageDraw.Draw(image), _TITLES - 44
    bold, plain = style.font(21, bold=True), style.font(16)
    stops = np.linspace(0, height - 1, len(row.accent))
    bar = np.stack([np.interp(np.arange(height), stops, channel) for channel in zip(*row.accent, strict=True)], -1)
    bar = Image.fromarray(np.repeat(bar.astype(np.uint8)[:, None], 6, axis=1))
    image.paste(bar, (_MARGIN, top), style.rounded(6, height, 3))
    notes = style.wrap(row.note, plain, room, 5)
    titles = style.wrap(row.title, bold, room, 3 if len(notes) < 3 else 2)
    y = top + height / 2 - (27 * len(titles) + 6 + 21 * len(notes)) / 2
    for line in titles:
        draw.text((_MARGIN + 20, y + 13), line, style.INK, bold, anchor="lm")
        y += 27
    for line in notes:
        draw.text((_MARGIN + 20, y + 16), line, style.MUTED, plain, anchor="lm")
        y += 21


def _share_bar(row: SheetRow, frame: int, colors: Sequence[Color], width: int) -> Image.Image:
    seam = None if row.seam is None else float(row.seam[frame])
    line = style.share_row(row.weights[:, frame], colors, width, frozen=bool(row.frozen[frame]), seam=seam)
    return Image.fromarray(np.repeat(line[None], _BAR, axis=0))


def _frozen(thumb: Image.Image) -> Image.Image:
    """Return `thumb` in an ice-blue frame with a snowflake in its corner."""
    width, height = thumb.size
    inner = Image.new("L", thumb.size, 255)
    hole = style.rounded(max(1, width - 2 * _FREEZE_BORDER), max(1, height - 2 * _FREEZE_BORDER), 5)
    inner.paste(0, (_FREEZE_BORDER, _FREEZE_BORDER), hole)
    frozen = thumb.copy()
    frozen.paste(style.ICE, (0, 0), inner)
    badge = int(min(34, width / 3, height / 3))
    if badge >= 10:
        at = (width - badge - 2 * _FREEZE_BORDER, 2 * _FREEZE_BORDER)
        frozen.paste(style.PAGE, at, style.rounded(badge, badge, badge / 2))
        flake = round(badge * 0.74)
        frozen.paste(style.ICE, (at[0] + (badge - flake) // 2, at[1] + (badge - flake) // 2), style.snowflake(flake))
    return frozen


def _strip(row: SheetRow, colors: Sequence[Color], width: int, height: int) -> Image.Image:
    """Return the stacked label weights over time, frozen frames hatched."""
    strip = Image.new("RGB", (width, height), style.LANE)
    heights = np.cumsum(row.weights[::-1], axis=0)[::-1]
    for level, color in zip(heights, colors, strict=True):
        outline = style.curve_points(level, width, height)

        def area(draw: ImageDraw.ImageDraw, factor: int, outline=outline) -> None:
            draw.polygon(style.scale_points([(0, height), *outline, (width, height)], factor), fill=255)

        strip.paste(style.blend(style.PAGE, color, 0.86), (0, 0), style.coverage(width, height, area))
    lines = np.asarray(style.hatching(width, height, 9))
    frame = ((np.arange(width) + 0.5) / width * len(row.frozen)).astype(int)
    strip.paste(style.ICE, (0, 0), Image.fromarray(lines * row.frozen[frame].astype(np.uint8)))
    return strip


def _draw_footer(image: Image.Image, frozen: bool) -> None:
    draw, small = ImageDraw.Draw(image), style.font(16)
    y, x = image.height - 26, _MARGIN + _TITLES
    text = "Strips: label weights over the clip, stacked; a colour's share is its class's weight."
    if frozen:
        text += "  Ice-blue frame and hatching: the frame stands still, so its label is background."
    draw.text((x, y), style.shorten(text, small, image.width - _MARGIN - x), style.MUTED, small, anchor="lm")
