"""What is behind an evaluation's score: gathers what `evaluation.analysis` looks at. No torch."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssdet_cli.config.commands import FrameLabelledData
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.statistics import FRAME_RATE, Actions, FrameRuns
from ssdet_cli.errors import SsdetError
from ssdet_cli.evaluation.analysis import Analysis, Training, analyse
from ssdet_cli.evaluation.interface import EvaluationProtocol, EvaluationResult
from ssdet_cli.evaluation.relations import Relations, read_mapping
from ssdet_cli.evaluation.rows import Rows


def training_split(data: FrameLabelledData) -> VideoSet | None:
    """The annotations of the training split; None where there is none.

    Videos are looked for only by datasets that are nothing without them.
    """
    for videos in dict.fromkeys((None, data.videos)):
        with suppress(SsdetError):
            return DATASETS.get(data.dataset)(videos, data.annotations, "train")
    return None


def analysis_of(
    rows: Rows | None,
    trained: VideoSet | None,
    protocol: EvaluationProtocol,
    videos: VideoSet,
    predictions: Mapping[str, np.ndarray],
    seconds: Mapping[str, np.ndarray] | None,
    result: EvaluationResult,
) -> Analysis:
    """Look behind the score of predictions.

    Args:
        rows: That the protocol ranks; None where it ranks none.
        trained: Training split of the same annotations, see `training_split`.
        protocol: That scored.
        videos: The annotations.
        predictions: As they were scored.
        seconds: Their times.
        result: Of the protocol.
    """
    notes = ()
    if rows is None and (frame_rows := getattr(protocol, "frame_rows", None)) is not None:
        rows = frame_rows(videos, predictions, seconds)
        notes = (f"{protocol.name} ranks no rows: below, every predicted row is looked at, as frame-map does.",)
    return analyse(
        rows,
        videos,
        result.per_class_AP,
        training=_training(trained, videos, result),
        relations=_relations(videos),
        notes=notes,
    )


def _training(found: VideoSet | None, videos: VideoSet, result: EvaluationResult) -> Training:
    """Frames of each class in the training split of the same annotations; positives of the scored set without one."""
    scored = {record.video_id for record in videos.records}
    if found is None or found.classes != videos.classes or any(one.video_id in scored for one in found.records):
        return Training(result.positives, "positives", "the scored videos, as no training split of theirs was found")
    runs = FrameRuns.of(Actions.of([_with_length(record) for record in found.records], len(found.classes)))
    frames = tuple(runs.frames_of_classes(len(found.classes)).tolist())
    return Training(frames, f"training frames at {FRAME_RATE:g} a second", f"{len(found):,} videos ({found.name})")


def _with_length(record: VideoRecord) -> VideoRecord:
    """Frames are counted up to a video's end: where none is known, that is the end of its last action."""
    if record.duration_seconds is not None:
        return record
    return replace(record, duration_seconds=max((one.end for one in record.segments), default=0.0))


def _relations(videos: VideoSet) -> Relations | None:
    """Of the only `*_mapping.txt` beside the annotations, if it is of these classes."""
    folder = videos.source if videos.source.is_dir() else videos.source.parent
    files: list[Path] = sorted(folder.glob("*_mapping.txt"))
    return read_mapping(files[0], len(videos.classes)) if len(files) == 1 else None
