"""Labelled frames, one a line, as SlowFast and PyTorchVideo list Charades (their `train.csv` and `val.csv`).

    original_vido_id video_id frame_id path labels
    AB12C 0 0 AB12C/AB12C-000001.jpg "92,147"
    AB12C 0 1 AB12C/AB12C-000002.jpg ""

Frames are those of the 24 fps release, `frame_id` counts from 0.
"""

from collections.abc import Iterator
from pathlib import Path

from ssdet_cli.data.annotations import Segment, VideoRecord
from ssdet_cli.data.frame_json import known_class
from ssdet_cli.errors import DataError

FRAME_RATE = 24.0
_FIRST = "original_vido_id"


def is_frame_list(text: str) -> bool:
    """Whether the first line is the header of such a list, which misspells "video"."""
    return text.split(None, 1)[:1] == [_FIRST]


def frame_list_records(path: Path, text: str, classes: tuple[str, ...]) -> Iterator[VideoRecord]:
    """Join labelled frames into actions from the first to the last frame of each run.

    Raises:
        DataError: A line is wrong; the message names it.
    """
    frames: dict[str, list[tuple[int, ...]]] = {}
    for number, line in enumerate(text.splitlines()[1:], start=2):
        fields = line.split()
        if not fields:
            continue
        try:
            if len(fields) != 5:
                raise ValueError("five fields are expected, `original_vido_id video_id frame_id path labels`.")
            video = frames.setdefault(fields[0], [])
            if int(fields[2]) != len(video):
                raise ValueError(f"frame {len(video)} of '{fields[0]}' is expected, found frame {fields[2]}.")
            labels = [label for label in fields[4].strip('"').split(",") if label]
            video.append(tuple(known_class(int(label), classes) for label in labels))
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
    for name, labelled in frames.items():
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
