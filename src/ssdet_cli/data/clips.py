"""Videos -> samples: which frames, which crop, which labels. Runs in the loader's workers.

A sample depends on (seed, epoch, index) alone, not on the worker that makes it nor on what was read before, so that a
resumed run sees the clips that an uninterrupted one would.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet, rasterize
from ssdet_cli.errors import DataError
from ssdet_cli.video.decode import VideoReader, open_video
from ssdet_cli.video.sampling import centre_window, random_window, whole_video_indices, window_indices
from ssdet_cli.video.transforms import centre_crop_box, crop_resize, flip, random_crop_box

#: A training clip is replaced by another this many times in a row before the run gives up.
MAX_REPLACEMENTS = 20


@dataclass(frozen=True)
class Sample:
    """One clip as a worker makes it; fields as in `VideoBatch`, without the batch dimension."""

    video_id: str
    frames: Tensor
    backend: str
    labels: Tensor | None = None
    valid: Tensor | None = None
    frame_seconds: Tensor | None = None
    label_seconds: Tensor | None = None
    lengths: Tensor | None = None
    failures: tuple[tuple[str, str], ...] = ()


def collate(samples: list[Sample]) -> VideoBatch:
    """Stack samples of equal shape."""

    def stack(name: str) -> Tensor | None:
        values = [getattr(sample, name) for sample in samples]
        return None if values[0] is None else torch.stack(values)

    return VideoBatch(
        frames=stack("frames"),
        labels=stack("labels"),
        valid=stack("valid"),
        frame_seconds=stack("frame_seconds"),
        label_seconds=stack("label_seconds"),
        lengths=stack("lengths"),
        video_ids=tuple(sample.video_id for sample in samples),
        backends=tuple(sample.backend for sample in samples),
        failures=tuple(failure for sample in samples for failure in sample.failures),
    )


class ClipReader:
    """Opens the video of a record as `data` says.

    Args:
        data: Backend, frame rate of JPEG folders.
        short_side: Frames are shrunk to this while decoding, pixels.
    """

    def __init__(self, data: DataConfig, short_side: int) -> None:
        self.data = data
        self.short_side = short_side

    def open(self, record: VideoRecord) -> VideoReader:
        """Open a reader; the caller closes it.

        Raises:
            DataError: No file is known for the record, or it cannot be read.
        """
        if record.path is None:
            raise DataError(f"{record.video_id}: no video file under {self.data.videos}.")
        return open_video(
            record.path, backend=self.data.backend, frame_rate=self.data.frame_rate, short_side=self.short_side
        )


def used_range(record: VideoRecord, reader: VideoReader) -> tuple[int, int]:
    """First frame and number of frames of the part of the file that the record uses.

    From the frame on screen at its start to the last one that is shown for at least half of its time.
    """
    first, end = 0, reader.num_frames
    if record.start_seconds:
        first = int(reader.indices_at([record.start_seconds])[0])
    if record.end_seconds is not None:
        middles = (reader.seconds() + reader.seconds(np.arange(1, end + 1))) / 2
        end = max(first + 1, int(np.searchsorted(middles, record.end_seconds, side="right")))
    return first, end - first


class _Clips(Dataset, ABC):
    """Map-style dataset over (epoch, index); a file that cannot be read is replaced by another record's clip."""

    def __init__(self, videos: VideoSet, data: DataConfig, clip: ClipConfig, *, seed: int, training: bool) -> None:
        self.videos, self.clip, self.seed, self.training = videos, clip, seed, training
        # The smallest crop still has the size that the network sees.
        self.reader = ClipReader(data, math.ceil(clip.size / min(clip.scales)) if training else clip.size)
        self.num_classes = len(videos.classes)

    def __len__(self) -> int:
        return len(self.videos)

    @abstractmethod
    def make(self, record: VideoRecord, rng: np.random.Generator) -> Sample:
        """Read and label one clip."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        rng = np.random.default_rng([self.seed, 3, epoch, index])
        failures: list[tuple[str, str]] = []
        while True:
            record = self.videos.records[index]
            try:
                return replace(self.make(record, rng), failures=tuple(failures))
            except DataError as error:
                failures.append((str(record.path or record.video_id), str(error)))
            if len(failures) >= MAX_REPLACEMENTS:
                raise DataError(f"{len(failures)} files in a row cannot be read; the last: {failures[-1][1]}")
            # Validation takes the next clip, the same one every time.
            index = int(rng.integers(len(self.videos))) if self.training else (index + 1) % len(self.videos)

    def _window(self, frames: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        clip = self.clip
        if self.training:
            start = random_window(frames, clip.frames, clip.stride, rng)
        else:
            start = centre_window(frames, clip.frames, clip.stride)
        return *window_indices(start, clip.frames, clip.stride, frames), start

    def _pixels(self, frames: np.ndarray, rng: np.random.Generator) -> Tensor:
        height, width = frames.shape[1:3]
        if not self.training:
            return crop_resize(frames, centre_crop_box(height, width), self.clip.size)
        cut = crop_resize(frames, random_crop_box(height, width, self.clip.scales, rng), self.clip.size)
        return flip(cut) if self.clip.flip and rng.random() < 0.5 else cut


class WeakClips(_Clips):
    """Clips with one label each: labels (K + 1, T), channel 0 background, the video's class in every frame."""

    def make(self, record: VideoRecord, rng: np.random.Generator) -> Sample:
        """Read one window of the used part of the file."""
        with self.reader.open(record) as reader:
            first, count = used_range(record, reader)
            indices, _, _ = self._window(count, rng)
            frames, backend = reader.frames(first + indices), reader.backend
        labels = torch.zeros(self.num_classes + 1, self.clip.frames)
        labels[record.label + 1] = 1.0
        return Sample(record.video_id, self._pixels(frames, rng), backend, labels)


class FrameLabelledClips(_Clips):
    """Clips with labels at raw frame rate: (K, L), L = frames x stride, False in `valid` beyond the video's end."""

    def make(self, record: VideoRecord, rng: np.random.Generator) -> Sample:
        """Read one window and rasterise the segments at every raw frame of it."""
        with self.reader.open(record) as reader:
            indices, real, start = self._window(reader.num_frames, rng)
            raw = start + np.arange(self.clip.frames * self.clip.stride)
            # Every sampled frame is one of the raw ones, also beyond the end, where nothing is valid.
            seconds, count = reader.seconds(raw), reader.num_frames
            frames, backend = reader.frames(indices), reader.backend
        labels = rasterize(record.segments, seconds, self.num_classes)
        sampled = seconds[:: self.clip.stride]
        return Sample(
            record.video_id,
            self._pixels(frames, rng),
            backend,
            torch.from_numpy(labels.astype(np.float32)),
            torch.from_numpy(raw < count),
            torch.from_numpy(sampled),
            torch.from_numpy(seconds),
            torch.tensor(real.sum()),
        )


@dataclass(frozen=True)
class WholeVideo:
    """A video in one piece, for inference.

    Attributes:
        video_id: Name.
        frames: (3, T, S, S) uint8, every `stride`-th frame.
        seconds: (T,) float64.
        duration_seconds: Of the file.
        frame_rate: Raw frames per second.
        num_frames: Raw frames.
        backend: Which video reader read it.
        failure: Why it could not be read; the other fields are then empty.
        raw_seconds: (num_frames,) float64, when each raw frame appears; None is `number / frame_rate`.
    """

    video_id: str
    frames: Tensor
    seconds: np.ndarray
    duration_seconds: float
    frame_rate: float
    num_frames: int
    backend: str = ""
    failure: str = ""
    raw_seconds: np.ndarray | None = None


class WholeVideos(Dataset):
    """Every video of a set, whole, centre crop; an unreadable file is an item that says so."""

    def __init__(self, videos: VideoSet, data: DataConfig, *, stride: int, size: int) -> None:
        self.videos, self.stride, self.size = videos, stride, size
        self.reader = ClipReader(data, size)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, key: tuple[int, int]) -> WholeVideo:
        record = self.videos.records[key[1]]
        try:
            with self.reader.open(record) as reader:
                indices = whole_video_indices(reader.num_frames, self.stride)
                raw_seconds = reader.seconds()
                frames = reader.frames(indices)
                height, width = frames.shape[1:3]
                pixels = crop_resize(frames, centre_crop_box(height, width), self.size)
                return WholeVideo(
                    video_id=record.video_id,
                    frames=pixels,
                    seconds=raw_seconds[indices],
                    duration_seconds=reader.duration_seconds,
                    frame_rate=reader.frame_rate,
                    num_frames=reader.num_frames,
                    backend=reader.backend,
                    raw_seconds=raw_seconds,
                )
        except DataError as error:
            return WholeVideo(record.video_id, torch.empty(0), np.empty(0), 0.0, 0.0, 0, failure=str(error))


def with_files(videos: VideoSet) -> tuple[VideoSet, list[str]]:
    """The records that have a file, and the ids of those that have none.

    Raises:
        DataError: None has one.
    """
    kept = tuple(record for record in videos.records if record.path is not None)
    missing = [record.video_id for record in videos.records if record.path is None]
    if missing and not kept:
        raise DataError(f"{videos.name}: none of its {len(missing)} videos has a file; looked for {missing[0]}.*.")
    return replace(videos, records=kept), missing
