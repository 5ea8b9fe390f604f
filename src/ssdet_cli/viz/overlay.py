"""A video with what was found in it: the picture, the actions of the moment, and rows of scores with a playhead."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from ssdet_cli.errors import DataError
from ssdet_cli.video.stream import AvStream, FolderStream, Picture, open_stream
from ssdet_cli.video.write import write_timed_video
from ssdet_cli.viz.score_band import ScoreBand
from ssdet_cli.viz.score_bins import Found, check_scores, scored_span

#: Pictures are enlarged to this width, but not beyond this height, so that names beside them can be read.
_LEAST_WIDTH, _MOST_HEIGHT = 480, 720


def write_overlay(
    path: Path,
    video: str | os.PathLike[str],
    *,
    scores: np.ndarray,
    seconds: np.ndarray,
    classes: Sequence[str],
    segments: Sequence[Found],
    top_k: int = 5,
    start: float = 0.0,
    end: float | None = None,
    frame_rate: float | None = None,
) -> None:
    """Write an MP4 file (H.264) of a video's frames over their scores, without sound.

    Every frame is shown as long as in the video, also where its rate varies, upright and in its own size; narrow
    pictures are enlarged. One frame is in memory at a time. The file appears under its name when it is complete.

    Args:
        path: Its folder is made.
        video: What was scored.
        scores: (T, K) in [0, 1]; NaN is a frame without a score. May be mapped from a file: it is read part by part.
        seconds: (T,) start of every scored frame in the video, rising.
        classes: K names.
        segments: What was found, see `score_bins.Found`.
        top_k: Rows: of each minute the classes with segments first, then by their highest score.
        start: From the frame that is on screen at this time, seconds.
        end: Up to this time, seconds; None is the end.
        frame_rate: Frames per second of a folder of frames.

    Raises:
        ValueError: Scores, times and classes do not fit each other, or `top_k` is below 1.
        ConfigError: A folder without `frame_rate`.
        DataError: The video cannot be read, or has no frame between `start` and `end`.
        SsdetError: The file cannot be written.
    """
    check_scores(scores, seconds, classes, top_k)
    with open_stream(os.fspath(video), frame_rate=frame_rate) as stream:
        shown = _cut(stream, start, end)
        with contextlib.closing(shown):
            first = next(shown, None)
            if first is None:
                until = "its end" if end is None else f"{end:g} s"
                raise DataError(f"{video}: has no frame between {start:g} s and {until}.")
            size = _shown_size(*first[2].read().shape[:2])
            last = end if end is not None else stream.duration or scored_span(seconds, 0.0)[1]
            band = ScoreBand(
                scores,
                seconds,
                classes,
                segments,
                span=(start, max(last, start + 1e-3)),
                picture_size=size,
                rows=min(top_k, len(classes)),
                title=Path(video).name,
                slack=1e-6 + stream.rounding,
            )
            frames = (
                (begin - start, until - begin, band.frame(begin, _resized(one.read(), size)))
                for begin, until, one in chain([first], shown)
            )
            write_timed_video(path, frames, 1 / first[2].lasts, preset="veryfast")


def _cut(stream: AvStream | FolderStream, start: float, end: float | None) -> Iterator[tuple[float, float, Picture]]:
    """Yield (from when, until when, picture) of what is on screen in [start, end)."""
    slack = 1e-6 + stream.rounding
    held: Picture | None = None
    with contextlib.closing(stream.pictures(start)) as pictures:
        for picture in pictures:
            over = end is not None and picture.seconds >= end - slack
            if held is not None and picture.seconds > start + slack:
                yield max(held.seconds, start), end if over else picture.seconds, held
            if over:
                return
            held = picture
    if held is not None and held.seconds + held.lasts > start + slack:
        until = held.seconds + held.lasts
        yield max(held.seconds, start), until if end is None else min(until, end), held


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """Return (width, height) at which a picture is shown."""
    factor = max(1.0, min(_LEAST_WIDTH / width, _MOST_HEIGHT / height))
    return round(width * factor), round(height * factor)


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture in the shown size (width, height), which all have: a stream may change its own."""
    if picture.shape[1::-1] == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
