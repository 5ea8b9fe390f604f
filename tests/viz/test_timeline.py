import numpy as np
import pytest
from PIL import Image
from predictions import prediction

from ssdet_cli.errors import SsdetError
from ssdet_cli.viz import style
from ssdet_cli.viz.score_tracks import ScoreTracks, Track
from ssdet_cli.viz.timeline import NOTHING_FOUND, summary, write_timeline

AMBER, BLUE = style.class_colors(2)
LONG = "Putting a very large cup/glass/bottle on top of a somewhere"
HOSTILE = "a\nb\x00<script>\udce4 名前"


def written(path, duration, *arguments, top_k=10, **options):
    found = prediction(duration, *arguments, **options)
    write_timeline(path, duration=duration, title=path.name, top_k=top_k, **found)
    return np.asarray(Image.open(path).convert("RGB"))


def columns(picture, color):
    """Columns in which a color stands in at least eight pixels: bars, and no thin lines or letters."""
    return np.flatnonzero((picture == color).all(axis=2).sum(axis=0) >= 8)


@pytest.fixture(scope="module")
def ten(tmp_path_factory):
    spans = [(1, 2.5, 5.0), (2, 7.5, 10.0)]
    return written(tmp_path_factory.mktemp("ten") / "ten.png", 10.0, ["walk", "sit", "stand"], spans)


def test_bars_stand_where_segments_are(ten):
    first, second = columns(ten, AMBER), columns(ten, BLUE)
    first, second = (found[found > 200] for found in (first, second))  # not the lamp before the name
    scale = (second[-1] + 1 - first[0]) / 7.5
    assert first[-1] + 1 - first[0] == pytest.approx(2.5 * scale, abs=2)
    assert second[0] - first[0] == pytest.approx(5 * scale, abs=2)
    assert ten.shape[1] == 1600


@pytest.mark.parametrize(("duration", "count"), [(3.0, 1), (600.0, 15), (36000.0, 157)])
def test_there_is_a_row_for_the_classes_that_matter(tmp_path, duration, count):
    classes = [f"class {label}" for label in range(count)]
    picture = written(tmp_path / "a.png", duration, classes, [(0, 1.0, 2.0)], spacing=max(0.4, duration / 900))
    one = written(tmp_path / "b.png", 3.0, ["one"], [])
    rows = min(10, count)
    assert picture.shape[0] - one.shape[0] == pytest.approx((rows - 1) * 54, abs=2)
    # A second of ten hours is still seen.
    assert len(columns(picture, AMBER)) >= 2


def test_no_segment_is_said(tmp_path, ten):
    assert summary([]) == NOTHING_FOUND
    none = written(tmp_path / "none.png", 10.0, ["walk", "sit", "stand"], [])
    line = slice(70, 102)
    assert (none[line] == AMBER).all(axis=2).any()
    assert not (ten[line] == AMBER).all(axis=2).any()


def test_one_frame_and_none_and_missing_scores_are_drawn(tmp_path):
    for name, times in (("one", [0.0]), ("none", [])):
        scores = np.full((len(times), 2), np.nan, np.float32)
        file = tmp_path / f"{name}.png"
        write_timeline(
            file, scores=scores, seconds=np.array(times), duration=0.04, classes=["a", "b"], segments=[], title=""
        )
        assert Image.open(file).size[0] == 1600


@pytest.mark.parametrize("name", [LONG, "Holding a phone/camera", LONG.replace(" ", "_")])
def test_long_names_are_written_in_full(name):
    values = np.zeros(4)
    panel = ScoreTracks([Track(name, AMBER, values, values, ())], 0, 1, 1536, font_size=18)
    lines = style.wrap(name, panel._face, panel._name_room, 2)
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
    assert panel._face.size >= 10
    # Names end before the lanes, in which only the axis' ticks and nothing white stands.
    assert panel.left < 0.4 * 1536
    bright = (np.asarray(panel.picture()) > 200).all(axis=2)
    assert bright[:, : panel.left - 3].any() and not bright[: panel.lanes[0][1], panel.left - 3 : panel.left + 40].any()


def test_hostile_names_are_drawn(tmp_path):
    picture = written(tmp_path / "a.png", 2.0, [HOSTILE, ""], [(0, 0.0, 1.0)])
    assert len(columns(picture, AMBER)) > 100


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SsdetError, match=r"^Cannot write .*a\.png: [^\n]+\.$"):
        written(tmp_path / "file" / "a.png", 2.0, ["a"], [])
