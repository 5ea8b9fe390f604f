"""Several networks and files as one: weights, what is averaged, what single ones lack, smoothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.evaluation.charades_localize import CharadesLocalize
from ssdet_cli.evaluation.ensemble import LEAST, Member, averaged, check_weights, sigmoid
from ssdet_cli.evaluation.facts import Facts, MemberFacts, told
from ssdet_cli.evaluation.frame_map import FrameMap
from ssdet_cli.evaluation.interface import Submission, VideoScores, interpolate
from ssdet_cli.evaluation.segments import find_segments, smoothed_scores, smoothing_reaches

LENGTH = 10.0
VIDEOS = VideoSet(
    "made up", ("a", "b"), tuple(VideoRecord(name, duration_seconds=LENGTH) for name in ("x", "y")), Path("truth.json")
)
LOCALIZE, FRAMES = CharadesLocalize(), FrameMap()


def network(name, seed, ids=("x", "y"), rate=4.0, count=40, scale=3.0):
    rng = np.random.default_rng(seed)
    seconds = np.arange(count) / rate
    return Member.of_network(
        name,
        [
            VideoScores(one, seconds, (rng.normal(size=(count, 2)) * scale).astype(np.float32), LENGTH, 8.0, 80)
            for one in ids
        ],
    )


def text(name, seed, ids=("x", "y"), rows=25, seconds=None, scale=1.0):
    rng = np.random.default_rng(seed)
    scores = {one: rng.random((rows, 2)) * scale for one in ids}
    return Member(name, submission=Submission(scores, seconds))


def at(member, video_id, protocol=LOCALIZE):
    """(L, K) logits of one network."""
    score = member.scores[video_id]
    record = next(record for record in VIDEOS.records if record.video_id == video_id)
    return interpolate(score.logits, score.seconds, protocol.frame_seconds(record, score))


@settings(deadline=None, max_examples=25)
@given(seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4), data=st.data())
def test_the_mean_is_weighted_and_does_not_depend_on_the_order_nor_on_the_scale_of_the_weights(seeds, data):
    weights = data.draw(st.lists(st.floats(0.01, 100), min_size=len(seeds), max_size=len(seeds)))
    members = [network(str(number), seed) for number, seed in enumerate(seeds)]
    for average, value, back in (("probabilities", sigmoid, lambda mean: mean), ("logits", lambda v: v, sigmoid)):
        found = averaged(LOCALIZE, VIDEOS, members, weights=weights, average=average)
        for name, scores in found.predictions.items():
            parts = [value(at(member, name).astype(np.float64)) for member in members]
            assert scores == pytest.approx(back(np.average(parts, axis=0, weights=weights)), abs=1e-12)
            other = averaged(
                LOCALIZE, VIDEOS, members[::-1], weights=[3 * weight for weight in weights[::-1]], average=average
            )
            assert other.predictions[name] == pytest.approx(scores, abs=1e-12)
        assert list(found.predictions) == ["x", "y"] and found.notes == ()
        assert found.seconds["x"].tolist() == LOCALIZE.frame_seconds(VIDEOS.records[0]).tolist()


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_one_member_is_what_it_was_to_the_bit(average):
    for weights in ((), (7.0,)):
        one = averaged(LOCALIZE, VIDEOS, [network("n", 1)], weights=weights, average=average).predictions
        np.testing.assert_array_equal(one["x"], sigmoid(at(network("n", 1), "x")))
        file = text("f", 2)
        found = averaged(LOCALIZE, VIDEOS, [file], weights=weights, average=average)
        assert found.predictions["y"] is file.submission.predictions["y"] and found.seconds is None


def test_networks_that_say_nothing_leave_nothing_and_the_protocol_says_so():
    found = averaged(FRAMES, VIDEOS, [Member.of_network("n", [])])
    assert (found.predictions, found.seconds) == ({}, {})
    with pytest.raises(DataError, match="None of the 2 videos of truth.json has a prediction"):
        FRAMES.score(VIDEOS, found.predictions, found.seconds)


def test_weights_are_as_many_as_members():
    assert check_weights((), ["a", "b"]).tolist() == [0.5, 0.5]
    assert check_weights((3, 1), ["a", "b"]).tolist() == [0.75, 0.25]
    with pytest.raises(ConfigError, match=r"^weights=2,1 must be 3 numbers, one for each of: a, b, c\.$"):
        check_weights((2, 1), ["a", "b", "c"])
    with pytest.raises(ConfigError, match=r"^weights=2,1 must be 1 number, one for each of: a\.$"):
        check_weights((2, 1), ["a"])


def test_networks_of_other_rates_are_scored_at_the_times_that_the_first_one_gives():
    fast, slow = network("fast", 1), network("slow", 2, rate=2.0, count=20)
    for protocol in (LOCALIZE, FRAMES):
        found = averaged(protocol, VIDEOS, [fast, slow]).predictions
        mean = (sigmoid(at(fast, "x", protocol)) + sigmoid(at(slow, "x", protocol))) / 2
        assert found["x"] == pytest.approx(mean, abs=1e-12)


def test_a_file_of_scores_joins_networks_and_its_certainties_are_finite_logits():
    file, other = text("f", 1), network("n", 2)
    file.submission.predictions["x"][:2] = [[0.0, 1.0], [1.0, 0.0]]
    found = averaged(LOCALIZE, VIDEOS, [other, file], weights=(1, 3)).predictions["x"]
    known = file.submission.predictions["x"]
    assert found == pytest.approx(sigmoid(at(other, "x")) / 4 + 3 * known / 4, abs=1e-12)
    inside = np.clip(known, LEAST, 1 - LEAST)
    mean = (at(other, "x").astype(np.float64) + np.log(inside / (1 - inside))) / 2
    found = averaged(LOCALIZE, VIDEOS, [other, file], average="logits").predictions["x"]
    assert found == pytest.approx(sigmoid(mean), abs=1e-12) and np.isfinite(found).all()


def test_scores_that_are_no_probabilities_are_averaged_with_their_like_only():
    wild = text("wild.txt", 1, scale=9.0)
    same = averaged(LOCALIZE, VIDEOS, [wild, wild]).predictions["x"]
    assert same == pytest.approx(wild.submission.predictions["x"])
    with pytest.raises(ConfigError, match="wild.txt holds scores outside 0 to 1, which cannot be averaged with the pr"):
        averaged(LOCALIZE, VIDEOS, [network("n", 1), wild])
    for members in ([wild], [text("f", 1), wild]):
        with pytest.raises(ConfigError, match="average=logits: wild.txt holds scores outside 0 to 1, of which there"):
            averaged(LOCALIZE, VIDEOS, members, average="logits")


def test_a_member_that_lacks_a_video_is_refused_or_left_out_of_that_mean_and_told():
    whole, part = network("whole", 1), network("part", 2, ids=("x",))
    for members in ([whole, part], [part, whole]):
        names = " and ".join(member.name for member in members)
        with pytest.raises(ConfigError, match=f"^{names} hold different videos: 1 are in one of them only, such as y"):
            averaged(LOCALIZE, VIDEOS, members)
        found = averaged(LOCALIZE, VIDEOS, members, weights=(2, 1), allow_missing=True)
        np.testing.assert_allclose(found.predictions["y"], sigmoid(at(whole, "y")), atol=1e-15)
        assert not np.allclose(found.predictions["x"], sigmoid(at(whole, "x")))
        assert found.notes == ("part lacks 1 videos that other members hold: theirs alone are averaged.",)
    nobody = averaged(LOCALIZE, VIDEOS, [part, part])
    assert list(nobody.predictions) == ["x"] and nobody.notes == ()  # the protocol counts it as missing


def test_a_member_that_lacks_a_row_is_refused_or_left_out_of_that_mean_and_told():
    whole, part = text("whole", 1), text("part", 2)
    part.submission.predictions["y"][[3, 4]] = -np.inf
    whole.submission.predictions["y"][4] = -np.inf
    with pytest.raises(ConfigError, match="^part lacks rows of y that another member holds; complete it, or"):
        averaged(LOCALIZE, VIDEOS, [whole, part])
    for average in ("probabilities", "logits"):
        found = averaged(LOCALIZE, VIDEOS, [whole, part], average=average, allow_missing=True)
        assert found.predictions["y"][3] == pytest.approx(whole.submission.predictions["y"][3])
        assert np.isneginf(found.predictions["y"][4]).all() and np.isfinite(found.predictions["y"][:4]).all()
        assert found.notes == ("part lacks 1 rows that other members hold: theirs alone are averaged.",)


def test_members_at_other_times_are_refused_with_the_place():
    times = FRAMES.frame_seconds(VIDEOS.records[0], network("n", 1).scores["x"])
    both = {"x": times, "y": times}
    near, far = {**both, "y": times + 4e-4}, {**both, "y": times + 0.1}
    fitting = averaged(FRAMES, VIDEOS, [text("f", 1, rows=80, seconds=near), network("n", 1)])
    assert len(fitting.predictions["y"]) == 80 and fitting.seconds["y"] is not near["y"]
    with pytest.raises(DataError, match=r"^n and f hold y at different times: row 1 is at 0\.000 s and 0\.100 s\.$"):
        averaged(FRAMES, VIDEOS, [network("n", 1), text("f", 1, rows=80, seconds=far)])
    with pytest.raises(DataError, match=r"^g and f hold y at different times: row 1"):
        averaged(FRAMES, VIDEOS, [text("g", 1, rows=80, seconds=both), text("f", 1, rows=80, seconds=far)])
    with pytest.raises(DataError, match=r"^f and g hold x at different times \(25 rows and 24\)\.$"):
        averaged(LOCALIZE, VIDEOS, [text("f", 1), text("g", 1, rows=24)])


# Smoothing


def test_smoothing_is_the_moving_average_that_segments_are_found_in():
    rng = np.random.default_rng(3)
    scores, seconds = rng.random((50, 2)), np.arange(50) / 5
    found = smoothed_scores(scores, seconds, 1.0)
    for row in range(50):
        assert found[row] == pytest.approx(scores[max(0, row - 2) : row + 3].mean(axis=0))
    for threshold in (0.4, 0.5, 0.6):
        how = {"thresholds": threshold, "classes": ("a", "b"), "duration": 10.0}
        direct = find_segments(scores, seconds, smooth=1.0, **how)
        again = find_segments(found, seconds, **how)
        assert [(one.label, one.start, one.end) for one in direct] == [(one.label, one.start, one.end) for one in again]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), width=st.floats(0, 20), gap=st.integers(1, 29), hole=st.integers(0, 29))
def test_smoothing_keeps_what_is_constant_and_never_reaches_across_a_gap(seed, width, gap, hole):
    rng = np.random.default_rng(seed)
    seconds = np.arange(30) / 4
    seconds[gap:] += 5
    scores = np.where(np.arange(30)[:, None] < gap, [0.25, 0.75], [0.5, 0.125])
    assert smoothed_scores(scores, seconds, width) == pytest.approx(scores)
    scores = rng.random((30, 2))
    alone = smoothed_scores(scores, seconds, width)
    other = scores.copy()
    other[gap:] = rng.random((30 - gap, 2))
    np.testing.assert_array_equal(smoothed_scores(other, seconds, width)[:gap], alone[:gap])
    assert alone.min() >= scores.min() - 1e-12 and alone.max() <= scores.max() + 1e-12
    other = scores.copy()
    other[hole] = -np.inf
    found = smoothed_scores(other, np.arange(30) / 4, width)
    assert np.isneginf(found[hole]).all() and np.isfinite(np.delete(found, hole, axis=0)).all()
    other[:hole] = rng.random((hole, 2))
    np.testing.assert_array_equal(smoothed_scores(other, np.arange(30) / 4, width)[hole:], found[hole:])


def test_a_class_without_a_score_is_a_gap_of_its_own_only():
    scores, seconds = np.random.default_rng(0).random((9, 2)), np.arange(9.0)
    holed = scores.copy()
    holed[4, 1] = -np.inf
    found = smoothed_scores(holed, seconds, 2.5)
    np.testing.assert_allclose(found[:, 0], smoothed_scores(scores, seconds, 2.5)[:, 0])
    assert np.isneginf(found[4, 1]) and found[3, 1] == pytest.approx(scores[2:4, 1].mean())


def test_networks_are_smoothed_at_their_own_frames_and_files_at_their_rows():
    net, file = network("n", 1), text("f", 2)
    score = net.scores["x"]
    smooth = smoothed_scores(sigmoid(score.logits), score.seconds, 1.5)
    logits = np.log(smooth) - np.log1p(-smooth)
    want = sigmoid(interpolate(logits, score.seconds, LOCALIZE.frame_seconds(VIDEOS.records[0])))
    assert averaged(LOCALIZE, VIDEOS, [net], smooth=1.5).predictions["x"] == pytest.approx(want, abs=1e-9)
    found = averaged(LOCALIZE, VIDEOS, [file], smooth=1.3).predictions["x"]  # of 25 rows in 10 s: three at a time
    assert found[5] == pytest.approx(file.submission.predictions["x"][4:7].mean(axis=0))
    one_row = text("f", 2, rows=1)
    assert averaged(LOCALIZE, VIDEOS, [one_row], smooth=9).predictions["x"].shape == (1, 2)


def test_smoothing_that_changes_nothing_is_told_and_refused_where_it_is_all():
    slow, net = text("slow", 2), network("n", 1)  # of 25 rows in 10 s, and four a second
    assert not averaged(LOCALIZE, VIDEOS, [net, slow], smooth=1.3).notes
    told = averaged(LOCALIZE, VIDEOS, [net, slow], smooth=0.6, refuse_idle=True).notes
    (note,) = told
    assert note.startswith("smooth=0.6 leaves 2 of 2 videos of slow as they are: their rows are 0.4 s apart, and an av")
    with pytest.raises(ConfigError, match="smooth=0.3 leaves 2 of 2 videos of n as they are: their rows are 0.25 s ap"):
        averaged(LOCALIZE, VIDEOS, [net], smooth=0.3, refuse_idle=True)
    assert averaged(LOCALIZE, VIDEOS, [net], smooth=0.3).notes[0].startswith("smooth=0.3 leaves 2 of 2 videos of n")
    with pytest.raises(ConfigError, match="of one as they are: each has a single row; leave it out"):
        averaged(LOCALIZE, VIDEOS, [text("one", 2, rows=1)], smooth=9, refuse_idle=True)
    mixed = Member.of_network("m", [net.scores["x"], network("n", 1, ids=("y",), rate=1.0, count=10).scores["y"]])
    (note,) = averaged(LOCALIZE, VIDEOS, [mixed], smooth=1.0, refuse_idle=True).notes
    assert note.startswith("smooth=1 leaves 1 of 2 videos of m as they are: their rows are 1 s apart")


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 99), width=st.floats(0.01, 4))
def test_whether_smoothing_reaches_another_row_is_what_it_does(seed, width):
    rng = np.random.default_rng(seed)
    seconds = np.cumsum(rng.choice([0.2, 0.3, 1.5], rng.integers(1, 12)))
    scores = rng.random((len(seconds), 1))
    changed = not np.array_equal(smoothed_scores(scores, seconds, width), scores)
    assert smoothing_reaches(seconds, width) == changed


def test_rows_outside_of_the_scored_time_are_told():
    """An annotation says 10 s, and the scores end after 2.5 s."""
    net = network("n", 1)
    assert averaged(LOCALIZE, VIDEOS, [net]).notes == ()
    short = network("n", 1, ids=("y",), count=11).scores["y"]
    found = averaged(LOCALIZE, VIDEOS, [Member.of_network("n", [net.scores["x"], short])])
    (note,) = found.notes  # rows from 3.6 s on
    assert note.startswith("n: 16 rows of 1 videos lie more than 1 s (and a step) before the first or behind the last")
    assert note.endswith("'y', 16 of whose 25 rows, from 0.0 to 9.6 s, lie outside of its scores, from 0.0 to 2.5 s.")
    assert found.predictions["y"][-1] == pytest.approx(sigmoid(short.logits[-1]), abs=1e-6)
    # Where a network looks every three seconds, a row two seconds behind the last is not far off.
    wide = network("n", 1, ids=("x",), rate=1 / 3, count=3).scores["x"]
    narrow = replace(wide, seconds=wide.seconds / 4)
    assert averaged(LOCALIZE, VIDEOS, [Member.of_network("n", [replace(wide, seconds=wide.seconds + 2)])]).notes == ()
    assert averaged(LOCALIZE, VIDEOS, [Member.of_network("n", [narrow])]).notes


def test_smoothing_keeps_scores_of_certainty_finite_and_in_order():
    score = network("n", 1).scores["x"]
    rising = np.repeat(np.linspace(-900, 900, 40)[:, None], 2, axis=1).astype(np.float32)
    certain = Member.of_network("n", [replace(score, logits=rising)])
    found = averaged(FRAMES, VIDEOS, [certain], smooth=0.8).predictions["x"]
    assert np.isfinite(found).all() and (np.diff(found[:, 0]) >= 0).all()


def test_what_is_not_usual_is_told_in_one_phrase():
    def member(weight, **sampling):
        return MemberFacts("f", "0", "scores", weight, sampling=sampling)

    assert told(None) == told(Facts((member(1.0, crops=1),))) == ""
    two = Facts((member(0.5, crops=3, shifts=2), member(0.5)), "logits", 0.5)
    assert told(two) == "mean of the logits of 2 members; smoothed over 0.5 s; 1 and 3 crops; 1 and 2 shifts"
    uneven = Facts((member(2 / 3), member(1 / 3)))
    assert told(uneven) == "weighted mean of the probabilities of 2 members (66.7 %, 33.3 %)"
