import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation import average_precision, mean_ap
from ssdet_cli.evaluation.bootstrap import Draws, RowResampling, bootstrap, draw_weights, resampled_precision
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.evaluation.rows import Rows


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=7),
    levels=st.integers(1, 6),
    single=st.booleans(),
)
def test_a_weighted_row_is_a_repeated_row(seed, sizes, levels, single):
    """Ties too: copies stand where the row stands."""
    rng = np.random.default_rng(seed)
    videos = np.repeat(np.arange(len(sizes)), sizes)
    scores = (rng.integers(-levels, levels, (len(videos), 18)) / 3).astype(np.float32 if single else np.float64)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    targets = rng.random(scores.shape) < 0.3
    weights = rng.integers(0, 4, (5, len(sizes))).astype(np.int32)
    weights[0] = 1
    found = resampled_precision(scores, targets, videos, weights)
    for row, times in zip(found, weights, strict=True):
        repeated = [np.repeat(values, times[videos], axis=0) for values in (scores, targets)]
        np.testing.assert_allclose(row, average_precision(*repeated), rtol=0, atol=1e-12)


def test_draws_hold_as_many_videos_as_there_are_and_follow_the_seed():
    weights = draw_weights(30, 200, 3)
    assert (weights.sum(axis=1) == 30).all() and np.array_equal(weights, draw_weights(30, 200, 3))
    assert not np.array_equal(weights, draw_weights(30, 200, 4))
    assert weights.mean(axis=0) == pytest.approx(np.ones(30), abs=0.3) and weights.max() > 2


def test_the_interval_is_that_of_the_draws():
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(40), 5)
    targets = rng.random((200, 3)) < 0.3
    targets[:, 2] = False
    rows = Rows(rng.normal(size=(200, 3)) + targets, targets, videos)
    done = []
    found = bootstrap(RowResampling(rows), 300, seed=5, advance=done.append)
    assert done == [1, 2, 3] and (found.samples, found.seed, found.confidence) == (300, 5, 0.95)
    weights = draw_weights(40, 300, 5)
    means = [
        mean_ap(average_precision(np.repeat(rows.scores, w[videos], 0), np.repeat(targets, w[videos], 0)))
        for w in weights
    ]
    assert found.mAP == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=1e-12)
    plain = average_precision(rows.scores, targets)
    assert found.per_class_AP[2] is None
    assert all(low < ap < high for (low, high), ap in zip(found.per_class_AP[:2], plain, strict=False))
    zero = bootstrap(RowResampling(Rows(rows.scores, targets, videos, absent=0.0)), 300, seed=5)
    assert zero.per_class_AP[2] == (0.0, 0.0) and zero.mAP[1] == pytest.approx(found.mAP[1] * 2 / 3)


def test_frames_of_a_video_go_together(tmp_path):
    """Alike videos leave no doubt, however different their frames are."""
    segments = (Segment(0, 0.0, 7.0),)
    records = tuple(VideoRecord(f"v{number}", duration_seconds=25.0, segments=segments) for number in range(20))
    videos = VideoSet("made up", ("sit",), records, tmp_path / "x.csv")
    scores = np.random.default_rng(0).normal(size=(25, 1))
    predictions = {record.video_id: scores for record in records}
    found = bootstrap(CharadesLocalize().resampling(videos, predictions), 100)
    low, high = found.mAP
    assert high - low < 1e-9 < low


def test_a_set_without_any_action_has_no_interval():
    found = bootstrap(RowResampling(Rows(np.zeros((4, 1)), np.zeros((4, 1), bool), np.arange(4))), 100)
    assert found.mAP is None and found.per_class_AP == (None,)


class Shares:
    """A measure that a protocol of somebody else may have: how often its first video is in a draw."""

    videos, steps = 5, 1

    def draw(self, weights, advance=None):
        share = weights[:, 0] / weights.sum(axis=1)
        return Draws(
            np.full((len(weights), 2), [0.5, np.nan]), {"first": share, "never": np.full(len(weights), np.nan)}
        )


def test_what_a_protocol_draws_gets_its_intervals():
    found = bootstrap(Shares(), 400, seed=2)
    share = draw_weights(5, 400, 2)[:, 0] / 5
    assert found.measures == {"first": tuple(np.percentile(share, [2.5, 97.5])), "never": None}
    assert found.mAP == (0.5, 0.5) and found.per_class_AP == ((0.5, 0.5), None)
