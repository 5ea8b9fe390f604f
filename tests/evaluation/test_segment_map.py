import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.segment_map import OVERLAPS, SegmentMap, Stretches, detect, match, resampled_ap


def stretches(*rows):
    videos, starts, ends = np.array(rows, dtype=float).reshape(-1, 3).T
    return Stretches(videos.astype(int), np.zeros(len(rows), int), starts, ends, np.zeros(len(rows)))


def plain_match(found, actions, overlap):
    """One after the other, as the benchmark's rule is told."""
    taken, hits = set(), []
    for video, start, end in found:
        best, which = 0.0, None
        for number, (other, begin, stop) in enumerate(actions):
            common = min(end, stop) - max(start, begin)
            value = common / (max(end, stop) - min(start, begin)) if other == video else 0.0
            if value >= overlap and value > best and number not in taken:
                best, which = value, number
        taken.add(which)
        hits.append(which is not None)
    return hits


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 12), actions=st.integers(0, 6))
def test_matching_follows_the_rule(seed, count, actions):
    rng = np.random.default_rng(seed)

    def drawn(number):
        starts = rng.integers(0, 15, number)
        return list(zip(rng.integers(0, 3, number), starts, starts + rng.integers(1, 9, number), strict=True))

    found, own = drawn(count), drawn(actions)
    hits = match(stretches(*found), stretches(*own))
    assert hits.shape == (9, count)
    for row, overlap in zip(hits, OVERLAPS, strict=True):
        assert row.tolist() == plain_match(found, own, overlap)


def test_of_nested_runs_the_outer_one_stays_if_it_is_more_than_twice_as_long():
    scores = np.array([0, 0.2, 0.9, 0.9, 0.2, 0.2, 0, 0.5, 0.5, 0.6])[:, None]
    levels = np.array([[0.8], [0.55], [0.4], [0.1]])
    label, first, stop, mean = detect(scores, np.arange(11.0), levels)
    assert label.tolist() == [0] * 4
    # 0.9 twice; 0.6; its longer run of 3; the run of 5 around the 0.9s
    assert list(zip(first.tolist(), stop.tolist(), strict=True)) == [(2, 4), (9, 10), (7, 10), (1, 6)]
    assert mean == pytest.approx([0.9, 0.6, 1.6 / 3, 2.4 / 5])


def annotated(tmp_path, *records):
    return VideoSet("made up", ("sit", "run"), records, tmp_path / "made_up.json")


def test_hand_worked_overlaps(tmp_path):
    record = VideoRecord("a", duration_seconds=20.0, segments=(Segment(0, 2.0, 12.0), Segment(0, 15.0, 99.0)))
    videos = annotated(tmp_path, record, VideoRecord("b", segments=(Segment(1, 3.0, 3.0),)))
    times = np.arange(20.0)
    scores = np.zeros((20, 2))
    scores[4:12, 0] = 1.0  # [4, 12): 8 of 10 s
    scores[0:2, 0] = 0.5  # nothing there
    scores[15:, 0] = 0.25  # [15, 20): exact, once the action is cut at the video's end
    result = SegmentMap().score(videos, {"a": scores}, {"a": times})
    # In falling order: hit up to 0.8, miss, hit. Precision made to fall: 1, 2/3 of two actions.
    expected = [(1 + 2 / 3) / 2] * 8 + [1 / 3 / 2]
    assert [result.measures[f"mAP@tIoU={overlap:.1f}"] for overlap in OVERLAPS] == pytest.approx(expected)
    assert result.per_class_AP == (pytest.approx(np.mean(expected)), None) and result.positives == (2, 0)
    assert result.mAP == pytest.approx(np.mean(expected)) and result.missing_videos == ("b",)
    assert result.notes == ("3 detections against 2 actions.",)
    # The scale of the scores makes no difference.
    logits = SegmentMap().score(videos, {"a": 7 * scores - 20}, {"a": times})
    assert logits.per_class_AP == pytest.approx(result.per_class_AP, nan_ok=True)
    assert PROTOCOLS.get("segment-map") is SegmentMap


def test_a_silent_class_and_a_missing_video_cost_recall(tmp_path):
    record = VideoRecord("a", duration_seconds=9.0, segments=(Segment(0, 2.0, 5.0), Segment(1, 2.0, 5.0)))
    other = VideoRecord("b", duration_seconds=9.0, segments=(Segment(0, 2.0, 5.0),))
    times = np.arange(9.0)
    scores = np.stack([(2 <= times) & (times < 5), np.zeros(9)], axis=1).astype(np.float32)
    result = SegmentMap().score(annotated(tmp_path, record, other), {"a": scores}, {"a": times})
    assert result.per_class_AP == (0.5, 0.0) and result.missing_videos == ("b",)
    with pytest.raises(DataError, match="None of the 1 videos of .* has a scored frame"):
        SegmentMap().score(annotated(tmp_path, record), {"a": np.zeros((0, 2))}, {"a": np.empty(0)})
    with pytest.raises(DataError, match="'a' have 9 rows but 2 times"):
        SegmentMap().score(annotated(tmp_path, record), {"a": scores}, {"a": times[:2]})
    with pytest.raises(ValueError, match="segment-map needs the seconds"):
        SegmentMap().score(annotated(tmp_path, record), {"a": scores})


def scored(tmp_path, scores, times, *actions, duration=100.0):
    """One video of one class, the lowest score in the set being 0 and the highest 1."""
    record = VideoRecord("a", duration_seconds=duration, segments=tuple(Segment(0, *action) for action in actions))
    videos = VideoSet("made up", ("sit",), (record,), tmp_path / "made_up.json")
    return SegmentMap().score(videos, {"a": np.asarray(scores, np.float32)[:, None]}, {"a": np.asarray(times)})


def enough(overlap):
    """AP at each overlap of one detection that has this one with the only action."""
    return {f"mAP@tIoU={level:.1f}": float(overlap >= level) for level in OVERLAPS}


def test_rows_without_a_score_belong_to_no_detection_and_are_counted(tmp_path):
    gone = -np.inf
    found = scored(tmp_path, [0, gone, 1, 1, gone, gone, 0, gone], np.arange(8.0), (2.0, 4.0))
    assert found.measures == enough(1.0) and found.mAP == 1
    assert (found.frames, found.missing_frames) == (8, 4)
    assert found.notes == ("1 detections against 1 actions.",)
    # A run ends where there is no score, and what is infinite is none either.
    cut = scored(tmp_path, [0, 1, 1, gone, 1, 0, np.inf, 0], np.arange(8.0), (1.0, 3.0), (4.0, 5.0))
    assert cut.mAP == 1 and cut.missing_frames == 1 and cut.notes == ("2 detections against 2 actions.",)


def test_a_row_without_a_score_leaves_those_after_it_as_they_are(tmp_path):
    one = VideoRecord("a", duration_seconds=5.0, segments=(Segment(0, 2.0, 4.0),))
    videos = annotated(tmp_path, one, VideoRecord("b", duration_seconds=5.0))
    scores = {"a": np.array([0, -np.inf, 1, 1, 0]), "b": np.array([0, 0, 0.5, 0.5, 0])}
    predictions = {name: np.stack([score, np.zeros(5)], axis=1) for name, score in scores.items()}
    found = SegmentMap().score(videos, predictions, dict.fromkeys("ab", np.arange(5.0)))
    assert found.per_class_AP[0] == 1  # the right one has the higher score


def test_a_row_that_a_file_leaves_out_is_one_without_a_score(tmp_path):
    rng = np.random.default_rng(0)
    times, actions = np.arange(40) / 3, ((1.0, 4.0), (6.0, 9.0))
    scores = rng.random(40)
    scores[[0, 7, 8, 20, 39]] = -np.inf
    held = np.isfinite(scores)
    whole = scored(tmp_path, scores, times, *actions)
    part = scored(tmp_path, scores[held], times[held], *actions)
    assert part.measures == pytest.approx(whole.measures) and part.notes == whole.notes
    assert (whole.missing_frames, part.missing_frames) == (5, 0)


@pytest.mark.parametrize(("duration", "end"), [(100.0, 6.0), (5.5, 5.5), (4.0, 6.0), (None, 6.0)])
def test_the_last_frame_lasts_one_step_and_no_longer_than_the_video(tmp_path, duration, end):
    found = scored(tmp_path, [0, 0, 1, 1, 1, 1], np.arange(6.0), (2.0, 3.5), duration=duration)
    assert found.measures == enough(1.5 / (end - 2))


def test_a_single_row_lasts_a_step_of_the_set_or_the_whole_video(tmp_path):
    one, two = (VideoRecord(name, duration_seconds=60.0, segments=(Segment(0, 0.0, 2.0),)) for name in "ab")
    videos = annotated(tmp_path, one, two)
    scores = {"a": np.array([[0.0, 0.0], [0.0, 1.0]]), "b": np.array([[1.0, 1.0]])}
    found = SegmentMap().score(videos, scores, {"a": np.array([0.0, 2.0]), "b": np.zeros(1)})
    assert found.per_class_AP[0] == 0.5  # b exactly, a never
    alone = scored(tmp_path, [0], [0], (0.0, 60.0), duration=60.0)
    assert alone.mAP == 0 and alone.notes == ("0 detections against 1 actions.",)


def test_gaps_are_not_bridged(tmp_path):
    """A frame before a gap lasts a step; up to one and a half of them is none."""
    times = np.array([0.0, 1.0, 2.0, 3.4, 4.4, 30.0, 31.0])
    found = scored(tmp_path, [0, 1, 1, 1, 1, 1, 0], times, (1.0, 5.4), (30.0, 31.0))
    assert found.mAP == 1 and found.notes == ("2 detections against 2 actions.",)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 30), part=st.sampled_from([0.1, 0.5, 0.9]))
def test_a_weighted_detection_is_a_repeated_detection(seed, count, part):
    rng = np.random.default_rng(seed)
    videos, hits = rng.integers(0, 5, count), rng.random((9, count)) < part
    weights = rng.integers(0, 4, (6, 5)).astype(np.int32)
    actions = rng.integers(0, 3, 6) + (weights[:, videos] * hits.any(axis=0)).sum(axis=1)
    found = resampled_ap(videos, hits, actions, weights)
    assert found.shape == (9, 6)
    for draw, times in enumerate(weights):
        for level in range(9):
            hit = np.repeat(hits[level], times[videos])
            precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
            plain = sum(max(precision[place:]) for place in np.flatnonzero(hit))
            expected = plain / actions[draw] if actions[draw] else np.nan
            assert found[level, draw] == pytest.approx(expected, nan_ok=True)


def test_a_draw_is_a_set_with_repeated_videos(tmp_path):
    rng = np.random.default_rng(1)
    records, predictions, seconds = [], {}, {}
    for number in range(6):
        starts = rng.uniform(0, 15, 4)
        segments = tuple(Segment(int(rng.integers(2)), start, start + 5) for start in starts)
        records.append(VideoRecord(f"v{number}", duration_seconds=20.0, segments=segments))
        times = np.arange(20.0)
        truth = np.zeros((20, 2))
        for one in segments:
            truth[(one.start < times) & (times < one.end), one.label] = 1
        if number != 4:  # which is missing: its actions count, as often as it does
            predictions[f"v{number}"] = truth + rng.random((20, 2))
            seconds[f"v{number}"] = times
    predictions["v0"][:2] = [[-1, -1], [3, 3]]  # the range of the scores is that of the set in every draw
    resampling = SegmentMap().resampling(annotated(tmp_path, *records), predictions, seconds)
    weights = np.array([[1, 1, 1, 1, 1, 1], [1, 0, 2, 3, 0, 0], [2, 1, 0, 0, 3, 0]], np.int32)
    done = []
    draws = resampling.draw(weights, done.append)
    assert (resampling.videos, resampling.steps, done) == (6, 2, [1, 2])
    for draw, times in enumerate(weights):
        copies = [(one, copy) for one, count in zip(records, times, strict=True) for copy in range(count)]
        named = [VideoRecord(f"{one.video_id}-{n}", duration_seconds=20.0, segments=one.segments) for one, n in copies]
        of = {f"{one.video_id}-{n}": one.video_id for one, n in copies if one.video_id in predictions}
        literal = SegmentMap().score(
            annotated(tmp_path, *named),
            {name: predictions[source] for name, source in of.items()},
            {name: seconds[source] for name, source in of.items()},
        )
        assert draws.ap[draw].tolist() == pytest.approx(literal.per_class_AP)
        assert {name: values[draw] for name, values in draws.measures.items()} == pytest.approx(literal.measures)
