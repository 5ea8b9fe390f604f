"""`ranks.npz`: the order in which an evaluation ranked its rows, all that AP under any weights of the videos needs.

Rows behind the last positive of a class change nothing, and of the rows between two positives only how many there are
of each video. So a class is a list of entries (video, rows) from the best score on, in which a positive is an entry
of its own. Scores are not kept.

Shape letters: N rows, K classes, V videos, E entries of a class, P of them positive.
"""

import io
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.average_precision import THREADS, ranking, sort_keys
from ssdet_cli.evaluation.rows import Rows

#: Name in the folder of an evaluation.
FILE = "ranks.npz"
#: Of the file's layout; a reader refuses others.
FORMAT = 1
#: N times K that are kept at most: a file of 250 MB. Every frame of the Charades test set makes 210 million.
LIMIT = 2**28
_KEYS = ("protocol", "annotations_sha256", "classes", "video_ids", "rows", "absent")


@dataclass(frozen=True)
class ClassRanking:
    """One class from its best row to its last positive.

    Attributes:
        videos: (E,) unsigned, number of a video.
        counts: (E,) unsigned, rows of that video in a row; 1 at a positive.
        positives: (P,) where positives stand, rising.
    """

    videos: np.ndarray
    counts: np.ndarray
    positives: np.ndarray

    def average_precision(self) -> float:
        """The AP that `average_precision` gives to the rows; NaN without a positive."""
        if not len(self.positives):
            return float("nan")
        rank = np.cumsum(self.counts, dtype=np.int64)[self.positives]
        return float(np.mean(np.arange(1, len(rank) + 1) / rank))


@dataclass(frozen=True)
class Ranks:
    """What `ranks.npz` holds.

    Attributes:
        protocol: Name of the protocol.
        annotations_sha256: Of the annotation file; empty where it is a folder.
        classes: K names.
        video_ids: V names.
        rows: (V,) int64, rows of each video.
        absent: AP of a class without a positive row; NaN leaves it out of the mean.
        rankings: One of each class.
    """

    protocol: str
    annotations_sha256: str
    classes: tuple[str, ...]
    video_ids: tuple[str, ...]
    rows: np.ndarray
    absent: float
    rankings: tuple[ClassRanking, ...]

    def average_precision(self) -> np.ndarray:
        """(K,) AP of each class; one without a positive has `absent`."""
        found = np.array([one.average_precision() for one in self.rankings])
        return np.where(np.isnan(found), self.absent, found)

    def to_bytes(self) -> bytes:
        """Content of the file.

        `videos` holds the entries of all classes behind each other, each as its difference to the one before it (in
        unsigned arithmetic, which wraps): that packs to half the size. `positive` holds a bit for each entry.
        """
        lengths = np.array([len(one.videos) for one in self.rankings], np.int64)
        videos, counts = (
            np.concatenate([np.zeros(0, np.uint8), *(getattr(one, name) for one in self.rankings)])
            for name in ("videos", "counts")
        )
        positive = np.zeros(len(videos), bool)
        for first, one in zip(np.cumsum(lengths) - lengths, self.rankings, strict=True):
            positive[first + one.positives] = True
        file = io.BytesIO()
        np.savez_compressed(
            file,
            format=FORMAT,
            **{name: getattr(self, name) for name in _KEYS},
            entries=lengths,
            videos=np.diff(videos, prepend=videos.dtype.type(0)),
            counts=counts,
            positive=np.packbits(positive),
        )
        return file.getvalue()


def too_large(rows: Rows) -> bool:
    """Whether there is more than `LIMIT` to rank."""
    return rows.scores.size > LIMIT


def rank_rows(rows: Rows, protocol: str, classes: tuple[str, ...], annotations_sha256: str) -> Ranks:
    """Rank what a protocol ranks, equal scores in row order.

    Args:
        rows: Of a protocol that tells the `video_ids`.
        protocol: Its name.
        classes: K names.
        annotations_sha256: Of the annotation file.

    Raises:
        ValueError: See `average_precision`.
    """
    count = len(rows.video_ids)
    number = partial(_ranked, videos=rows.videos, kind=np.min_scalar_type(max(count - 1, 0)), count=count)
    found: list[ClassRanking] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for _, keys, positive in sort_keys(rows.scores, rows.targets):
            found += pool.map(number, keys, positive)
    lengths = np.bincount(rows.videos, minlength=count)
    return Ranks(protocol, annotations_sha256, tuple(classes), rows.video_ids, lengths, rows.absent, tuple(found))


def _ranked(keys: np.ndarray, positive: np.ndarray, videos: np.ndarray, kind: np.dtype, count: int) -> ClassRanking:
    order = ranking(keys)
    is_positive = positive[order]
    at = np.flatnonzero(is_positive)
    if not at.size:
        nothing = np.zeros(0, kind)
        return ClassRanking(nothing, np.zeros(0, np.uint8), at)
    last = at[-1] + 1
    is_positive = is_positive[:last]
    # One number sorts by the positives before a row, then positives last, then by video.
    before = np.cumsum(is_positive) - is_positive
    entries, counts = np.unique((2 * before + is_positive) * count + videos[order[:last]], return_counts=True)
    number, video = np.divmod(entries, count)
    return ClassRanking(video.astype(kind), counts.astype(np.min_scalar_type(counts.max())), np.flatnonzero(number & 1))


def read_ranks(path: Path) -> Ranks:
    """Read `ranks.npz`.

    Raises:
        DataError: It is damaged, or of another format.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = int(file["format"])
            if found != FORMAT:
                raise DataError(
                    f"{path} has format {found}, this version reads format {FORMAT}: evaluate again with it."
                )
            lengths, videos, counts = file["entries"], file["videos"], file["counts"]
            videos = np.cumsum(videos, dtype=videos.dtype)
            positive = np.unpackbits(file["positive"], count=len(videos)).astype(bool)
            text = {name: tuple(file[name].tolist()) for name in ("classes", "video_ids")}
            ends = np.cumsum(lengths)
            if not len(videos) == len(counts) == ends[-1] or len(lengths) != len(text["classes"]):
                raise ValueError("its parts do not fit each other")
            if videos.size and videos.max() >= len(text["video_ids"]):
                raise ValueError("it names a video that it does not list")
            parts = [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]
            return Ranks(
                protocol=str(file["protocol"]),
                annotations_sha256=str(file["annotations_sha256"]),
                rows=file["rows"],
                absent=float(file["absent"]),
                rankings=tuple(
                    ClassRanking(videos[part], counts[part], np.flatnonzero(positive[part])) for part in parts
                ),
                **text,
            )
    except (OSError, EOFError, KeyError, IndexError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is damaged ({reason}): evaluate again.") from error
