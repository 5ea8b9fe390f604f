"""Sections of an evaluation's report: whole HTML, escaped, without a network; what is not there is left out."""

import re
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.analysis import Training, analyse
from ssdet_cli.evaluation.charades_classify import CharadesClassify
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.viz.evaluation_report import STYLE, analysis_html
from ssdet_cli.viz.evaluation_terminal import print_analysis

NASTY = "<script>alert('x')</script> [bold]& {row}"
CLASSES = (NASTY, "holding a cup", "washing a cup", "never")
TITLES = (
    "Average precision against training data",
    "Precision against recall, and calibration",
    "Actions that go on together",
    "Kinds of errors over time",
    "Best and worst videos",
)


class Balance(HTMLParser):
    """Sees that every tag is closed in its turn, and gathers them."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    parser = Balance()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.seen


def analysis_of(tmp_path, protocol, training=None, low=0.0):
    records = tuple(
        VideoRecord(name, duration_seconds=25.0, segments=(Segment(number % 3, 3.0, 12.0), Segment(0, 9.0, 20.0)))
        for number, name in enumerate(("<b>&", *"cdefgh"))
    )
    videos = VideoSet("made up", CLASSES, records, tmp_path / "x.csv")
    rng = np.random.default_rng(0)
    predictions = {record.video_id: low + (1 - low) * rng.random((25, 4)) for record in records[:-1]}
    result = protocol.score(videos, predictions)
    return analyse(protocol.rows(videos, predictions), videos, result.per_class_AP, training=training)


def page_of(found):
    return analysis_html(found.to_plain(timelines=True), found.classes, found.per_class_AP)


@pytest.fixture
def full(tmp_path):
    return analysis_of(tmp_path, CharadesLocalize(), Training((0, 20, 3000, 7), "training frames", "<i>those</i>"))


def test_the_sections_are_whole_escaped_and_need_no_network(full):
    page = page_of(full)
    seen = parsed(page)
    assert [title for title in TITLES if f"<h2>{title}</h2>" in page] == list(TITLES)
    assert "<script" not in page and "<b>&" not in page and "<i>those" not in page
    assert "&lt;script&gt;" in page and "&lt;b&gt;&amp;" in page and "&lt;i&gt;those" in page
    assert "{row}" in page  # braces of a name are the name's
    assert not any({"src", "href", "xlink:href"} & attributes.keys() for _, attributes in seen)
    assert not re.search(r"https?:|url\(|@import", page + STYLE)
    assert "nan" not in re.sub(r"<title>.*?</title>", "", page).lower()


def test_a_dot_a_curve_and_a_timeline_for_each(full):
    page = page_of(full)
    scatter = page.split("Rank correlation")[1].split("</svg>")[0]
    assert scatter.count("<circle") == 3  # one class has no AP
    assert ">AP, %</text>" in scatter and ">0</text>" in scatter and "3,000 training frames" in scatter
    assert page.count('class="thin"') == 3 and page.count('<svg viewBox="-4 -4') == 3
    assert page.count('<div class="video">') == 6
    assert page.count("in truth".title()) <= 1 and page.count('class="wide heat"') == 3


def test_bars_of_truth_stand_where_the_actions_are(full):
    best = page_of(full).split('<div class="video">')[1]
    bars = set(re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%"', best))
    assert bars <= {("12.00", "36.00"), ("36.00", "44.00"), ("12.00", "68.00")} and bars


def test_what_is_not_there_is_left_out_and_said(tmp_path):
    found = analysis_of(tmp_path, CharadesClassify(), low=3.0)
    page = page_of(found)
    parsed(page)
    assert "Kinds of errors" not in page and "Best and worst" not in page and "training data" not in page
    assert "no moment of a video" in page and "no probabilities" in page and "Precision against recall<" in page
    nothing = analyse(None, VideoSet("x", CLASSES, (), tmp_path), (None,) * 4, training=Training((0,) * 4, "f", "v"))
    page = page_of(nothing)
    parsed(page)
    assert "<h2>" not in page and "ranks no rows" in page


def test_all_cells_on_one_page_add_up(full):
    page = page_of(full)
    errors = full.to_plain()["errors"]
    for kind, total in (("false", sum(errors["false"].values())), ("missed", sum(errors["missed"].values()))):
        bars = page.split(f'<div class="kinds {kind}">')[1].split("</div>")[0]
        assert sum(int(count.replace(",", "")) for count in re.findall(r'number">([\d,]+) ·', bars)) == total


def test_the_terminal_shows_errors_and_videos_and_takes_names_literally(full):
    console = Console(width=140, record=True, file=StringIO())
    plain = full.to_plain()
    print_analysis(console, plain)
    text = console.export_text()
    assert "ends too late" in text and "first word of its name" in text and "gap in the middle" in text
    for end in ("best", "worst"):
        for one in plain["videos"][end]:
            assert f"{one['video']} ({100 * one['AP']:.1f} %)" in text
    assert "lanes" not in plain["videos"]["best"][0]
    print_analysis(console, plain | {"errors": None, "videos": None})
    assert console.export_text() == ""
