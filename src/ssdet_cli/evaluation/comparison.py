"""Two evaluations of the same videos side by side: which is better, class by class, and how surely.

Paired bootstrap over videos (Koehn, EMNLP 2004; here for average precision): a draw takes as many videos as there are,
with replacement, and scores both runs on the same ones, so that what makes a video hard for both cancels. The interval
holds 95 % of the differences, less their bias (`bootstrap.interval_around`; Efron and Tibshirani, 1993, ch. 10 and 13).
The p-value is two-sided: how often a difference lies as far from the one that was found as that one lies from 0,
(1 + #{|d* - d| >= |d|}) / (1 + B) (Efron and Tibshirani, ch. 16; the ones as in Davison and Hinkley, 1997, sec. 4.2),
so at least 1 / (1 + B). Over the classes it is adjusted by Benjamini and Hochberg (1995): of the classes that are
called different at most 5 % on average are not.

Shape letters: K classes, V videos, B draws.
"""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.average_precision import mean_ap
from ssdet_cli.evaluation.bootstrap import (
    CONFIDENCE,
    Interval,
    draw_weights,
    harmonic_numbers,
    interval_around,
    weighted_precision,
)
from ssdet_cli.evaluation.ranks import ClassRanking, Ranks

#: Share of the classes called different that may be so by chance; also the limit of p for the mAP.
LEVEL = 0.05
#: Videos that a p-value needs: with five, all better by chance has the probability 2 / 2**5 > 0.05, and draws of so few
#: videos are too much alike to tell.
MIN_VIDEOS = 6
#: Differences of rounding are none.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Difference:
    """B - A, from -1 to 1.

    Attributes:
        value: AP or mAP of B less that of A.
        interval: 95 % of the draws, less their bias; None where no draw has it.
        p: Two-sided; None where fewer than `MIN_VIDEOS` videos count.
    """

    value: float
    interval: Interval | None
    p: float | None

    @property
    def at_odds(self) -> bool:
        """Whether interval and p disagree about 0."""
        if self.interval is None or self.p is None:
            return False
        return (self.p <= LEVEL) == (self.interval[0] <= 0 <= self.interval[1])


@dataclass(frozen=True)
class ClassComparison:
    """One class.

    Attributes:
        name: Of the class.
        a: AP in A; None where it is undefined.
        b: AP in B; None where it is undefined.
        videos: Videos with a positive row, the fewer of both.
        difference: None where one of both is undefined.
        p_adjusted: By Benjamini and Hochberg over the classes with a p-value.
        significant: Whether that is at most `LEVEL`.
    """

    name: str
    a: float | None
    b: float | None
    videos: int
    difference: Difference | None
    p_adjusted: float | None = None
    significant: bool = False


@dataclass(frozen=True)
class Scored:
    """What an evaluation scored, as its `metrics.json` says.

    Attributes:
        members: See `facts.MemberFacts`; none where an earlier version did not say.
        average: What was averaged of several members.
        smooth: Seconds.
    """

    members: tuple[Mapping[str, Any], ...] = ()
    average: str = "probabilities"
    smooth: float = 0.0

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> "Scored":
        """From `metrics.json`."""
        members = tuple(metrics.get("members") or ())
        return cls(members, metrics.get("average", "probabilities"), metrics.get("smooth", 0.0))


@dataclass(frozen=True)
class Comparison:
    """Two evaluations, A and B.

    Attributes:
        protocol: Of both.
        names: What A and B are called.
        mAP: Of A and of B; NaN if no class has a positive.
        difference: Of the mAP; None where one is undefined.
        classes: In class order.
        videos: V.
        samples: B.
        seed: Of the draws.
        annotations: Annotation file of A.
        annotations_sha256: Of both.
        confidence: Part of the draws in an interval.
        level: See `LEVEL`.
        notes: Sentences about what is not alike in both, and what the draws cannot tell.
        scored: What each of both scored.
    """

    protocol: str
    names: tuple[str, str]
    mAP: tuple[float, float]
    difference: Difference | None
    classes: tuple[ClassComparison, ...]
    videos: int
    samples: int
    seed: int
    annotations: str
    annotations_sha256: str
    confidence: float = CONFIDENCE
    level: float = LEVEL
    notes: tuple[str, ...] = ()
    scored: tuple[Scored, Scored] = (Scored(), Scored())

    def to_plain(self) -> dict[str, Any]:
        """Return lists, numbers and text for JSON; NaN becomes None."""
        plain = asdict(self)
        a, b = (None if np.isnan(value) else value for value in self.mAP)
        plain["mAP"] = {"a": a, "b": b}
        plain["names"] = dict(zip(("a", "b"), self.names, strict=True))
        plain["scored"] = dict(zip(("a", "b"), plain["scored"], strict=True))
        plain["correction"] = "Benjamini-Hochberg"
        return plain

    def changed(self, better: str) -> list[ClassComparison]:
        """The classes that are significantly better in "a" or "b", largest difference first."""
        sign = 1 if better == "b" else -1
        found = [row for row in self.classes if row.significant and sign * row.difference.value > 0]
        return sorted(found, key=lambda row: -abs(row.difference.value))

    def ranked(self) -> list[ClassComparison]:
        """The classes with a difference, from what B gained most to what it lost most."""
        return sorted((row for row in self.classes if row.difference), key=lambda row: -row.difference.value)


def check_pair(a: Ranks, b: Ranks, names: tuple[str, str]) -> None:
    """See that two evaluations are of the same thing.

    Raises:
        DataError: Another protocol, other annotations, classes, videos or labels.
    """
    for what, mine, yours in (
        ("protocol", a.protocol, b.protocol),
        ("annotations (SHA-256)", a.annotations_sha256 or "a folder", b.annotations_sha256 or "a folder"),
    ):
        if mine != yours:
            raise DataError(f"{names[0]} and {names[1]} differ in their {what}: {mine} and {yours}.")
    for what, mine, yours in (("class", a.classes, b.classes), ("video", a.video_ids, b.video_ids)):
        if mine != yours:
            raise DataError(_first_odd(what, mine, yours, names))
    if not np.array_equal(a.rows, b.rows):
        return
    for label, (mine, yours) in enumerate(zip(a.rankings, b.rankings, strict=True)):
        if not np.array_equal(_positive_rows(mine, len(a.rows)), _positive_rows(yours, len(a.rows))):
            raise DataError(
                f"{names[0]} and {names[1]} have other labels of the class '{a.classes[label]}' in the same rows; "
                "evaluate both with one version and the same annotations."
            )


def _first_odd(what: str, mine: tuple[str, ...], yours: tuple[str, ...], names: tuple[str, str]) -> str:
    only = [(name, 0) for name in mine if name not in set(yours)] + [
        (name, 1) for name in yours if name not in set(mine)
    ]
    plural = {"class": "classes", "video": "videos"}[what]
    if not only:
        return f"{names[0]} and {names[1]} have their {plural} in another order."
    name, holder = only[0]
    return (
        f"{names[0]} ({len(mine):,}) and {names[1]} ({len(yours):,}) are of other {plural}: '{name}' is only in "
        f"{names[holder]}; compare evaluations of the same {plural}."
    )


def compare(
    a: Ranks,
    b: Ranks,
    names: tuple[str, str],
    *,
    samples: int = 1000,
    seed: int = 0,
    annotations: str = "",
    notes: tuple[str, ...] = (),
    scored: tuple[Scored, Scored] = (Scored(), Scored()),
    advance: Callable[[int], object] = lambda classes: None,
) -> Comparison:
    """Compare two evaluations.

    Args:
        a: One.
        b: The other.
        names: What they are called.
        samples: B.
        seed: Of the draws; equal to those of `bootstrap` with this seed.
        annotations: File that is named.
        notes: Put before those that are found here.
        scored: What each of both scored, for the result.
        advance: Told how many classes are done.

    Raises:
        DataError: See `check_pair`.
    """
    check_pair(a, b, names)
    weights = draw_weights(len(a.video_ids), samples, seed)
    # (2, B, K): draws and runs that hold no positive are NaN.
    drawn = np.empty((2, samples, len(a.classes)))
    jobs = [(run, label) for label in range(len(a.classes)) for run in (0, 1)]
    harmonics = [harmonic_numbers(weights, ranks.rows) for ranks in (a, b)]

    def one(job: tuple[int, int]) -> np.ndarray:
        run, label = job
        return _drawn((a, b)[run].rankings[label], weights, harmonics[run])

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for done, ((run, label), column) in enumerate(zip(jobs, pool.map(one, jobs), strict=True), start=1):
            drawn[run, :, label] = column
            advance(done // 2)
    for part, ranks in zip(drawn, (a, b), strict=True):
        part[np.isnan(part)] = ranks.absent
    found = a.average_precision(), b.average_precision()
    rows = [_compared(label, found, drawn[:, :, label], (a, b)) for label in range(len(a.classes))]
    rows = adjusted(rows)
    means = mean_ap(found[0]), mean_ap(found[1])
    overall = _difference(means, _means(drawn), len(a.video_ids))
    return Comparison(
        protocol=a.protocol,
        names=names,
        mAP=means,
        difference=overall,
        classes=tuple(rows),
        videos=len(a.video_ids),
        samples=samples,
        seed=seed,
        annotations=annotations,
        annotations_sha256=a.annotations_sha256,
        notes=(*notes, *_remarks(a, b, rows, overall, samples)),
        scored=scored,
    )


def _drawn(ranking: ClassRanking, weights: np.ndarray, harmonic: np.ndarray) -> np.ndarray:
    if not len(ranking.positives):
        return np.full(len(weights), np.nan)
    counts = ranking.counts.astype(np.int32) if ranking.counts.max() > 1 else None
    return weighted_precision(ranking.videos, ranking.positives, weights, harmonic, counts)


def _means(drawn: np.ndarray) -> np.ndarray:
    """(2, B) mAP of (2, B, K) AP."""
    known = ~np.isnan(drawn)
    with np.errstate(invalid="ignore"):
        return np.where(known, drawn, 0).sum(axis=2) / known.sum(axis=2)


def _compared(
    label: int, found: tuple[np.ndarray, np.ndarray], drawn: np.ndarray, both: tuple[Ranks, Ranks]
) -> ClassComparison:
    aps = tuple(None if np.isnan(ap[label]) else float(ap[label]) for ap in found)
    videos = min(len(np.unique(ranks.rankings[label].videos[ranks.rankings[label].positives])) for ranks in both)
    difference = _difference((found[0][label], found[1][label]), drawn, videos)
    return ClassComparison(both[0].classes[label], *aps, videos, difference)


def _difference(values: tuple[float, float], drawn: np.ndarray, videos: int) -> Difference | None:
    """B - A of two values and their (2, B) draws."""
    value = float(values[1] - values[0])
    if np.isnan(value):
        return None
    draws = drawn[1] - drawn[0]
    draws = draws[~np.isnan(draws)]
    return Difference(
        value, interval_around(value, draws, -1.0, 1.0), p_value(value, draws) if videos >= MIN_VIDEOS else None
    )


def p_value(value: float, draws: np.ndarray) -> float:
    """Two-sided p of a difference from (B,) draws of it: (1 + #{|d* - d| >= |d|}) / (1 + B)."""
    far = np.abs(draws - value) >= abs(value) - _ROUNDING
    return float((1 + np.count_nonzero(far)) / (1 + len(draws)))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """(M,) adjusted p-values: the smallest false discovery rate at which each is a discovery."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    result = np.empty(len(p))
    result[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1)
    return result


def adjusted(rows: list[ClassComparison]) -> list[ClassComparison]:
    """The same with their p-values adjusted over all that have one."""
    tested = [number for number, row in enumerate(rows) if row.difference and row.difference.p is not None]
    found = benjamini_hochberg(np.array([rows[number].difference.p for number in tested]))
    result = list(rows)
    for number, p in zip(tested, found.tolist(), strict=True):
        result[number] = ClassComparison(**{**vars(rows[number]), "p_adjusted": p, "significant": p <= LEVEL})
    return result


def _positive_rows(ranking: ClassRanking, videos: int) -> np.ndarray:
    return np.bincount(ranking.videos[ranking.positives], minlength=videos)


def _remarks(a: Ranks, b: Ranks, rows: list[ClassComparison], overall: Difference | None, samples: int) -> list[str]:
    said = []
    if not np.array_equal(a.rows, b.rows):
        said.append(
            f"{np.count_nonzero(a.rows != b.rows):,} of {len(a.rows):,} videos have another number of rows in B than "
            f"in A (other times, or another video reader): part of the differences comes from that."
        )
    tested = [row for row in rows if row.p_adjusted is not None]
    few = sum(row.difference is not None for row in rows) - len(tested)
    if few:
        said.append(f"Classes that are in fewer than {MIN_VIDEOS} videos, too few for a p-value: {few:,}.")
    odd = [row.name for row in rows if row.difference is not None and row.difference.at_odds]
    if overall is not None and overall.at_odds:
        odd.insert(0, "mAP")
    if odd:
        named = ", ".join(odd[:3]) + (", ..." if len(odd) > 3 else "")
        said.append(
            f"Of {len(odd):,} difference{'s' if len(odd) > 1 else ''} ({named}) the interval and p disagree whether 0 "
            "is possible: go by p."
        )
    smallest = 1 / (1 + samples)
    if any(not row.significant and row.difference.p <= smallest for row in tested):
        enough = 1000 * ceil(len(tested) / LEVEL / 1000)
        said.append(
            f"With {samples:,} draws p cannot fall below {smallest:.2g}, which over {len(tested):,} classes is not "
            f"enough for one that differs on its own; --bootstrap {enough} is."
        )
    return said


def missing_remark(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence where two `metrics.json` do not miss the same videos or as many rows; nothing where they do."""
    missing = set(a["missing_videos"]), set(b["missing_videos"])
    rows = a["missing_frames"], b["missing_frames"]
    if missing[0] == missing[1]:
        if rows[0] == rows[1]:
            return ()
        return (
            f"Rows without scores: {rows[0]:,} in A and {rows[1]:,} in B; they rank last, or are in no ranking where a "
            "file leaves them out, which counts as a difference of the runs.",
        )
    odd = sorted(missing[0] ^ missing[1])
    named = ", ".join(odd[:3]) + (", ..." if len(odd) > 3 else "")
    return (
        f"Videos without scores: {len(missing[0]):,} in A and {len(missing[1]):,} in B, not the same ones ({named}); "
        "their rows rank last, which counts as a difference of the runs. Rows without scores, theirs included: "
        f"{rows[0]:,} in A and {rows[1]:,} in B.",
    )
