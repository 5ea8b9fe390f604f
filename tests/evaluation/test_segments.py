"""Runs above a threshold become segments; every number of them is checked against a frame-by-frame count."""

import csv
import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssdet_cli.evaluation.score_rows import ScoreRows
from ssdet_cli.evaluation.segment_files import csv_text, json_text, srt_text, vtt_text
from ssdet_cli.evaluation.segments import Segment, find_segments
from ssdet_cli.evaluation.thresholds import best_f1_thresholds

CLASSES = ["run", "sit & <rest>", "jump"]


@st.composite
def scored(draw):
    frames = draw(st.integers(0, 30))
    values = draw(st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), min_size=3 * frames, max_size=3 * frames))
    gaps = draw(st.lists(st.sampled_from([0.04, 0.1, 1.0]), min_size=frames + 1, max_size=frames + 1))
    edges = np.cumsum([0.0, *gaps])
    return np.array(values).reshape(frames, 3).astype(np.float32), edges[:frames], float(edges[frames])


@given(scored(), st.integers(1, 40), st.sampled_from([0.1, 0.5, 0.6]))
def test_segments_cover_exactly_the_frames_that_reach_the_threshold(video, rows, threshold):
    scores, seconds, duration = video
    found = find_segments(scores, seconds, threshold, CLASSES, duration=duration, rows=rows)
    assert found == sorted(found, key=lambda segment: (segment.start, segment.class_index))
    for label in range(3):
        own = [segment for segment in found if segment.class_index == label]
        assert all(segment.label == CLASSES[label] for segment in own)
        assert all(one.end < other.start for one, other in zip(own, own[1:], strict=False))
        covered = np.array([any(one.start <= time < one.end for one in own) for time in seconds], bool)
        assert covered.tolist() == (scores[:, label] >= threshold).tolist()
        for segment in own:
            inside = (segment.start <= seconds) & (seconds < segment.end)
            assert segment.score == pytest.approx(scores[inside, label].mean(dtype=np.float64))
            assert segment.end in [*seconds[1:], duration]


@given(scored(), st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.1, 5.0]))
def test_parts_of_any_size_give_the_same_and_smoothing_is_a_moving_average(video, rows, smooth):
    scores, seconds, duration = video
    how = {"duration": duration, "smooth": smooth}
    whole = find_segments(scores, seconds, 0.45, CLASSES, **how)
    assert find_segments(scores, seconds, 0.45, CLASSES, rows=rows, **how) == [
        Segment(one.label, one.class_index, one.start, one.end, pytest.approx(one.score)) for one in whole
    ]
    if smooth and len(seconds) > 1:
        half = int(smooth / ((seconds[-1] - seconds[0]) / (len(seconds) - 1)) / 2 + 1e-6)
        means = [scores[max(0, i - half) : i + half + 1].mean(axis=0, dtype=np.float64) for i in range(len(scores))]
        assert whole == [
            Segment(one.label, one.class_index, one.start, one.end, pytest.approx(one.score))
            for one in find_segments(np.array(means), seconds, 0.45, CLASSES, duration=duration)
        ]


@given(scored(), st.sampled_from([0.05, 0.5, 2.0]))
def test_short_ones_are_left_out_and_nothing_else(video, least):
    scores, seconds, duration = video
    every = find_segments(scores, seconds, 0.5, CLASSES, duration=duration)
    long = find_segments(scores, seconds, 0.5, CLASSES, duration=duration, min_length=least)
    assert long == [segment for segment in every if segment.end - segment.start >= least]


def test_every_class_has_its_own_threshold_and_nan_reaches_none():
    scores = np.array([[0.4, 0.4], [0.4, np.nan], [0.1, 0.4]])
    found = find_segments(scores, np.arange(3.0), np.array([0.3, 0.4]), ["a", "b"], duration=3.5)
    assert [(one.label, one.start, one.end) for one in found] == [("a", 0, 2), ("b", 0, 1), ("b", 2, 3.5)]


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("rows", [1, 7, 50])
def test_what_is_infinite_belongs_to_no_segment(rows, smooth):
    scores = np.full((50, 1), 0.9)
    scores[[3, 4, 40]] = [[-np.inf], [-np.inf], [np.inf]]
    found = find_segments(scores, np.arange(50.0), 0.5, ["a"], duration=50.0, smooth=smooth, rows=rows)
    assert [(one.start, one.end) for one in found] == [(0, 3), (5, 40), (41, 50)]
    assert [one.score for one in found] == pytest.approx([0.9] * 3)


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_smoothing_leaves_out_what_is_not_known(rows):
    scores = np.full((50, 1), 0.9)
    scores[3] = np.nan
    (found,) = find_segments(scores, np.arange(50.0), 0.5, ["a"], duration=50.0, smooth=3, rows=rows)
    assert (found.start, found.end, found.score) == (0, 50, pytest.approx(0.9))


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.6, 0.9]), st.booleans()), min_size=2, max_size=20))
def test_no_threshold_has_a_higher_f1_than_the_one_that_is_chosen(frames):
    scores, targets = np.array([one for one, _ in frames]), np.array([one for _, one in frames])
    (chosen,) = best_f1_thresholds(scores[:, None], targets[:, None])

    def f1(threshold):
        found = scores >= threshold
        return 2 * (found & targets).sum() / max(1, found.sum() + targets.sum())

    if targets.all() or not targets.any():
        assert chosen == 0.5
    else:
        assert f1(chosen) == pytest.approx(max(f1(threshold) for threshold in scores))
        assert chosen not in scores or chosen == scores.min()


SEGMENTS = [Segment("run", 0, 0.0, 4.0, 0.6), Segment("sit & <rest>", 1, 1.5, 3661.25, 0.9)]


def test_subtitles_name_what_goes_on_the_surest_first():
    cues = re.findall(r"(\S+) --> (\S+)\n(.+?)\n\n", vtt_text(SEGMENTS), re.DOTALL)
    assert cues == [
        ("00:00:00.000", "00:00:01.500", "run"),
        ("00:00:01.500", "00:00:04.000", "sit &amp; &lt;rest&gt;\nrun"),
        ("00:00:04.000", "01:01:01.250", "sit &amp; &lt;rest&gt;"),
    ]
    assert vtt_text([]) == "WEBVTT\n\n" and srt_text([]) == ""
    assert srt_text(SEGMENTS).startswith("1\n00:00:00,000 --> 00:00:01,500\nrun\n\n2\n")
    assert "sit & <rest>\nrun\n" in srt_text(SEGMENTS)


def test_json_and_csv_hold_every_segment():
    told = json.loads(json_text(SEGMENTS, {"video": "a.mp4"}))
    assert told["video"] == "a.mp4"
    assert told["segments"][1] == {
        "class": "sit & <rest>", "class_index": 1, "start": 1.5, "end": 3661.25, "score": 0.9
    }  # fmt: skip
    rows = list(csv.DictReader(io.StringIO(csv_text(SEGMENTS))))
    assert rows[0] == {"class": "run", "start": "0.0", "end": "4.0", "score": "0.6"} and len(rows) == 2


def test_rows_on_disk_are_what_was_added(tmp_path):
    rng = np.random.default_rng(0)
    scores, times = rng.random((50, 3)).astype(np.float32), np.arange(50) / 3
    with ScoreRows(tmp_path, CLASSES) as rows:
        assert [len(array) for array in rows.mapped()] == [0, 0]
        for part in np.split(np.arange(50), [7, 7, 30]):
            rows.append(times[part], scores[part])
        held, when = rows.mapped()
        assert isinstance(held, np.memmap) and np.array_equal(held, scores) and np.array_equal(when, times)
        rows.write_npz(tmp_path / "scores.npz")
        with pytest.raises(ValueError, match=r"scores must be \(2, 3\), got \(3, 3\)"):
            rows.append(times[:2], scores[:3])
    with np.load(tmp_path / "scores.npz") as stored:
        assert np.array_equal(stored["scores"], scores) and np.array_equal(stored["times"], times)
        assert stored["classes"].tolist() == CLASSES and stored["scores"].dtype == np.float32
