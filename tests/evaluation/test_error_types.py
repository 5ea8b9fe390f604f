"""Kinds of errors over time: by hand, and against a loop over all cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.annotations import Segment
from ssdet_cli.evaluation.error_types import CROWD, FALSE, MISSED, error_types, united
from ssdet_cli.evaluation.relations import Relations, read_mapping, relations_of_names
from ssdet_cli.evaluation.rows import Rows

NAMES = ("Holding a cup", "Washing a cup", "Holding a book", "Running")


def rows_of(videos: dict[str, tuple[np.ndarray, np.ndarray, list[Segment]]]) -> tuple[Rows, dict]:
    """Rows from id -> (times, scores, actions); an action is on at both its ends."""
    targets = []
    for seconds, scores, actions in videos.values():
        there = np.zeros(scores.shape, bool)
        for one in actions:
            there[(one.start <= seconds) & (seconds <= one.end), one.label] = True
        targets.append(there)
    numbers = np.repeat(np.arange(len(videos)), [len(seconds) for seconds, _, _ in videos.values()])
    rows = Rows(
        np.concatenate([scores for _, scores, _ in videos.values()]),
        np.concatenate(targets),
        numbers,
        video_ids=tuple(videos),
        seconds=np.concatenate([seconds for seconds, _, _ in videos.values()]),
    )
    return rows, {name: actions for name, (_, _, actions) in videos.items()}


def of_one(scores, actions, names=NAMES, thresholds=0.5):
    """Errors of one video with a row every second."""
    scores = np.array(scores, np.float64)
    rows, segments = rows_of({"v": (np.arange(float(len(scores))), scores, actions)})
    levels = np.full(len(names), thresholds) if np.isscalar(thresholds) else np.array(thresholds)
    return error_types(rows, segments, levels, relations_of_names(names))


def named(counts):
    return {kind: count for kind, count in counts.items() if count}


def test_every_kind_of_false_cell():
    cup, washing, book, running = np.eye(4)
    scores = [running, running, running, running * 0, cup, cup, cup, running, book, washing, cup * 0, cup + book]
    # holding a cup from 4 to 9: a cup at 11 is 2 s late, so no border; nothing else goes on there
    found = of_one(scores, [Segment(0, 4.0, 9.0), Segment(3, 3.0, 3.0)])
    # 2 is within 1 s of the running at 3; at 7 running is found while a cup is held
    assert named(found["false"]) == {
        "begins_early": 1,
        "same_object": 1,
        "same_verb": 1,
        "other_action": 1,
        "background": 4,
    }
    assert named(found["missed"]) == {"ends_early": 3, "whole_action": 1}
    assert (found["true_cells"], found["found_cells"], found["actions"]) == (7, 3, 2)
    assert found["related_by"] == "words"


def test_borders_reach_a_second_or_a_tenth_of_the_action():
    def late(length, seconds):
        scores = np.zeros((60, 1))
        scores[10 : 11 + length + seconds] = 1
        return named(of_one(scores, [Segment(0, 10.0, 10.0 + length)], NAMES[:1])["false"])

    assert late(5, 2) == {"ends_late": 1, "background": 1}
    assert late(30, 4) == {"ends_late": 3, "background": 1}
    scores = np.zeros((20, 1))
    scores[8:15] = 1
    assert named(of_one(scores, [Segment(0, 10.0, 14.0)], NAMES[:1])["false"]) == {"begins_early": 1, "background": 1}


def test_every_kind_of_missed_cell():
    scores = np.zeros((20, 1))
    scores[[4, 5, 8]] = 1
    found = of_one(scores, [Segment(0, 2.0, 10.0), Segment(0, 14.0, 16.0), Segment(0, 17.2, 17.8)], NAMES[:1])
    assert found["missed"] == {"begins_late": 2, "ends_early": 2, "gap": 2, "whole_action": 3}
    assert (found["found_cells"], found["actions"], found["actions_without_row"]) == (3, 2, 1)
    short, long = found["by_length"]
    assert (short["actions"], short["wholly_missed"], short["true_cells"]) == (1, 1, 3)
    assert (long["shortest_seconds"], long["longest_seconds"], long["found_cells"]) == (8.0, 8.0, 3)


def test_actions_that_touch_or_overlap_are_one():
    actions = [Segment(1, 0.0, 1.0), Segment(0, 5.0, 9.0), Segment(0, 1.0, 2.0), Segment(0, 2.0, 3.0), Segment(0, 6, 7)]
    assert united(actions) == [(0, 1.0, 3.0), (0, 5.0, 9.0), (1, 0.0, 1.0)]
    assert united([Segment(0, 3.0, 2.0)]) == []


def test_what_is_mixed_up_stands_out_from_what_is_false_everywhere():
    scores = np.zeros((40, 4))
    scores[:10, 3] = 1  # running while a cup is held
    scores[:, 2] = 1  # a book everywhere
    found = of_one(scores, [Segment(0, 0.0, 9.0), Segment(1, 20.0, 29.0)])
    first = found["mixed_up"][0]
    assert first == {"true": 0, "found": 3, "rows": 10, "expected": 2.5, "of_rows": 10}
    assert all(pair["found"] != 2 for pair in found["mixed_up"])


def test_classes_without_a_threshold_and_videos_without_scores_are_left_out():
    seconds = np.arange(4.0)
    rows, segments = rows_of(
        {
            "a": (seconds, np.ones((4, 2)), [Segment(0, 0.0, 9.0), Segment(1, 0.0, 9.0)]),
            "gone": (seconds, np.full((4, 2), -np.inf), [Segment(0, 0.0, 9.0)]),
        }
    )
    relations = relations_of_names(NAMES[:2])
    found = error_types(rows, segments, np.array([0.5, np.inf]), relations)
    assert (found["videos"], found["true_cells"], found["found_cells"]) == (1, 4, 4)
    assert sum(found["missed"].values()) == 0
    assert error_types(rows, segments, np.full(2, np.inf), relations) is None
    assert error_types(Rows(rows.scores, rows.targets, rows.videos), segments, np.ones(2), relations) is None


def plain(rows, segments, thresholds, relations):
    """All counts by a loop over cells."""
    false, missed = dict.fromkeys(FALSE, 0), dict.fromkeys(MISSED, 0)
    crowds = np.zeros((CROWD + 1, 3), int)
    for row, (scores, targets) in enumerate(zip(rows.scores, rows.targets, strict=True)):
        number, at = rows.videos[row], rows.seconds[row]
        own = np.flatnonzero(rows.videos == number)
        actions = united(segments[rows.video_ids[number]])
        level = min(int(targets.sum()), CROWD)
        crowds[level, 0] += 1
        for label, (score, there) in enumerate(zip(scores, targets, strict=True)):
            found = score >= thresholds[label]
            crowds[level, 1] += there
            mine = [(start, end) for one, start, end in actions if one == label]
            if there and not found:
                crowds[level, 2] += 1
                start, end = next(pair for pair in mine if pair[0] <= at <= pair[1])
                inside = [one for one in own if start <= rows.seconds[one] <= end and rows.targets[one, label]]
                hits = [one for one in inside if rows.scores[one, label] >= thresholds[label]]
                if not hits:
                    missed["whole_action"] += 1
                else:
                    missed["begins_late" if row < hits[0] else "ends_early" if row > hits[-1] else "gap"] += 1
            if found and not there:
                reach = [(start, end, max(1.0, (end - start) * 0.1)) for start, end in mine]
                others = np.flatnonzero(targets)
                # the zone of the later action is marked last
                near = ["begins_early" if at < start else "ends_late" for start, end, tolerance in reach
                        if start - tolerance <= at < start or end < at <= end + tolerance]  # fmt: skip
                if near:
                    false[near[-1]] += 1
                elif relations.same_object[label, others].any():
                    false["same_object"] += 1
                elif relations.same_verb[label, others].any():
                    false["same_verb"] += 1
                else:
                    false["other_action" if len(others) else "background"] += 1
    return false, missed, crowds


@st.composite
def scored_videos(draw):
    videos = {}
    for name in "ab"[: draw(st.integers(1, 2))]:
        count = draw(st.integers(1, 12))
        seconds = np.arange(count) * draw(st.sampled_from([0.5, 1.0, 1.3]))
        bits = draw(st.lists(st.booleans(), min_size=4 * count, max_size=4 * count))
        times = st.integers(0, 15).map(float)
        actions = [
            Segment(draw(st.integers(0, 3)), start, start + draw(times)) for start in draw(st.lists(times, max_size=5))
        ]
        videos[name] = (seconds, np.array(bits, np.float64).reshape(count, 4), actions)
    return videos


@settings(deadline=None, max_examples=150)
@given(scored_videos())
def test_counts_are_those_of_a_loop_over_cells(videos):
    rows, segments = rows_of(videos)
    thresholds, relations = np.full(4, 0.5), relations_of_names(NAMES)
    found = error_types(rows, segments, thresholds, relations)
    false, missed, crowds = plain(rows, segments, thresholds, relations)
    assert (found["false"], found["missed"]) == (false, missed)
    assert [
        [level["rows"], level["true_cells"], level["missed_cells"]] for level in found["by_crowd"]
    ] == crowds.tolist()
    assert sum(sum(level["false"].values()) for level in found["by_crowd"]) == sum(false.values())
    assert found["true_cells"] == rows.targets.sum() == sum(group["true_cells"] for group in found["by_length"])
    assert sum(group["actions"] for group in found["by_length"]) == found["actions"]


def test_words_of_names_stand_for_verbs_and_objects():
    shared = relations_of_names(
        ("Putting shoes somewhere", "Holding a shoe", "putting on a hat", "BasketballDunk", "x")
    )
    assert np.argwhere(shared.same_object).tolist() == [[0, 1], [1, 0]]
    assert np.argwhere(shared.same_verb).tolist() == [[0, 2], [2, 0]]
    dunk = relations_of_names(("BasketballDunk", "BasketballDribble"))
    assert dunk.same_verb.tolist() == [[False, True], [True, False]] and not dunk.same_object.any()
    alone = relations_of_names(("jump", "run", "c003"))
    assert alone.source == "" and not alone.same_verb.any()


def test_a_mapping_is_read_and_another_file_is_none(tmp_path):
    path = tmp_path / "Charades_v1_mapping.txt"
    path.write_text("c000 o000 v001\nc001 o002 v001\nc002 o002 v003\nc003 o000 v004\n")
    found = read_mapping(path, 4)
    assert isinstance(found, Relations) and (found.source, found.file) == ("mapping", path.name)
    assert np.argwhere(found.same_object).tolist() == [[1, 2], [2, 1]]  # o000 is no object
    assert np.argwhere(found.same_verb).tolist() == [[0, 1], [1, 0]]
    assert read_mapping(path, 3) is None and read_mapping(tmp_path / "absent.txt", 4) is None
    for text in ("c000 o1\n", "c001 o1 v1\n", "c000 x1 v1\n"):
        path.write_text(text)
        assert read_mapping(path, 1) is None


@pytest.mark.needs_shared_data
def test_the_official_mapping_is_read(shared_data):
    found = read_mapping(shared_data / "charades" / "Charades_v1_mapping.txt", 157)
    assert found.same_object[0, 1] and found.same_verb.any()
