"""What kinds of errors detections make over time.

A cell is one class in one ranked row. It is found where its score is the threshold of its class or more. A found cell
without the action is false, one with the action that is not found is missed; every false and every missed cell is of
one kind. Actions of one class that touch or overlap are taken as one.

Shape letters: N rows, L rows of some videos, K classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssdet_cli.evaluation.interface import SegmentLike
from ssdet_cli.evaluation.relations import Relations
from ssdet_cli.evaluation.rows import Rows

#: A false cell is at a border of an action that is no farther away than this part of the action's length ...
TOLERANCE = 0.1
#: ... or than so many seconds, whichever is more.
TOLERANCE_SECONDS = 1.0
#: Kinds of false cells; the first that fits counts.
FALSE = ("begins_early", "ends_late", "same_object", "same_verb", "other_action", "background")
#: Kinds of missed cells.
MISSED = ("begins_late", "ends_early", "gap", "whole_action")
#: Rows with so many actions or more are counted together.
CROWD = 4
#: Pairs of classes that are listed.
PAIRS = 12
#: That are looked at together, and the rest of their last video.
_ROWS = 2**14
_EARLY, _LATE, _BACKGROUND = 1, 2, FALSE.index("background")


@dataclass
class _Counts:
    """Sums over videos.

    Attributes:
        false: (CROWD + 1, kinds) false cells by the number of actions going on.
        cells: (CROWD + 1, 3) rows, cells with the action, missed cells.
        actions: Per action: seconds, cells, found cells, missed cells by kind, false cells before and behind it.
        mixed: (K, K) rows in which the first class goes on and the second is false, away from its own actions.
        going: (K,) rows in which a class goes on.
        strayed: (K,) rows in which a class is false, away from its own actions.
        unseen: Actions without a row.
    """

    false: np.ndarray
    cells: np.ndarray
    actions: list[tuple[float, ...]]
    mixed: np.ndarray
    going: np.ndarray
    strayed: np.ndarray
    unseen: int = 0


def error_types(
    rows: Rows, segments: Mapping[str, Sequence[SegmentLike]], thresholds: np.ndarray, relations: Relations
) -> dict[str, Any] | None:
    """Sort the errors, as numbers plain enough for JSON; None where rows are no moments or no class has a threshold.

    Videos without any score are left out: all their actions are missed, and nothing else is to be said of them.

    Args:
        rows: With video_ids and seconds.
        segments: Video id -> its actions.
        thresholds: (K,) scores from which on a class is found; +inf for a class that is not looked at.
        relations: What classes share.
    """
    if not rows.video_ids or rows.seconds is None or not np.isfinite(thresholds).any():
        return None
    classes = rows.scores.shape[1]
    total = _Counts(
        np.zeros((CROWD + 1, len(FALSE)), np.int64),
        np.zeros((CROWD + 1, 3), np.int64),
        [],
        np.zeros((classes,) * 2),
        np.zeros(classes, np.int64),
        np.zeros(classes, np.int64),
    )
    looked = np.isfinite(thresholds)
    # One product for both: the verb's columns stand beside the object's.
    shared = np.concatenate((relations.same_object, relations.same_verb), axis=1).astype(np.float32)
    videos = 0
    for block in _blocks(rows):
        found, targets = rows.scores[block] >= thresholds, rows.targets[block]
        zone, kept = np.zeros(found.shape, np.int8), np.zeros(len(found), bool)
        for number, part in video_parts(rows.videos[block]):
            if np.isneginf(rows.scores[block][part]).all():
                continue
            videos += 1
            kept[part] = True
            for label, start, end in united(segments[rows.video_ids[number]]):
                if looked[label]:
                    cells = found[part, label], targets[part, label], zone[part, label]
                    _add_action(total, *cells, rows.seconds[block][part], start, end)
        if not kept.all():
            found, targets, zone = found[kept], targets[kept], zone[kept]
        _add(total, found, targets, zone, looked, shared)
    return {"videos": videos, **_plain(total, relations)}


def _blocks(rows: Rows) -> Iterator[slice]:
    """Whole videos, some tens of thousands of rows at once: products of few rows cost more than they compute."""
    first = 0
    for _, part in video_parts(rows.videos):
        if part.stop - first >= _ROWS:
            yield slice(first, part.stop)
            first = part.stop
    if first < len(rows.videos):
        yield slice(first, len(rows.videos))


def video_parts(videos: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield (number of the video, its rows) from (N,) rising numbers."""
    edges = np.flatnonzero(np.diff(videos, prepend=-1, append=-1)) if len(videos) else np.zeros(1, np.int64)
    for first, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        yield int(videos[first]), slice(first, stop)


def united(segments: Sequence[SegmentLike]) -> list[tuple[int, float, float]]:
    """(class, start, end) of actions by class and start, those of one class that touch or overlap as one."""
    found: list[tuple[int, float, float]] = []
    for label, start, end in sorted((one.label, one.start, one.end) for one in segments if one.end >= one.start):
        if found and found[-1][0] == label and start <= found[-1][2]:
            found[-1] = (label, found[-1][1], max(end, found[-1][2]))
        else:
            found.append((label, start, end))
    return found


def _add(
    total: _Counts, found: np.ndarray, targets: np.ndarray, zone: np.ndarray, looked: np.ndarray, shared: np.ndarray
) -> None:
    """Count the (L, K) cells of some videos."""
    false, missed = found & ~targets, targets & ~found & looked
    crowd = targets.sum(axis=1)
    level = np.minimum(crowd, CROWD)
    total.cells[:, 0] += np.bincount(level, minlength=CROWD + 1)
    for column, cells in ((1, targets & looked), (2, missed)):
        total.cells[:, column] += np.bincount(level, cells.sum(axis=1), CROWD + 1).astype(np.int64)
    there = targets.astype(np.float32)
    row, label = np.nonzero(false)
    kind = np.full(len(row), _BACKGROUND)
    kind[crowd[row] > 0] = FALSE.index("other_action")
    related = there @ shared > 0
    kind[related[row, label + found.shape[1]]] = FALSE.index("same_verb")
    kind[related[row, label]] = FALSE.index("same_object")
    border = zone[row, label]
    kind[border == _EARLY] = FALSE.index("begins_early")
    kind[border == _LATE] = FALSE.index("ends_late")
    total.false += np.bincount(level[row] * len(FALSE) + kind, minlength=total.false.size).reshape(total.false.shape)
    stray = false & (zone == 0)
    total.mixed += there.T @ stray.astype(np.float32)
    total.going += targets.sum(axis=0)
    total.strayed += stray.sum(axis=0)


def _add_action(
    total: _Counts,
    found: np.ndarray,
    targets: np.ndarray,
    zone: np.ndarray,
    seconds: np.ndarray,
    start: float,
    end: float,
) -> None:
    """Count the (L,) cells of one action, and mark those around it in `zone`."""
    reach = max(TOLERANCE_SECONDS, TOLERANCE * (end - start))
    before, first = np.searchsorted(seconds, (start - reach, start))
    stop, behind = np.searchsorted(seconds, (end, end + reach), "right")
    zone[before:first] = _EARLY
    zone[stop:behind] = _LATE
    early, late = (int((found[part] & ~targets[part]).sum()) for part in (slice(before, first), slice(stop, behind)))
    on = found[first:stop][targets[first:stop]]
    if not len(on):
        total.unseen += 1
        return
    hits = np.flatnonzero(on)
    if len(hits):
        missed = int(hits[0]), len(on) - 1 - int(hits[-1]), int(hits[-1] - hits[0]) + 1 - len(hits), 0
    else:
        missed = 0, 0, 0, len(on)
    total.actions.append((end - start, len(on), len(hits), *missed, early, late))


def _plain(total: _Counts, relations: Relations) -> dict[str, Any]:
    actions = np.array(total.actions, np.float64).reshape(-1, 5 + len(MISSED))
    cells = actions[:, 1:].sum(axis=0).astype(np.int64).tolist()
    return {
        "related_by": relations.source,
        "mapping": relations.file,
        "tolerance": {"part": TOLERANCE, "seconds": TOLERANCE_SECONDS},
        "true_cells": cells[0],
        "found_cells": cells[1],
        "missed": dict(zip(MISSED, cells[2 : 2 + len(MISSED)], strict=True)),
        "false": dict(zip(FALSE, total.false.sum(axis=0).tolist(), strict=True)),
        "actions": len(actions),
        "actions_without_row": total.unseen,
        "by_length": _by_length(actions),
        "by_crowd": [
            {
                "actions_at_once": level,
                "rows": int(total.cells[level, 0]),
                "true_cells": int(total.cells[level, 1]),
                "missed_cells": int(total.cells[level, 2]),
                "false": dict(zip(FALSE, total.false[level].tolist(), strict=True)),
            }
            for level in range(CROWD + 1)
        ],
        "mixed_up": _mixed_up(total),
    }


def _by_length(actions: np.ndarray) -> list[dict[str, Any]]:
    """Thirds of the actions by their length; equal lengths stay together, a third that is empty is left out."""
    if not len(actions):
        return []
    short, middle = np.quantile(actions[:, 0], (1 / 3, 2 / 3), method="inverted_cdf")
    lengths = actions[:, 0]
    groups = (lengths <= short, (lengths > short) & (lengths <= middle), lengths > middle)
    found = []
    for inside in groups:
        part = actions[inside]
        if not len(part):
            continue
        sums = part.sum(axis=0).astype(np.int64).tolist()
        found.append(
            {
                "shortest_seconds": round(float(part[:, 0].min()), 3),
                "longest_seconds": round(float(part[:, 0].max()), 3),
                "actions": len(part),
                "wholly_missed": int((part[:, 2] == 0).sum()),
                "true_cells": sums[1],
                "found_cells": sums[2],
                "missed": dict(zip(MISSED, sums[3 : 3 + len(MISSED)], strict=True)),
                "false": dict(zip(FALSE[:2], sums[3 + len(MISSED) :], strict=True)),
            }
        )
    return found


def _mixed_up(total: _Counts) -> list[dict[str, float]]:
    """The pairs with the most rows beyond what there would be if a class were false in all rows equally often."""
    expected = total.going[:, None] * total.strayed / max(int(total.cells[:, 0].sum()), 1)
    beyond = total.mixed - expected
    order = np.argsort(-beyond, axis=None, kind="stable")[:PAIRS]
    pairs = (np.unravel_index(place, beyond.shape) for place in order)
    return [
        {
            "true": int(true),
            "found": int(found),
            "rows": int(total.mixed[true, found]),
            "expected": round(float(expected[true, found]), 1),
            "of_rows": int(total.going[true]),
        }
        for true, found in pairs
        if beyond[true, found] > 0
    ]
