"""Pages read back as a browser would: parsed, with the data that their script is given."""

import base64
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from predictions import prediction

from ssdet_cli.viz.player import video_sources, write_player
from ssdet_cli.viz.timeline import NOTHING_FOUND

EVIL = "</script><script>alert(1)</script>"
HOSTILE = [EVIL, '"><img src=x onerror=alert(1)>', "a & b 'c' \udce4\n名前", "plain"]


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text, self.data, self._inside = [], "", "", ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.data = json.loads(self.data)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._inside = dict(attributes).get("type", tag) if tag in ("script", "style") else ""

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if not self._inside:
            self.text += data
        elif self._inside == "application/json":
            self.data += data

    def all(self, tag, kind=None):
        return [found for name, found in self.tags if name == tag and (kind is None or found.get("class") == kind)]


def page(path, duration, *arguments, video=None, title="a title", top_k=10, **options):
    found = prediction(duration, *arguments, **options)
    write_player(path, video=video, duration=duration, title=title, top_k=top_k, **found)
    return Page(path)


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "film.mp4").touch()
    spans = [(1, 2.5, 5.0), (2, 7.5, 10.0)]
    return page(folder / "page.html", 10.0, ["walk", "sit", "stand"], spans, video=folder / "film.mp4")


def test_the_page_has_the_video_a_row_per_class_and_the_segments(ten):
    assert [source["src"] for source in ten.all("source")] == ["film.mp4"]
    assert [lane["data-label"] for lane in ten.all("svg", "lane")] == ["1", "2", "0"]
    assert ten.data["segments"] == [[1, 2.5, 5.0, 0.9], [2, 7.5, 10.0, 0.9]]
    assert (ten.data["begin"], ten.data["end"]) == (0, 10)
    assert ten.data["classes"] == ["walk", "sit", "stand"]
    assert "This browser cannot play film.mp4" in ten.text
    assert "2 segments of 2 classes" in ten.text and NOTHING_FOUND not in ten.text


def test_the_timeline_is_drawn_without_a_script(ten):
    bars = [path["d"] for path in ten.all("path", "bars")]
    assert bars == ["M250 0h250v22h-250z", "M750 0h250v22h-250z", ""]
    assert ten.all("path", "mean")[0]["d"] == "M0 100V96H250V37H500V96H1000V100Z"
    for part in ("over scripted", "scripted"):
        assert all("hidden" in found for found in ten.all("div", part) + ten.all("section", part))
    assert len(ten.all("noscript")) == 1


def test_curves_hold_two_bytes_per_value_and_two_digits_of_a_score_are_right(ten, tmp_path):
    def curves(read):
        return {row["label"]: np.frombuffer(base64.b64decode(row["mean"]), "<u2") for row in read.data["rows"]}

    rows = curves(ten)
    assert {len(row) for row in rows.values()} == {2000}
    np.testing.assert_allclose(rows[1][[100, 600, 1100]] / 65534, [0.05, 0.9, 0.05], atol=1e-5)
    # The nearest of 254 steps, and of 1000, is shown as 0.39.
    found = prediction(2.0, ["a"], [(0, 0.0, 2.0)], score=0.3846)
    write_player(tmp_path / "a.html", video=None, duration=2.0, title="", **found)
    read = Page(tmp_path / "a.html")
    assert {f"{value / 65534:.2f}" for value in curves(read)[0]} == {"0.38"}
    assert f"{read.data['segments'][0][3]:.2f}" == "0.38"


def test_nothing_is_fetched_from_elsewhere_and_light_and_dark_are_known(ten):
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"^\s*//.*$", "", ten.source, flags=re.M))
    assert {tag for tag, found in ten.tags if "src" in found or "href" in found} == {"source"}
    assert "prefers-color-scheme: dark" in ten.source and "color-scheme: light dark" in ten.source


def test_what_the_script_looks_for_is_there(tmp_path):
    film = tmp_path / "film.mp4"
    film.touch()
    found = prediction(2.0, ["a"], [])
    overlay = tmp_path / "film.overlay.mp4"
    write_player(tmp_path / "a.html", video=film, duration=2.0, title="", overlay=overlay, **found)
    ten = Page(tmp_path / "a.html")
    wanted = set(re.findall(r'(?:find\(|getElementById\()"(\w+)"', ten.source))
    listed = re.search(r"\[video, .*\] =\s*\[(.*)\]\.map\(find\)", ten.source).group(1)
    wanted |= set(re.findall(r'"(\w+)"', listed))
    assert len(wanted) > 8
    assert wanted <= {found["id"] for _, found in ten.tags if "id" in found}


def test_hostile_names_are_only_text(tmp_path):
    video = tmp_path / "a 'b' \"c\" #1 100% ?<é>.mp4"
    video.touch()
    spans = [(label, 0.5, 1.0) for label in range(4)]
    found = page(tmp_path / "a.html", 2.0, HOSTILE, spans, video=video, title=EVIL)
    assert len(found.all("script")) == 2 and not found.all("img")
    assert found.data["classes"][:2] == HOSTILE[:2]
    assert found.text.count(EVIL) >= 2  # headline and row
    source = found.all("source")[0]["src"]
    assert not set(source) & set("\"'<># ?")
    assert unquote(source) == video.name


def test_videos_elsewhere_are_found_by_both_ways(tmp_path):
    below, beside = tmp_path / "out" / "x" / "a:b.mp4", tmp_path / "films" / "c d.mp4"
    assert video_sources(tmp_path / "out", below) == ["x/a%3Ab.mp4"]
    assert video_sources(tmp_path / "out", beside) == ["../films/c%20d.mp4", beside.as_uri()]
    bytes_name = Path(os.fsdecode(b"/x/\xe4.mp4"))
    assert video_sources(Path("/x"), bytes_name) == ["%E4.mp4"]


def test_a_page_that_will_be_moved_refers_from_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film = Path("film.mp4")
    film.touch()
    found = prediction(2.0, ["a"], [])
    page = tmp_path / "out" / ".unfinished" / "page.html"
    write_player(page, video=film, duration=2.0, title="", folder=Path("out"), **found)
    first, second = (source["src"] for source in Page(page).all("source"))
    assert first == "../film.mp4"
    assert Path(unquote(urlsplit(second).path)) == tmp_path / "film.mp4"


def test_no_segment_no_frame_and_no_video_are_said(tmp_path):
    empty = page(tmp_path / "a.html", 5.0, ["a", "b"], [])
    assert NOTHING_FOUND in empty.text and empty.data["segments"] == []
    assert not empty.all("video") and "No video belongs to this page" in empty.text
    folder = tmp_path / "frames"
    folder.mkdir()
    one = page(tmp_path / "b.html", 0.1, ["a"], [(0, 0.0, 0.1)], video=folder)
    assert "frames is a folder of pictures" in one.text and one.all("path", "bars")[0]["d"] == "M0 0h1000v22h-1000z"
    none = page(tmp_path / "c.html", 0.0, ["a"], [])
    assert none.data["end"] > none.data["begin"]
    assert set(base64.b64decode(none.data["rows"][0]["mean"])) == {255}


def test_the_overlay_stands_in_for_what_a_browser_cannot_play(tmp_path):
    film, folder, found = tmp_path / "film #1.mkv", tmp_path / "frames", prediction(5.0, ["a"], [])
    film.touch()
    folder.mkdir()
    made = {"overlay": tmp_path / "film #1.overlay.mp4", "overlay_start": 2.5, "duration": 5.0, "title": "film"}
    write_player(tmp_path / "a.html", video=film, **made, **found)
    one = Page(tmp_path / "a.html")
    assert one.all("source") == [{"src": "film%20%231.mkv"}, {"src": "film%20%231.overlay.mp4", "data-begin": "2.5"}]
    assert "film #1.mkv cannot be played by this browser: this is film #1.overlay.mp4, without sound." in one.text
    assert "hidden" in next(found for _, found in one.tags if found.get("id") == "overlaid")
    write_player(tmp_path / "b.html", video=folder, **made, **found)
    two = Page(tmp_path / "b.html")
    assert [source["src"] for source in two.all("source")] == ["film%20%231.overlay.mp4"]
    assert "frames is a folder of pictures: this is film #1.overlay.mp4" in two.text
    assert "The timeline stands alone" not in two.text


def test_ten_hours_stay_below_a_megabyte(tmp_path):
    rng = np.random.default_rng(0)
    classes = [f"Doing something with a thing of the kind number {label}" for label in range(157)]
    starts = np.sort(rng.uniform(0, 35990, 12_000))
    spans = [(int(label), float(a), float(a) + 3) for label, a in zip(rng.integers(0, 12, 12_000), starts, strict=True)]
    found = prediction(36000.0, classes, spans[:1], spacing=2.0)
    found["scores"][:] = rng.random(found["scores"].shape, np.float32)
    found["segments"] = prediction(1.0, classes, spans)["segments"]
    write_player(tmp_path / "a.html", video=None, duration=36000.0, title="long", **found)
    assert 100_000 < (tmp_path / "a.html").stat().st_size < 1_000_000
    read = Page(tmp_path / "a.html")
    assert len(read.data["segments"]) == 5000
    assert "The surest 5,000 of 12,000." in read.text
