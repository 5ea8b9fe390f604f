"""What an evaluation leaves behind: `metrics.json`, `submission.txt`, `report.html` and a table on the screen."""

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssdet_cli.evaluation.bootstrap import Interval, Intervals
from ssdet_cli.evaluation.facts import told
from ssdet_cli.evaluation.interface import EvaluationResult
from ssdet_cli.evaluation.members_told import MEMBERS_STYLE, combined, members_line, members_table, short_hash
from ssdet_cli.files import write_atomically

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2733; --faint: #657282; --rule: #dfe4ea; --bar: #2f6fb3;
  --warn: #9a4b00; --warn-paper: #fff3e3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e9ef; --faint: #94a1b0; --rule: #2b333d;
  --bar: #6aa7e6; --warn: #ffc37a; --warn-paper: #38280f; } }
body { margin: 0 auto; max-width: 960px; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2.5rem; margin: 1.5rem 0; }
.facts b { display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.facts span, .quiet { color: var(--faint); } .hash { overflow-wrap: anywhere; font-family: ui-monospace, monospace; }
.warning { background: var(--warn-paper); color: var(--warn); border-radius: 6px; padding: .75rem 1rem; }
.bars { font-size: 12.5px; } .bars > div { display: grid; align-items: center; column-gap: .75rem;
  grid-template-columns: minmax(6rem, 22rem) minmax(0, 1fr) 2.5rem; }
.value { text-align: right; font-variant-numeric: tabular-nums; color: var(--faint); }
.name { text-align: right; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
.track { position: relative; display: flex; align-items: center; height: 22px; white-space: nowrap;
  background: repeating-linear-gradient(to right, var(--rule) 0 1px, transparent 1px calc(25% - .25px)); }
.track i { flex: none; height: 15px; border-radius: 2px; background: var(--bar); }
.track s { position: absolute; height: 3px; background: var(--ink); opacity: .55; }
td { padding: .1rem 1.5rem .1rem 0; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.axis .track { background: none; }
.axis .track span { position: absolute; transform: translateX(-50%); }
@media (max-width: 36rem) { .bars > div { grid-template-columns: 8.5rem minmax(0, 1fr) 2.25rem; margin-bottom: 2px; }
  .name { white-space: normal; overflow-wrap: anywhere; line-height: 1.25; } }
"""


def write_results(
    folder: Path,
    result: EvaluationResult,
    submission: bytes | None = None,
    *,
    analysis: Mapping[str, Any] | None = None,
    sections: str = "",
    style: str = "",
) -> tuple[Path, ...]:
    """Write `metrics.json`, `report.html` and, where its content is given, `submission.txt`; each whole or not at all.

    Args:
        folder: Made where it is absent.
        result: Of a protocol.
        submission: From the protocol's `submission_text`, or the prediction file that was scored.
        analysis: What is behind the score, for `metrics.json`.
        sections: The same for the report, as HTML.
        style: Of the sections.

    Returns:
        The files.

    Raises:
        SsdetError: A file cannot be written.
    """
    content: dict[str, bytes | str] = {
        "metrics.json": _metrics_text(result, analysis),
        "report.html": report_html(result, sections, style),
    }
    if submission is not None:
        content["submission.txt"] = submission
    for name, text in content.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in content)


def _metrics_text(result: EvaluationResult, analysis: Mapping[str, Any] | None) -> str:
    """Numbers of the result on lines of their own; those of the analysis, which are many, on one."""
    text = json.dumps(result.to_plain(), indent=2, ensure_ascii=False, allow_nan=False)
    if analysis is not None:
        behind = json.dumps(analysis, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text = f'{text.removesuffix("}").rstrip()},\n  "analysis": {behind}\n}}'
    return text + "\n"


def ranked_classes(result: EvaluationResult) -> list[tuple[str, float, int]]:
    """Return (class, AP, positive rows) from best to worst, without the classes that have no positive."""
    rows = zip(result.classes, result.per_class_AP, result.positives, strict=True)
    return sorted(((name, ap, count) for name, ap, count in rows if ap is not None), key=lambda row: -row[1])


def print_result(console: Console, result: EvaluationResult, top: int = 5) -> None:
    """Show the score, what is missing, and the `top` best and worst classes."""
    ranked = ranked_classes(result)
    title = f"{result.protocol}: {_percent(result.mAP)} mAP{_told_interval(result)}"
    table = Table(title=title, title_style="bold", title_justify="left")
    table.add_column("class")
    table.add_column("AP %", justify="right")
    if result.intervals is not None:
        table.add_column(f"{_confidence(result.intervals)} interval", justify="right")
    table.add_column("positive rows", justify="right")
    intervals = class_intervals(result)
    shown = len(ranked) <= 2 * top
    for part in (ranked,) if shown else (ranked[:top], ranked[-top:]):
        for name, ap, count in part:
            between = (_range(intervals[name]),) if name in intervals else ()
            table.add_row(Text(name), _percent(ap), *between, f"{count:,}")
        table.add_section()
    console.print(table)
    if result.measures:
        console.print(_measures(result))
    console.print(Text(_summary(result)), style="dim")
    for warning in warnings(result):
        console.print(Text(warning), style="yellow")


def _measures(result: EvaluationResult) -> Table:
    table = Table()
    table.add_column("measure")
    table.add_column("%", justify="right")
    intervals = _measure_intervals(result)
    if intervals:
        table.add_column("interval", justify="right")
    for name, value in result.measures.items():
        table.add_row(name, _percent(value), *intervals.get(name, ()))
    return table


def _measure_intervals(result: EvaluationResult) -> dict[str, tuple[str]]:
    """Measure -> its cell of the column of intervals; empty where there is no such column."""
    found = result.intervals.measures if result.intervals is not None else {}
    return {name: (_range(found[name]) if name in found else "",) for name in result.measures} if found else {}


def class_intervals(result: EvaluationResult) -> dict[str, Interval | None]:
    """Class -> interval of its AP; empty where none was asked for."""
    if result.intervals is None:
        return {}
    return dict(zip(result.classes, result.intervals.per_class_AP, strict=True))


def _confidence(intervals: Intervals) -> str:
    return f"{100 * intervals.confidence:g} %"


def _told_interval(result: EvaluationResult) -> str:
    if result.intervals is None:
        return ""
    # On a line of its own: beside a long name it would be broken between its two numbers.
    return f"\n({_confidence(result.intervals)} interval {_range(result.intervals.mAP)})"


def _range(interval: Interval | None) -> str:
    return "undefined" if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def warnings(result: EvaluationResult) -> tuple[str, ...]:
    """Sentences about what the score does not rest on: missing videos and rows, oddities of the files."""
    said = []
    if result.missing:
        names = ", ".join(result.missing_videos[:5]) + (", ..." if result.missing > 5 else "")
        said.append(f"{result.missing:,} of {result.videos:,} videos have no scores: {names}.")
    if last := result.missing_frames - result.absent_frames:
        said.append(f"{last:,} of {result.frames:,} rows have no scores and rank last.")
    return (*said, *result.notes)


def report_html(result: EvaluationResult, sections: str = "", style: str = "") -> str:
    """Return one page that needs nothing else: numbers, what is missing, the AP of each class as sorted bars.

    Args:
        result: Of a protocol.
        sections: HTML of what else there is to show, before the annotations.
        style: Of the sections.
    """
    undefined = [name for name, ap in zip(result.classes, result.per_class_AP, strict=True) if ap is None]
    intervals = {}
    if result.intervals is not None:
        intervals[f"{_confidence(result.intervals)} interval of mAP"] = _range(result.intervals.mAP)
    facts = {
        "mAP": _percent(result.mAP),
        **intervals,
        "weighted AP": _percent(result.wAP),
        "videos scored": f"{result.videos - result.missing:,}",
        "missing videos": f"{result.missing:,}",
        "classes with positives": _with_positives(result),
        "rows": f"{result.frames:,}",
    }
    tiles = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())
    alarms = "".join(f'<p class="warning">{escape(warning)}</p>' for warning in warnings(result))
    readers = ", ".join(f"{name} {count:,}" for name, count in sorted((result.videos_read_by or {}).items()))
    read_by = f'<p class="quiet">Videos read by {escape(readers)}.</p>' if readers else ""
    how = f'<p class="quiet">Scores: {escape(made)}.</p>' if (made := told(result.scores_from)) else ""
    drawn = f'<p class="quiet">Intervals: {escape(said)}.</p>' if (said := _drawn(result)) else ""
    absent = f'<p class="quiet">Without a positive row: {escape(", ".join(undefined))}.</p>' if undefined else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(result.protocol)}: {_percent(result.mAP)} mAP</title>"
        f"<style>{_STYLE}{MEMBERS_STYLE}{style}</style></head>"
        "<body>"
        f'<h1>{escape(result.protocol)}</h1><p class="quiet">{escape(result.conventions)}</p>'
        f'<div class="facts">{tiles}</div>{how}{drawn}{alarms}'
        f"{_scored(result)}{_measured(result)}<h2>Average precision per class (%)</h2>{_bars(result)}{absent}{sections}"
        f'<h2>Annotations</h2><p>{escape(result.annotations)}<br><span class="quiet hash">'
        f"SHA-256 {escape(result.annotations_sha256 or 'not of a single file')}</span></p>{read_by}</body></html>\n"
    )


def _with_positives(result: EvaluationResult) -> str:
    return f"{sum(count > 0 for count in result.positives):,} of {len(result.classes):,}"


def _drawn(result: EvaluationResult) -> str:
    """What the intervals are of; empty where there are none."""
    found = result.intervals
    return "" if found is None else f"{found.samples:,} draws of {found.videos:,} videos, seed {found.seed}"


def _members(result: EvaluationResult) -> list[Mapping[str, Any]]:
    return [vars(member) for member in result.scores_from.members] if result.scores_from is not None else []


def _scored(result: EvaluationResult) -> str:
    """What the score is of: a table of the members, and what was done to their scores."""
    facts = result.scores_from
    if facts is None:
        return ""
    done = combined(facts.average, facts.smooth, len(facts.members))
    return f'<h2>What was scored</h2>{members_table(_members(result))}<p class="quiet">{escape(done)}</p>'


def _measured(result: EvaluationResult) -> str:
    intervals = _measure_intervals(result)
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{_percent(value)}</td>'
        f"{''.join(f'<td>{between}</td>' for between in intervals.get(name, ()))}</tr>"
        for name, value in result.measures.items()
    )
    return f"<h2>Measures</h2><table>{rows}</table>" if rows else ""


def _bars(result: EvaluationResult) -> str:
    ranked, intervals = ranked_classes(result), class_intervals(result)
    axis = "".join(f'<span style="left:{part}%">{part}</span>' for part in range(0, 101, 25))
    return (
        f'<div class="bars" role="list" aria-label="Average precision of {len(ranked)} classes">'
        f'<div class="axis quiet" aria-hidden="true"><span></span><div class="track">{axis}</div><span></span></div>'
        f"{''.join(_bar(row, intervals.get(row[0])) for row in ranked)}</div>"
    )


def _bar(row: tuple[str, float, int], interval: Interval | None) -> str:
    name, ap, count = row
    between = f" ({_range(interval)})" if interval is not None else ""
    reach = ""
    if interval is not None:
        low, high = (100 * value for value in interval)
        reach = f'<s style="left:{low:.2f}%;width:{high - low:.2f}%"></s>'
    return (
        f'<div role="listitem" title="{escape(name)}: AP {_percent(ap)}{between}, {count:,} positive rows">'
        f'<span class="name">{escape(name)}</span><div class="track"><i style="width:max({100 * ap:.2f}%, 1px)"></i>'
        f'{reach}</div><span class="value">{100 * ap:.1f}</span></div>'
    )


def _percent(value: float) -> str:
    return "undefined" if value != value else f"{100 * value:.2f} %"


def _summary(result: EvaluationResult) -> str:
    made = told(result.scores_from)
    digest = result.annotations_sha256
    hashed = f"SHA-256 {short_hash(digest)}" if digest else short_hash(digest)
    said = [
        f"weighted AP {_percent(result.wAP)}; {result.videos - result.missing:,} videos scored, {result.missing:,} "
        f"missing; {_with_positives(result)} classes with positives; {result.frames:,} rows; "
        f"{result.annotations} ({hashed}){made and f'; {made}'}."
    ]
    if drawn := _drawn(result):
        said.append(f"Intervals: {drawn}.")
    if result.scores_from is not None:
        said.append(f"Scored: {members_line(_members(result))}.")
    return " ".join((*said, result.conventions))
