"""What a comparison leaves behind: `compare.json`, `report.html` and a table on the screen."""

import json
from html import escape
from math import floor, log10
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ssdet_cli.evaluation.bootstrap import Interval
from ssdet_cli.evaluation.comparison import MIN_VIDEOS, ClassComparison, Comparison
from ssdet_cli.evaluation.members_told import MEMBERS_STYLE, combined, members_table
from ssdet_cli.files import write_atomically

#: What shows that a folder holds a comparison.
FILE = "compare.json"

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2733; --faint: #5f6b7a; --rule: #dfe4ea; --a: #b45f06;
  --b: #2f6fb3; --warn: #9a4b00; --warn-paper: #fff3e3; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e9ef; --faint: #94a1b0; --rule: #2b333d;
  --a: #f0a04b; --b: #6aa7e6; --warn: #ffc37a; --warn-paper: #38280f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 980px; padding: 2.5rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.3; margin: 0 0 .5rem; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
.runs { margin: .25rem 0; overflow-wrap: anywhere; } .runs b { display: inline-block; width: 1.25rem; }
.in-a { color: var(--a); } .in-b { color: var(--b); }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2.25rem; margin: 1.5rem 0; }
.facts b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts span, .quiet { color: var(--faint); } .hash { overflow-wrap: anywhere; font-family: ui-monospace, monospace; }
.warning { background: var(--warn-paper); color: var(--warn); border-radius: 6px; padding: .75rem 1rem; }
.bars { font-size: 12.5px; } .bars > div { display: grid; align-items: center; column-gap: .75rem; min-height: 22px;
  grid-template-columns: minmax(0, 21rem) minmax(0, 1fr) 6.25rem; }
.name { text-align: right; overflow-wrap: anywhere; line-height: 1.25; padding: 2px 0; }
.value { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; color: var(--faint); }
.sure .name, .sure .value { color: var(--ink); font-weight: 600; }
.track { position: relative; height: 22px; overflow: hidden;
  background: linear-gradient(var(--faint), var(--faint)) 50% 0 / 1px 100% no-repeat,
  repeating-linear-gradient(to right, var(--rule) 0 1px, transparent 1px calc(25% - .25px)); }
.track i { position: absolute; top: 5px; height: 12px; min-width: 1px; border: 1.5px solid var(--b);
  border-radius: 2px; }
.track i.less { border-color: var(--a); } .sure i { background: var(--b); } .sure i.less { background: var(--a); }
.track s { position: absolute; top: 10px; height: 2px; background: var(--ink); opacity: .6; }
.axis .track { background: none; } .axis .track span { position: absolute; transform: translateX(-50%);
  white-space: nowrap; } .axis .track span:first-child { transform: none; }
.axis .track span:last-child { transform: translateX(-100%); }
.ends { display: flex; justify-content: space-between; font-weight: 600; }
.key i { display: inline-block; width: 1.5rem; height: .75rem; border: 1.5px solid var(--faint); border-radius: 2px;
  vertical-align: -1px; margin-right: .4rem; } .key i.full { background: var(--faint); }
.key s { display: inline-block; width: 1.5rem; height: 2px; background: var(--ink); opacity: .6; vertical-align: 4px;
  margin-right: .4rem; } .key span { white-space: nowrap; margin-right: 1.25rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13px; }
td, th { padding: .2rem .9rem .2rem 0; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; } th { font-weight: 500; color: var(--faint); vertical-align: bottom; }
td:first-child, th:first-child { text-align: left; white-space: normal; min-width: 9rem; }
tr.sure td { font-weight: 600; }
summary { cursor: pointer; margin-top: 2.25rem; font-size: 1.1rem; font-weight: 600; }
@media (max-width: 640px) { body { padding: 1.5rem 1rem 3rem; }
  .bars > div { grid-template-columns: minmax(0, 1fr) auto; margin-bottom: .3rem; } .name { text-align: left; }
  .bars .track { grid-column: 1 / -1; grid-row: 2; } .axis > .name, .axis > .value { display: none; } }
"""


def write_comparison(folder: Path, comparison: Comparison) -> tuple[Path, ...]:
    """Write `compare.json` and `report.html`; each whole or not at all.

    Raises:
        SsdetError: A file cannot be written.
    """
    content = {
        FILE: json.dumps(comparison.to_plain(), indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "report.html": comparison_html(comparison),
    }
    for name, text in content.items():
        write_atomically(folder / name, text)
    return tuple(folder / name for name in content)


def verdict(comparison: Comparison) -> str:
    """Which run is better, in one sentence."""
    difference = comparison.difference
    if difference is None:
        return "No class has a positive, so that nothing can be compared."
    points = f"{100 * abs(difference.value):.2f} points of mAP"
    if difference.p is None:
        return f"Fewer than {MIN_VIDEOS} videos are too few to say which is better."
    if difference.p > comparison.level:
        return f"Neither is clearly better: {points} can be chance (p = {difference.p:.2g})."
    return f"{'B' if difference.value > 0 else 'A'} is better by {points} (p = {difference.p:.2g})."


def tally(comparison: Comparison) -> str:
    """How many classes went which way."""
    better, worse = (len(comparison.changed(side)) for side in ("b", "a"))
    compared = len(comparison.ranked())
    said = f"Of {compared:,} classes {better:,} are significantly better in B and {worse:,} in A"
    if better or worse:
        said += f" (Benjamini-Hochberg: at most {100 * comparison.level:g} % of these, on average, are false alarms)"
    said += "."
    undefined = [row.name for row in comparison.classes if row.difference is None]
    if undefined:
        said += f" Undefined in one or both: {', '.join(undefined)}."
    return said


def print_comparison(console: Console, comparison: Comparison, top: int = 6) -> None:
    """Show which is better, and the `top` classes that gained and lost most."""
    a, b = (_percent(value) for value in comparison.mAP)
    console.print(Text(f"A  {a} mAP  {comparison.names[0]}\nB  {b} mAP  {comparison.names[1]}"))
    difference = comparison.difference
    if difference is not None:
        between = f"{_confidence(comparison)} interval {_range(difference.interval)}"
        console.print(Text(f"B - A: {_signed(difference.value)} ({between}). {verdict(comparison)}", style="bold"))
    ranked = comparison.ranked()
    # 80 columns leave some twenty for the names: no lines between columns, and p is in the files.
    table = Table(
        title=f"{comparison.protocol}: B - A per class",
        title_style="bold",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("class", min_width=16)
    for name in ("A %", "B %", "B - A", f"{_confidence(comparison)} interval", "p adj."):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = len(ranked) <= 2 * top
    for part in (ranked,) if shown else (ranked[:top], ranked[-top:]):
        for row in part:
            *numbers, _, adjusted = _cells(row)
            known = "" if row.p_adjusted is None else adjusted
            table.add_row(Text(row.name), *numbers, known, _mark(row), style="bold" if row.significant else "")
        table.add_section()
    console.print(table)
    console.print(Text(tally(comparison), style="dim"))
    for note in comparison.notes:
        console.print(Text(note), style="yellow")


def _cells(row: ClassComparison) -> tuple[str, ...]:
    found = row.difference
    return (
        "undefined" if row.a is None else f"{100 * row.a:.2f}",
        "undefined" if row.b is None else f"{100 * row.b:.2f}",
        "" if found is None else _signed(found.value),
        "" if found is None else _range(found.interval),
        "" if found is None else _p(found.p),
        _p(row.p_adjusted),
    )


def _mark(row: ClassComparison) -> str:
    if not row.significant:
        return ""
    return "B better" if row.difference.value > 0 else "A better"


def comparison_html(comparison: Comparison) -> str:
    """Return one page that needs nothing else: which is better, and the difference of each class as sorted bars."""
    difference = comparison.difference
    facts = {"mAP of A": _percent(comparison.mAP[0]), "mAP of B": _percent(comparison.mAP[1])}
    if difference is not None:
        facts["B - A, points of mAP"] = _signed(difference.value)
        facts[f"{_confidence(comparison)} interval"] = _range(difference.interval)
        facts["p"] = _p(difference.p)
    facts["classes better in B"] = f"{len(comparison.changed('b')):,}"
    facts["classes better in A"] = f"{len(comparison.changed('a')):,}"
    tiles = "".join(f"<div><b>{value}</b><span>{name}</span></div>" for name, value in facts.items())
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in comparison.notes)
    runs = "".join(
        f'<p class="runs"><b class="in-{letter.lower()}">{letter}</b> {escape(name)}</p>'
        for letter, name in zip("AB", comparison.names, strict=True)
    )
    method = (
        f"{comparison.samples:,} draws of {comparison.videos:,} videos with replacement, both runs scored on the same "
        f"ones (seed {comparison.seed}). p is two-sided, and adjusted over the classes by Benjamini and Hochberg; "
        f"classes in fewer than {MIN_VIDEOS} videos have none."
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(comparison.protocol)}: A and B compared</title>"
        f"<style>{_STYLE}{MEMBERS_STYLE}</style></head><body>"
        f"<h1>{escape(verdict(comparison))}</h1>{runs}"
        f'<div class="facts">{tiles}</div>{notes}<p>{escape(tally(comparison))}</p>'
        f"<h2>Difference of the average precision per class (points)</h2>{_bars(comparison)}"
        f"<details><summary>All numbers</summary>{_numbers(comparison)}</details>"
        f"{_scored(comparison)}<h2>How it was computed</h2><p>{escape(comparison.protocol)}. {escape(method)}</p>"
        f'<p>{escape(comparison.annotations)}<br><span class="quiet hash">'
        f"SHA-256 {escape(comparison.annotations_sha256 or 'not of a single file')}</span></p></body></html>\n"
    )


def _scored(comparison: Comparison) -> str:
    """The members of each evaluation, as far as they are known."""
    parts = [
        f'<p class="runs"><b class="in-{letter.lower()}">{letter}</b> {escape(name)}</p>{members_table(one.members)}'
        f'<p class="quiet">{escape(combined(one.average, one.smooth, len(one.members)))}</p>'
        for letter, name, one in zip("AB", comparison.names, comparison.scored, strict=True)
        if one.members
    ]
    return f"<h2>What was compared</h2>{''.join(parts)}" if parts else ""


def _bars(comparison: Comparison) -> str:
    ranked = comparison.ranked()
    if not ranked:
        return '<p class="quiet">No class can be compared.</p>'
    limit = axis_limit(ranked)
    ticks = (-limit, -limit / 2, 0.0, limit / 2, limit)
    axis = "".join(
        f'<span style="left:{25 * place}%">{"0" if not value else f"{100 * value:+g}"}</span>'
        for place, value in enumerate(ticks)
    )
    sides = '<div class="ends"><span class="in-a">◀ A is better</span><span class="in-b">B is better ▶</span></div>'
    key = (
        '<p class="key quiet"><span><i class="full"></i>significant, also bold and marked ●</span> '
        f"<span><i></i>not significant</span> <span><s></s>{_confidence(comparison)} interval</span></p>"
    )
    return (
        f'{key}<div class="bars" role="list" aria-label="Differences of {len(ranked)} classes">'
        f'<div aria-hidden="true"><span class="name"></span><div class="track" style="background:none">{sides}</div>'
        f'<span class="value"></span></div><div class="axis quiet" aria-hidden="true"><span class="name"></span>'
        f'<div class="track">{axis}</div><span class="value"></span></div>'
        f"{''.join(_bar(row, limit) for row in ranked)}</div>"
    )


def axis_limit(ranked: list[ClassComparison]) -> float:
    """Half the width of the axis: every bar fits, and the intervals but for the widest tenth, which end at the edge."""
    ends = [max(map(abs, row.difference.interval)) for row in ranked if row.difference.interval]
    wanted = max(max(abs(row.difference.value) for row in ranked), float(np.quantile(ends, 0.9)) if ends else 0)
    if not wanted:
        return 0.01
    unit = 10 ** floor(log10(wanted))
    return next(step * unit for step in (1, 2, 4, 6, 8, 10) if step * unit >= wanted * (1 - 1e-9))


def _bar(row: ClassComparison, limit: float) -> str:
    found = row.difference
    length = 50 * abs(found.value) / limit
    left = 50 - length if found.value < 0 else 50
    reach = ""
    if found.interval is not None:
        low, high = (50 + 50 * min(max(end / limit, -1), 1) for end in found.interval)
        reach = f'<s style="left:{low:.2f}%;width:{high - low:.2f}%"></s>'
    kind = ' class="less"' if found.value < 0 else ""
    sure = ' class="sure"' if row.significant else ""
    numbers = (
        f"A {_percent(row.a)}, B {_percent(row.b)}, B - A {_signed(found.value)} ({_range(found.interval)}), "
        f"adjusted p {_p(row.p_adjusted)}, positive in {row.videos:,} videos"
    )
    return (
        f'<div role="listitem"{sure} title="{escape(row.name)}: {numbers}"><span class="name">{escape(row.name)}</span>'
        f'<div class="track"><i{kind} style="left:{left:.2f}%;width:{length:.2f}%"></i>{reach}</div>'
        f'<span class="value">{"● " if row.significant else ""}{_signed(found.value)}</span></div>'
    )


def _numbers(comparison: Comparison) -> str:
    names = ("class", "A %", "B %", "B - A", f"{_confidence(comparison)} interval", "p", "p adjusted", "videos", "")
    undefined = [row for row in comparison.classes if row.difference is None]
    body = "".join(
        f"<tr{' class=sure' if row.significant else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in (row.name, *_cells(row), f"{row.videos:,}", _mark(row)))
        + "</tr>"
        for row in (*comparison.ranked(), *undefined)
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _confidence(comparison: Comparison) -> str:
    return f"{100 * comparison.confidence:g} %"


def _signed(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-0.00", "0.00").replace("+0.00", "0.00")


def _range(interval: Interval | None) -> str:
    return "undefined" if interval is None else f"{_signed(interval[0])} to {_signed(interval[1])}"


def _p(value: float | None) -> str:
    if value is None:
        return "too few videos"
    return "1" if value >= 0.995 else f"{value:.2g}"


def _percent(value: float | None) -> str:
    return "undefined" if value is None or value != value else f"{100 * value:.2f} %"
