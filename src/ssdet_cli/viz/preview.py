"""The pictures of a preview: a video per method, and the sheet that puts original, partner and methods side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ssdet_cli.video.write import write_video
from ssdet_cli.viz import style
from ssdet_cli.viz.contact_sheet import SheetRow, contact_sheet
from ssdet_cli.viz.excerpt import Excerpt
from ssdet_cli.viz.stage import Stage

TITLES = {"freeze": "Volume Freeze", "mixup": "Volume MixUp", "cutmix": "Volume CutMix"}
CLASSES_DRAWN = (1, 2, 0)
"""Order of the tracks: item, partner, and background (channel 0 of the labels) last."""


class Shown(Protocol):
    """What the pictures need to know of a method applied to a clip; attributes as in `augment.showcase.Showcase`."""

    method: str
    frames: np.ndarray
    weights: np.ndarray
    frozen: np.ndarray
    seam: np.ndarray | None


def write_preview(file: Path, shown: Shown, item: Excerpt, partner: Excerpt) -> Stage:
    """Write the video of one method with its label tracks; the stage tells where the picture stands in it."""
    names, colors = _legend(item, partner)
    high, wide = shown.frames.shape[1:3]
    stage = Stage(
        shown.weights[list(CLASSES_DRAWN)],
        names,
        colors,
        (wide, high),
        frame_rate=item.video_frame_rate,
        title=TITLES[shown.method],
        frozen=shown.frozen,
        seam=shown.seam,
    )
    frames = (stage.frame(index, picture) for index, picture in enumerate(shown.frames))
    write_video(file, frames, item.video_frame_rate)
    return stage


def source_rows(item: Excerpt, partner: Excerpt, columns: np.ndarray) -> list[SheetRow]:
    """Return the rows of the two clips as they are, of which the sheet shows the frames `columns`."""
    rows, still = [], np.zeros(len(item.frames), dtype=bool)
    for row, (clip, role) in enumerate(((item, "original"), (partner, "partner"))):
        weights = np.zeros((3, len(still)))
        weights[row] = 1
        note = f"{role}, {span(clip)}" + (", mirrored" if clip.mirrored else "")
        accent = (style.class_colors(2)[row],)
        rows.append(SheetRow(_pretty(clip.name), note, clip.frames[columns], weights, still, accent=accent))
    return rows


def method_row(shown: Shown, columns: np.ndarray) -> SheetRow:
    """Return the row of one method."""
    notes = {
        "freeze": "one frame stands still for {} of {} frames, labelled as background",
        "mixup": "one clip fades into the other for {} of {} frames",
        "cutmix": "a seam sweeps through {} of {} frames; labels go by area",
    }
    ramps = np.ptp(shown.weights[1:], axis=0) < 1
    count, total = int(ramps.sum()), len(ramps)
    first, second = style.class_colors(2)
    accent = (first, style.ICE) if shown.method == "freeze" else (first, second)
    return SheetRow(
        TITLES[shown.method],
        notes[shown.method].format(count, total),
        shown.frames[columns],
        shown.weights[list(CLASSES_DRAWN)],
        shown.frozen,
        shown.seam,
        accent,
    )


def draw_sheet(rows: Sequence[SheetRow], columns: np.ndarray, item: Excerpt, partner: Excerpt, seed: int) -> np.ndarray:
    """Draw the sheet of all rows: (h, w, 3) uint8."""
    names, colors = _legend(item, partner)
    rate, frames = item.video_frame_rate, len(item.frames)
    digits = 2 if frames / rate < 2 * len(columns) else 1
    return contact_sheet(
        rows,
        columns,
        names=names,
        colors=colors,
        title="Volume augmentations: one label per clip becomes soft labels per frame",
        subtitle=f"{frames} frames at {rate:.4g} frames per second, seed {seed}",
        column_titles=[f"{column / rate:.{digits}f} s" for column in columns],
    )


def span(clip: Excerpt) -> str:
    """Say which part of its video an excerpt is."""
    end = clip.end_seconds
    return f"{clip.start_seconds:.1f} to {end:.1f} s" if end >= 1 else f"{clip.start_seconds:.2f} to {end:.2f} s"


def _legend(item: Excerpt, partner: Excerpt) -> tuple[list[str], list[style.Color]]:
    """Return names and colours of the classes in the order of the tracks."""
    return [*map(_pretty, (item.name, partner.name)), "background"], [*style.class_colors(2), style.STILL]


def _pretty(name: str) -> str:
    return " ".join(name.replace("_", " ").split()) or name
