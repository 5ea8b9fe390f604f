"""Show what the volume augmentations do to a clip: videos with label tracks, a contact sheet, every number in JSON."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssdet_cli.augment import (
    METHODS,
    cutmix_boundary,
    draw_freeze,
    draw_windows,
    resolve_windows,
    volume_cutmix,
    volume_freeze,
    volume_mixup,
)
from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.video.write import write_video
from ssdet_cli.viz import style
from ssdet_cli.viz.contact_sheet import SheetRow, contact_sheet, sheet_columns
from ssdet_cli.viz.excerpt import Excerpt, load_pair
from ssdet_cli.viz.stage import Stage

TITLES = {"freeze": "Volume Freeze", "mixup": "Volume MixUp", "cutmix": "Volume CutMix"}
CLASSES_DRAWN = (1, 2, 0)
"""Order of the tracks: item, partner, and background (channel 0 of the labels) last."""

_CANDIDATES = 64
_BAND = 64
_MIN_HEIGHT = 32
_TOLERANCE = 1e-5

Draw = dict[str, Any]


@dataclass(frozen=True)
class PreviewResult:
    """What a preview wrote.

    Attributes:
        videos: Method -> mp4.
        contact_sheet: PNG.
        sidecar: Draws, per-frame weights and source frames, JSON.
        notes: Sentences for the screen: what was used of the videos and who the partner is.
        largest_deviation: How far from 1 the label weights of any frame add up to.
    """

    videos: dict[str, Path]
    contact_sheet: Path
    sidecar: Path
    notes: tuple[str, ...]
    largest_deviation: float


@dataclass(frozen=True)
class _Augmented:
    """One method applied: frames (T, h, w, 3) uint8, weights (3, T) in label order, and how it came about."""

    method: str
    frames: np.ndarray
    weights: np.ndarray
    frozen: np.ndarray
    draw: Draw
    source: list[np.ndarray]
    seam: np.ndarray | None
    area_deviation: float


def run(
    clips: Sequence[Path],
    methods: Sequence[str],
    output: Path,
    seed: int = 0,
    seconds: float | None = None,
    height: int = 240,
    *,
    frame_rate: float | None = None,
) -> PreviewResult:
    """Apply the augmentations of training to one or two clips and write what they do.

    All files appear in `output` at the end; nothing half-written stays there when something goes wrong.

    Args:
        clips: One video, or two that are mixed with each other.
        methods: Of "freeze", "mixup", "cutmix"; "all" stands for the three.
        output: Folder; made where it is missing, files of an earlier preview of the same clips are replaced.
        seed: Of the draws.
        seconds: Longest part of the videos to use; see `load_pair` for None.
        height: Pixels of the picture; the label tracks come below it.
        frame_rate: Frames per second of clips that are folders of JPEG frames.

    Returns:
        The files and what there is to say about them.

    Raises:
        ConfigError: An argument is wrong.
        DataError: A video cannot be read or is too short.
        SsdetError: The output cannot be written.
    """
    methods = _check(clips, methods, output, seconds, height)
    item, partner = load_pair([Path(clip) for clip in clips], seconds=seconds, height=height, frame_rate=frame_rate)
    batch, labels = _as_batch(item, partner)
    generator = torch.Generator().manual_seed(seed)
    draws = {method: _nice_draw(method, batch.shape[2], generator) for method in METHODS}
    prefix = _prefix(clips)
    with _staged(output) as folder:
        kept, reports = [], {}
        columns = sheet_columns(len(methods) + 2, batch.shape[4], batch.shape[3], batch.shape[2])
        for method in methods:
            augmented = _apply(method, batch, labels, draws[method], (item, partner))
            file = folder / f"{prefix}_{method}.mp4"
            stage = _write_preview(file, augmented, item, partner)
            kept.append(_sheet_row(augmented, columns))
            reports[method] = _report(file.name, augmented, stage)
        sheet, sidecar = folder / f"{prefix}_contact_sheet.png", folder / f"{prefix}_preview.json"
        rows = [*_source_rows(item, partner, columns), *kept]
        Image.fromarray(_sheet(rows, columns, item, partner, seed)).save(sheet)
        record = _record(item, partner, reports, sheet.name, seed)
        sidecar.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return PreviewResult(
        videos={method: output / report["file"] for method, report in reports.items()},
        contact_sheet=output / sheet.name,
        sidecar=output / sidecar.name,
        notes=_notes(item, partner),
        largest_deviation=record["weights_sum_to_one"]["largest_deviation"],
    )


def _check(
    clips: Sequence[Path], methods: Sequence[str], output: Path, seconds: float | None, height: int
) -> tuple[str, ...]:
    if len(clips) not in (1, 2):
        raise ConfigError(f"A preview takes one clip or two, got {len(clips)}.")
    for method in methods:
        if method not in (*METHODS, "all"):
            raise ConfigError(f"Unknown method '{method}'.{nearest(method, METHODS)} Known: {', '.join(METHODS)}, all.")
    if not methods:
        raise ConfigError(f"methods is empty; name some of {', '.join(METHODS)}, or all.")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise ConfigError(f"seconds must be more than 0, got {seconds:g}.")
    if height < _MIN_HEIGHT:
        raise ConfigError(f"height must be at least {_MIN_HEIGHT} pixels, got {height}.")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output must be a folder; {output} is a file.")
    return METHODS if "all" in methods else tuple(dict.fromkeys(methods))


def _prefix(clips: Sequence[Path]) -> str:
    """Return how the files start; cut, since file systems take names of 255 bytes."""
    stems = [Path(clip).stem for clip in clips]
    return stems[0][:50] if len(stems) == 1 else f"{stems[0][:25]}_with_{stems[1][:25]}"


@contextmanager
def _staged(output: Path) -> Iterator[Path]:
    """Give a temporary folder inside `output` whose files move there when all went well."""
    new = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".preview-", dir=output) as folder:
            yield Path(folder)
            for file in sorted(Path(folder).iterdir()):
                os.replace(file, output / file.name)
    except OSError as error:
        raise SsdetError(f"{output}: the preview cannot be written: {error.strerror or error}.") from error
    finally:
        if new and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def _as_batch(item: Excerpt, partner: Excerpt) -> tuple[Tensor, Tensor]:
    """Return clips (2, 3, T, h, w) uint8 (a view, channels last) and labels (2, 3, T): background, item, partner."""
    clips = torch.from_numpy(np.stack([item.frames, partner.frames])).permute(0, 4, 1, 2, 3)
    labels = torch.zeros(2, 3, clips.shape[2])
    labels[0, 1] = labels[1, 2] = 1
    return clips, labels


def _nice_draw(method: str, frames: int, generator: torch.Generator) -> Draw:
    """Draw as training does, many times, and take the first draw that shows the whole story within the clip.

    Nice is a freeze with motion before and after it, and windows that overlap in part with both clips alone at one
    end. Very short clips may have no such draw: then any partial overlap does, and failing that the first draw.
    """
    if method == "freeze":
        start, length = draw_freeze(_CANDIDATES, frames, generator)
        nice = (start >= 0.12 * frames) & (start + length <= 0.85 * frames) & (length >= 0.25 * frames)
        pick = int(nice.int().argmax())
        return {"start": int(start[pick]), "length": int(length[pick])}
    start, length = draw_windows(_CANDIDATES, frames, generator)
    begin, end = resolve_windows(start, length, frames)
    latest, earliest = begin.amax(0), end.amin(0)
    partial = (begin[0] - begin[1]) * (end[0] - end[1]) > 0
    nice = partial & (latest >= 0.15 * frames) & (earliest <= 0.85 * frames) & (earliest - latest >= 0.3 * frames)
    pick = int((nice.int() * 2 + (partial & (earliest > latest)).int()).argmax())
    resolved = torch.stack([begin[:, pick], end[:, pick]], dim=1)
    return {"start": start[:, pick].tolist(), "length": length[:, pick].tolist(), "windows": resolved.tolist()}


def _operation(method: str, draw: Draw) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the augmentation of training with this draw, for a batch of the item and its partner."""
    if method == "freeze":
        start, length = (torch.tensor([draw[key]] * 2) for key in ("start", "length"))
        return lambda clips, labels: volume_freeze(clips, labels, start, length)
    # The partner's result is not shown; given the same windows it costs no thought.
    start, length = (torch.tensor([[own, own] for own in draw[key]]) for key in ("start", "length"))
    mix = volume_mixup if method == "mixup" else volume_cutmix
    return lambda clips, labels: mix(clips, labels, start, length, torch.tensor([1, 0]))


def _apply(method: str, clips: Tensor, labels: Tensor, draw: Draw, sources: tuple[Excerpt, Excerpt]) -> _Augmented:
    operation = _operation(method, draw)
    frames = torch.empty_like(clips[0].permute(1, 2, 3, 0))
    # Rows of pixels do not meet in any of the augmentations: bands give the same result in a fraction of the memory.
    for band, shown in zip(clips.split(_BAND, dim=3), frames.split(_BAND, dim=1), strict=True):
        mixed, soft = operation(band.contiguous(), labels)
        shown.copy_(mixed[0].permute(1, 2, 3, 0))
    weights = soft[0].numpy()
    frozen = np.zeros(weights.shape[1], dtype=bool)
    source = [np.where(row > 0, clip.source, -1) for row, clip in zip(weights[1:], sources, strict=True)]
    if method == "freeze":
        frozen = weights[0] > 0.5
        source = [sources[0].source[_delayed(operation, labels)], np.full_like(source[1], -1)]
    area = 0.0 if method == "freeze" else _area_deviation(operation, labels, clips.shape[4])
    seam = _seam(method, draw, len(frozen))
    return _Augmented(method, frames.numpy(), weights, frozen, draw, source, seam, area)


def _seam(method: str, draw: Draw, frames: int) -> np.ndarray | None:
    """Return where CutMix has its seam in every frame: (T,) in [0, 1] of the width; None for the others."""
    if method != "cutmix":
        return None
    start, length = (torch.tensor(draw[key])[:, None] for key in ("start", "length"))
    return cutmix_boundary(start, length, frames, width=1)[0].numpy()


def _delayed(operation: Callable, labels: Tensor) -> np.ndarray:
    """Return which frame each output frame comes from, by freezing a clip whose pixels are frame numbers."""
    frames = labels.shape[2]
    numbers = torch.arange(frames, dtype=torch.float32).view(1, 1, frames, 1, 1).repeat(2, 1, 1, 1, 1)
    return operation(numbers, labels)[0][0].flatten().long().numpy()


def _area_deviation(operation: Callable, labels: Tensor, width: int) -> float:
    """Mix a clip of zeros with one of ones and return how far pixel means are from the partner's label weights."""
    clips = torch.zeros(2, 1, labels.shape[2], 1, width)
    clips[1] = 1
    mixed, soft = operation(clips, labels)
    return float((mixed[0].mean(dim=(0, 2, 3)) - soft[0, 2]).abs().max())


def _legend(item: Excerpt, partner: Excerpt) -> tuple[list[str], list[style.Color]]:
    """Return names and colours of the classes in the order of the tracks."""
    return [*map(_pretty, (item.name, partner.name)), "background"], [*style.class_colors(2), style.STILL]


def _pretty(name: str) -> str:
    return " ".join(name.replace("_", " ").split()) or name


def _write_preview(file: Path, augmented: _Augmented, item: Excerpt, partner: Excerpt) -> Stage:
    names, colors = _legend(item, partner)
    high, wide = augmented.frames.shape[1:3]
    stage = Stage(
        augmented.weights[list(CLASSES_DRAWN)],
        names,
        colors,
        (wide, high),
        frame_rate=item.video_frame_rate,
        title=TITLES[augmented.method],
        frozen=augmented.frozen,
        seam=augmented.seam,
    )
    frames = (stage.frame(index, picture) for index, picture in enumerate(augmented.frames))
    write_video(file, frames, item.video_frame_rate)
    return stage


def _source_rows(item: Excerpt, partner: Excerpt, columns: np.ndarray) -> list[SheetRow]:
    rows, still = [], np.zeros(len(item.frames), dtype=bool)
    for row, (clip, role) in enumerate(((item, "original"), (partner, "partner"))):
        weights = np.zeros((3, len(still)))
        weights[row] = 1
        note = f"{role}, {_span(clip)}" + (", mirrored" if clip.mirrored else "")
        accent = (style.class_colors(2)[row],)
        rows.append(SheetRow(_pretty(clip.name), note, clip.frames[columns], weights, still, accent=accent))
    return rows


def _sheet_row(augmented: _Augmented, columns: np.ndarray) -> SheetRow:
    notes = {
        "freeze": "one frame stands still for {} of {} frames, labelled as background",
        "mixup": "one clip fades into the other for {} of {} frames",
        "cutmix": "a seam sweeps through {} of {} frames; labels go by area",
    }
    ramps = np.ptp(augmented.weights[1:], axis=0) < 1
    count, total = int(ramps.sum()), len(ramps)
    first, second = style.class_colors(2)
    accent = (first, style.ICE) if augmented.method == "freeze" else (first, second)
    return SheetRow(
        TITLES[augmented.method],
        notes[augmented.method].format(count, total),
        augmented.frames[columns],
        augmented.weights[list(CLASSES_DRAWN)],
        augmented.frozen,
        augmented.seam,
        accent,
    )


def _sheet(rows: list[SheetRow], columns: np.ndarray, item: Excerpt, partner: Excerpt, seed: int) -> np.ndarray:
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


def _report(file: str, augmented: _Augmented, stage: Stage) -> dict[str, Any]:
    sums = augmented.weights.astype(np.float64).sum(axis=0)
    box = stage.picture
    return {
        "file": file,
        "width": stage.width,
        "height": stage.height,
        "picture": {"left": box.left, "top": box.top, "width": box.width, "height": box.height},
        "draw": augmented.draw,
        "weights": [[round(float(weight), 7) for weight in row] for row in augmented.weights],
        "frozen_frames": np.flatnonzero(augmented.frozen).tolist(),
        "source_frames": [[None if n < 0 else int(n) for n in source] for source in augmented.source],
        "seam": None if augmented.seam is None else [round(float(share), 7) for share in augmented.seam],
        "largest_sum_deviation": float(np.abs(sums - 1).max()),
        "largest_area_deviation": augmented.area_deviation,
    }


def _record(
    item: Excerpt, partner: Excerpt, reports: dict[str, dict[str, Any]], sheet: str, seed: int
) -> dict[str, Any]:
    largest = max(report["largest_sum_deviation"] for report in reports.values())
    return {
        "seed": seed,
        "frame_rate": item.video_frame_rate,
        "num_frames": len(item.frames),
        "classes": ["background", item.name, partner.name],
        "augmentations": list(reports),
        "contact_sheet": sheet,
        "draws_chosen": f"the first of {_CANDIDATES} draws of training that shows every stage, where one does",
        "clips": [_describe(clip) for clip in (item, partner)],
        "weights_sum_to_one": {"holds": largest <= _TOLERANCE, "largest_deviation": largest, "tolerance": _TOLERANCE},
        "methods": reports,
    }


def _describe(clip: Excerpt) -> dict[str, Any]:
    return {
        "name": clip.name,
        "file": clip.path.name,
        "mirrored": clip.mirrored,
        "start_seconds": round(clip.start_seconds, 6),
        "video_seconds": round(clip.video_seconds, 6),
        "video_frame_rate": clip.video_frame_rate,
        "source_frames": clip.source.tolist(),
    }


def _span(clip: Excerpt) -> str:
    end = clip.end_seconds
    return f"{clip.start_seconds:.1f} to {end:.1f} s" if end >= 1 else f"{clip.start_seconds:.2f} to {end:.2f} s"


def _notes(item: Excerpt, partner: Excerpt) -> tuple[str, ...]:
    kind = "its mirror image" if partner.mirrored else f"{partner.path.name}, {_span(partner)}"
    used = f"{item.path.name}: {_span(item)} of {item.video_seconds:.1f} s are shown ({len(item.frames)} frames)."
    return used, f"Mixed with {kind}."
