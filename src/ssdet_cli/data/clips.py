"""Videos -> samples: which frames, which crop, which labels. Runs in the loader's workers.

A sample depends on (seed, epoch, index) alone, not on the worker that makes it nor on what was read before, so that a
resumed run sees the clips that an uninterrupted one would.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet, rasterize
from ssdet_cli.data.fine_context import pad_features
from ssdet_cli.data.reading import reading
from ssdet_cli.data.windows import Windows
from ssdet_cli.errors import DataError
from ssdet_cli.video.decode import VideoReader, open_video
from ssdet_cli.video.sampling import centre_window, random_window, whole_video_indices, window_indices
from ssdet_cli.video.transforms import centre_crop_box, crop_resize, flip, random_crop_box

#: A training clip is replaced by another this many times in a row before the run gives up.
MAX_REPLACEMENTS = 20


@dataclass(frozen=True)
class Sample:
    """One clip as a worker makes it; fields as in `VideoBatch`, without the batch dimension.

    `start` is the first input frame, counted in input frames of the whole video.
    """

    video_id: str
    frames: Tensor
    backend: str
    labels: Tensor | None = None
    valid: Tensor | None = None
    frame_seconds: Tensor | None = None
    label_seconds: Tensor | None = None
    lengths: Tensor | None = None
    start: float = 0.0
    features: dict[str, Tensor] | None = None
    feature_start: Tensor | None = None
    failures: tuple[tuple[str, str], ...] = ()


def collate(samples: list[Sample]) -> VideoBatch:
    """Stack samples of equal shape; stored features may have different lengths."""

    def stack(name: str) -> Tensor | None:
        values = [getattr(sample, name) for sample in samples]
        return None if values[0] is None else torch.stack(values)

    features, mask = None, None
    if samples[0].features is not None:
        features, mask = pad_features([sample.features for sample in samples])
    return VideoBatch(
        frames=stack("frames"),
        labels=stack("labels"),
        valid=stack("valid"),
        frame_seconds=stack("frame_seconds"),
        label_seconds=stack("label_seconds"),
        lengths=stack("lengths"),
        features=features,
        feature_mask=mask,
        feature_start=stack("feature_start"),
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
        reading(record.path)
        return open_video(
            record.path,
            backend=self.data.backend,
            frame_rate=self.data.frame_rate,
            short_side=self.short_side,
            duration_seconds=record.duration_seconds,
        )


def used_range(record: VideoRecord, reader: VideoReader) -> tuple[int, int]:
    """First frame and number of frames of the part of the file that the record uses.

    From the frame on screen at its start to the last one that is shown for at least half of its time.

    Raises:
        DataError: The file ends before that part begins.
    """
    first, end = 0, reader.num_frames
    if record.start_seconds:
        if record.start_seconds >= reader.duration_seconds:
            raise DataError(
                f"{record.path}: its part from {record.start_seconds:g} s is wanted, and the file ends at "
                f"{reader.duration_seconds:.2f} s; list it without times if it holds that part alone."
            )
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
            start / self.clip.stride,
        )


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video once it is open.

    Attributes:
        video_id: Name.
        first: Raw frame of the file that the video begins with.
        raw_frames: Raw frames from there to its end.
        stride: Raw frames from one input frame to the next.
        frame_rate: Raw frames per second.
        duration_seconds: Of the file.
        raw_seconds: (raw_frames,) float64, when each raw frame appears.
    """

    video_id: str
    first: int = 0
    raw_frames: int = 0
    stride: int = 1
    frame_rate: float = 0.0
    duration_seconds: float = 0.0
    raw_seconds: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)

    @property
    def num_frames(self) -> int:
        """Input frames."""
        return -(-self.raw_frames // self.stride)

    @property
    def seconds(self) -> np.ndarray:
        """(T,) float64: time of every input frame in the file."""
        return self.raw_seconds[whole_video_indices(self.raw_frames, self.stride)]


@dataclass(frozen=True)
class VideoWindow:
    """Some input frames of a video, for one pass.

    Attributes:
        video: Where they are from.
        start: First of them, as input frames of the video are counted.
        frames: (3, T, S, S) uint8.
        weights: (T,) float32, what each counts for where windows overlap (see `data.windows`).
        count: Windows of this video.
        backend: Which video reader read it.
        failure: Why the video cannot be read, from here on; frames and weights are then empty.
    """

    video: VideoFacts
    start: int = 0
    frames: Tensor = field(default_factory=lambda: torch.empty(0))
    weights: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    count: int = 1
    backend: str = ""
    failure: str = ""


class VideoWindows(IterableDataset):
    """Every video of a list, window after window, centre crop; a file that cannot be read is a window that says so.

    A frame is decoded once, and no more than one window of a video is held, however long it is. Workers share the
    videos out; the windows of one video come in order.

    Args:
        records: Videos of this process.
        data: Backend, frame rate of JPEG folders.
        stride: Raw frames from one input frame to the next.
        size: Side of the crop, pixels.
        windows: How a long video is cut.
    """

    def __init__(
        self, records: Sequence[VideoRecord], data: DataConfig, *, stride: int, size: int, windows: Windows
    ) -> None:
        self.records, self.stride, self.size, self.windows = tuple(records), stride, size, windows
        self.reader = ClipReader(data, size)

    def __iter__(self) -> Iterator[VideoWindow]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for record in self.records[first::step]:
            try:
                yield from self._read(record)
            except DataError as error:
                yield VideoWindow(VideoFacts(record.video_id), failure=str(error))

    def facts(self, record: VideoRecord, reader: VideoReader) -> VideoFacts:
        """What an open reader says of a record."""
        first, count = used_range(record, reader)
        return VideoFacts(
            record.video_id,
            first,
            count,
            self.stride,
            reader.frame_rate,
            reader.duration_seconds,
            reader.seconds()[first : first + count],
        )

    def _read(self, record: VideoRecord) -> Iterator[VideoWindow]:
        with self.reader.open(record) as reader:
            video = self.facts(record, reader)
            spans, weights = self.windows.spans(video.num_frames), self.windows.weights(video.num_frames)
            held, behind = torch.empty(3, 0, self.size, self.size, dtype=torch.uint8), 0
            for (start, stop), own in zip(spans, weights, strict=True):
                fresh = self._frames(reader, video, behind, stop)
                kept = held[:, held.shape[1] - (behind - start) :] if behind > start else held[:, :0]
                held, behind = torch.cat((kept, fresh), dim=1) if kept.shape[1] else fresh, stop
                yield VideoWindow(video, start, held, own, len(spans), reader.backend)

    def _frames(self, reader: VideoReader, video: VideoFacts, start: int, stop: int) -> Tensor:
        frames = reader.frames(video.first + np.arange(start, stop) * self.stride)
        height, width = frames.shape[1:3]
        return crop_resize(frames, centre_crop_box(height, width), self.size)


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
