"""A video with its label tracks: title, the untouched picture in a coloured frame, tracks under it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ssdet_cli.viz import style
from ssdet_cli.viz.label_tracks import LabelTracks, tracks_height
from ssdet_cli.viz.style import Color


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: int
    top: int
    width: int
    height: int


class Stage:
    """Composes the frames of a video with label tracks; what does not move is drawn once.

    Args:
        weights: (K, T) label weights in [0, 1].
        names: K class names.
        colors: K colours.
        picture_size: (width, height) of the pictures in pixels, both even.
        frame_rate: Frames per second.
        title: Headline over the picture.
        frozen: (T,) bool, frames that stand still: ice-blue frame and a snowflake.
        seam: (T,) in [0, 1] of the width, where class 0 on the left meets class 1 on the right; colours the frame.

    Attributes:
        width: Pixels of a composed frame, even.
        height: Pixels of a composed frame, even.
        picture: Where the picture stands in a composed frame.
    """

    def __init__(
        self,
        weights: np.ndarray,
        names: Sequence[str],
        colors: Sequence[Color],
        picture_size: tuple[int, int],
        *,
        frame_rate: float,
        title: str,
        frozen: np.ndarray,
        seam: np.ndarray | None = None,
    ) -> None:
        wide, high = picture_size
        size = max(11, round(high * 13 / 240))
        margin, bar = 4 * max(1, round(0.225 * size)), 2 * round(1.05 * size)
        inner = max(wide, 2 * round(15.5 * size))
        panel = tracks_height(len(weights), size, axis=True)
        self.width, self.height = inner + 2 * margin, bar + high + panel + 3 * margin
        # Even corners: the video keeps one colour per 2 x 2 pixels, so an odd corner would bleed into the frame.
        self.picture = Box((self.width - wide) // 4 * 2, margin // 2 + bar, wide, high)
        self._panel_at = (margin, self.picture.top + high + margin)
        self._weights, self._frozen, self._seam, self._rate = weights, frozen, seam, frame_rate
        self._colors = list(colors)
        self._font_size, self._bar, self._margin = size, bar, margin
        seconds = weights.shape[1] / frame_rate
        self._tracks = LabelTracks(weights, names, colors, inner, panel, font_size=size, seconds=seconds)
        self._border = max(2, round(0.2 * size))
        self._border_mask = self._draw_border_mask()
        self._flake = style.snowflake(round(1.35 * size))
        self._page = self._draw_page(title)

    def frame(self, index: int, picture: np.ndarray) -> np.ndarray:
        """Return frame `index` composed.

        Args:
            index: Frame in [0, T).
            picture: (h, w, 3) uint8 RGB of `picture_size`; shown pixel by pixel as it is.

        Returns:
            (height, width, 3) uint8 RGB.
        """
        image = self._page.copy()
        frozen = bool(self._frozen[index])
        self._draw_border(image, index, frozen)
        self._draw_clock(image, index, frozen)
        out = np.asarray(image).copy()
        box = self.picture
        out[box.top : box.top + box.height, box.left : box.left + box.width] = picture
        left, top = self._panel_at
        panel = self._tracks.frame(index)
        out[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
        return out

    def _draw_border_mask(self) -> Image.Image:
        wide, high = self.picture.width + 2 * self._border, self.picture.height + 2 * self._border
        return style.rounded(wide, high, 1.5 * self._border)

    def _draw_border(self, image: Image.Image, index: int, frozen: bool) -> None:
        mask, edge, weights = self._border_mask, self._border, self._weights[:, index]
        seam = None if self._seam is None else float(self._seam[index])
        row = style.share_row(weights, self._colors, self.picture.width, frozen=frozen, seam=seam)
        row = np.pad(row, ((edge, edge), (0, 0)), mode="edge")
        shades = np.repeat(row[None], mask.height, axis=0)
        if seam is None:
            # No side belongs to one class: the dashes run down the sides as well.
            side = style.share_row(weights, self._colors, mask.height, frozen=frozen)[:, None]
            shades[:, :edge] = shades[:, -edge:] = side
        image.paste(Image.fromarray(shades), (self.picture.left - edge, self.picture.top - edge), mask)

    def _draw_page(self, title: str) -> Image.Image:
        page = Image.new("RGB", (self.width, self.height), style.PAGE)
        face = style.font(round(1.15 * self._font_size), bold=True)
        room = self.width - 2 * self._margin - 14 * self._font_size
        at = (self._margin + self._border, self._margin // 2 + self._bar * 0.45)
        ImageDraw.Draw(page).text(at, style.shorten(title, face, room), style.INK, face, anchor="lm")
        return page

    def _draw_clock(self, image: Image.Image, index: int, frozen: bool) -> None:
        draw, face = ImageDraw.Draw(image), style.font(self._font_size)
        right, middle = self.width - self._margin - self._border, self._margin // 2 + self._bar * 0.45
        draw.text((right, middle), f"{index / self._rate:.2f} s", style.MUTED, face, anchor="rm")
        if not frozen:
            return
        right -= round(5.2 * self._font_size)
        draw.text((right, middle), "frozen", style.ICE, style.font(self._font_size, bold=True), anchor="rm")
        left = right - round(style.font(self._font_size, bold=True).getlength("frozen")) - round(1.8 * self._font_size)
        image.paste(style.ICE, (left, round(middle - self._flake.height / 2)), self._flake)
