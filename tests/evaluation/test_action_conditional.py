import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.action_conditional import ActionConditional, conditional, preceded, resampled_conditional
from ssdet_cli.evaluation.bootstrap import RowResampling, bootstrap
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.rows import Rows


def transcribed(scores, labels, tau):
    """The definition, pair by pair and row by row.

    `scores` and `labels` are (T, K) per video.
    """
    count = labels[0].shape[1]
    precision, recall, ap = [], [], []
    for second in range(count):
        taken = []
        for video, truth in enumerate(labels):
            for row in range(len(truth)):
                before = truth[max(0, row - tau + 1) : row, second].any() and not truth[row, second]
                if truth[row, second] if tau == 0 else before:
                    taken.append((video, row))
        for first in range(count):
            truth = np.array([labels[video][row, first] for video, row in taken], dtype=bool)
            if first == second or not truth.any():
                continue
            score = np.array([scores[video][row, first] for video, row in taken])
            hits, found = (truth & (score >= 0.5)).sum(), (score >= 0.5).sum()
            precision.append(hits / found if found else 0.0)
            recall.append(hits / truth.sum())
            ap.append(average_precision_score(truth, score))
    if not ap:
        return dict.fromkeys(("precision", "recall", "F1", "mAP"), np.nan)
    p, r = np.mean(precision), np.mean(recall)
    return {"precision": p, "recall": r, "F1": 2 * p * r / (p + r + 1e-9), "mAP": np.mean(ap)}


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    tau=st.sampled_from([0, 1, 2, 3, 20]),
    part=st.sampled_from([0.02, 0.3, 0.8]),
)
def test_it_is_what_the_definition_says(seed, sizes, tau, part):
    rng = np.random.default_rng(seed)
    labels = [rng.random((size, 4)) < part for size in sizes]
    scores = [np.round(rng.random((size, 4)), 1) for size in sizes]  # with ties, and with scores of just 0.5
    rows = Rows(np.concatenate(scores), np.concatenate(labels), np.repeat(np.arange(len(sizes)), sizes))
    expected, found = transcribed(scores, labels, tau), conditional(rows, tau)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-8, nan_ok=True), name


def test_a_window_ends_with_its_video_and_with_the_action():
    targets = np.array([[1], [0], [0], [0], [0], [1], [1], [0]], bool)
    videos = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert np.flatnonzero(preceded(targets, videos, 3)).tolist() == [1, 2, 7]  # the row itself and the two before it
    assert np.flatnonzero(preceded(targets, videos, 40)).tolist() == [1, 2, 3, 7]
    assert not preceded(targets, videos, 1).any()


def test_the_protocol_says_all_of_it(tmp_path):
    protocol = ActionConditional()
    record = VideoRecord("a", segments=(Segment(0, -1.0, 4.5), Segment(1, 2.5, 20.0)))
    times = np.arange(10.0)
    videos = VideoSet("made up", ("sit", "run"), (record, VideoRecord("b")), tmp_path / "x.json")
    truth = np.stack([times < 4.5, times > 2.5], axis=1)
    result = protocol.score(videos, {"a": truth.astype(np.float32)}, {"a": times})
    assert result.mAP == 1 and result.missing_videos == ("b",) and len(result.notes) == 1
    assert list(result.measures) == [
        f"{name}@tau={tau}" for tau in (0, 20, 40) for name in ("precision", "recall", "F1", "mAP")
    ]
    # Where run is, sit is too at two times of seven, both found; and the other way round.
    assert all(value == pytest.approx(1) for value in result.measures.values())
    silent = protocol.score(videos, {"a": np.zeros((10, 2))}, {"a": times})
    assert silent.measures["F1@tau=0"] == silent.measures["precision@tau=0"] == 0
    assert silent.measures["mAP@tau=0"] == pytest.approx((2 / 5 + 2 / 7) / 2)
    assert PROTOCOLS.get("action-conditional") is ActionConditional


@pytest.mark.parametrize(
    ("frames", "rate", "rows"),
    [(80, 24.0, 10), (81, 24.0, 11), (1, 24.0, 1), (100, 30.0, 10), (101, 30.0, 11), (100, 29.97, 10), (25, 7.5, 10)],
)
def test_a_row_is_a_third_of_a_second_at_any_rate(frames, rate, rows):
    decoded = VideoScores("a", np.zeros(1), np.zeros((1, 2), np.float32), frames / rate, rate, frames)
    times = ActionConditional().frame_seconds(VideoRecord("a"), decoded)
    assert times.tolist() == [row * 8 / 24 for row in range(rows)] and times[-1] < frames / rate
    if rate == 24:  # every eighth frame, as in the papers
        assert times.tolist() == (np.arange(frames) / rate)[::8].tolist()
    moments = np.arange(frames) ** 1.1 / rate
    varying = VideoScores("a", np.zeros(1), np.zeros((1, 2)), frames, rate, frames, raw_seconds=moments)
    assert ActionConditional().frame_seconds(VideoRecord("a"), varying)[-1] <= moments[-1] + 1e-6


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 8), min_size=1, max_size=5),
    tau=st.sampled_from([0, 2, 3]),
    part=st.sampled_from([0.05, 0.3, 0.8]),
)
def test_a_draw_is_a_set_with_repeated_videos(seed, sizes, tau, part):
    rng = np.random.default_rng(seed)
    labels = [rng.random((size, 4)) < part for size in sizes]
    scores = [np.round(rng.random((size, 4)), 1) for size in sizes]  # with ties, which copies are as well
    rows = Rows(np.concatenate(scores), np.concatenate(labels), np.repeat(np.arange(len(sizes)), sizes))
    weights = rng.integers(0, 4, (4, len(sizes))).astype(np.int32)
    weights[0] = 1
    done = []
    found = resampled_conditional(rows, tau, weights, advance=done.append)
    assert done == [1, 2, 3, 4]
    for draw, times in enumerate(weights):
        order = [video for video, count in enumerate(times) for _ in range(count)]
        empty = np.zeros((0, 4))
        repeated = Rows(
            np.concatenate([empty, *(scores[video] for video in order)]),
            np.concatenate([empty.astype(bool), *(labels[video] for video in order)]),
            np.repeat(np.arange(len(order)), [sizes[video] for video in order]),
        )
        expected = conditional(repeated, tau)
        assert found.keys() == expected.keys()
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(expected, nan_ok=True)


def test_every_measure_has_an_interval(tmp_path):
    rng = np.random.default_rng(0)
    records = [
        VideoRecord(f"v{number}", segments=(Segment(0, *sorted(rng.uniform(0, 9, 2))), Segment(1, 2.0, 7.0)))
        for number in range(12)
    ]
    videos = VideoSet("made up", ("sit", "run"), tuple(records), tmp_path / "x.json")
    predictions = {record.video_id: rng.random((20, 2)) for record in records}
    seconds = {record.video_id: np.arange(20) / 2 for record in records}
    result = ActionConditional().score(videos, predictions, seconds)
    resampling, done = ActionConditional().resampling(videos, predictions, seconds), []
    found = bootstrap(resampling, 200, advance=done.append)
    assert done == list(range(1, resampling.steps + 1))
    assert found.measures.keys() == result.measures.keys()
    for name, (low, high) in found.measures.items():
        assert 0 < low < result.measures[name] < high < 1, name
    plain = bootstrap(RowResampling(ActionConditional().rows(videos, predictions, seconds)), 200)
    assert (found.mAP, found.per_class_AP) == (plain.mAP, plain.per_class_AP)


def test_without_a_pair_it_is_undefined(tmp_path):
    rows = Rows(np.zeros((3, 2)), np.eye(3, 2, dtype=bool), np.zeros(3, np.int64))
    assert np.isnan(list(conditional(rows, 0).values())).all()
    videos = VideoSet("made up", ("sit",), (VideoRecord("a"),), tmp_path / "x.json")
    plain = ActionConditional().score(videos, {"a": np.zeros((3, 1))}, {"a": np.arange(3.0)}).to_plain()
    assert plain["measures"]["mAP@tau=0"] is None and plain["mAP"] is None
