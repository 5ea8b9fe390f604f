"""Two clips of equal length and size out of one or two videos: what a preview mixes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ssdet_cli.errors import DataError
from ssdet_cli.video.decode import VideoReader, open_video

DEFAULT_SECONDS = 8.0
MAX_FRAMES = 480
"""Bounds memory for videos of many frames per second: 480 frames of 240 x 426 pixels are 150 MB."""
_SHORT_SECONDS = 4.0
_MAX_ASPECT = 4


@dataclass(frozen=True)
class Excerpt:
    """A part of a video, decoded.

    Attributes:
        name: Class name of the part.
        path: The video.
        frames: (T, h, w, 3) uint8 RGB, both sizes even.
        source: (T,) frame numbers in the video.
        start_seconds: When the first frame appears in the video.
        end_seconds: When the last one ends.
        video_seconds: Duration of the whole video.
        video_frame_rate: Frames per second of the video.
        mirrored: The picture is flipped horizontally.
    """

    name: str
    path: Path
    frames: np.ndarray
    source: np.ndarray
    start_seconds: float
    end_seconds: float
    video_seconds: float
    video_frame_rate: float
    mirrored: bool = False


def load_pair(
    paths: Sequence[Path], *, seconds: float | None, height: int, frame_rate: float | None = None
) -> tuple[Excerpt, Excerpt]:
    """Read the item and its partner at the first video's frame rate and proportions.

    One video that is at least twice as long as the excerpt gives both from its two halves; a shorter one is mixed with
    its mirror image. A second video is sampled at the first one's times, scaled and cropped to its size. Excerpts come
    from the middle of their video or half.

    Args:
        paths: One or two videos.
        seconds: Longest excerpt; None: 8 s, or half of a single video that lasts between 4 and 16 s.
        height: Pixels of the frames; the width follows the first video and is even.
        frame_rate: Frames per second, for folders of JPEG frames only.

    Returns:
        Two excerpts of equal T, h, w.

    Raises:
        DataError: A video is missing, unreadable, or has fewer than two frames.
    """
    with open_video(paths[0], frame_rate=frame_rate) as first:
        _check_length(first)
        size = _frame_size(first, height)
        if len(paths) == 1:
            return _from_one(first, seconds, size, frame_rate)
    with open_video(paths[1], frame_rate=frame_rate) as second:
        _check_length(second)
    longest = min(seconds or DEFAULT_SECONDS, first.duration_seconds, second.duration_seconds)
    count = _frame_count(longest, first)
    own = _contiguous(first, (first.num_frames - count) // 2, count)
    begin = max(0.0, (second.duration_seconds - count / first.frame_rate) / 2)
    with open_video(paths[1], frame_rate=frame_rate) as second:
        other = second.indices_at(begin + np.arange(count) / first.frame_rate)
    names = class_names(paths[0], paths[1])
    return (
        _read(first, own, size, names[0], frame_rate),
        _read(second, other, size, names[1], frame_rate),
    )


def class_names(first: Path, second: Path | None = None, suffix: str = "") -> tuple[str, str]:
    """Return the two class names: file stems, told apart from each other and from "background"."""
    name = _stem(first)
    partner = f"{name} ({suffix})" if second is None else _stem(second)
    return name, f"{partner} (2)" if partner == name else partner


def _stem(path: Path) -> str:
    return "background (clip)" if path.stem == "background" else path.stem


def _check_length(video: VideoReader) -> None:
    if video.num_frames < 2:
        raise DataError(f"{video.path}: has {video.num_frames} frame(s); a preview needs at least 2.")


def _frame_size(video: VideoReader, height: int) -> tuple[int, int]:
    high = 2 * round(height / 2)
    wide = 2 * round(high * video.width / video.height / 2)
    return int(np.clip(wide, 16, _MAX_ASPECT * high)), high


def _frame_count(seconds: float, video: VideoReader) -> int:
    return int(np.clip(round(seconds * video.frame_rate), 2, min(video.num_frames, MAX_FRAMES)))


def _contiguous(video: VideoReader, start: int, count: int) -> np.ndarray:
    return np.arange(start, start + count).clip(0, video.num_frames - 1)


def _from_one(
    video: VideoReader, seconds: float | None, size: tuple[int, int], frame_rate: float | None
) -> tuple[Excerpt, Excerpt]:
    half = video.num_frames // 2
    longest = seconds or DEFAULT_SECONDS
    if seconds is None and video.duration_seconds >= _SHORT_SECONDS:
        longest = min(longest, half / video.frame_rate)
    count = _frame_count(longest, video)
    if 2 * count > video.num_frames:
        names = class_names(video.path, suffix="mirrored")
        own = _read(video, _contiguous(video, (video.num_frames - count) // 2, count), size, names[0], frame_rate)
        return own, _mirror(own, names[1])
    names = class_names(video.path, suffix="2nd half")
    starts = (half - count) // 2, half + (video.num_frames - half - count) // 2
    own, other = (_contiguous(video, start, count) for start in starts)
    both = _read(video, np.concatenate([own, other]), size, names[0], frame_rate)
    return _cut(video, both, 0, count, names[0]), _cut(video, both, count, 2 * count, names[1])


def _mirror(clip: Excerpt, name: str) -> Excerpt:
    return replace(clip, name=name, frames=np.ascontiguousarray(clip.frames[:, :, ::-1]), mirrored=True)


def _cut(video: VideoReader, clip: Excerpt, begin: int, end: int, name: str) -> Excerpt:
    source = clip.source[begin:end]
    start_seconds, end_seconds = _span(video, source)
    return replace(
        clip,
        name=name,
        frames=clip.frames[begin:end],
        source=source,
        start_seconds=start_seconds,
        end_seconds=end_seconds,
    )


def _span(video: VideoReader, source: np.ndarray) -> tuple[float, float]:
    start, end = video.seconds([source[0], source[-1] + 1])
    return float(start), float(end)


def _read(
    video: VideoReader, source: np.ndarray, size: tuple[int, int], name: str, frame_rate: float | None
) -> Excerpt:
    scale = max(size[0] / video.width, size[1] / video.height)
    short = max(2, math.ceil(min(video.width, video.height) * scale))
    with open_video(video.path, frame_rate=frame_rate, short_side=short) as reader:
        frames = reader.frames(source)
    span = _span(video, source)
    return Excerpt(name, video.path, _fit(frames, size), source, *span, video.duration_seconds, video.frame_rate)


def _fit(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale and crop to `size` (width, height), filling it."""
    if frames.shape[1:3] == (size[1], size[0]):
        return frames
    fitted = (ImageOps.fit(Image.fromarray(frame), size, Image.Resampling.BICUBIC) for frame in frames)
    return np.stack([np.asarray(frame) for frame in fitted])
