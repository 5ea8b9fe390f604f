"""Two runs compared: against plain loops, and what must hold whatever the runs are."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import average_precision, mean_ap
from ssdet_cli.evaluation.bootstrap import draw_weights
from ssdet_cli.evaluation.comparison import MIN_VIDEOS, Difference, benjamini_hochberg, compare, missing_remark, p_value
from ssdet_cli.evaluation.ranks import rank_rows
from ssdet_cli.evaluation.rows import Rows

VIDEOS, ROWS = 30, 6
NAMES = ("one", "two")


def made(seed, classes=3, rate=0.2):
    """Labels in pieces, and the part of the scores that two runs share."""
    rng = np.random.default_rng(seed)
    targets = np.repeat(rng.random((VIDEOS, ROWS // 2, classes)) < rate, 2, axis=1).reshape(-1, classes)
    return targets, np.repeat(rng.normal(size=(VIDEOS, 1, classes)), ROWS, axis=1).reshape(-1, classes), rng


def ranked(scores, targets, absent=float("nan")):
    videos = np.repeat(np.arange(VIDEOS), ROWS)
    rows = Rows(scores, targets, videos, absent, tuple(f"v{number}" for number in range(VIDEOS)))
    return rank_rows(rows, "made-up", tuple(f"c{label}" for label in range(scores.shape[1])), "abc")


def pair(seed, gain=0.0, classes=3, rate=0.2):
    targets, shared, rng = made(seed, classes, rate)
    a, b = (shared + by * targets + rng.normal(size=shared.shape) for by in (1.0, 1.0 + gain))
    return a, b, targets


def test_every_number_is_that_of_a_plain_loop():
    a, b, targets = pair(3, gain=0.5)
    targets[:, 2] = False
    found = compare(ranked(a, targets), ranked(b, targets), NAMES, samples=150, seed=4)
    videos = np.repeat(np.arange(VIDEOS), ROWS)
    draws = []
    for weight in draw_weights(VIDEOS, 150, 4):
        aps = [
            average_precision(np.repeat(s, weight[videos], 0), np.repeat(targets, weight[videos], 0)) for s in (a, b)
        ]
        draws.append([*(aps[1] - aps[0])[:2], mean_ap(aps[1]) - mean_ap(aps[0])])
    draws = np.array(draws)
    plain_a, plain_b = average_precision(a, targets), average_precision(b, targets)
    wanted = [*(plain_b - plain_a)[:2], mean_ap(plain_b) - mean_ap(plain_a)]
    said = [*(row.difference for row in found.classes[:2]), found.difference]
    for number, (difference, value) in enumerate(zip(said, wanted, strict=True)):
        assert difference.value == pytest.approx(value, abs=1e-12)
        low, high = np.percentile(draws[:, number], [2.5, 97.5]) - (draws[:, number].mean() - value)
        assert difference.interval == pytest.approx((min(low, value), max(high, value)), abs=1e-12)
        far = sum(abs(draw - value) >= abs(value) for draw in draws[:, number])
        assert difference.p == pytest.approx((1 + far) / 151)
    assert found.mAP == pytest.approx((mean_ap(plain_a), mean_ap(plain_b)), abs=1e-12)
    assert [(row.a, row.b) for row in found.classes[:2]] == [*zip(plain_a[:2], plain_b[:2], strict=True)]
    assert found.classes[2].difference is None and found.classes[2].a is None and not found.classes[2].significant
    assert found.classes[0].videos == len(set(videos[targets[:, 0]]))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_equal_runs_do_not_differ_and_order_is_only_a_sign(seed):
    a, b, targets = pair(seed, gain=0.3)
    one, two = ranked(a, targets), ranked(b, targets)
    same = compare(one, one, NAMES, samples=100)
    assert (same.difference.value, same.difference.interval, same.difference.p) == (0.0, (0.0, 0.0), 1.0)
    assert all(row.difference.value == 0 and row.difference.p in (1.0, None) for row in same.ranked())
    assert not same.changed("a") and not same.changed("b")
    there, back = compare(one, two, NAMES, samples=100), compare(two, one, NAMES, samples=100)
    assert there.difference.value == -back.difference.value and there.difference.p == back.difference.p
    assert [row.name for row in there.changed("b")] == [row.name for row in back.changed("a")]
    assert [row.p_adjusted for row in there.classes] == [row.p_adjusted for row in back.classes]


def test_a_run_that_is_better_on_every_video_is_significantly_better():
    targets, shared, rng = made(1)
    noise = rng.normal(size=shared.shape)
    better = shared + noise + 4.0 * targets
    found = compare(ranked(shared + noise, targets), ranked(better, targets), NAMES, samples=400)
    assert found.difference.p == pytest.approx(1 / 401) and found.difference.interval[0] > 0
    assert len(found.changed("b")) == 3 and not found.changed("a") and found.notes == ()
    assert all(row.p_adjusted >= row.difference.p >= 1 / 401 for row in found.classes)


def test_runs_that_are_equally_good_are_seldom_called_different():
    """60 pairs of equal skill: the level is 5 %, and 8 or more of 60 would happen once in a hundred times."""
    called = sum(
        compare(*(ranked(s, t) for s in (a, b)), NAMES, samples=200, seed=seed).difference.p <= 0.05
        for seed in range(60)
        for a, b, t in [pair(seed, classes=2)]
    )
    assert called < 8


def test_adjusted_p_values_are_those_of_the_definition():
    p = np.array([0.01, 0.04, 0.03, 0.2, 0.001, 0.03])
    order = sorted(p)
    wanted = [min(1, min(order[k] * len(p) / (k + 1) for k in range(order.index(one), len(p)))) for one in p]
    assert benjamini_hochberg(p) == pytest.approx(wanted)
    assert benjamini_hochberg(np.array([0.9, 0.8])).tolist() == [0.9, 0.9] and benjamini_hochberg(np.zeros(0)).size == 0


def test_p_counts_what_is_as_far_from_the_difference_as_that_is_from_zero():
    assert p_value(0.2, np.array([0.2, 0.1, 0.3, 0.39, 0.0, 0.41])) == pytest.approx(3 / 7)
    assert p_value(0.0, np.zeros(9)) == 1.0 and p_value(-0.5, np.full(99, -0.5)) == 0.01


def test_where_interval_and_p_disagree_it_is_said_which_to_go_by():
    for interval, p, odd in (
        ((0.01, 0.3), 0.04, False),
        ((-0.01, 0.3), 0.2, False),
        ((0.01, 0.3), 0.06, True),
        ((0.0, 0.3), 0.05, True),
        (None, 0.5, False),
        ((0.01, 0.3), None, False),
    ):
        assert Difference(0.1, interval, p).at_odds is odd
    said = 0
    for seed in range(12):
        a, b, targets = pair(seed, gain=0.35, classes=6)
        found = compare(ranked(a, targets), ranked(b, targets), NAMES, samples=200)
        odd = ["mAP"] * found.difference.at_odds + [row.name for row in found.classes if row.difference.at_odds]
        notes = [note for note in found.notes if note.endswith("go by p.")]
        assert len(notes) == bool(odd) and all(f"({', '.join(odd[:3])}" in note for note in notes)
        said += len(notes)
    assert said


def test_classes_of_few_videos_have_an_interval_and_no_p():
    a, b, targets = pair(5, gain=3.0)
    videos = np.repeat(np.arange(VIDEOS), ROWS)
    targets[:, 1] = videos < MIN_VIDEOS - 1
    targets[:, 2] = videos < MIN_VIDEOS
    found = compare(ranked(a, targets), ranked(b, targets), NAMES, samples=100)
    assert [row.videos for row in found.classes[1:]] == [MIN_VIDEOS - 1, MIN_VIDEOS]
    few, enough = found.classes[1:]
    assert few.difference.p is None and few.p_adjusted is None and not few.significant and few.difference.interval
    assert enough.difference.p is not None
    assert "Classes that are in fewer than 6 videos, too few for a p-value: 1." in found.notes


def test_a_class_without_a_positive_counts_as_the_protocol_says():
    a, b, targets = pair(6)
    targets[:, 2] = False
    found = compare(ranked(a, targets, 0.0), ranked(b, targets, 0.0), NAMES, samples=100)
    assert (found.classes[2].a, found.classes[2].b, found.classes[2].difference.value) == (0.0, 0.0, 0.0)
    left_out = compare(ranked(a, targets), ranked(b, targets), NAMES, samples=100)
    assert found.mAP[0] == pytest.approx(left_out.mAP[0] * 2 / 3)


def test_a_class_that_only_one_of_both_has_is_left_out():
    a, b, targets = pair(7)
    half = np.repeat(np.arange(VIDEOS), ROWS // 2)
    fewer = targets[::2].copy()
    fewer[:, 0] = False
    ids = tuple(f"v{number}" for number in range(VIDEOS))
    other = rank_rows(Rows(b[::2], fewer, half, video_ids=ids), "made-up", ("c0", "c1", "c2"), "abc")
    found = compare(ranked(a, targets), other, NAMES, samples=100)
    assert found.classes[0].b is None and found.classes[0].a and found.classes[0].difference is None
    assert len(found.ranked()) == 2
    assert any(note.startswith("30 of 30 videos have another number of rows in B than in A") for note in found.notes)


def test_few_draws_for_many_classes_are_said():
    a, b, targets = pair(8, classes=40)
    b[:, 0] = targets[:, 0] * 9 + b[:, 0] / 9
    found = compare(ranked(a, targets), ranked(b, targets), NAMES, samples=100)
    assert found.classes[0].difference.p == pytest.approx(1 / 101) and not found.classes[0].significant
    assert found.notes[-1].endswith(
        "over 40 classes is not enough for one that differs on its own; --bootstrap 1000 is."
    )
    assert compare(ranked(a, targets), ranked(b, targets), NAMES, samples=1000).classes[0].significant


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"protocol": "frame-map"}, "one and two differ in their protocol: made-up and frame-map."),
        ({"annotations_sha256": ""}, r"differ in their annotations \(SHA-256\): abc and a folder."),
        ({"classes": ("c0", "run", "c2")}, r"one \(3\) and two \(3\) are of other classes: 'c1' is only in one."),
        ({"classes": ("c1", "c0", "c2")}, "one and two have their classes in another order."),
        ({"video_ids": ("x",) * VIDEOS}, r"one \(30\) and two \(30\) are of other videos: 'v0' is only in one."),
    ],
)
def test_evaluations_of_something_else_are_refused(change, text):
    a, b, targets = pair(9)
    one = ranked(a, targets)
    with pytest.raises(DataError, match=text):
        compare(one, replace(ranked(b, targets), **change), NAMES, samples=100)


def test_other_labels_in_the_same_rows_are_refused():
    a, b, targets = pair(10)
    other = targets.copy()
    other[: 2 * ROWS, 1] = ~other[: 2 * ROWS, 1]
    with pytest.raises(DataError, match="one and two have other labels of the class 'c1' in the same rows"):
        compare(ranked(a, targets), ranked(b, other), NAMES, samples=100)


def test_other_missing_videos_are_said():
    without, whole = {"missing_videos": ["x"], "missing_frames": 25}, {"missing_videos": [], "missing_frames": 0}
    assert missing_remark(without, without) == missing_remark(whole, whole) == ()
    (said,) = missing_remark(without, whole)
    assert said.startswith("Videos without scores: 1 in A and 0 in B, not the same ones (x);")
    assert said.endswith("Rows without scores, theirs included: 25 in A and 0 in B.")


def test_other_numbers_of_missing_rows_are_said():
    (said,) = missing_remark(
        {"missing_videos": ["x"], "missing_frames": 25}, {"missing_videos": ["x"], "missing_frames": 1051}
    )
    assert said.startswith("Rows without scores: 25 in A and 1,051 in B;")
