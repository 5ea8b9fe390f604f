"""Labelled frames, one a line, as SlowFast and PyTorchVideo list Charades (their `train.csv` and `val.csv`).

    original_vido_id video_id frame_id path labels
    AB12C 0 0 AB12C/AB12C-000001.jpg "92,147"
    AB12C 0 1 AB12C/AB12C-000002.jpg ""

Frames are those of the 24 fps release, `frame_id` counts from 0.
"""

from collections.abc import Iterator
from pathlib import Path

from ssdet_cli.data.annotations import Segment, VideoRecord
from ssdet_cli.data.flaws import UnknownClassError, refuse
from ssdet_cli.data.frame_json import known_class

FRAME_RATE = 24.0
_FIRST = "original_vido_id"


def is_frame_list(text: str) -> bool:
    """Whether the first line is the header of such a list, which misspells "video"."""
    return text.split(None, 1)[:1] == [_FIRST]


def frame_list_records(path: Path, text: str, classes: tuple[str, ...]) -> Iterator[VideoRecord]:
    """Join labelled frames into actions from the first to the last frame of each run.

    Where flaws are collected, a video with a wrong line is left out: its later frames would be at wrong times.

    Raises:
        DataError: A line is wrong; the message names it.
    """
    frames: dict[str, list[tuple[int, ...]]] = {}
    wrong: set[str] = set()
    unknown: set[tuple[str, str]] = set()
    for number, line in enumerate(text.splitlines()[1:], start=2):
        fields = line.split()
        if not fields or fields[0] in wrong:
            continue
        try:
            if len(fields) != 5:
                raise ValueError("five fields are expected, `original_vido_id video_id frame_id path labels`.")
            video = frames.setdefault(fields[0], [])
            if int(fields[2]) != len(video):
                raise ValueError(f"frame {len(video)} of '{fields[0]}' is expected, found frame {fields[2]}.")
            labels = []
            for label in filter(None, fields[4].strip('"').split(",")):
                try:
                    labels.append(known_class(int(label), classes))
                except UnknownClassError as error:
                    if (fields[0], label) not in unknown:  # a class is on for many frames
                        refuse(f"{path}, line {number}: {error}", fields[0], error)
                    unknown.add((fields[0], label))
            video.append(tuple(labels))
        except ValueError as error:
            refuse(f"{path}, line {number}: {error}", fields[0], error)
            wrong.add(fields[0])
    for name, labelled in frames.items():
        if name not in wrong:
            yield VideoRecord(name, duration_seconds=len(labelled) / FRAME_RATE, segments=tuple(_runs(labelled)))


def _runs(frames: list[tuple[int, ...]]) -> Iterator[Segment]:
    """Runs of frames of one class, by their start."""
    begun: dict[int, int] = {}
    runs = []
    for number, labels in enumerate([*frames, ()]):
        for label in [label for label in begun if label not in labels]:
            runs.append(Segment(label, begun.pop(label) / FRAME_RATE, (number - 1) / FRAME_RATE))
        for label in labels:
            begun.setdefault(label, number)
    yield from sorted(runs, key=lambda run: (run.start, run.label))
