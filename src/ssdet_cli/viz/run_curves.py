"""metrics.jsonl, and the curves drawn from it."""

import io
import json
from pathlib import Path
from typing import Any

#: What a line of metrics.jsonl holds besides metrics.
PLACE = ("step", "epoch", "split", "time")
#: Metric -> title of its panel.
PANELS = {"loss": "Loss", "accuracy": "Accuracy per frame", "mAP": "mAP (%)", "lr": "Learning rate"}
_COLOURS = {"train": "#7a869a", "val": "#d9480f"}
_INK = "#010203"
"""Stands for the colour of the page's text, which depends on the reader's colour scheme."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; lines that a crash or a power cut left damaged are left out, whatever they hold."""
    lines = []
    for text in path.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and isinstance(line.get("split"), str):
            lines.append(line)
    return lines


def panels_of(lines: list[dict[str, Any]]) -> list[str]:
    """The metrics of `PANELS` that some line has."""
    return [key for key in PANELS if any(key in line for line in lines)]


def draw_curves(lines: list[dict[str, Any]], kind: str = "png", only: list[str] | None = None) -> bytes:
    """Draw every metric over optimiser steps, training and validation in one panel each, side by side.

    Args:
        lines: Of metrics.jsonl.
        kind: "png" (black on white) or "svg" (an element for a page, in the colour of the text around it).
        only: These panels; default all that have values.
    """
    import matplotlib
    from matplotlib.figure import Figure

    panels = panels_of(lines) if only is None else only
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    # Ids inside of several drawings on one page must differ.
    salt = "ssdet" + "".join(only or [])
    buffer = io.BytesIO()
    with matplotlib.rc_context({**ink, "grid.color": _INK, "svg.fonttype": "none", "svg.hashsalt": salt}):
        figure = Figure(figsize=(4.2 * max(1, len(panels)), 3.2), layout="constrained")
        for axes, key in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels, strict=False):
            _draw_panel(axes, key, lines)
        if kind == "png":
            figure.savefig(buffer, format="png", dpi=130)
            return buffer.getvalue()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index(b"<svg") :].replace(_INK.encode(), b"currentColor")


def _draw_panel(axes: Any, key: str, lines: list[dict[str, Any]]) -> None:
    for split, colour in _COLOURS.items():
        if (split, key) == ("val", "lr"):  # the same again
            continue
        points = [(line["step"], line[key]) for line in lines if line["split"] == split and key in line]
        if points:
            # A line of one point would not be seen.
            marker = "o" if split == "val" or len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), color=colour, label=split, marker=marker, markersize=4)
    axes.set(title=PANELS[key], xlabel="step")
    axes.grid(alpha=0.25)
    if axes.lines and key != "lr":
        axes.legend(frameon=False)
