import json

import pytest

from ssdet_cli.viz.run_report import draw_curves, write_run_report

LINES = [
    {"step": 1, "epoch": 0, "split": "train", "loss": 0.75, "lr": 0.1},
    {"step": 2, "epoch": 0, "split": "train", "loss": 0.5, "lr": 0.1},
    {"step": 2, "epoch": 0, "split": "val", "loss": 0.6, "mAP": 12.5},
]


@pytest.fixture
def page(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"step": 3, "sp')
    (tmp_path / "config.yaml").write_text("run:\n  name: <b>\n")
    (tmp_path / "env.json").write_text("{}")
    write_run_report(tmp_path)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    return (tmp_path / "report.html").read_text()


def test_curves_take_the_colour_of_the_text_so_that_they_suit_light_and_dark_pages(page):
    svg = page[page.index("<svg") : page.index("</svg>")]
    assert "color-scheme: light dark" in page
    assert "currentColor" in svg
    assert not {"#000000", "#ffffff", "#010203"} & {word.strip(' ;"') for word in svg.split()}
    assert "Loss" in svg and "mAP (%)" in svg and "Learning rate" in svg


def test_the_page_holds_last_values_and_escapes_what_it_quotes(page):
    assert "<th>steps</th><td>2</td>" in page
    assert "<th>train loss</th><td>0.5</td>" in page and "<th>val mAP</th><td>12.5</td>" in page
    assert "&lt;b&gt;" in page and "<b>" not in page


def test_a_single_value_is_a_dot_and_the_same_lines_give_the_same_picture():
    alone, pair = draw_curves(LINES[:1], "svg"), draw_curves(LINES[:2], "svg")
    assert b"fill: #7a869a" in alone
    assert b"fill: #7a869a" not in pair
    assert alone == draw_curves(LINES[:1], "svg")


def test_a_run_without_a_step_has_an_empty_panel():
    assert b"<svg" in draw_curves([], "svg")
