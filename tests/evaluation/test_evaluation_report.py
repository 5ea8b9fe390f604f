import hashlib
import json
import re
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
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
