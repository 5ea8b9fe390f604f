import json

import pytest

from ssdet_cli.viz.run_curves import draw_curves, read_metrics
from ssdet_cli.viz.run_report import write_run_report

LINES = [
    {"step": 1, "epoch": 0, "split": "train", "loss": 0.75, "lr": 0.1},
    {"step": 2, "epoch": 0, "split": "train", "loss": 0.5, "lr": 0.1},
    {"step": 2, "epoch": 0.5, "split": "val", "loss": 0.6, "mAP": 12.5},
    {"step": 4, "epoch": 1.0, "split": "val", "loss": 0.7, "lr": 0.1, "mAP": 11.25},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"step": 5, "sp')
    (tmp_path / "config.yaml").write_text("run:\n  name: <b>\n")
    env = {"python": "3.11.7", "packages": {"torch": "2.14", "decord": None}, "gpu": None, "command": ["ssdet", "<i>"]}
    (tmp_path / "env.json").write_text(json.dumps(env))
    return tmp_path


@pytest.fixture
def page(folder):
    write_run_report(folder)
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    return (folder / "report.html").read_text()


def test_curves_take_the_colour_of_the_text_so_that_they_suit_light_and_dark_pages(page):
    drawn = "".join(part[: part.index("</svg>")] for part in page.split("<svg")[1:])
    assert "color-scheme: light dark" in page and "prefers-color-scheme: dark" in page
    assert "currentColor" in drawn
    assert not {"#000000", "#ffffff", "#010203"} & {word.strip(' ;"') for word in drawn.split()}
    assert "Loss" in drawn and "mAP (%)" in drawn and "Learning rate" in drawn


def test_every_metric_is_a_drawing_of_its_own_so_that_a_narrow_screen_stacks_them(page):
    assert page.count("<svg") == 3
    clips = [word for word in page.split('"') if word.startswith("url(#")]
    assert len(set(clips)) == 3  # one id twice would cut one drawing as another


def test_the_page_needs_nothing_else(page):
    assert "src=" not in page and "<link" not in page and "<script" not in page
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in page


def test_the_page_holds_last_values_and_environment_and_escapes_what_it_quotes(page):
    assert "<th>steps</th><td>4</td>" in page
    assert "<th>train loss</th><td>0.5</td>" in page and "<th>val mAP</th><td>11.25</td>" in page
    assert "<th>train lr</th>" in page and "<th>val lr</th>" not in page  # the same again
    assert "name: &lt;b&gt;" in page and "name: <b>" not in page
    assert "<th>packages</th><td>torch 2.14</td>" in page and "<th>command</th><td>ssdet &lt;i&gt;</td>" in page
    assert "<th>gpu</th><td>-</td>" in page


def test_the_final_and_the_best_score_stand_on_top(folder):
    (folder / "status.json").write_text(json.dumps({"command": "finetune", "metric": "mAP", "higher_is_better": True}))
    write_run_report(folder)
    page = (folder / "report.html").read_text()
    assert "<b>11.25</b><span>validation mAP at the end</span>" in page
    assert "<b>12.5</b><span>best mAP, at step 2</span>" in page


def test_phases_stand_from_the_slowest_to_the_fastest_with_their_parts(folder, page):
    assert "Where the time went" not in page  # of an older run
    (folder / "timing.json").write_text(json.dumps({"seconds": {"validation": 50, "waiting for data": 150, "rest": 0}}))
    write_run_report(folder)
    page = (folder / "report.html").read_text()
    assert "slowest: waiting for data, 2 min" in page and "3 min in all" in page
    assert page.index("waiting for data</span>") < page.index("validation</span>")
    assert "75.0 %" in page and "25.0 %" in page and "rest</span>" not in page


def test_classes_stand_from_the_best_to_the_worst_and_those_without_a_positive_apart(folder):
    scores = {"classes": ["<run>", "sit", "fly"], "AP": [0.125, 0.5, None]}
    (folder / "class_scores.json").write_text(json.dumps(scores))
    write_run_report(folder)
    page = (folder / "report.html").read_text()
    assert page.index(">sit<") < page.index("&lt;run&gt;") < page.index("Without a positive: fly.")
    assert ">50.0<" in page and ">12.5<" in page


@pytest.mark.parametrize("damage", ["[1, 2]", "{", '{"seconds": 3}', '{"seconds": {"a": "b"}}'])
def test_damaged_side_files_are_left_out(folder, damage):
    for name in ("timing.json", "class_scores.json", "env.json", "status.json"):
        (folder / name).write_text(damage)
    write_run_report(folder)
    assert "<svg" in (folder / "report.html").read_text()


def test_a_single_value_is_a_dot_and_the_same_lines_give_the_same_picture():
    alone, pair = draw_curves(LINES[:1], "svg"), draw_curves(LINES[:2], "svg")
    assert b"fill: #7a869a" in alone
    assert b"fill: #7a869a" not in pair
    assert alone == draw_curves(LINES[:1], "svg")


def test_a_run_without_a_step_has_an_empty_panel():
    assert b"<svg" in draw_curves([], "svg")


def test_what_a_power_cut_leaves_in_the_log_is_passed_over(folder):
    log = folder / "metrics.jsonl"
    first, rest = log.read_bytes().split(b"\n", 1)
    log.write_bytes(first + b"\n" + b"\0\xff\xfe{\n[1]\n{}\n" + rest)
    assert read_metrics(log) == LINES


def test_a_run_that_ended_early_says_so_and_why(folder):
    for state, shown in (("failed", True), ("interrupted", True), ("running", False), ("finished", False)):
        (folder / "status.json").write_text(json.dumps({"state": state, "reason": "The loss is <nan> at step 4"}))
        write_run_report(folder)
        page = (folder / "report.html").read_text()
        assert (f"<b>{state}</b> The loss is &lt;nan&gt; at step 4" in page) == shown
