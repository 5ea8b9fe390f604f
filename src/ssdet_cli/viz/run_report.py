"""curves.png and report.html of a run, drawn from what the run folder holds."""

import html
import io
import json
from pathlib import Path
from typing import Any

from ssdet_cli.files import write_atomically

#: What a line of metrics.jsonl holds besides metrics.
PLACE = ("step", "epoch", "split", "time")
_PANELS = (("loss", "Loss"), ("accuracy", "Accuracy per frame"), ("mAP", "mAP (%)"), ("lr", "Learning rate"))
_COLOURS = {"train": "#7a869a", "val": "#d9480f"}
_INK = "#010203"
"""Stands for the colour of the page's text, which depends on the reader's colour scheme."""

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
svg {{ display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .8rem; border-bottom: 1px solid var(--line); }}
td {{ font-variant-numeric: tabular-nums; }} th {{ text-align: left; }}
pre {{ overflow-x: auto; padding: 1rem; border: 1px solid var(--line); border-radius: 8px; font-size: 13px; }}
</style>
<h1>{title}</h1>
<table>{facts}</table>
<h2>Curves</h2>{curves}
<h2>Configuration</h2><pre>{config}</pre>
<h2>Environment</h2><pre>{environment}</pre>
</html>
"""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a last line that was cut off by a crash is left out."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def draw_curves(lines: list[dict[str, Any]], kind: str = "png") -> bytes:
    """Draw every metric over optimiser steps, training and validation in one panel each.

    Args:
        lines: Of metrics.jsonl.
        kind: "png" (black on white) or "svg" (an element for a page, in the colour of the text around it).
    """
    import matplotlib
    from matplotlib.figure import Figure

    panels = [(key, name) for key, name in _PANELS if any(key in line for line in lines)]
    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    buffer = io.BytesIO()
    with matplotlib.rc_context({**ink, "grid.color": _INK, "svg.fonttype": "none", "svg.hashsalt": "ssdet"}):
        figure = Figure(figsize=(4.2 * max(1, len(panels)), 3.2), layout="constrained")
        for axes, (key, name) in zip(figure.subplots(1, max(1, len(panels)), squeeze=False)[0], panels, strict=False):
            _draw_panel(axes, key, name, lines)
        if kind == "png":
            figure.savefig(buffer, format="png", dpi=130)
            return buffer.getvalue()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    return svg[svg.index(b"<svg") :].replace(_INK.encode(), b"currentColor")


def _draw_panel(axes: Any, key: str, name: str, lines: list[dict[str, Any]]) -> None:
    for split, colour in _COLOURS.items():
        points = [(line["step"], line[key]) for line in lines if line["split"] == split and key in line]
        if points:
            # A line of one point would not be seen.
            marker = "o" if split == "val" or len(points) == 1 else None
            axes.plot(*zip(*points, strict=True), color=colour, label=split, marker=marker, markersize=4)
    axes.set(title=name, xlabel="step")
    axes.grid(alpha=0.25)
    if axes.lines:
        axes.legend(frameon=False)


def write_run_report(folder: Path) -> None:
    """Write curves.png and report.html beside metrics.jsonl, config.yaml and env.json.

    Raises:
        SsdetError: The folder cannot be written.
    """
    lines = read_metrics(folder / "metrics.jsonl")
    write_atomically(folder / "curves.png", draw_curves(lines))
    page = _PAGE.format(
        title=html.escape(folder.name),
        facts="".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in _facts(lines)
        ),
        curves=draw_curves(lines, "svg").decode(),
        config=html.escape((folder / "config.yaml").read_text(encoding="utf-8")),
        environment=html.escape((folder / "env.json").read_text(encoding="utf-8")),
    )
    write_atomically(folder / "report.html", page)


def _facts(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Last value of everything that was measured."""
    facts = [("steps", str(lines[-1]["step"]))] if lines else []
    for split in ("train", "val"):
        last = next((line for line in reversed(lines) if line["split"] == split), {})
        values = ((key, value) for key, value in last.items() if key not in PLACE)
        facts += [(f"{split} {key}", f"{value:.5g}") for key, value in values]
    return facts
