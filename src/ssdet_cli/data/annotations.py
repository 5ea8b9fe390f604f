"""What a dataset is to the rest of ssdet: videos, class names, labels in seconds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from ssdet_cli.errors import DataError

#: One class for each clip, or actions with begin and end.
Labels = Literal["weak", "frame"]


@dataclass(frozen=True)
class Segment:
    """One action in a video: class index from 0, closed interval in seconds."""

    label: int
    start: float
    end: float


@dataclass(frozen=True)
class VideoRecord:
    """One video and what is known about it; nothing is decoded to make it.

    Attributes:
        video_id: Unique name.
        path: Video file or folder of numbered frames; None where only annotations are known.
        duration_seconds: As the annotation says; None where it does not.
        segments: Frame-level labels (empty for a weakly labelled clip, and for a video without actions).
        label: Video-level class (weak labels); None for frame-labelled sets.
        start_seconds: Where the used part of the file begins.
        end_seconds: Where it ends; None is the end of the file.
    """

    video_id: str
    path: Path | None = None
    duration_seconds: float | None = None
    segments: tuple[Segment, ...] = ()
    label: int | None = None
    start_seconds: float = 0.0
    end_seconds: float | None = None


@dataclass(frozen=True)
class VideoSet:
    """One split of a dataset.

    Attributes:
        name: Dataset and split, for messages.
        classes: Class names in index order, background not among them.
        records: In annotation order.
        source: Annotation file or folder.
        sha256: Of the annotation file; empty for a folder.
        notes: One sentence per oddity that loading met (segments dropped, ...), for the log.
    """

    name: str
    classes: tuple[str, ...]
    records: tuple[VideoRecord, ...]
    source: Path
    sha256: str = ""
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.records)


def check_labels(videos: VideoSet, wanted: Labels, command: str) -> None:
    """Refuse a set whose labels are of the other kind.

    Raises:
        DataError: It is; the message says what it holds and what `command` needs.
    """
    labelled = sum(record.label is not None for record in videos.records)
    if labelled != (len(videos) if wanted == "weak" else 0):
        raise DataError(unfit_labels(f"{videos.name} ({videos.source})", wanted, command))


def unfit_labels(what: str, wanted: Labels, command: str) -> str:
    """Say that `what` has labels of the other kind, and which would be right."""
    if wanted == "weak":
        return (
            f"{what} has labels in seconds, and `ssdet {command}` needs one class for each clip: a folder per class, "
            "or a list of path,label (--data). Labels in seconds go to `ssdet finetune`."
        )
    return (
        f"{what} has one class for each clip, and `ssdet {command}` needs labels in seconds: --dataset charades, "
        "multithumos, tsu, csv or json with --annotations FILE, or the dense folder of a generated set. Clips with one "
        "class go to `ssdet pretrain`."
    )


def rasterize(
    segments: tuple[Segment, ...], seconds: np.ndarray, num_classes: int, *, closed: bool = True
) -> np.ndarray:
    """Turn segments into labels at given times.

    Args:
        segments: Of one video. Segments with end <= start never match where `closed` is False; end < start never.
        seconds: (L,) times.
        num_classes: K.
        closed: True is `start <= t <= end` (the official Charades script); False is `start < t < end` (the
            per-frame literature).

    Returns:
        (K, L) bool; several segments of one class are united.
    """
    labels = np.zeros((num_classes, len(seconds)), dtype=bool)
    for segment in segments:
        if closed:
            labels[segment.label] |= (segment.start <= seconds) & (seconds <= segment.end)
        else:
            labels[segment.label] |= (segment.start < seconds) & (seconds < segment.end)
    return labels
