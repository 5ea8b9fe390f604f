"""curves.png and report.html of a run, drawn from what the run folder holds."""

import json
from html import escape
from pathlib import Path
from typing import Any

from ssdet_cli.config.life import age, read_status
from ssdet_cli.files import write_atomically
from ssdet_cli.viz.run_curves import PLACE, draw_curves, panels_of, read_metrics
from ssdet_cli.viz.run_timing import read_timing

#: AP of every class at the last validation: {"classes": [...], "AP": [0 to 1 or null, ...]}.
CLASS_SCORES = "class_scores.json"

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2733; --faint: #5f6b7a; --rule: #dfe4ea; --bar: #2f6fb3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e9ef; --faint: #94a1b0; --rule: #2b333d;
  --bar: #6aa7e6; } }
body { margin: 0 auto; max-width: 960px; padding: 2rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
.quiet, .facts span { color: var(--faint); }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1.5rem 0; }
.facts b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
td, th { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { white-space: nowrap; } td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; } th { font-weight: 500; }
.bars > div { display: grid; grid-template-columns: minmax(6rem, 16rem) 1fr 4.5rem; gap: .75rem; align-items: center; }
.bars .name { overflow-wrap: anywhere; } .bars i { display: block; height: 13px; border-radius: 2px;
  background: var(--bar); } .bars .number { text-align: right; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; padding: 1rem; border: 1px solid var(--rule); border-radius: 8px; font-size: 13px; }
@media (max-width: 32rem) { .bars > div { grid-template-columns: 8rem 1fr 4rem; gap: .4rem; font-size: 13px; } }
"""


def write_run_report(folder: Path) -> None:
    """Write curves.png and report.html beside metrics.jsonl, config.yaml and env.json.

    Raises:
        SsdetError: The folder cannot be written.
    """
    lines = read_metrics(folder / "metrics.jsonl")
    write_atomically(folder / "curves.png", draw_curves(lines))
    write_atomically(folder / "report.html", report_html(folder, lines))


def report_html(folder: Path, lines: list[dict[str, Any]]) -> str:
    """One page that needs nothing else; a part whose file is not there is left out."""
    status = read_status(folder)
    what = " · ".join(str(status[key]) for key in ("command", "model", "head") if status.get(key))
    sections = [
        f'<h1>{escape(folder.name)}</h1><p class="quiet">{escape(what)}</p>',
        _ended_early(status),
        _tiles(lines, status),
        f'<h2>Curves</h2><div class="curves">{_curves(lines)}</div>',
        _section("Where the time went", _timing(folder)),
        _section("Last values", _values(lines)),
        _section("Average precision of each class at the last validation (%)", _classes(folder)),
        _section("Environment", _environment(folder)),
        _section("Configuration", _quoted(folder / "config.yaml")),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(folder.name)}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _ended_early(status: dict[str, Any]) -> str:
    """Why there is no more; nothing of a run that is finished, or about to be."""
    if status.get("state") not in ("interrupted", "failed"):
        return ""
    return f"<p><b>{escape(status['state'])}</b> {escape(str(status.get('reason') or ''))}</p>"


def _tiles(lines: list[dict[str, Any]], status: dict[str, Any]) -> str:
    """Final score, best score, steps, time: what one wants to know first."""
    facts = {}
    metric = status.get("metric")
    scores = [line for line in lines if line["split"] == "val" and isinstance(line.get(metric), int | float)]
    if scores:
        pick = max if status.get("higher_is_better") else min
        best = pick(scores, key=lambda line: line[metric])
        facts[f"validation {metric} at the end"] = f"{scores[-1][metric]:.4g}"
        facts[f"best {metric}, at step {best['step']:,}"] = f"{best[metric]:.4g}"
    if lines:
        facts["steps"] = f"{lines[-1]['step']:,}"
        facts["epochs"] = f"{lines[-1]['epoch']:.1f}"
    tiles = (f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts.items())
    return f'<div class="facts">{"".join(tiles)}</div>'


def _curves(lines: list[dict[str, Any]]) -> str:
    """A drawing per panel, so that a narrow screen puts them under each other."""
    return "".join(f"<div>{draw_curves(lines, 'svg', [key]).decode()}</div>" for key in panels_of(lines))


def _bars(rows: list[tuple[str, float, str]]) -> str:
    """Rows of (name, length 0 to 1, number)."""
    return '<div class="bars">' + "".join(
        f'<div><span class="name">{escape(name)}</span><i style="width:{100 * min(1, max(0, share)):.2f}%"></i>'
        f'<span class="number">{escape(number)}</span></div>'
        for name, share, number in rows
    ) + "</div>"  # fmt: skip


def _timing(folder: Path) -> str:
    """The phases, the slowest first."""
    shares = read_timing(folder)
    if not shares:
        return ""
    total = sum(seconds for _, seconds, _ in shares)
    bars = _bars([(name, share, f"{100 * share:.1f} %") for name, _, share in shares])
    slowest = f"{shares[0][0]}, {age(shares[0][1])}"
    return f'<p class="quiet">{age(total)} in all, over every session of the run; slowest: {escape(slowest)}.</p>{bars}'


def _table(rows: list[tuple[str, str]]) -> str:
    cells = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    return f'<div class="wide"><table>{"".join(cells)}</table></div>'


def _values(lines: list[dict[str, Any]]) -> str:
    """Last value of everything that was measured."""
    rows = [("steps", str(lines[-1]["step"]))] if lines else []
    for split in ("train", "val"):
        last = next((line for line in reversed(lines) if line["split"] == split), {})
        unwanted = PLACE if split == "train" else (*PLACE, "lr")
        values = ((key, value) for key, value in last.items() if key not in unwanted)
        rows += [(f"{split} {key}", f"{value:.5g}") for key, value in values]
    return _table(rows) if rows else ""


def _classes(folder: Path) -> str:
    """Classes from best to worst; those without a positive are named below."""
    scores = _json(folder / CLASS_SCORES)
    pairs = list(zip(scores.get("classes", []), scores.get("AP", []), strict=False))
    known = sorted(((name, ap) for name, ap in pairs if ap is not None), key=lambda pair: -pair[1])
    if not known:
        return ""
    absent = ", ".join(name for name, ap in pairs if ap is None)
    below = f'<p class="quiet">Without a positive: {escape(absent)}.</p>' if absent else ""
    return _bars([(name, ap, f"{100 * ap:.1f}") for name, ap in known]) + below


def _environment(folder: Path) -> str:
    """env.json, a row for each entry."""
    rows = []
    for key, value in _json(folder / "env.json").items():
        if isinstance(value, dict):
            text = ", ".join(f"{name} {text}" for name, text in value.items() if text is not None)
        else:
            text = " ".join(map(str, value)) if isinstance(value, list) else str("-" if value is None else value)
        rows.append((key.replace("_", " "), text))
    return _table(rows) if rows else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _quoted(path: Path) -> str:
    return f"<pre>{escape(path.read_text(encoding='utf-8'))}</pre>" if path.is_file() else ""
