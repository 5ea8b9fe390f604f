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


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("split", "by_frames", "spread", "classes", "prevalence", "most"),
    [
        (
            "train",
            ((76, 1918), (121,)),
            ((2.33, 6.9, 30.5, 29.9, 59.0, 194.3), (6.24, 6, 28), (6.23, 28), (9.0, 12.9, 151.4)),
            (101, 25),
            (1.67, 11.3),
            [(97, 1444), (154, 1341), (59, 1260)],
        ),
        (
            "test",
            ((12, 498), (9,)),
            ((3.12, 7.3, 30.6, 28.7, 47.5, 72.0), (8.96, 9, 28), (8.98, 26), (8.2, 12.3, 73.0)),
            (45, 6),
            (2.36, 14.3),
            [(97, 439), (152, 393), (154, 381)],
        ),
    ],
)
def test_charades_has_the_known_lengths_counts_and_classes(
    shared_data, split, by_frames, spread, classes, prevalence, most
):
    told = numbers(shared_data, "charades", split, 24.0)
    frames = told["videos_by_frames"]
    assert frames == {
        "fewer_than": dict(zip(("162", "640"), by_frames[0], strict=True)),
        "more_than": {"1280": by_frames[1][0]},
    }
    length, count, kinds, action = (
        told[name]
        for name in ("duration_seconds", "segments_per_video", "classes_per_video_with_actions", "segment_seconds")
    )
    seconds = (rounded(length["min"], 2), *(rounded(length[one], 1) for one in ("p1", "median", "mean", "p99", "max")))
    assert seconds == spread[0]
    assert (rounded(count["mean"], 2), count["median"], count["max"]) == spread[1]
    assert (rounded(kinds["mean"], 2), kinds["max"]) == spread[2]
    assert tuple(rounded(action[one], 1) for one in ("median", "mean", "max")) == spread[3]
    ranked = sorted(enumerate(told["segments_of_classes"]), key=lambda one: -one[1])
    assert (ranked[-1], ranked[:3]) == (classes, most)
    per = told["per_frame"]
    assert (rounded(100 * per["prevalence_mean"], 2), rounded(100 * per["prevalence_max"], 1)) == prevalence
    assert int(np.argmax(per["prevalence_of_classes"])) == 59


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("split", "means", "seconds", "longest"),
    [
        ("train", (92.4, 10.7), (8.9, 150.5, 209.0, 1409), ((0, 1.8, 3.4, 721), 11.6)),
        ("test", (94.9, 10.3), (15.0, 163.9, 216.8, 1673), ((0, 2.0, 3.8, 3602), 12.8)),
    ],
)
def test_multithumos_has_the_known_lengths_and_counts(shared_data, split, means, seconds, longest):
    told = numbers(shared_data, "multithumos", split, 10.0)
    count, kinds = told["segments_per_video"]["mean"], told["classes_per_video_with_actions"]["mean"]
    assert (rounded(count, 1), rounded(kinds, 1)) == means
    length, action = told["duration_seconds"], told["segment_seconds"]
    assert (*(rounded(length[one], 1) for one in ("min", "median", "mean")), rounded(length["max"], 0)) == seconds
    spread = (*(rounded(action[one], 1) for one in ("min", "median", "mean")), rounded(action["max"], 0))
    assert (spread, rounded(length["total_hours"], 1)) == longest


def test_videos_are_counted_by_their_frames():
    records = [VideoRecord(str(row), None, seconds) for row, seconds in enumerate((6.7, 6.75, 26.6, 53.3, 53.4, None))]
    told = split_statistics(records, 1, 24.0)["videos_by_frames"]
    assert told == {"fewer_than": {"162": 1, "640": 3}, "more_than": {"1280": 1}}
