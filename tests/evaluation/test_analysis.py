"""What is behind a score: what goes on together, best and worst videos, and the borders of all of it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.analysis import Training, analyse, class_thresholds, rank_correlation
from ssdet_cli.evaluation.average_precision import average_precision
from ssdet_cli.evaluation.charades_classify import CharadesClassify
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.evaluation.curves import look_at
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.rows import Rows
from ssdet_cli.evaluation.segment_map import SegmentMap
from ssdet_cli.evaluation.together import together
from ssdet_cli.evaluation.video_ranking import LANES, MOMENTS, best_and_worst, video_precision

CLASSES = ("holding a cup", "washing a cup", "never")


def video_set(tmp_path, actions, classes=CLASSES):
    records = tuple(VideoRecord(name, duration_seconds=25.0, segments=tuple(own)) for name, own in actions.items())
    return VideoSet("made up", classes, records, tmp_path / "x.csv")


def analysed(protocol, videos, predictions, seconds=None, **more):
    result = protocol.score(videos, predictions, seconds)
    rows = (protocol.rows or protocol.frame_rows)(videos, predictions, seconds)
    found = analyse(rows, videos, result.per_class_AP, **more)
    json.dumps(found.to_plain(timelines=True), allow_nan=False)
    return found


@settings(deadline=None)
@given(st.integers(0, 25).flatmap(lambda n: st.tuples(arrays(bool, (n, 3)), arrays(bool, (n, 3)))))
def test_shares_of_what_goes_on_together_are_what_counting_gives(table):
    targets, seen = table
    found = together(seen.astype(np.float32), targets, np.array([0.5, 0.5, np.inf]))
    seen = seen & [True, True, False]
    order = sorted(range(3), key=lambda label: -targets[:, label].sum())
    chosen = [label for label in order if targets[:, label].any()]
    if len(chosen) < 2:
        assert found is None
        return
    assert found["classes"] == chosen
    for key, first, second in (("true", targets, targets), ("found", seen, seen), ("found_where_true", targets, seen)):
        for row, line in zip(chosen, found[key], strict=True):
            for column, share in zip(chosen, line, strict=True):
                rows = first[:, row]
                wanted = pytest.approx(second[rows, column].mean(), abs=1e-4) if rows.any() else None
                assert share == wanted


@settings(deadline=None)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(arrays(np.int8, (2 * n, 3)), arrays(bool, (2 * n, 3)))))
def test_a_video_by_itself_has_the_mean_ap_of_its_classes(table):
    scores, targets = table[0].astype(np.float64), table[1]
    videos = np.repeat([0, 1], len(scores) // 2)
    found = video_precision(Rows(scores, targets, videos, video_ids=("a", "b"), seconds=np.zeros(len(scores))))
    for number, precision in enumerate(found):
        own, hits = scores[videos == number], targets[videos == number]
        told = [label for label in range(3) if 0 < hits[:, label].sum() < len(hits)]
        if not told:
            assert np.isnan(precision)
        else:
            assert precision == pytest.approx(np.mean(average_precision(own, hits)[told]))


def test_best_and_worst_videos_are_apart_and_show_truth_and_scores(tmp_path):
    rng = np.random.default_rng(0)
    actions = {f"v{number}": [Segment(0, 0.0, 10.0), Segment(0, 8.0, 12.0)] for number in range(8)}
    actions["all of it"] = [Segment(0, 0.0, 25.0)]
    videos = video_set(tmp_path, actions)
    truth = (np.arange(25)[:, None] <= 12) * np.array([[1.0, 0, 0]])
    predictions = {
        name: np.clip(truth + rng.normal(0, 0.2 * number, (25, 3)), 0, 1) for number, name in enumerate(actions)
    }
    del predictions["v7"]
    found = analysed(CharadesLocalize(), videos, predictions).videos
    assert found["ranked"] == 7  # v7 has no scores, and the last one nothing to rank
    names = {end: [one["video"] for one in found[end]] for end in ("best", "worst")}
    assert names["best"][0] == "v0" and len({*names["best"], *names["worst"]}) == 6
    aps = [one["AP"] for one in (*found["best"], *reversed(found["worst"]))]
    assert aps == sorted(aps, reverse=True) and aps[0] == 1.0
    lane = found["best"][0]["lanes"][0]
    assert (lane["class"], lane["actions"]) == (0, [[0.0, 12.0]])
    assert [second for second, _ in lane["scores"]] == np.arange(25.0).tolist()
    assert lane["scores"][0][1] == 1.0 and lane["scores"][-1][1] == 0.0 and 0 <= lane["threshold"] <= 1
    assert (found["best"][0]["begin"], found["best"][0]["end"]) == (0.0, 25.0)


def test_lanes_and_moments_are_bounded_and_keep_peaks():
    count, classes = 5000, 14
    scores = np.zeros((count, classes))
    scores[1234, 0] = 0.9
    scores[:50, -1] = 1.0
    targets = np.zeros(scores.shape, bool)
    targets[1000:2000, :12] = True
    rows = Rows(scores, targets, np.zeros(count, np.int64), video_ids=("v",), seconds=np.arange(count) / 10)
    segments = {"v": [Segment(label, 100.0, 199.9) for label in range(12)]}
    (one,) = best_and_worst(rows, segments, np.full(classes, 0.5))["best"]
    assert [lane["class"] for lane in one["lanes"]] == [*range(LANES), 13]
    assert one["hidden"] == [12 - LANES, 0] and one["lanes"][-1]["false_rows"] == 50
    lane = one["lanes"][0]["scores"]
    assert len(lane) <= MOMENTS and max(value for _, value in lane) == 1.0
    assert sum(value > 0 for _, value in lane) == 1


def test_one_class_and_one_video(tmp_path):
    videos = video_set(tmp_path, {"a": [Segment(0, 5.0, 9.0)]}, CLASSES[:1])
    found = analysed(CharadesLocalize(), videos, {"a": np.linspace(0, 1, 25)[:, None]})
    assert found.together is None and found.errors["related_by"] == ""
    assert [len(found.videos[end]) for end in ("best", "worst")] == [1, 0]
    assert class_thresholds(found.curves.per_class)[0] == pytest.approx(20 / 24)  # of five positives


def test_a_set_without_positives_says_so(tmp_path):
    found = analysed(CharadesLocalize(), video_set(tmp_path, {"a": []}), {"a": np.full((25, 3), 0.2)})
    assert (found.curves.common, found.errors, found.videos, found.together) == (None, None, None, None)
    assert any("no curves" in note for note in found.notes)
    assert found.curves.calibration.error == pytest.approx(0.2)


def test_positives_without_any_score_leave_nothing_to_find(tmp_path):
    videos = video_set(tmp_path, {"a": [Segment(0, 5.0, 9.0)], "b": [Segment(1, 5.0, 9.0)]})
    found = analysed(CharadesLocalize(), videos, {"b": np.random.default_rng(0).random((25, 3))})
    empty, known, absent = found.curves.per_class
    assert len(empty.thresholds) == 0 or empty.recall.max() == 0
    assert known.recall[-1] == 1 and absent is None
    assert found.errors["videos"] == 1
    assert np.isinf(class_thresholds(look_at(np.full((2, 1), -np.inf), np.array([[True], [False]])).per_class)).all()


def test_protocols_without_moments_say_what_is_not_shown(tmp_path):
    videos = video_set(tmp_path, {"a": [Segment(0, 5.0, 9.0)], "b": [Segment(1, 5.0, 9.0)]})
    predictions = {name: np.random.default_rng(0).normal(size=(1, 3)) for name in "ab"}
    found = analysed(CharadesClassify(), videos, predictions)
    assert found.errors is None and found.videos is None and found.curves.common is not None
    assert any("no moment" in note for note in found.notes) and any("no probabilities" in note for note in found.notes)
    nothing = analyse(None, videos, (None,) * 3, training=Training((1, 2, 3), "frames", "x"))
    assert nothing.to_plain()["training"]["frames"] == [1, 2, 3] and "ranks no rows" in nothing.notes[-1]


def test_segments_are_looked_at_as_frames(tmp_path):
    videos = video_set(tmp_path, {"a": [Segment(0, 5.0, 9.0)], "b": [Segment(1, 5.0, 9.0)]})
    seconds = {name: np.arange(25.0) for name in "ab"}
    predictions = {name: np.random.default_rng(0).random((25, 3)) for name in "ab"}
    of_segments = analysed(SegmentMap(), videos, predictions, seconds)
    of_frames = analysed(FrameMap(), videos, predictions, seconds)
    assert of_segments.errors == of_frames.errors and of_segments.videos == of_frames.videos


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_rank_correlation_is_that_of_mean_ranks(pairs):
    def ranks(values):
        return [sum(other < one for other in values) + (values.count(one) + 1) / 2 for one in values]

    first, second = (ranks(list(values)) for values in zip(*pairs, strict=True))
    found = rank_correlation(*zip(*pairs, strict=True))
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert rank_correlation([1, 2, 3, 4], [None, 0.1, 0.2, 0.3]) == pytest.approx(1)
    assert rank_correlation([1, 2], [0.1, 0.2]) is None
