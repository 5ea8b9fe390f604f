"""Show what the volume augmentations do to a clip: videos with label tracks, a contact sheet, every number in JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ssdet_cli.augment import METHODS
from ssdet_cli.augment.showcase import CANDIDATES, Showcase, showcase, showcase_draw
from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError
from ssdet_cli.files import staged
from ssdet_cli.viz.contact_sheet import sheet_columns
from ssdet_cli.viz.excerpt import Excerpt, load_pair
from ssdet_cli.viz.preview import draw_sheet, method_row, source_rows, span, write_preview
from ssdet_cli.viz.stage import Stage

_MIN_HEIGHT = 32
_TOLERANCE = 1e-5


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
    batch = _as_batch(item, partner)
    generator = torch.Generator().manual_seed(seed)
    draws = {method: showcase_draw(method, batch.shape[2], generator) for method in METHODS}
    prefix = _prefix(clips)
    with staged(output, "the preview") as folder:
        reports = {}
        columns = sheet_columns(len(methods) + 2, batch.shape[4], batch.shape[3], batch.shape[2])
        rows = source_rows(item, partner, columns)
        for method in methods:
            shown = showcase(method, batch, draws[method])
            file = folder / f"{prefix}_{method}.mp4"
            stage = write_preview(file, shown, item, partner)
            rows.append(method_row(shown, columns))
            reports[method] = _report(file.name, shown, stage, (item, partner))
        sheet, sidecar = folder / f"{prefix}_contact_sheet.png", folder / f"{prefix}_preview.json"
        Image.fromarray(draw_sheet(rows, columns, item, partner, seed)).save(sheet)
        record = _record(item, partner, reports, sheet.name, seed)
        sidecar.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return PreviewResult(
        videos={method: output / report["file"] for method, report in reports.items()},
        contact_sheet=output / sheet.name,
        sidecar=output / sidecar.name,
        notes=_notes(item, partner, methods),
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


def _as_batch(item: Excerpt, partner: Excerpt) -> Tensor:
    """Return clips (2, 3, T, h, w) uint8, a view, channels last."""
    return torch.from_numpy(np.stack([item.frames, partner.frames])).permute(0, 4, 1, 2, 3)


def _report(file: str, shown: Showcase, stage: Stage, clips: tuple[Excerpt, Excerpt]) -> dict[str, Any]:
    sums = shown.weights.astype(np.float64).sum(axis=0)
    box = stage.picture
    return {
        "file": file,
        "width": stage.width,
        "height": stage.height,
        "picture": {"left": box.left, "top": box.top, "width": box.width, "height": box.height},
        "draw": shown.draw,
        "weights": [[round(float(weight), 7) for weight in row] for row in shown.weights],
        "frozen_frames": np.flatnonzero(shown.frozen).tolist(),
        "source_frames": [
            [None if n < 0 else int(clip.source[n]) for n in source]
            for source, clip in zip(shown.source, clips, strict=True)
        ],
        "seam": None if shown.seam is None else [round(float(share), 7) for share in shown.seam],
        "largest_sum_deviation": float(np.abs(sums - 1).max()),
        "largest_area_deviation": shown.area_deviation,
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
        "draws_chosen": f"the first of {CANDIDATES} draws of training that shows every stage, where one does",
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


def _notes(item: Excerpt, partner: Excerpt, methods: Sequence[str]) -> tuple[str, ...]:
    kind = "its mirror image" if partner.mirrored else f"{partner.path.name}, {span(partner)}"
    used = f"{item.path.name}: {span(item)} of {item.video_seconds:.1f} s are shown ({len(item.frames)} frames)."
    return (used, f"Mixed with {kind}.") if {"mixup", "cutmix"} & {*methods} else (used,)
