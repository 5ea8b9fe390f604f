import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.charades import load_charades
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.charades_localize import CharadesLocalize, official_seconds, official_targets


def annotated(tmp_path, *records, classes=("sit", "run")):
    return VideoSet("made up", tuple(classes), records, tmp_path / "made_up.csv")


def video(video_id, duration, *segments):
    return VideoRecord(video_id, duration_seconds=duration, segments=tuple(Segment(*segment) for segment in segments))


def test_division_comes_before_multiplication():
    lengths = np.arange(200, 4000) / 100
    official = official_seconds(lengths)
    point = np.arange(25)
    np.testing.assert_array_equal(official, [[(j / 25) * length for j in range(25)] for length in lengths.tolist()])
    assert (official != point * lengths[:, None] / 25).any()
    assert (official != point * (lengths[:, None] / 25)).any()


@pytest.mark.parametrize("other", [lambda j, length: j * length / 25, lambda j, length: j * (length / 25)])
def test_an_action_that_ends_on_a_point_sees_the_order_of_arithmetic(tmp_path, other):
    official = official_seconds(np.arange(200, 4000) / 100)
    for length, times in zip((np.arange(200, 4000) / 100).tolist(), official.tolist(), strict=True):
        # ends are annotated to a hundredth of a second
        for j, time in enumerate(times):
            if round(time, 2) >= time and other(j, length) > round(time, 2):
                videos = annotated(tmp_path, video("a", length, (0, 0.0, round(time, 2))))
                assert official_targets(videos)[j, 0]
                return
    pytest.fail("no length and end tell the two orders apart")


def test_both_ends_are_included(tmp_path):
    times = CharadesLocalize().frame_seconds(video("a", 30.77))
    targets = official_targets(annotated(tmp_path, video("a", 30.77, (0, times[3], times[5]), (1, times[7], times[7]))))
    assert np.flatnonzero(targets[:, 0]).tolist() == [3, 4, 5]
    assert np.flatnonzero(targets[:, 1]).tolist() == [7]


def test_reversed_actions_never_match_and_late_ends_need_no_clipping(tmp_path):
    targets = official_targets(annotated(tmp_path, video("a", 25.0, (0, 9.0, 3.0), (1, 23.0, 99.0))))
    assert not targets[:, 0].any()
    assert np.flatnonzero(targets[:, 1]).tolist() == [23, 24]


def test_a_set_without_any_action_has_rows_but_no_score(tmp_path):
    videos = annotated(tmp_path, video("a", 10.0))
    result = CharadesLocalize().score(videos, {"a": np.zeros((25, 2))})
    assert result.frames == 25
    assert np.isnan(result.mAP) and result.per_class_AP == (None, None)
    assert result.to_plain()["mAP"] is None


def test_perfect_scores_are_one_and_empty_videos_count(tmp_path):
    videos = annotated(tmp_path, video("a", 25.0, (0, 0.0, 9.0), (1, 20.0, 30.0)), video("empty", 10.0))
    targets = official_targets(videos).astype(np.float64)
    result = CharadesLocalize().score(videos, {"a": targets[:25], "empty": targets[25:]})
    assert (result.mAP, result.wAP, result.frames, result.videos, result.missing) == (1.0, 1.0, 50, 2, 0)
    assert result.positives == (10, 5)
    loud = CharadesLocalize().score(videos, {"a": targets[:25], "empty": np.full((25, 2), 2.0)})
    assert loud.per_class_AP[0] == pytest.approx(np.mean([n / (25 + n) for n in range(1, 11)]))


def test_missing_videos_rank_last_and_are_listed(tmp_path):
    videos = annotated(tmp_path, video("a", 25.0, (0, 0.0, 0.5)), video("b", 25.0, (0, 0.0, 0.5)))
    scores = np.arange(25.0, 0, -1)[:, None].repeat(2, axis=1)
    result = CharadesLocalize().score(videos, {"b": scores})
    assert (result.missing, result.missing_videos, result.missing_frames) == (1, ("a",), 25)
    # b's positive is first, a's is the first of the 25 rows that follow the 25 scored ones
    assert result.per_class_AP[0] == pytest.approx((1 + 2 / 26) / 2)
    np.testing.assert_array_equal(scores[:, 0], np.arange(25.0, 0, -1))


def test_predictions_that_do_not_belong_are_refused(tmp_path):
    videos = annotated(tmp_path, video("YSKX3", 25.0))
    protocol = CharadesLocalize()
    with pytest.raises(DataError, match="'YSKX4'.*Did you mean 'YSKX3'"):
        protocol.score(videos, {"YSKX4": np.zeros((25, 2))})
    with pytest.raises(DataError, match=r"'YSKX3'.*\(25, 3\).*\(times, 2\)"):
        protocol.score(videos, {"YSKX3": np.zeros((25, 3))})
    with pytest.raises(DataError, match="'YSKX3' have 24 rows where 25"):
        protocol.score(videos, {"YSKX3": np.zeros((24, 2))})
    with pytest.raises(DataError, match="NaN"):
        protocol.score(videos, {"YSKX3": np.full((25, 2), np.nan)})


def test_a_video_without_a_length_is_refused():
    with pytest.raises(DataError, match="'a' has no annotated duration"):
        CharadesLocalize().frame_seconds(VideoRecord("a"))


def test_the_catalogue_knows_the_protocol_and_a_typo():
    assert PROTOCOLS.get("charades-localize")().name == "charades-localize"
    assert PROTOCOLS.get("frame-map")().name == "frame-map"


def script(records, num_classes, lines):
    """The rules of the official script, number by number: AP of each class from (id, frame, scores) lines."""
    first = 1 if min(frame for _, frame, _ in lines) == 0 else 0
    held = {(video_id, frame + first): scores for video_id, frame, scores in lines}
    table = []
    for record in records:
        for j in range(1, 26):
            time = (j - 1) / 25 * record.duration_seconds
            present = {part.label for part in record.segments if part.start <= time <= part.end}
            table.append((held.get((record.video_id, j), [-math.inf] * num_classes), present))
    found = []
    for label in range(num_classes):
        ranking = sorted(table, key=lambda row: -row[0][label])  # sorted keeps the order of equal ones
        hits, total = 0, 0.0
        for rank, (_, present) in enumerate(ranking, start=1):
            if label in present:
                hits += 1
                total += hits / rank
        found.append(total / hits if hits else None)
    return found


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 6), from_zero=st.booleans())
def test_files_score_as_by_the_rules_of_the_script_for_every_class(tmp_path_factory, seed, levels, from_zero):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("script")
    records = []
    for number in range(5):
        length = rng.integers(200, 4000) / 100
        times = official_seconds(np.array([length]))[0]
        # Ends on the points themselves, between them, in the wrong order and beyond the video's; the first has none.
        ends = [rng.choice(times, 2) if rng.random() < 0.6 else rng.uniform(0, 1.2 * length, 2) for _ in range(3)]
        actions = [(int(rng.integers(3)), *map(float, pair if rng.random() < 0.1 else sorted(pair))) for pair in ends]
        records.append(video(f"v{number}", length, *(actions if number else [])))
    lines = [
        (record.video_id, int(frame), (rng.integers(-levels, levels, 3) / 3).tolist())
        for record in records[:-1]  # of the last one there is nothing
        for frame in rng.permutation(25) + (0 if from_zero else 1)
        if rng.random() < 0.8 or frame == 0
    ]
    rng.shuffle(lines)
    lines += [(video_id, frame, [9.0, *scores[1:]]) for video_id, frame, scores in lines[:3]]  # the last one counts
    written = ((video_id, str(frame), *map(repr, scores)) for video_id, frame, scores in lines)
    (folder / "scores.txt").write_text("".join(" ".join(fields) + " \n" for fields in written))
    videos = annotated(folder, *records, classes=("sit", "run", "eat"))
    read = CharadesLocalize().read_submission(folder / "scores.txt", videos)
    result = CharadesLocalize().score(videos, read.predictions)
    assert result.per_class_AP == pytest.approx(script(records, 3, lines), abs=1e-6)
    assert (result.frames, result.missing_videos) == (125, ("v4",))


@pytest.mark.needs_shared_data
def test_the_real_test_set_has_the_official_cells(shared_data):
    videos = load_charades(None, shared_data / "charades" / "Charades_v1_test.csv", "test")
    targets = official_targets(videos)
    assert targets.shape == (46_575, 157)
    assert targets.sum() == 175_341
    assert targets.mean() == pytest.approx(0.0240, abs=5e-5)
    assert targets.sum(axis=0).min() == 50


@pytest.mark.needs_shared_data
def test_other_orders_of_arithmetic_lose_real_cells(shared_data):
    videos = load_charades(None, shared_data / "charades" / "Charades_v1_test.csv", "test")
    official = official_targets(videos).reshape(-1, 25, 157)
    changed = [0, 0, 0]
    for record, truth in zip(videos.records, official, strict=True):
        length, j = record.duration_seconds, np.arange(25)
        times = [j * length / 25, j * (length / 25), j / 25 * length]
        for index, seconds in enumerate(times):
            labels = np.zeros((25, 157), dtype=bool)
            for part in record.segments:
                inside = (part.start <= seconds) & (seconds <= part.end)
                strict = (part.start < seconds) & (seconds < part.end)
                labels[strict if index == 2 else inside, part.label] = True
            changed[index] += (labels != truth).sum()
    assert changed == [12, 14, 4961]
