import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.action_conditional import ActionConditional, conditional, preceded
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
    decoded = VideoScores("a", np.zeros(1), np.zeros((1, 2), np.float32), 10.0, 8.0, 80)
    record = VideoRecord("a", segments=(Segment(0, -1.0, 4.5), Segment(1, 2.5, 20.0)))
    times = protocol.frame_seconds(record, decoded)
    assert times.tolist() == list(range(10))
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


def test_without_a_pair_it_is_undefined(tmp_path):
    rows = Rows(np.zeros((3, 2)), np.eye(3, 2, dtype=bool), np.zeros(3, np.int64))
    assert np.isnan(list(conditional(rows, 0).values())).all()
    videos = VideoSet("made up", ("sit",), (VideoRecord("a"),), tmp_path / "x.json")
    plain = ActionConditional().score(videos, {"a": np.zeros((3, 1))}, {"a": np.arange(3.0)}).to_plain()
    assert plain["measures"]["mAP@tau=0"] is None and plain["mAP"] is None
