"""report.html of `ssdet data check`: one page that needs nothing else."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ssdet_cli.viz.check_charts import count_bars, heat_map, histogram_bars, map_width, ranked_bars

#: Findings of a code that the page lists; report.json has all.
_LISTED = 40
#: Classes of the picture of what is on together.
_TOGETHER = 24
#: Pixels to a unit of the map of what happens together, so that few classes are as large as many.
_SCALE = 1.19
#: Classes that the numbers of a split name.
_MOST = 3
_SPREAD = ("min", "p1", "median", "mean", "p99", "max")

_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1d2733; --faint: #5f6b7a; --rule: #dfe4ea; --bar: #2f6fb3;
  --error: #b3261e; --warning: #9a4b00; --note: #4a6785; --none: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e4e9ef; --faint: #94a1b0; --rule: #2b333d;
  --bar: #6aa7e6; --error: #ff8a80; --warning: #ffc37a; --note: #9db8d6; --none: #ff8a80; } }
body { margin: 0 auto; max-width: 980px; padding: 2rem 1rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2.25rem 0 .75rem; }
h3 { font-size: .95rem; font-weight: 500; margin: 0 0 .25rem; }
.quiet, .facts span { color: var(--faint); } .quiet { overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .75rem 2rem; margin: 1.5rem 0; }
.facts b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem 1.5rem; }
svg { display: block; width: 100%; height: auto; font-family: system-ui, sans-serif; }
svg rect { fill: var(--bar); } svg rect.none { fill: var(--none); } svg text { fill: var(--faint); font-size: 11px; }
svg line { stroke: var(--rule); } .wide svg { min-width: 560px; max-width: 720px; }
.heat svg { width: var(--wide); min-width: 0; max-width: none; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
td, th { padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: top; }
th { font-weight: 500; white-space: nowrap; } td { font-variant-numeric: tabular-nums; }
td.number, th.number { text-align: right; } td.words { min-width: 14rem; }
.error { color: var(--error); } .warning { color: var(--warning); } .note { color: var(--note); }
b.error, b.warning, b.note { font-weight: 600; white-space: nowrap; }
details { margin: .4rem 0; } summary { cursor: pointer; } details p, details li { overflow-wrap: anywhere; }
details ul { margin: .3rem 0 .8rem; padding-left: 1.2rem; font-size: 13.5px; }
"""


def check_report_html(report: Mapping[str, Any]) -> str:
    """Draw what `report.json` holds."""
    title = f"Check of {report['dataset']}"
    where = " · ".join(str(report[key]) for key in ("annotations", "videos") if report[key])
    splits = report["splits"]
    sections = [
        f'<h1>{escape(title)}</h1><p class="quiet">{escape(where)}</p>',
        _tiles(report),
        "<p>" + "<br>".join(escape(sentence) for sentence in report["score"]) + "</p>",
        _section("What was found", _findings(report)),
        _section("Splits in numbers", _numbers(report["classes"], splits, looked=report["files"] is not None)),
        _section("Class balance", _pictures(splits, lambda part: _balance(report["classes"], part))),
        _section("Classes in numbers", _classes(report["classes"], splits)),
        _section("Lengths of actions", _pictures(splits, lambda part: _histogram(part, "segment_seconds"))),
        _section("Actions in a frame (% of frames)", _pictures(splits, _per_frame)),
        _section("Lengths of videos", _pictures(splits, lambda part: _histogram(part, "duration_seconds"))),
        _section("What happens together", _together(report["classes"], splits)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def _section(title: str, content: str) -> str:
    return f"<h2>{escape(title)}</h2>{content}" if content else ""


def _tiles(report: Mapping[str, Any]) -> str:
    splits, files = report["splits"].values(), report["files"]
    facts = {
        "annotated videos": f"{sum(part['annotated'] for part in splits):,}",
        "can be used": f"{sum(part['usable'] for part in splits):,}" if files else "not looked at",
        "classes": f"{len(report['classes']):,}",
    }
    if files:
        hours, size = files["hours"], files["bytes"]
        facts["files"] = f"{files['all']:,}"
        facts |= {"hours": f"{hours:,.1f}"} if hours >= 1 else {"minutes": f"{60 * hours:.1f}"}
        facts |= {"GB": f"{size / 1e9:,.1f}"} if size >= 1e9 else {"MB": f"{size / 1e6:.1f}"}
    for severity in ("error", "warning"):
        count = sum(row["subjects"] for row in report["codes"].values() if row["severity"] == severity)
        facts[f"{severity}s"] = f"{count:,}"
    tiles = (f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts.items())
    return f'<div class="facts">{"".join(tiles)}</div>'


def _findings(report: Mapping[str, Any]) -> str:
    """A row for each code, and its findings behind it."""
    if not report["codes"]:
        return "<p>Nothing.</p>"
    rows, lists = [], []
    for code, row in report["codes"].items():
        rows.append(
            f'<tr><td><b class="{row["severity"]}">{escape(code)}</b></td><td class="{row["severity"]}">'
            f'{row["severity"]}</td><td class="number">{row["subjects"]:,}</td><td class="number">{row["count"]:,}</td>'
            f'<td class="words">{escape(row["meaning"])}</td></tr>'
        )
        own = sorted((one for one in report["findings"] if one["code"] == code), key=lambda one: -one["count"])
        lines = "".join(
            f"<li><b>{escape(one['subject'])}</b> ({escape(one['split'])}) {escape(one['detail'])}</li>"
            for one in own[:_LISTED]
        )
        more = f'<p class="quiet">{len(own) - _LISTED:,} more in report.json.</p>' if len(own) > _LISTED else ""
        lists.append(f"<details><summary>{escape(code)} ({len(own):,})</summary><ul>{lines}</ul>{more}</details>")
    head = '<tr><th>code</th><th></th><th class="number">videos</th><th class="number">times</th><th>meaning</th></tr>'
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>{"".join(lists)}'


def _numbers(classes: Sequence[str], splits: Mapping[str, Any], *, looked: bool) -> str:
    columns = {split: _rows_of(classes, part) for split, part in splits.items()}
    if looked:
        columns = {split: {"can be used": f"{splits[split]['usable']:,}", **rows} for split, rows in columns.items()}
    names = list(dict.fromkeys(name for rows in columns.values() for name in rows))
    head = "".join(f'<th class="number">{escape(split)}</th>' for split in columns)
    body = "".join(
        f"<tr><th>{escape(name)}</th>"
        + "".join(f'<td class="number">{escape(rows.get(name, "-"))}</td>' for rows in columns.values())
        + "</tr>"
        for name in names
    )
    return f'<div class="wide"><table><tr><th></th>{head}</tr>{body}</table></div>'


def _rows_of(classes: Sequence[str], part: Mapping[str, Any]) -> dict[str, str]:
    told = part["statistics"]
    rows = {"annotated videos": f"{told['videos']:,}"}
    length = told["duration_seconds"]
    if length["mean"] is not None:
        rows["video s: min / 1 % / median / mean / 99 % / max"] = _of(length, *_SPREAD)
        rows["hours in all"] = f"{length['total_hours']:,.1f}"
    if part["labels"] == "weak":
        return rows
    frames, late, odd = told["per_frame"], told["end_after_video"], told["end_before_start"]
    few, many = told["videos_by_frames"]["fewer_than"], told["videos_by_frames"]["more_than"]
    return rows | {
        "actions": f"{told['segments']:,}",
        "videos without actions": f"{told['videos_without_actions']:,}",
        "actions in a video: mean / median / max": _of(told["segments_per_video"], "mean", "median", "max"),
        "classes in a video with actions: mean / max": _of(told["classes_per_video_with_actions"], "mean", "max"),
        "action s: min / 1 % / median / mean / 99 % / max": _of(told["segment_seconds"], *_SPREAD),
        "actions that end after their video": f"{late['segments']:,} in {late['videos']:,} videos",
        "largest such excess": f"{late['largest_seconds']:.2f} s",
        "actions that start after their video": f"{told['start_after_video']:,}",
        "actions that end before they start": f"{odd['segments']:,} in {odd['videos']:,} videos",
        "actions without length": f"{told['end_equals_start']:,}",
        "overlapping pairs of one class": f"{told['overlapping_pairs_of_one_class']:,}",
        f"frames at {frames['frame_rate']:g}/s": f"{frames['frames']:,}",
        f"videos under {' / '.join(few)} such frames": " / ".join(f"{count:,}" for count in few.values()),
        f"videos over {' / '.join(many)} such frames": " / ".join(f"{count:,}" for count in many.values()),
        "labels in a frame: mean / max": f"{frames['labels_mean']:.2f} / {frames['labels_max']}",
        "frames with 1 / 2 or more labels": f"{_percent(frames['with_1_or_more'])} / "
        f"{_percent(frames['with_2_or_more'])}",
        "frames of a class: mean / most": f"{_percent(frames['prevalence_mean'], 2)} / "
        f"{_percent(frames['prevalence_max'], 2)}",
        "the most frequent classes, actions": _most(classes, told["segments_of_classes"]),
    }


def _most(classes: Sequence[str], counts: Sequence[int]) -> str:
    order = sorted(range(len(counts)), key=lambda label: -counts[label])[:_MOST]
    return "; ".join(f"{classes[label]} {counts[label]:,}" for label in order if counts[label]) or "-"


def _of(summary: Mapping[str, float | None], *names: str) -> str:
    return " / ".join("-" if summary[name] is None else f"{summary[name]:,.4g}" for name in names)


def _percent(share: float, decimals: int = 1) -> str:
    return f"{100 * share:.{decimals}f} %"


def _pictures(splits: Mapping[str, Any], draw: Any) -> str:
    """One picture for each split, side by side where there is room."""
    drawn = [(split, draw(part)) for split, part in splits.items()]
    parts = "".join(f"<div><h3>{escape(split)}</h3>{picture}</div>" for split, picture in drawn if picture)
    return f'<div class="pair">{parts}</div>' if parts else ""


def _counts(part: Mapping[str, Any]) -> tuple[Sequence[int], str]:
    told = part["statistics"]
    return (
        (told["videos_of_classes"], "clips") if part["labels"] == "weak" else (told["segments_of_classes"], "actions")
    )


def _balance(classes: Sequence[str], part: Mapping[str, Any]) -> str:
    return ranked_bars(classes, *_counts(part))


def _classes(classes: Sequence[str], splits: Mapping[str, Any]) -> str:
    """All classes, the rarest of the first split first."""
    counts = {split: _counts(part)[0] for split, part in splits.items()}
    first = next(iter(counts.values()))
    head = "".join(f'<th class="number">{escape(split)}</th>' for split in counts)
    rows = "".join(
        f"<tr><td>{escape(classes[label])}</td>"
        + "".join(f'<td class="number">{own[label]:,}</td>' for own in counts.values())
        + "</tr>"
        for label in sorted(range(len(classes)), key=lambda label: first[label])
    )
    return (
        f"<details><summary>All {len(classes)} classes, the rarest first</summary>"
        f'<div class="wide"><table><tr><th>class</th>{head}</tr>{rows}</table></div></details>'
    )


def _histogram(part: Mapping[str, Any], name: str) -> str:
    told = part["statistics"]["histograms"].get(name)
    return histogram_bars(told["edges"], told["counts"], "s") if told and told["counts"] else ""


def _per_frame(part: Mapping[str, Any]) -> str:
    if part["labels"] == "weak":
        return ""
    return count_bars(part["statistics"]["per_frame"]["frames_with_labels"], "actions")


def _together(classes: Sequence[str], splits: Mapping[str, Any]) -> str:
    """The classes that share the most frames, of the first split with frame labels."""
    for split, part in splits.items():
        if part["labels"] == "frame" and part["statistics"]["segments"]:
            both = part["statistics"]["together_frames"]
            shared = [sum(row) - row[label] for label, row in enumerate(both)]
            chosen = sorted(range(len(classes)), key=lambda label: -shared[label])[:_TOGETHER]
            chosen = [label for label in chosen if shared[label]]
            if not chosen:
                return ""
            names = [classes[label] for label in chosen]
            shares = [[both[row][column] / max(both[row][row], 1) for column in chosen] for row in chosen]
            told = (
                f"Of the frames of a row's class, how many show a column's class as well ({split}; "
                f"the {len(chosen)} classes that share the most frames)."
            )
            frame = f'<div class="wide heat" style="--wide:{_SCALE * map_width(len(names)):.0f}px">'
            told = f'<p class="quiet">{escape(told)}</p>{frame}{heat_map(names, shares)}</div>'
            return told + _pairs(classes, both, shared)
    return ""


def _pairs(classes: Sequence[str], both: Sequence[Sequence[int]], shared: Sequence[int]) -> str:
    found: Iterable[tuple[int, int, int]] = (
        (both[row][column], row, column) for row in range(len(classes)) if shared[row] for column in range(row)
    )
    rows = "".join(
        f'<tr><td>{escape(classes[row])}</td><td>{escape(classes[column])}</td><td class="number">{frames:,}</td></tr>'
        for frames, row, column in sorted(found, reverse=True)[:12]
        if frames
    )
    return f'<div class="wide"><table><tr><th></th><th></th><th class="number">frames</th></tr>{rows}</table></div>'
