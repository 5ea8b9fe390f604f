"""Videos -> samples: which frames, which crop, which labels. Runs in the loader's workers.

A sample depends on (seed, epoch, index) and the shape that is asked for alone, not on the worker that makes it nor on
what was read before, so that a resumed run sees the clips that an uninterrupted one would.
"""

import functools
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
from ssdet_cli.data.copies import open_copy
from ssdet_cli.data.fine_context import pad_features
from ssdet_cli.data.multigrid import ClipShape
from ssdet_cli.data.reading import reading
from ssdet_cli.data.windows import Windows
from ssdet_cli.errors import DataError
from ssdet_cli.video.decode import VideoReader, open_video
from ssdet_cli.video.patience import in_time
from ssdet_cli.video.sampling import (
    FrameTimes,
    Placing,
    Spacing,
    Taken,
    Window,
    frames_shifted,
    in_video,
    place_clip,
    whole_video,
)
from ssdet_cli.video.transforms import (
    centre_crop_box,
    change_colours,
    crop_boxes,
    crop_resize,
    draw_colours,
    flip,
    random_crop_box,
)

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
        data: Backend, frame rate of JPEG folders, folder of copies.
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
        if self.data.cache is not None:
            copy = open_copy(self.data.cache, record.path, self.short_side)
            if copy is not None:
                return copy
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


def frame_times(reader: VideoReader, first: int, count: int) -> FrameTimes:
    """When frames [first, first + count) of a file appear, and when the last of them ends."""
    seconds, stop = reader.seconds(), first + count
    return FrameTimes(seconds[first:stop], float(seconds[stop]) if stop < len(seconds) else reader.duration_seconds)


class _Clips(Dataset, ABC):
    """Map-style dataset over (epoch, index) or (epoch, index, shape); a file that cannot be read is replaced by another
    record's clip. Without a shape, clips are those of `clip`.
    """

    def __init__(self, videos: VideoSet, data: DataConfig, clip: ClipConfig, *, seed: int, training: bool) -> None:
        self.videos, self.clip, self.seed, self.training = videos, clip, seed, training
        self.data, self.full = data, ClipShape(clip.frames, 1, clip.size)
        self.num_classes = len(videos.classes)

    def __len__(self) -> int:
        return len(self.videos)

    @abstractmethod
    def make(self, record: VideoRecord, shape: ClipShape, rng: np.random.Generator, turn: int = 0) -> Sample:
        """Read and label one clip; `turn` is which of a video's windows, where they are taken one after the other."""

    def __getitem__(self, key: tuple[int, int] | tuple[int, int, ClipShape]) -> Sample:
        epoch, index, shape = key if len(key) == 3 else (*key, self.full)
        rng = np.random.default_rng([self.seed, 3, epoch, index])
        failures: list[tuple[str, str]] = []
        while True:
            record = self.videos.records[index]
            try:
                arguments = (record, shape, rng, epoch + index)
                sample = in_time(self.data.file_timeout, record.path, self.make, *arguments)
                return replace(sample, failures=tuple(failures))
            except DataError as error:
                # A reader that was left behind may still draw from the other one.
                rng = np.random.default_rng([self.seed, 3, epoch, index, len(failures)])
                failures.append((str(record.path or record.video_id), str(error)))
            if len(failures) >= MAX_REPLACEMENTS:
                raise DataError(f"{len(failures)} files in a row cannot be read; the last: {failures[-1][1]}")
            # Validation takes the next clip, the same one every time.
            index = int(rng.integers(len(self.videos))) if self.training else (index + 1) % len(self.videos)

    def _open(self, record: VideoRecord, shape: ClipShape) -> VideoReader:
        # The smallest crop still has the size that the network sees.
        side = math.ceil(shape.size / min(self.clip.scales)) if self.training else shape.size
        return ClipReader(self.data, side).open(record)

    def _window(
        self, reader: VideoReader, used: tuple[int, int], shape: ClipShape, rng: np.random.Generator, turn: int
    ) -> Window:
        """Where the clip lies in frames [first, first + count) of the file."""
        clip, taken = self.clip, Taken(shape.frames, shape.stretch)
        placing = Placing(clip.sampling, rng if self.training else None, turn)
        return place_clip(used[1], lambda: frame_times(reader, *used), clip.frames, spacing_of(clip), placing, taken)

    def _pixels(self, frames: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
        height, width = frames.shape[1:3]
        if not self.training:
            return crop_resize(frames, centre_crop_box(height, width), size)
        clip = self.clip
        cut = crop_resize(frames, random_crop_box(height, width, clip.scales, rng), size)
        cut = flip(cut) if clip.flip and rng.random() < 0.5 else cut
        return change_colours(cut, draw_colours(clip.colour_jitter, rng)) if clip.colour_jitter else cut


class WeakClips(_Clips):
    """Clips with one label each: labels (K + 1, T), channel 0 background, the video's class in every frame."""

    def make(self, record: VideoRecord, shape: ClipShape, rng: np.random.Generator, turn: int = 0) -> Sample:
        """Read one window of the used part of the file."""
        with self._open(record, shape) as reader:
            used = used_range(record, reader)
            window = self._window(reader, used, shape, rng, turn)
            frames, backend = reader.frames(used[0] + window.indices), reader.backend
        labels = torch.zeros(self.num_classes + 1, shape.frames)
        labels[record.label + 1] = 1.0
        return Sample(record.video_id, self._pixels(frames, shape.size, rng), backend, labels)


class FrameLabelledClips(_Clips):
    """Clips with labels (K, L), L = frames x stride, False in `valid` beyond the video's end.

    At the times of the raw frames; of clips that go by time, at as many moments, evenly apart. A clip whose stride is n
    times the usual one has labels at every n-th of them.
    """

    def make(self, record: VideoRecord, shape: ClipShape, rng: np.random.Generator, turn: int = 0) -> Sample:
        """Read one window and rasterise the segments at every time of a label in it."""
        with self._open(record, shape) as reader:
            window = self._window(reader, (0, reader.num_frames), shape, rng, turn)
            seconds, valid = _label_times(reader, window, self.clip)
            frames, backend = reader.frames(window.indices), reader.backend
        labels = rasterize(record.segments, seconds, self.num_classes)
        return Sample(
            record.video_id,
            self._pixels(frames, shape.size, rng),
            backend,
            torch.from_numpy(labels.astype(np.float32)),
            torch.from_numpy(valid),
            torch.from_numpy(seconds[:: self.clip.stride].copy()),
            torch.from_numpy(seconds),
            torch.tensor(window.real.sum()),
            window.start,
        )


def spacing_of(clip: ClipConfig) -> Spacing:
    """How far the input frames of a clip lie apart."""
    return Spacing(clip.stride, clip.seconds_between_frames)


def _label_times(reader: VideoReader, window: Window, clip: ClipConfig) -> tuple[np.ndarray, np.ndarray]:
    """(L,) seconds of the labels, `stride` of them from one input frame to the next; and which are in the video.

    Every input frame's own time is one of them, also beyond the end, where nothing is valid.
    """
    steps = np.arange(len(window.indices) * clip.stride) * window.stretch
    if window.first is not None:
        return reader.seconds(window.first + steps), window.first + steps < reader.num_frames
    seconds = window.moments[0] + steps * (clip.seconds_between_frames / clip.stride)
    return seconds, seconds < reader.duration_seconds


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video once it is open.

    Attributes:
        video_id: Name.
        first: Raw frame of the file that the video begins with.
        raw_frames: Raw frames from there to its end.
        spacing: How far input frames lie apart.
        frame_rate: Raw frames per second.
        duration_seconds: Of the file.
        raw_seconds: (raw_frames,) float64, when each raw frame appears.
        end_seconds: When the last of them ends.
        shift: So much later than the first frame the first input frame lies, as a part of the spacing.
    """

    video_id: str
    first: int = 0
    raw_frames: int = 0
    spacing: Spacing = Spacing()
    frame_rate: float = 0.0
    duration_seconds: float = 0.0
    raw_seconds: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    end_seconds: float = 0.0
    shift: float = 0.0

    @property
    def num_frames(self) -> int:
        """Input frames."""
        if self.spacing.seconds is None:
            return -(-(self.raw_frames - frames_shifted(self.spacing, self.shift)) // self.spacing.stride)
        return len(self.indices)

    @property
    def indices(self) -> np.ndarray:
        """(T,) int64: raw frame of every input frame, counted from `first`."""
        return self._sampled[0]

    @property
    def seconds(self) -> np.ndarray:
        """(T,) float64: time of every input frame in the file."""
        return self._sampled[1]

    @functools.cached_property
    def _sampled(self) -> tuple[np.ndarray, np.ndarray]:
        return whole_video(self.times, self.spacing, self.shift)

    @property
    def times(self) -> FrameTimes:
        """When its raw frames appear."""
        return FrameTimes(self.raw_seconds, self.end_seconds)


@dataclass(frozen=True)
class VideoWindow:
    """Some input frames of a video, for one pass.

    Attributes:
        video: Where they are from.
        start: First of them, as input frames of the video are counted.
        frames: (3, T, S, S) uint8.
        weights: (T,) float32, what each counts for where windows overlap (see `data.windows`).
        count: Windows of this video, of all crops and shifts.
        backend: Which video reader read it.
        failure: Why the video cannot be read, from here on; frames and weights are then empty.
        crop: Which of the squares of a frame.
        crops: How many there are.
    """

    video: VideoFacts
    start: int = 0
    frames: Tensor = field(default_factory=lambda: torch.empty(0))
    weights: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    count: int = 1
    backend: str = ""
    failure: str = ""
    crop: int = 0
    crops: int = 1


class VideoWindows(IterableDataset):
    """Every video of a list, window after window; a file that cannot be read is a window that says so.

    A frame is decoded once, and no more than one window of a video is held, however long it is. Workers share the
    videos out; the windows of one video come in order.

    Args:
        records: Videos of this process.
        data: Backend, frame rate of JPEG folders.
        spacing: How far input frames lie apart.
        size: Side of the crop, pixels.
        windows: How a long video is cut.
        crops: Squares of every frame, see `crop_boxes`; of several, a window comes once for each.
        shifts: Passes over every video, each of whose frames lie an equal part of the spacing later than those of the
            one before; a video that is shorter than a shift has fewer. Each pass decodes anew.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        data: DataConfig,
        *,
        spacing: Spacing,
        size: int,
        windows: Windows,
        crops: int = 1,
        shifts: int = 1,
    ) -> None:
        self.records, self.spacing, self.size, self.windows = tuple(records), spacing, size, windows
        self.crops, self.shifts, self.file_timeout = crops, shifts, data.file_timeout
        self.reader = ClipReader(data, size)

    def __iter__(self) -> Iterator[VideoWindow]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for record in self.records[first::step]:
            windows, most = self._read(record), self.file_timeout
            try:
                while (window := in_time(most, record.path, next, windows, None)) is not None:
                    yield window
            except DataError as error:
                yield VideoWindow(VideoFacts(record.video_id), failure=str(error))

    def facts(self, record: VideoRecord, reader: VideoReader) -> VideoFacts:
        """What an open reader says of a record."""
        first, count = used_range(record, reader)
        times = frame_times(reader, first, count)
        return VideoFacts(
            record.video_id,
            first,
            count,
            self.spacing,
            reader.frame_rate,
            reader.duration_seconds,
            times.seconds,
            times.end,
        )

    def _read(self, record: VideoRecord) -> Iterator[VideoWindow]:
        with self.reader.open(record) as reader:
            video = self.facts(record, reader)
            parts = [number / self.shifts for number in range(self.shifts)]
            shifted = [replace(video, shift=part) for part in parts if in_video(video.times, self.spacing, part)]
            count = self.crops * sum(len(self.windows.spans(one.num_frames)) for one in shifted)
            for one in shifted:
                yield from self._pass(reader, one, count)

    def _pass(self, reader: VideoReader, video: VideoFacts, count: int) -> Iterator[VideoWindow]:
        spans, weights = self.windows.spans(video.num_frames), self.windows.weights(video.num_frames)
        held, behind = [torch.empty(3, 0, self.size, self.size, dtype=torch.uint8)] * self.crops, 0
        for (start, stop), own in zip(spans, weights, strict=True):
            fresh = self._frames(reader, video, behind, stop)
            held = [_joined(one, new, behind - start) for one, new in zip(held, fresh, strict=True)]
            behind = stop
            for crop, frames in enumerate(held):
                yield VideoWindow(video, start, frames, own, count, reader.backend, "", crop, self.crops)

    def _frames(self, reader: VideoReader, video: VideoFacts, start: int, stop: int) -> list[Tensor]:
        frames = reader.frames(video.first + video.indices[start:stop])
        return [crop_resize(frames, box, self.size) for box in crop_boxes(*frames.shape[1:3], self.crops)]


def _joined(held: Tensor, fresh: Tensor, overlap: int) -> Tensor:
    """The last `overlap` frames that are held and those that came."""
    return torch.cat((held[:, held.shape[1] - overlap :], fresh), dim=1) if overlap > 0 else fresh


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
