import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import Segment, VideoRecord, rasterize
from ssdet_cli.data.flaws import tolerated
from ssdet_cli.data.statistics import Actions, FrameRuns, exact_duplicates, overlapping_pairs, split_statistics

CLASSES = 3
RATE = 4.0

times = st.integers(0, 40).map(lambda tenths: tenths / 10)
segments = st.builds(Segment, st.integers(0, CLASSES - 1), times, times)
videos = st.lists(
    st.tuples(st.integers(1, 30).map(lambda tenths: tenths / 10), st.lists(segments, max_size=6)), max_size=4
)


def records_of(drawn):
    return [VideoRecord(str(row), None, length, tuple(own)) for row, (length, own) in enumerate(drawn)]


def laid_out(records):
    """(K, N) labels of all frames of all videos, the slow way."""
    parts = [np.zeros((CLASSES, 0), bool)]
    for record in records:
        frames = np.arange(np.floor(record.duration_seconds * RATE + 1e-6)) / RATE
        parts.append(rasterize(record.segments, frames, CLASSES, closed=False))
    return np.concatenate(parts, axis=1)


@settings(max_examples=60, deadline=None)
@given(videos)
def test_frames_counted_on_intervals_are_those_that_are_laid_out(drawn):
    records = records_of(drawn)
    runs, labels = FrameRuns.of(Actions.of(records, CLASSES), RATE), laid_out(records)
    expected = np.bincount(labels.sum(axis=0), minlength=1)
    assert runs.labels_per_frame().tolist() == expected.tolist()
    assert runs.frames_of_classes(CLASSES).tolist() == labels.sum(axis=1).tolist()
    assert np.array_equal(runs.together(CLASSES), labels.astype(int) @ labels.T.astype(int))


@settings(max_examples=60, deadline=None)
@given(videos)
def test_overlapping_pairs_and_duplicates_are_those_found_one_by_one(drawn):
    records = records_of(drawn)
    pairs = repeated = 0
    for record in records:
        own = [one for one in record.segments if one.end >= one.start]
        for place, one in enumerate(own):
            for other in own[:place]:
                proper = one.end > one.start or other.end > other.start
                pairs += proper and one.label == other.label and one.start < other.end and other.start < one.end
        repeated += len(record.segments) - len(set(record.segments))
    actions = Actions.of(records, CLASSES)
    assert overlapping_pairs(actions) == pairs
    assert exact_duplicates(actions) == repeated


def test_what_contradicts_itself_is_counted():
    records = [
        VideoRecord("a", None, 10.0, (Segment(0, 2.0, 11.5), Segment(1, 8.0, 3.0), Segment(1, 12.0, 700.0))),
        VideoRecord("b", None, 5.0, (Segment(2, 1.0, 1.0), Segment(0, 0.0, 5.0))),
        VideoRecord("c", None, 3.0),
    ]
    told = split_statistics(records, CLASSES)
    assert (told["videos"], told["segments"], told["videos_without_actions"]) == (3, 5, 1)
    assert told["end_after_video"] == {"segments": 2, "videos": 1, "largest_seconds": 690.0, "more_than_1_second": 2}
    assert told["end_before_start"] == {"segments": 1, "videos": 1}
    assert (told["start_after_video"], told["end_equals_start"]) == (1, 1)
    assert told["segments_of_classes"] == [2, 2, 1]
    assert told["videos_of_classes"] == [2, 1, 1]


def test_a_split_without_any_action_has_numbers_too():
    told = split_statistics([VideoRecord("a", None, 2.0)], 2)
    assert told["per_frame"]["frames_with_labels"] == [48]
    assert told["segment_seconds"]["max"] is None


def numbers(shared_data, dataset, split, rate):
    with tolerated(raw=True) as flaws:
        videos = DATASETS.get(dataset)(None, shared_data / dataset, split)
    assert flaws == []
    return split_statistics(videos.records, len(videos.classes), rate)


def rounded(value, digits):
    return round(float(value), digits)


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("split", "counts", "late", "odd", "frames"),
    [
        (
            "train",
            (7985, 49809, 174),
            (14596, 5895, 1.54, 6402),
            (7, 4, 5, 795, 25),
            (5.73, 2.62, 0.890, 0.704, 2.94, 18),
        ),
        ("test", (1863, 16691, 49), (5027, 1537, 1.50, 2345), (0, 0, 0, 286, 6), (1.28, 3.71, 0.922, 0.819, 4.03, 19)),
    ],
)
def test_charades_holds_what_is_known_of_it(shared_data, split, counts, late, odd, frames):
    began = time.process_time()
    told = numbers(shared_data, "charades", split, 24.0)
    assert time.process_time() - began < 20
    assert (told["videos"], told["segments"], told["videos_without_actions"]) == counts
    past = told["end_after_video"]
    assert (past["segments"], past["videos"], rounded(past["largest_seconds"], 2), past["more_than_1_second"]) == late
    before = told["end_before_start"]
    overlap, rarest = told["overlapping_pairs_of_one_class"], min(told["segments_of_classes"])
    assert (before["segments"], before["videos"], told["start_after_video"], overlap, rarest) == odd
    per = told["per_frame"]
    assert abs(per["frames"] / 1e6 - frames[0]) < 0.01
    assert rounded(per["labels_mean"], 2) == frames[1]
    assert (rounded(per["with_1_or_more"], 3), rounded(per["with_2_or_more"], 3)) == frames[2:4]
    assert (rounded(per["labels_mean_where_any"], 2), per["labels_max"]) == frames[4:]
    assert told["exact_duplicates"] == told["end_equals_start"] == 0


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("split", "counts", "late", "odd", "frames"),
    [
        ("train", (200, 18482), (10, 682), (8, 3, 425), (1.43, 0.756, 0.421, 9, 2.20)),
        ("test", (213, 20208), (55, 2685), (52, 4, 685), (1.54, 0.791, 0.460, 8, 2.37)),
    ],
)
def test_multithumos_holds_what_is_known_of_it(shared_data, split, counts, late, odd, frames):
    told = numbers(shared_data, "multithumos", split, 10.0)
    assert (told["videos"], told["segments"]) == counts
    assert (told["end_after_video"]["segments"], round(told["end_after_video"]["largest_seconds"])) == late
    assert told["end_before_start"]["segments"] == told["videos_without_actions"] == 0
    pairs = told["overlapping_pairs_of_one_class"]
    assert (told["start_after_video"], told["end_equals_start"], pairs) == odd
    per = told["per_frame"]
    assert rounded(per["labels_mean"], 2) == frames[0]
    assert (rounded(per["with_1_or_more"], 3), rounded(per["with_2_or_more"], 3), per["labels_max"]) == frames[1:4]
    assert rounded(100 * per["prevalence_mean"], 2) == frames[4]
