"""Segments as JSON, CSV and subtitles."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ssdet_cli.evaluation.segments import Segment

#: Actions that a subtitle names at a time.
_LINES = 5


def json_text(segments: Sequence[Segment], facts: Mapping[str, Any]) -> str:
    """An object of `facts` and, under `segments`, a list of `class`, `class_index`, `start`, `end`, `score`."""
    listed = [{"class": segment.label, "class_index": segment.class_index, **_numbers(segment)} for segment in segments]
    return json.dumps({**facts, "segments": listed}, indent=2, ensure_ascii=False) + "\n"


def csv_text(segments: Sequence[Segment]) -> str:
    """Columns `class,start,end,score`."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(("class", "start", "end", "score"))
    rows.writerows((segment.label, *_numbers(segment).values()) for segment in segments)
    return file.getvalue()


def srt_text(segments: Sequence[Segment]) -> str:
    """SubRip subtitles: at any time the actions that go on, the surest first."""
    return "".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n\n"
        for number, (start, end, text) in enumerate(_cues(segments, str), start=1)
    )


def vtt_text(segments: Sequence[Segment]) -> str:
    """WebVTT subtitles (W3C), as `srt_text`."""
    cues = (
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n\n" for start, end, text in _cues(segments, _escaped)
    )
    return "WEBVTT\n\n" + "".join(cues)


def _numbers(segment: Segment) -> dict[str, float]:
    return {"start": round(segment.start, 3), "end": round(segment.end, 3), "score": round(segment.score, 4)}


def _cues(segments: Sequence[Segment], written: Callable[[str], str]) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, text), milliseconds: a new cue wherever an action begins or ends, so that none overlap."""
    inside = [(round(1000 * segment.start), round(1000 * segment.end), segment) for segment in segments]
    inside.sort(key=lambda item: item[0])
    times = sorted({time for start, end, _ in inside for time in (start, end)})
    going_on: list[tuple[int, int, Segment]] = []
    waiting = 0
    for start, end in zip(times, times[1:], strict=False):
        going_on = [item for item in going_on if item[1] > start]
        while waiting < len(inside) and inside[waiting][0] <= start:
            if inside[waiting][1] > start:
                going_on.append(inside[waiting])
            waiting += 1
        if going_on:
            surest = sorted((item[2] for item in going_on), key=lambda segment: -segment.score)[:_LINES]
            yield start, end, "\n".join(written(" ".join(segment.label.split())) for segment in surest)


def _clock(milliseconds: int, point: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
