"""Sections of an evaluation's report.html on what is behind the score, drawn from what `metrics.json` calls analysis.

Videos come with their timelines, which are in the report only.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ssdet_cli.viz.check_charts import heat_map, map_width
from ssdet_cli.viz.evaluation_charts import calibration_chart, recall_chart, scatter, small_curve
from ssdet_cli.viz.evaluation_errors import errors_section
from ssdet_cli.viz.evaluation_timelines import videos_section

STYLE = """
:root { --truth: #2e7d4f; --false: #b3542e; --thin: #2f6fb3; --panel: #f5f7fa; }
@media (prefers-color-scheme: dark) { :root { --truth: #6fcf97; --false: #f2a27e; --thin: #6aa7e6; --panel: #1c2229; } }
h3 { font-size: .95rem; font-weight: 600; margin: 1.25rem 0 .25rem; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem 1.5rem; }
.pair > div { min-width: 0; } .wide { overflow-x: auto; }
svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
svg text { fill: var(--faint); font-size: 11.5px; } svg line { stroke: var(--rule); } svg circle { fill: var(--bar);
  fill-opacity: .75; } svg .bar, svg .cell { fill: var(--bar); } svg .box { fill: var(--panel); }
svg path { fill: none; } svg .thin { stroke: var(--thin); stroke-opacity: var(--seen, .22); }
svg .thick { stroke: var(--bar); stroke-width: 2.5; }
svg .ideal { stroke: var(--ink); stroke-dasharray: 4 4; stroke-opacity: .6; }
.pair svg { max-width: 480px; } .heat svg { width: var(--wide); max-width: none; }
.heat svg .cell { stroke: var(--rule); } .heat svg text { font-size: 10px; }
.scatter svg { min-width: 520px; max-width: 760px; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: 1rem; margin: 1rem 0;
  font-size: 12.5px; line-height: 1.35; overflow-wrap: anywhere; } .small .thick { stroke-width: 1.6; }
.wide table { border-collapse: collapse; font-size: 13.5px; line-height: 1.4; }
.wide th, .wide td { padding: .25rem .8rem .25rem 0; text-align: left;
  border-bottom: 1px solid var(--rule); vertical-align: bottom; } .wide th { font-weight: 500; color: var(--faint); }
.wide .number { text-align: right; } .wide td.number { white-space: nowrap; } .wide td.words { min-width: 9rem; }
.kinds { display: grid; grid-template-columns: minmax(8rem, 18rem) 1fr 8.5rem; gap: .15rem .75rem;
  align-items: center; }
.kinds i { display: block; height: 13px; border-radius: 2px; background: var(--false); }
.kinds.missed i { background: var(--truth); } .kinds .number { white-space: nowrap; }
.video { margin: 1rem 0 2rem; } .lane { display: grid; grid-template-columns: 13rem 1fr; gap: .75rem;
  align-items: center; font-size: 12.5px; line-height: 1.3; margin-bottom: 6px; }
.lane > span { text-align: right; overflow-wrap: anywhere; } .lane.false > span { color: var(--false); }
.lane > div { min-width: 0; background: var(--panel); border-radius: 3px; overflow: hidden; }
.truth { position: relative; height: 9px; } .truth i { position: absolute; top: 1px; height: 7px; border-radius: 2px;
  background: var(--truth); min-width: 2px; } svg.scores { height: 26px; } svg.scores path { fill: var(--bar); }
.lane.false svg.scores path { fill: var(--false); } svg.scores .level { stroke: var(--ink); stroke-opacity: .55;
  stroke-dasharray: 6 5; vector-effect: non-scaling-stroke; }
.lane.clock > div { background: none; display: flex; justify-content: space-between; color: var(--faint); }
details { margin: .75rem 0; } summary { cursor: pointer; }
@media (max-width: 36rem) { .lane { grid-template-columns: 1fr; gap: 1px; } .lane > span { text-align: left; }
  .kinds { grid-template-columns: 1fr 6.5rem; } .kinds .what { grid-column: 1 / -1; margin-top: .3rem; } }
"""
#: Differences between truth and detections that are listed.
_DIFFERENCES = 10
#: Of the pictures of what goes on together: two of 20 classes stand side by side.
_SCALE = 0.855


def analysis_html(analysis: Mapping[str, Any], classes: Sequence[str], per_class_AP: Sequence[float | None]) -> str:
    """Return the sections; of what the analysis lacks there is none, and its notes say why."""
    notes = "".join(f'<p class="quiet">{escape(note)}</p>' for note in analysis["notes"])
    return (
        notes
        + _section("Average precision against training data", _training(analysis["training"], classes, per_class_AP))
        + _curves(analysis["precision_recall"], classes, per_class_AP, _calibration(analysis["calibration"]))
        + _section("Actions that go on together", _together(analysis["together"], classes))
        + _section("Kinds of errors over time", errors_section(analysis["errors"], classes))
        + _section("Best and worst videos", videos_section(analysis["videos"], classes))
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _training(told: Mapping[str, Any] | None, classes: Sequence[str], per_class_AP: Sequence[float | None]) -> str:
    if told is None:
        return ""
    rows = [
        (name, count, ap)
        for name, count, ap in zip(classes, told["frames"], per_class_AP, strict=True)
        if ap is not None
    ]
    if not rows:
        return ""
    text = f"A dot is a class. Counted: {told['unit']} of {told['of']}."
    if told["rank_correlation"] is not None:
        text += f" Rank correlation {told['rank_correlation']:.2f}."
    return f'<p class="quiet">{escape(text)}</p><div class="wide scatter">{scatter(rows, told["unit"])}</div>'


def _curves(
    found: Mapping[str, Any], classes: Sequence[str], per_class_AP: Sequence[float | None], calibration: str
) -> str:
    known = [
        (name, ap, curve)
        for name, ap, curve in zip(classes, per_class_AP, found["per_class"] or [None] * len(classes), strict=True)
        if curve is not None
    ]
    if found["common"] is None or not known:
        return _section("Calibration", f'<div class="pair">{calibration}</div>' if calibration else "")
    known.sort(key=lambda one: -(one[1] or 0))
    chart = recall_chart(found["common"], [(name, curve) for name, _, curve in known])
    small = "".join(f"<div>{small_curve(curve)}{_said(name, ap, curve)}</div>" for name, ap, curve in known)
    best = found["common"]["best_F1"]
    told = "A thin line is a class, the thick one all scores in one ranking" + (
        f"; its highest F1 is {100 * best:.1f} %." if best is not None else "."
    )
    title = "Precision against recall" + (", and calibration" if calibration else "")
    return _section(
        title,
        f'<div class="pair"><div><p class="quiet">{told}</p>{chart}</div>{calibration}</div><details><summary>Every '
        f'class, from the best to the worst; a ring is at the highest F1</summary><div class="small">{small}</div>'
        "</details>",
    )


def _said(name: str, ap: float | None, curve: Mapping[str, Any]) -> str:
    f1 = "" if curve["best_F1"] is None else f", F1 {100 * curve['best_F1']:.1f}"
    numbers = f"AP {100 * (ap or 0):.1f}{f1}"
    return f'{escape(name)}<br><span class="quiet">{numbers}</span>'


def _calibration(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    told = (
        f"Of scores in each part of 0 to 100 %, how many are right; calibrated ones are at the dashed line. Expected "
        f"calibration error {100 * found['expected_error']:.2f} %, over {sum(found['counts']):,} scores."
    )
    return f'<div><p class="quiet">{told}</p>{calibration_chart(found)}</div>'


def _together(found: Mapping[str, Any] | None, classes: Sequence[str]) -> str:
    if found is None:
        return ""
    names = [classes[label] for label in found["classes"]]
    maps = (
        ("In truth", "true", "{column} goes on in {share} of the rows of {row}", False),
        ("In what was found", "found", "{column} is found in {share} of the rows where {row} is found", False),
        ("Found where it is true", "found_where_true", "{column} is found in {share} of the rows of {row}", True),
    )
    frame = f'<div class="wide heat" style="--wide:{_SCALE * map_width(len(names)):.0f}px">'
    drawn = "".join(
        f"<div><h3>{title}</h3>{frame}{heat_map(names, found[key], say, diagonal=diagonal)}</div></div>"
        for title, key, say, diagonal in maps
    )
    told = (
        f"The {len(names)} classes with the most positive rows. Of the rows of a line's class, how many have a "
        "column's as well; found is a score from the threshold of the class on. In the third, what is found where the "
        "line's class goes on: itself on the diagonal, others elsewhere."
    )
    return f'<p class="quiet">{told}</p><div class="pair">{drawn}<div>{_differences(found, names)}</div></div>'


def _differences(found: Mapping[str, Any], names: Sequence[str]) -> str:
    """Where what was found goes together unlike the truth."""
    pairs = [
        (other - true, row, column, true, other)
        for row, (truth, seen) in enumerate(zip(found["true"], found["found"], strict=True))
        for column, (true, other) in enumerate(zip(truth, seen, strict=True))
        if row != column and true is not None and other is not None
    ]
    pairs.sort(key=lambda pair: -abs(pair[0]))
    rows = "".join(
        f'<tr><td class="words">{escape(names[row])}</td><td class="words">{escape(names[column])}</td>'
        f'<td class="number">{100 * true:.1f}</td><td class="number">{100 * other:.1f}</td></tr>'
        for _, row, column, true, other in pairs[:_DIFFERENCES]
    )
    head = '<tr><th>of the rows of</th><th>also</th><th class="number">true %</th><th class="number">found %</th></tr>'
    return f'<h3>The largest differences</h3><div class="wide"><table>{head}{rows}</table></div>' if rows else ""
