import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.bootstrap import Intervals
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.evaluation.facts import Facts, MemberFacts
from ssdet_cli.evaluation.report import print_result, ranked_classes, report_html, warnings, write_results

NASTY = "<script>alert('x')</script> [bold]&"


@pytest.fixture
def scored(tmp_path):
    classes = (NASTY, "run", "never", *(f"class {index}" for index in range(20)))
    segments = tuple(Segment(label, 1.0 * label, 30.0) for label in range(len(classes)) if label != 2)
    records = (
        VideoRecord("a", duration_seconds=25.0, segments=segments),
        VideoRecord("<b>", duration_seconds=25.0),
    )
    videos = VideoSet("made up", classes, records, tmp_path / "x.csv", hashlib.sha256(b"x").hexdigest())
    scores = np.random.default_rng(0).normal(size=(25, len(classes)))
    return CharadesLocalize().score(videos, {"a": scores})


def test_metrics_hold_what_other_tools_read(scored, tmp_path):
    files = write_results(tmp_path / "out", scored, b"a 1 0.5\n")
    assert sorted(path.name for path in files) == ["metrics.json", "report.html", "submission.txt"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in files)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["protocol"] == "charades-localize"
    assert metrics["per_class_AP"][2] is None and len(metrics["per_class_AP"]) == 23
    assert metrics["mAP"] == pytest.approx(np.mean([ap for ap in metrics["per_class_AP"] if ap is not None]))
    assert (metrics["videos"], metrics["frames"], metrics["missing"]) == (2, 50, 1)
    assert metrics["missing_videos"] == ["<b>"] and metrics["missing_frames"] == 25
    assert metrics["classes"][1] == "run" and 0 < metrics["wAP"] <= 1
    assert (tmp_path / "out" / "submission.txt").read_bytes() == b"a 1 0.5\n"


def test_without_a_submission_none_is_written(scored, tmp_path):
    write_results(tmp_path, scored)
    assert not (tmp_path / "submission.txt").exists()


def test_the_page_escapes_names_and_needs_no_network(scored):
    page = report_html(scored)
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;b&gt;" in page
    assert not re.findall(r"""(?:src|href|url)\s*[=(]""", page)
    assert "prefers-color-scheme: dark" in page
    open_tags = []

    class Balance(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "br"):
                open_tags.append(tag)

        def handle_startendtag(self, tag, attrs):
            pass

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Balance().feed(page)
    assert open_tags == []


def test_bars_stand_in_falling_order(scored):
    widths = [float(width) for width in re.findall(r'<i style="width:max\(([\d.]+)%', report_html(scored))]
    assert len(widths) == 22 and widths == sorted(widths, reverse=True)
    aps = [ap for _, ap, _ in ranked_classes(scored)]
    assert len(aps) == 22 and aps == sorted(aps, reverse=True)


FACTS = Facts(
    (
        MemberFacts(
            "runs/<a>/best.pt", "ab" * 32, "checkpoint", 2 / 3, sampling={"stride": 4, "size": 224, "crops": 3}
        ),
        MemberFacts("b.npz", "cd" * 32, "scores", 1 / 3, "runs/b/best.pt", "ef" * 32, {"stride": 2, "exact": False}),
    ),
    "logits",
    0.5,
)


def told(scored):
    """With members and intervals."""
    between = tuple(None if ap is None else (ap / 2, (1 + ap) / 2) for ap in scored.per_class_AP)
    intervals = Intervals(400, 7, 0.95, (0.1, 0.9), between, videos=2)
    return replace(scored, scores_from=FACTS, intervals=intervals)


def test_page_and_terminal_say_what_the_score_is_of(scored):
    result = told(scored)
    console = Console(width=140, record=True, file=StringIO())
    print_result(console, result)
    page = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", report_html(result))).split())
    shown = " ".join(console.export_text().split())
    # A path may be longer than a line of the terminal, which then breaks it.
    page, shown = page.replace(result.annotations, "x.csv"), shown.replace(" ", "")
    for said in (
        *("charades-localize", result.annotations_sha256[:12]),
        *("runs/<a>/best.pt", "ab" * 6, "66.7 %", "checkpoint", "stride 4, size 224, crops 3"),
        *("b.npz", "cd" * 6, "33.3 %", "scores", "runs/b/best.pt", "ef" * 6, "stride 2"),
        *("the logits of 2 members", "smoothed over 0.5 s", "400 draws of 2 videos, seed 7"),
        *("22 of 23", "classes with positives", "videos scored", "x.csv"),
        *("equal scores keep it", "mAP is the mean over classes that have a positive"),
    ):
        assert said in page, said
        assert said.replace(" ", "") in shown, said
    assert "exact" not in page and "exact" not in shown
    assert "1videosscored,1missing" in shown and "1 videos scored 1 missing videos" in page
    assert report_html(result).count(f'title="{"ab" * 32}"') == 1
    bare = report_html(scored)
    assert "What was scored" not in bare and "draws" not in bare


def test_no_line_of_an_interval_crosses_a_number(scored):
    page = report_html(told(scored))
    assert page.count("<s style") == 22
    assert len(re.findall(r'<s style="[^"]*"></s></div><span class="value">[\d.]+</span></div>', page)) == 22


@pytest.mark.parametrize("width", [44, 60, 80])
def test_the_title_is_not_broken_inside_an_interval(scored, width):
    console = Console(width=width, record=True, file=StringIO())
    print_result(console, told(replace(scored, classes=tuple(f"c{index}" for index in range(23)))))
    assert "(95 % interval 10.00 to 90.00)" in console.export_text()


def test_what_is_missing_is_said(scored):
    assert warnings(scored) == (
        "1 of 2 videos have no scores: <b>.",
        "25 of 50 rows have no scores and rank last.",
    )


def test_the_table_shows_best_and_worst_and_takes_names_literally(scored):
    console = Console(width=140, record=True, file=StringIO())
    print_result(console, scored, top=3)
    text = console.export_text()
    ranked = ranked_classes(scored)
    for name, _, _ in (*ranked[:3], *ranked[-3:]):
        assert name in text
    assert ranked[5][0] not in text
    assert "rank last" in text and f"{100 * scored.mAP:.2f} % mAP" in text
