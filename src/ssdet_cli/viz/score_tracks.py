"""A row per class over one axis of time: what was found as bars, under them the scores; with a playhead if asked."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ssdet_cli.viz import style
from ssdet_cli.viz.clock import axis_ticks, clock
from ssdet_cli.viz.label_tracks import draw_playhead, fill_lane, lamp_mask
from ssdet_cli.viz.style import Color

#: Of a row, in font sizes: the lane, the bars within it, and what follows it.
_LANE, _BAR, _GAP = 2.5, 0.62, 0.5
#: Lines that a name may take, and the smallest letters that it is written in before it is shortened.
_NAME_LINES, _SMALLEST = 2, 9
#: Of the most room that names may take: from narrow to wide, since what is left is for the lanes.
_ROOMS = (0.4, 0.55, 0.7, 0.85, 1.0)


@dataclass(frozen=True)
class Track:
    """One row.

    Attributes:
        name: Of the class.
        color: Of the class.
        peak: (N,) highest score in each of N equal parts of the time, in [0, 1]; NaN where nothing was scored.
        mean: (N,) mean score there.
        bars: (start, end) of what was found, seconds.
        notes: Up to two short lines on the right.
    """

    name: str
    color: Color
    peak: np.ndarray
    mean: np.ndarray
    bars: Sequence[tuple[float, float]]
    notes: tuple[str, ...] = ()


class ScoreTracks:
    """A panel of rows, drawn once; `frame` adds what moves.

    Args:
        tracks: At least one.
        begin: Time at the left edge, seconds.
        end: Time at the right edge, seconds.
        width: Pixels of the panel.
        font_size: Pixels.
        full_height: Score that fills a lane.
        name_share: Largest part of the width that names may take.
        right: Widest text that will stand on the right.

    Attributes:
        height: Pixels of the panel, even.
        lanes: (top, bottom) of every lane, pixels.
        left: Where the lanes begin, pixels.
        right: Where they end, pixels.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        begin: float,
        end: float,
        width: int,
        *,
        font_size: int,
        full_height: float = 1.0,
        name_share: float = 0.34,
        right: str = "0.00",
    ) -> None:
        self.tracks, self.begin, self.end, self.width = tracks, begin, end, width
        self.font_size, self._full = font_size, full_height
        self._pad, self._lamp = max(4, round(0.7 * font_size)), max(4, round(0.62 * font_size))
        self._name_left = self._pad + self._lamp + self._pad // 2
        self._face, room = _name_face([track.name for track in tracks], font_size, name_share * width)
        self._name_room = room
        self.left = round(self._name_left + room + 0.7 * self._pad)
        self.right = round(width - 1.5 * self._pad - style.font(font_size, bold=True).getlength(right))
        pitch = (_LANE + _GAP) * font_size
        tops = [round(0.75 * font_size + row * pitch) for row in range(len(tracks))]
        self.lanes = [(top, top + round(_LANE * font_size)) for top in tops]
        self.height = 2 * round((self.lanes[-1][1] + 2.1 * font_size) / 2)
        self._empty, self._full_panel = self._panel(filled=False), self._panel(filled=True)
        self._ahead = np.asarray(Image.blend(self._empty, self._full_panel, 0.5))
        self._played = np.asarray(self._full_panel)

    def x(self, seconds: float) -> float:
        """Where a time stands, pixels; times outside stand at the edges."""
        share = (seconds - self.begin) / (self.end - self.begin)
        return self.left + min(max(share, 0.0), 1.0) * (self.right - self.left)

    def picture(self) -> Image.Image:
        """The panel without a playhead, every name bright and the notes on the right."""
        image = self._full_panel.copy()
        for row, track in enumerate(self.tracks):
            self._draw_name(image, row, style.INK)
            image.paste(track.color, self._lamp_at(row), lamp_mask(self._lamp))
            self._draw_notes(image, row)
        return image

    def frame(self, seconds: float, values: np.ndarray, on: Sequence[bool]) -> np.ndarray:
        """Return the panel while the time `seconds` is shown: (height, width, 3) uint8 RGB.

        Args:
            seconds: The present.
            values: A score for every row; NaN where there is none.
            on: Whether the row's class was found at the present: its lamp is lit and its name bright.
        """
        x = self.x(seconds)
        pixels = self._ahead.copy()
        pixels[:, : round(x)] = self._played[:, : round(x)]
        image = Image.fromarray(pixels)
        draw_playhead(image, x, self.lanes[0][0], self.lanes[-1][1], self.font_size)
        draw, face = ImageDraw.Draw(image), style.font(self.font_size, bold=True)
        for row, (value, lit) in enumerate(zip(values.tolist(), on, strict=True)):
            color, (top, bottom) = self.tracks[row].color, self.lanes[row]
            self._draw_name(image, row, style.INK if lit else style.MUTED)
            image.paste(color if lit else style.LANE, self._lamp_at(row), lamp_mask(self._lamp))
            ink = style.blend(color, style.INK, 0.2) if lit else style.MUTED
            text = "–" if np.isnan(value) else f"{value:.2f}"
            draw.text((self.width - self._pad, (top + bottom) / 2), text, ink, face, anchor="rm")
        return np.asarray(image)

    def _panel(self, *, filled: bool) -> Image.Image:
        size = self.font_size
        image = Image.new("RGB", (self.width, self.height), style.PAGE)
        image.paste(style.PANEL, (0, 0), style.rounded(self.width, self.height, round(0.6 * size)))
        for track, (top, bottom) in zip(self.tracks, self.lanes, strict=True):
            lane = Image.new("RGB", (self.right - self.left, bottom - top), style.LANE)
            if filled:
                self._fill(lane, track)
            image.paste(lane, (self.left, top), style.rounded(*lane.size, max(2, round(0.25 * size))))
        self._draw_axis(image)
        return image

    def _fill(self, lane: Image.Image, track: Track) -> None:
        """Scores below, bars above them: pale up to the highest score of a pixel, full up to the mean."""
        width, height = lane.size
        top = round(_BAR * self.font_size) + 2
        area = lane.crop((0, top, width, height))
        peak, mean = (np.nan_to_num(values / self._full).clip(0, 1) for values in (track.peak, track.mean))

        def pale(draw: ImageDraw.ImageDraw, factor: int) -> None:
            outline = style.curve_points(peak, width, area.height)
            draw.polygon(style.scale_points([(0, area.height), *outline, (width, area.height)], factor), fill=255)

        area.paste(style.blend(style.LANE, track.color, 0.3), (0, 0), style.coverage(width, area.height, pale))
        fill_lane(area, mean, track.color, self.font_size)
        lane.paste(area, (0, top))
        draw = ImageDraw.Draw(lane)
        for start, end in track.bars:
            left, right = round(self.x(start)) - self.left, round(self.x(end)) - self.left - 1
            # Short actions of a long video stay visible.
            draw.rectangle((min(left, width - 2), 0, max(right, left + 1), top - 3), fill=track.color)

    def _draw_name(self, image: Image.Image, row: int, ink: Color) -> None:
        lines = style.wrap(self.tracks[row].name, self._face, self._name_room, _NAME_LINES)
        draw, (top, bottom), pitch = ImageDraw.Draw(image), self.lanes[row], 1.2 * self._face.size
        first = (top + bottom) / 2 - pitch * (len(lines) - 1) / 2
        for index, line in enumerate(lines):
            draw.text((self._name_left, first + index * pitch), line, ink, self._face, anchor="lm")

    def _draw_notes(self, image: Image.Image, row: int) -> None:
        notes, (top, bottom) = self.tracks[row].notes, self.lanes[row]
        faces = (style.font(self.font_size, bold=True), style.font(max(_SMALLEST, round(0.8 * self.font_size))))
        first = (top + bottom) / 2 - 0.6 * self.font_size * (len(notes) - 1)
        for index, (note, face, ink) in enumerate(zip(notes, faces, (style.INK, style.MUTED), strict=False)):
            at = (self.width - self._pad, first + 1.2 * index * self.font_size)
            ImageDraw.Draw(image).text(at, note, ink, face, anchor="rm")

    def _draw_axis(self, image: Image.Image) -> None:
        draw, face = ImageDraw.Draw(image), style.font(max(_SMALLEST, round(0.85 * self.font_size)))
        room = self.right - self.left
        ticks, step = axis_ticks(self.begin, self.end, int(room / (face.getlength("0:00:00") * 1.6)))
        grid, low = style.blend(style.PANEL, style.MUTED, 0.3), self.lanes[-1][1]
        for tick in ticks:
            x = round(self.x(tick))
            for top, bottom in zip(
                [0.25 * self.font_size, *(b for _, b in self.lanes)],
                [*(t for t, _ in self.lanes), low + 0.5 * self.font_size],
                strict=True,
            ):
                draw.line((x, round(top), x, round(bottom) - 1), grid)
            text = clock(tick, step)
            half = face.getlength(text) / 2
            at = min(max(x, self._pad + half), self.width - self._pad - half)
            draw.text((at, low + 1.2 * self.font_size), text, style.MUTED, face, anchor="mm")

    def _lamp_at(self, row: int) -> tuple[int, int]:
        top, bottom = self.lanes[row]
        return self._pad, round((top + bottom) / 2 - self._lamp / 2)


def _name_face(names: Sequence[str], size: int, most: float) -> tuple[style.ImageFont.FreeTypeFont, float]:
    """Return the letters in which all names fit in full if they can, and the least room for that, pixels."""
    tries = [(size, share * most) for share in _ROOMS] + [(smaller, most) for smaller in range(size - 1, _SMALLEST, -1)]
    for letters, room in tries:
        face = style.font(letters, bold=True)
        lines = [style.wrap(name, face, room, _NAME_LINES) for name in names]
        if all(map(_is_whole, names, lines)):
            break
    return face, max((face.getlength(line) for found in lines for line in found), default=0.0)


def _is_whole(name: str, lines: list[str]) -> bool:
    """Whether wrapping left nothing of a name out."""
    return "".join(lines).replace(" ", "") == style.printable(name).replace(" ", "")
