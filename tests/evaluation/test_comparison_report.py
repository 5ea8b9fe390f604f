import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from ssdet_cli.evaluation.comparison import Scored, compare
from ssdet_cli.evaluation.comparison_report import (
    axis_limit,
    comparison_html,
    print_comparison,
    tally,
    verdict,
    write_comparison,
)
from ssdet_cli.evaluation.ranks import rank_rows
from ssdet_cli.evaluation.rows import Rows

NASTY = "<script>alert('x')</script> [bold]&"


@pytest.fixture(scope="module")
def compared():
    """B finds the first class better, the second worse; the third has no positive."""
    rng = np.random.default_rng(0)
    videos, classes = np.repeat(np.arange(40), 5), (NASTY, "run", "never", *(f"class {number}" for number in range(20)))
    targets = np.repeat(rng.random((40, 23)) < 0.3, 5, axis=0)
    targets[:, 2] = False
    noise = [rng.normal(size=targets.shape) for _ in "ab"]
    gain = np.zeros(23), np.array([4, -4, *[0] * 21])
    ids = tuple(f"v{number}" for number in range(40))
    a, b = (
        rank_rows(Rows(n + (1 + g) * targets, targets, videos, video_ids=ids), "frame-map", classes, "abc")
        for n, g in zip(noise, gain, strict=True)
    )
    return compare(a, b, ("runs/<first>", "runs/second"), samples=800, annotations="x.csv", notes=("A <note>.",))


def test_the_file_holds_what_other_tools_read(compared, tmp_path):
    files = write_comparison(tmp_path / "out", compared)
    assert [path.name for path in files] == ["compare.json", "report.html"]
    found = json.loads((tmp_path / "out/compare.json").read_text())
    assert found["names"] == {"a": "runs/<first>", "b": "runs/second"} and found["protocol"] == "frame-map"
    assert found["mAP"] == {"a": compared.mAP[0], "b": compared.mAP[1]}
    assert (found["samples"], found["seed"], found["level"], found["confidence"]) == (800, 0, 0.05, 0.95)
    assert found["correction"] == "Benjamini-Hochberg" and len(found["classes"]) == 23
    first, _, never = found["classes"][:3]
    assert first["significant"] and first["difference"]["p"] <= first["p_adjusted"] <= 0.05
    assert (never["a"], never["difference"], never["significant"]) == (None, None, False)


def test_the_page_escapes_names_and_needs_no_network(compared):
    page = comparison_html(compared)
    assert "<script" not in page and "&lt;script&gt;" in page and "runs/&lt;first&gt;" in page
    assert "A &lt;note&gt;." in page and "prefers-color-scheme: dark" in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]""", page)
    open_tags = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Balance().feed(page)
    assert open_tags == []


def test_bars_go_both_ways_in_falling_order_and_are_marked_by_more_than_colour(compared):
    page = comparison_html(compared)
    items = re.findall(
        r'<div role="listitem"( class="sure")?.*?<i( class="less")? .*?>((?:● )?[+-]?[\d.]+)</span></div>', page
    )
    assert len(items) == 22
    values = [float(text.removeprefix("● ")) for _, _, text in items]
    assert values == sorted(values, reverse=True)
    assert all(bool(less) == (value < 0) for (_, less, _), value in zip(items, values, strict=True) if value)
    assert [bool(sure) for sure, _, _ in items] == [text.startswith("●") for _, _, text in items]
    assert items[0][0] and items[-1][0] and not items[10][0]
    for left, width in re.findall(r'left:([\d.]+)%;width:([\d.]+)%"></[is]>', page):
        assert 0 <= float(left) <= float(left) + float(width) <= 100.01


def test_the_axis_holds_every_bar(compared):
    ranked = compared.ranked()
    assert axis_limit(ranked) >= max(abs(row.difference.value) for row in ranked)
    still = [replace(row, difference=replace(row.difference, value=0.0, interval=(0.0, 0.0))) for row in ranked]
    assert axis_limit(still) == 0.01
    assert "+1" in comparison_html(replace(compared, classes=tuple(still)))


def test_the_verdict_says_who_is_better_and_when_nobody_is(compared):
    found = compared.difference
    for value, p, text in (
        (0.0123, 0.001, "B is better by 1.23 points of mAP (p = 0.001)."),
        (-0.0123, 0.05, "A is better by 1.23 points of mAP (p = 0.05)."),
        (0.0123, 0.2, "Neither is clearly better: 1.23 points of mAP can be chance (p = 0.2)."),
        (0.0, 1.0, "Neither is clearly better: 0.00 points of mAP can be chance (p = 1)."),
        (0.5, None, "Fewer than 6 videos are too few to say which is better."),
    ):
        assert verdict(replace(compared, difference=replace(found, value=value, p=p))) == text
    assert verdict(replace(compared, difference=None)) == "No class has a positive, so that nothing can be compared."
    assert tally(compared).startswith(
        "Of 22 classes 1 are significantly better in B and 1 in A (Benjamini-Hochberg: at most 5 % of these, on average"
    )
    none = tuple(replace(row, significant=False) for row in compared.classes)
    assert tally(replace(compared, classes=none)).startswith(
        "Of 22 classes 0 are significantly better in B and 0 in A. Undefined"
    )
    assert tally(compared).endswith("Undefined in one or both: never.")


def test_the_table_shows_what_moved_most_and_takes_names_literally(compared):
    console = Console(width=160, record=True, file=StringIO())
    print_comparison(console, compared, top=3)
    text = console.export_text()
    ranked = compared.ranked()
    for row in (*ranked[:3], *ranked[-3:]):
        assert row.name in text
    assert ranked[8].name not in text and text.count("B better") == 1 and text.count("A better") == 1
    assert "runs/<first>" in text and "A <note>." in text and verdict(compared) in text


def test_eighty_columns_cut_no_number_and_no_verdict(compared):
    wide = (-0.2697, -0.1016)
    rows = tuple(
        replace(
            row, name="Throwing a broom somewhere", difference=replace(row.difference, value=-0.1398, interval=wide)
        )
        if row.difference is not None
        else row
        for row in compared.classes
    )
    console = Console(width=80, record=True, file=StringIO())
    print_comparison(console, replace(compared, classes=rows))
    lines = [line for line in console.export_text().splitlines() if "Throwing a broom" in line]
    assert len(lines) == 12 and all("-13.98  -26.97 to -10.16" in line for line in lines)
    assert sum(line.rstrip().endswith("A better") for line in lines) == sum(row.significant for row in rows) > 0


def test_file_and_page_say_what_each_evaluation_scored(compared):
    member = {"file": "x<1>.npz", "sha256": "ab" * 32, "kind": "scores", "weight": 1.0, "sampling": {"stride": 4}}
    told = replace(compared, scored=(Scored.of({"members": [member], "smooth": 0.5}), Scored.of({})))
    plain = told.to_plain()["scored"]
    assert plain["a"] == {"members": (member,), "average": "probabilities", "smooth": 0.5}
    assert plain["b"]["members"] == ()
    page = comparison_html(told)
    assert f'x&lt;1&gt;.npz</td><td>scores</td><td><span class="hash" title="{"ab" * 32}">{"ab" * 6}</span>' in page
    assert "stride 4" in page and "smoothed over 0.5 s" in page
    assert "What was compared" not in comparison_html(compared)


def test_nothing_to_compare_is_still_a_page(compared):
    empty = replace(compared, difference=None, mAP=(float("nan"),) * 2, classes=(compared.classes[2],))
    page = comparison_html(empty)
    assert "No class can be compared." in page and "undefined" in page
    print_comparison(Console(file=StringIO()), empty)
    assert empty.to_plain()["mAP"] == {"a": None, "b": None}
