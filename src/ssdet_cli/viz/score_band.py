"""Frames of a video on a page with their scores: what does not move is drawn once a minute."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ssdet_cli.viz import style
from ssdet_cli.viz.clock import clock
from ssdet_cli.viz.label_tracks import lamp_mask
from ssdet_cli.viz.score_bins import Found, bin_scores, full_height, rank_classes
from ssdet_cli.viz.score_tracks import ScoreTracks, Track

#: A longer video is shown in pages of about this many seconds, with a strip of the whole below them.
_PAGE_SECONDS = 60.0
#: Values that the whole video is reduced to where only its best ones matter.
_BINS = 1000
_LEAST_INNER = 480


class ScoreBand:
    """Composes frames.

    Args:
        scores: (T, K), see `overlay.write_overlay`.
        seconds: (T,), see there.
        classes: K names.
        segments: What was found.
        span: When the shown part begins and ends, seconds.
        picture_size: (width, height) of the pictures.
        rows: Classes that are shown at a time.
        title: Stands above the picture.
        slack: By how much a frame's time may be rounded, seconds.

    Attributes:
        width: Pixels of a composed frame, even.
        height: Pixels of a composed frame, even.
        picture_at: (left, top) of the picture, even.
        now_top: Where the line with the actions of the moment begins, pixels.
        tracks_top: Where the rows begin, pixels.
    """

    def __init__(
        self,
        scores: np.ndarray,
        seconds: np.ndarray,
        classes: Sequence[str],
        segments: Sequence[Found],
        *,
        span: tuple[float, float],
        picture_size: tuple[int, int],
        rows: int,
        title: str,
        slack: float,
    ) -> None:
        self._scores, self._seconds, self._classes, self._slack = scores, seconds, classes, slack
        self._segments, self._span, self._rows = segments, span, rows
        best = bin_scores(scores, seconds, *span, _BINS).best
        ranked = rank_classes(best, segments, len(classes))
        self._rank = {label: rank for rank, label in enumerate(ranked)}
        self._colors = style.class_colors(len(classes))
        self._full = full_height(best[ranked[:rows]])
        self._pages = max(1, round((span[1] - span[0]) / _PAGE_SECONDS))
        self._page = -1
        self._lay_out(picture_size)
        self._canvas = self._draw_canvas(title)
        self._turn_to(0)

    def frame(self, seconds: float, picture: np.ndarray) -> np.ndarray:
        """Return the frame that is shown from `seconds` on: (height, width, 3) uint8 RGB.

        Args:
            seconds: Time in the video.
            picture: (h, w, 3) uint8 RGB of `picture_size`; shown pixel by pixel as it is.
        """
        begin, end = self._span
        self._turn_to(int((seconds + self._slack - begin) / (end - begin) * self._pages))
        scores = self._at(seconds)
        on = [item for item in self._near if item.start <= seconds + self._slack < item.end]
        lit = {item.class_index for item in on}
        image = self._canvas.copy()
        self._draw_clock(image, seconds)
        self._draw_now(image, sorted(lit, key=self._rank.__getitem__), scores)
        out = np.asarray(image).copy()
        _put(out, picture, self.picture_at)
        panel = self._tracks.frame(seconds, scores[self._shown], [label in lit for label in self._shown])
        _put(out, panel, (self._margin, self.tracks_top))
        if self._pages > 1:
            x = round(self._strip_x(seconds))
            out[self._strip_top - 2 : self._strip_top + self._strip_height + 2, x : x + 2] = style.INK
        return out

    def _lay_out(self, picture_size: tuple[int, int]) -> None:
        wide, high = picture_size
        inner = max(wide + wide % 2, _LEAST_INNER)
        self._size = size = int(np.clip(round(inner / 48), 12, 26))
        self._margin = margin = 2 * round(0.4 * size)
        bar = 2 * round(1.05 * size)
        self.width = inner + 2 * margin
        # Even corners: the video keeps one colour per 2 x 2 pixels.
        self.picture_at = ((self.width - wide) // 4 * 2, margin + bar)
        self.now_top = self.picture_at[1] + high + high % 2
        self.tracks_top = self.now_top + 2 * round(1.1 * size)
        # What the rows look like does not matter for how high they are.
        blank = np.zeros(1)
        empty = [Track("", style.MUTED, blank, blank, ())] * self._rows
        panel = ScoreTracks(empty, *self._span, inner, font_size=size).height
        self._strip_top, self._strip_height = self.tracks_top + panel + margin, 2 * round(0.5 * size)
        strip = self._strip_height + margin if self._pages > 1 else 0
        self.height = self.tracks_top + panel + strip + margin
        self._inner = inner

    def _draw_canvas(self, title: str) -> Image.Image:
        image = Image.new("RGB", (self.width, self.height), style.PAGE)
        face, middle = style.font(self._size, bold=True), self.picture_at[1] / 2 + 1
        room = self._inner - 2 * face.getlength("0:00:00.0")
        at = (self._margin, middle)
        ImageDraw.Draw(image).text(at, style.shorten(title, face, room), style.INK, face, anchor="lm")
        if self._pages > 1:
            self._draw_strip(image)
        return image

    def _draw_strip(self, image: Image.Image) -> None:
        """The whole video in one strip: a thin line per class that is found most surely."""
        strip = Image.new("RGB", (self._inner, self._strip_height), style.LANE)
        draw, edges = ImageDraw.Draw(strip), np.linspace(0, self._strip_height, self._rows + 1).round()
        for item in self._segments:
            rank = self._rank[item.class_index]
            if rank < self._rows and item.end > self._span[0] and item.start < self._span[1]:
                left, right = (round(self._strip_x(time)) - self._margin for time in (item.start, item.end))
                box = (left, int(edges[rank]), max(left, right - 1), max(int(edges[rank]), int(edges[rank + 1]) - 1))
                draw.rectangle(box, fill=self._colors[rank])
        image.paste(strip, (self._margin, self._strip_top), style.rounded(*strip.size, 3))

    def _strip_x(self, seconds: float) -> float:
        begin, end = self._span
        return self._margin + min(max((seconds - begin) / (end - begin), 0.0), 1.0) * (self._inner - 2)

    def _turn_to(self, page: int) -> None:
        """Draw the rows of a page, if it is another one: of the classes that matter in it, in the order of all."""
        page = min(max(page, 0), self._pages - 1)
        if page == self._page:
            return
        self._page = page
        edges = np.linspace(*self._span, self._pages + 1)
        begin, end = float(edges[page]), float(edges[page + 1])
        self._near = [item for item in self._segments if item.end > begin and item.start < end + self._slack]
        bins = bin_scores(self._scores, self._seconds, begin, end, self._inner)
        chosen = rank_classes(bins.best, self._near, self._rows)
        self._shown = sorted(chosen, key=self._rank.__getitem__)
        tracks = []
        for label in self._shown:
            bars = [(item.start, item.end) for item in self._near if item.class_index == label]
            color = self._colors[self._rank[label]]
            tracks.append(Track(self._classes[label], color, bins.peak[label], bins.mean[label], bars))
        self._tracks = ScoreTracks(
            tracks, begin, end, self._inner, font_size=self._size, full_height=self._full, name_share=0.4
        )

    def _at(self, seconds: float) -> np.ndarray:
        """Scores on screen at a time: (K,) float32, NaN before the first."""
        row = int(np.searchsorted(self._seconds, seconds + self._slack, side="right")) - 1
        return np.full(len(self._classes), np.nan, np.float32) if row < 0 else np.asarray(self._scores[row], np.float32)

    def _draw_clock(self, image: Image.Image, seconds: float) -> None:
        at = (self.width - self._margin, self.picture_at[1] / 2 + 1)
        ImageDraw.Draw(image).text(at, clock(seconds, 0.1), style.MUTED, style.font(self._size), anchor="rm")

    def _draw_now(self, image: Image.Image, labels: Sequence[int], scores: np.ndarray) -> None:
        """The actions of the moment in one line; those that find no room are counted."""
        draw, size = ImageDraw.Draw(image), self._size
        bold, plain, lamp = style.font(size, bold=True), style.font(size), lamp_mask(round(0.62 * size))
        x, middle = float(self._margin), (self.now_top + self.tracks_top) / 2
        if not labels:
            draw.text((x, middle), "no action", style.MUTED, plain, anchor="lm")
        for place, label in enumerate(labels):
            more = f"+{len(labels) - place}"
            room = self._margin + self._inner - x - (bold.getlength(more) + size if place + 1 < len(labels) else 0)
            score = f" {scores[label]:.2f}"
            rest = lamp.width + 0.4 * size + bold.getlength(score)
            if place and room < rest + bold.getlength(self._classes[label]):
                draw.text((x, middle), more, style.MUTED, bold, anchor="lm")
                return
            name = style.shorten(self._classes[label], bold, room - rest)
            color = self._colors[self._rank[label]]
            image.paste(color, (round(x), round(middle - lamp.height / 2)), lamp)
            x += lamp.width + 0.4 * size
            for text, ink in ((name, style.INK), (score, style.blend(color, style.INK, 0.2))):
                draw.text((x, middle), text, ink, bold, anchor="lm")
                x += bold.getlength(text)
            x += size


def _put(out: np.ndarray, picture: np.ndarray, at: tuple[int, int]) -> None:
    left, top = at
    out[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
