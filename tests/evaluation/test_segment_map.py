import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.segment_map import OVERLAPS, SegmentMap, Stretches, detect, match


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
