"""The part of an evaluation's report about its best and worst videos: truth above, scores below."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from ssdet_cli.viz.clock import clock
from ssdet_cli.viz.evaluation_charts import lane


def videos_section(videos: Mapping[str, Any] | None, classes: Sequence[str]) -> str:
    """A timeline of each video; the best ones first."""
    if videos is None:
        return ""
    told = (
        f"By the AP among the rows of a video by itself, of {videos['ranked']:,} that have scores, and actions that "
        "do not last as long as they do. Above: when an action goes on. Below: scores of its class, from the lowest to "
        "the highest that it has in the set; dashed: its threshold. Classes that the video has not, but were found in "
        "it, are last."
    )
    ends = (("Best", videos["best"]), ("Worst", videos["worst"]))
    drawn = "".join(_video(f"{name} {place}", one, classes) for name, few in ends for place, one in enumerate(few, 1))
    return f'<p class="quiet">{told}</p>{drawn}'


def _video(what: str, one: Mapping[str, Any], classes: Sequence[str]) -> str:
    begin, end = one["begin"], one["end"]
    lanes = "".join(_lane(row, begin, end, classes[row["class"]]) for row in one["lanes"])
    digits = 0.1 if end - begin < 60 else 1
    times = "".join(f"<span>{clock(begin + part * (end - begin), digits)}</span>" for part in (0, 0.25, 0.5, 0.75, 1))
    more = [
        f"{count} more {which}"
        for count, which in zip(one["hidden"], ("classes of the video", "wrongly found"), strict=True)
        if count
    ]
    below = f'<p class="quiet">Not shown: {escape(", ".join(more))}.</p>' if more else ""
    return (
        f'<div class="video"><h3>{what}: {escape(one["video"])}, AP {100 * one["AP"]:.1f} %</h3>{lanes}'
        f'<div class="lane clock"><span></span><div>{times}</div></div>{below}</div>'
    )


def _lane(row: Mapping[str, Any], begin: float, end: float, name: str) -> str:
    length = end - begin
    bars = "".join(
        f'<i style="left:{100 * max(start - begin, 0) / length:.2f}%;'
        f'width:{100 * (stop - max(start, begin)) / length:.2f}%"></i>'
        for start, stop in row["actions"]
        if stop >= begin
    )
    kind = "lane" if row["actions"] else "lane false"
    return (
        f'<div class="{kind}"><span>{escape(name)}</span><div><div class="truth">{bars}</div>'
        f"{lane(row['scores'], begin, end, row['threshold'])}</div></div>"
    )
