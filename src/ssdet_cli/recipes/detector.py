"""A trained network for videos: what `ssdet predict` does, as a library.

from ssdet_cli import Detector

found = Detector.from_run("runs/x").predict("video.mp4")
for segment in found.segments:
    print(segment.label, segment.start, segment.end, segment.score)
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ssdet_cli.catalog import nearest
from ssdet_cli.config.sections import FineSource, InferenceConfig
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.inputs import Source, find_sources
from ssdet_cli.data.stream_windows import StreamWindows
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.distributed import Session, pick_device
from ssdet_cli.engine.exact import windows_of
from ssdet_cli.engine.fit import precision
from ssdet_cli.engine.predict import LOGITS, Apply, in_batches, predict
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.streaming import RowJoin
from ssdet_cli.errors import CheckpointError, ConfigError, DataError
from ssdet_cli.evaluation.score_rows import ScoreRows
from ssdet_cli.evaluation.segments import Segment, find_segments
from ssdet_cli.evaluation.thresholds import DEFAULT
from ssdet_cli.recipes import evaluate_checkpoints, fine_stream
from ssdet_cli.recipes.scoring import sigmoid
from ssdet_cli.video.ahead import ahead
from ssdet_cli.video.stream import Sampler, Stream, open_stream
from ssdet_cli.video.transforms import Normalize, centre_crop_box, crop_resize

#: Input frames that are decoded ahead.
_AHEAD = 32


@dataclass(frozen=True)
class Wanted:
    """What is asked of a video.

    Attributes:
        start: Seconds.
        end: Seconds; None is as long as it goes on.
        classes: Names; none is all.
        threshold: Of every class; None is what the checkpoint knows, or 0.5.
        top_k: Only so many classes, those with the highest scores; None is all.
        min_length: Shorter segments are left out, seconds.
        smooth: Segments are found in scores averaged over so many seconds.
        frame_rate: Frames per second of a folder of frames.
    """

    start: float = 0.0
    end: float | None = None
    classes: Sequence[str] = ()
    threshold: float | None = None
    top_k: int | None = None
    min_length: float = 0.0
    smooth: float = 0.0
    frame_rate: float | None = None


@dataclass(frozen=True)
class Scan:
    """How a video went through.

    Attributes:
        duration: When what was seen of it ends, seconds.
        live: It had no end of its own.
        broken: Why a live video could not be read any further; empty where it could.
    """

    duration: float
    live: bool
    broken: str = ""


@dataclass(frozen=True)
class Prediction:
    """What is in a video.

    Attributes:
        video: As it was named.
        classes: K names.
        times: (T,) float64, start of every scored frame, seconds.
        scores: (T, K) float32 probabilities.
        thresholds: (K,) float64, scores from which on a class is present.
        segments: What is present when, by start.
        duration: When what was seen of the video ends, seconds.
    """

    video: str
    classes: list[str]
    times: np.ndarray
    scores: np.ndarray
    thresholds: np.ndarray
    segments: list[Segment]
    duration: float


class Detector:
    """A network with what is needed to use it; made by `from_run`.

    Attributes:
        classes: Names in the order of the scores.
        thresholds: (K,) float64, scores from which on each is present: the best in the checkpoint's validation, or 0.5.
        spacing: Seconds from one input frame to the next in training; None where the checkpoint does not know.
    """

    def __init__(
        self, network: Any, meta: dict[str, Any], inference: InferenceConfig, here: Session, window: int | None
    ) -> None:
        self._network, self._meta, self._inference, self._here, self._window = network, meta, inference, here, window
        self._apply_of: Callable[..., Apply] | None = None
        self._stride: int | None = None
        self.store: FeatureStore | None = None
        validated = meta.get("validated", {})
        self.classes: tuple[str, ...] = tuple(meta["classes"])
        self.thresholds = np.array(validated.get("thresholds") or [DEFAULT] * len(self.classes), np.float64)
        self.spacing: float | None = validated.get("frame_seconds")

    @classmethod
    def from_run(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        fine: str | Path | None = None,
        features: str | Path | None = None,
        stride: int | None = None,
        size: int | None = None,
        window: int | None = None,
        session: Session | None = None,
        log: RunLog | None = None,
    ) -> "Detector":
        """Load a run or a checkpoint of finetune, train-coarse-fine or pretrain.

        Args:
            path: Run folder, or a file.
            device: auto, cpu, cuda or cuda:N.
            fine: Run or weights of a Coarse-Fine network's fine stream; default: as it was trained.
            features: Or its stored features.
            stride: Raw frames from one input frame to the next; None keeps the time between them of training.
            size: Side of the crop, pixels; None is that of training.
            window: Input frames in one pass; None is 512, and as many as a training clip has for a live video.
            session: Where to compute, instead of `device`.
            log: Told what is loaded from where.

        Raises:
            CheckpointError: It cannot be read, or is of a network that says nothing about frames.
            ConfigError: The device is not there, or something is given that does not fit the network.
        """
        here = session or Session(pick_device(device))
        state = load_checkpoint(Path(path))
        meta = state["meta"]
        _refuse_classifier(Path(path), meta)
        given = FineSource(features=features, weights=fine)
        base = InferenceConfig(stride=stride, size=size, **({"window": window} if window is not None else {}))
        inference = evaluate_checkpoints.inference_of(base, meta)
        if meta["command"] != "train-coarse-fine":
            if fine is not None or features is not None:
                name, value = ("features", features) if features is not None else ("fine", fine)
                raise ConfigError(f"--{name} {value} is for Coarse-Fine checkpoints, and {path} is none.")
            detector = cls(evaluate_checkpoints.restore(state, here), meta, inference, here, window)
        else:
            network, apply_of = fine_stream.restore(state, given, base, (), here, log or RunLog(None, None))
            detector = cls(network, meta, inference, here, window)
            detector._apply_of = apply_of
            if (context := apply_of.keywords.get("context")) is not None:
                detector.store = context.store
        # Stored features are of every so many raw frames.
        needs_stride = stride is not None or detector.store is not None or detector.spacing is None
        detector._stride = inference.stride if needs_stride else None
        return detector

    def predict(
        self,
        video: str | Path,
        *,
        start: float = 0.0,
        end: float | None = None,
        classes: Sequence[str] = (),
        threshold: float | None = None,
        top_k: int | None = None,
        min_length: float = 0.0,
        smooth: float = 0.0,
        frame_rate: float | None = None,
    ) -> Prediction:
        """Find what happens in one video.

        Scores are gathered on disk while the video is read, and are in memory in the result. Of a video without end
        give `end`.

        Args:
            video: File, folder of JPEG frames, camera, or address of a stream.
            start: See `Wanted`, and so the others.
            end: Seconds.
            classes: Names.
            threshold: For all classes.
            top_k: Classes.
            min_length: Seconds.
            smooth: Seconds.
            frame_rate: Frames per second.

        Raises:
            ConfigError: An unknown class.
            DataError: The video cannot be read, or `start` is beyond its end.
        """
        wanted = Wanted(start, end, classes, threshold, top_k, min_length, smooth, frame_rate)
        sources = find_sources([str(video)], frame_rate)
        if len(sources) != 1:
            raise DataError(f"{video} holds {len(sources)} videos; predict them one by one.")
        with tempfile.TemporaryDirectory(prefix="ssdet-") as folder:
            with ScoreRows(Path(folder), self.chosen(classes)) as rows:
                scan = self.scan(sources[0], wanted, rows.append)
                if scan.broken:
                    raise DataError(scan.broken)
                scores, times = (np.array(array) for array in rows.mapped())
        thresholds, segments = self.found(scores, times, scan.duration, wanted)
        return Prediction(str(video), list(self.chosen(classes)), times, scores, thresholds, segments, scan.duration)

    def chosen(self, classes: Sequence[str]) -> tuple[str, ...]:
        """The classes that are meant, in the checkpoint's order; none stands for all.

        Raises:
            ConfigError: One is unknown, with the nearest known one.
        """
        for name in classes:
            if name not in self.classes:
                raise ConfigError(f"Unknown class '{name}' (classes).{nearest(name, self.classes)} {self._known()}")
        return tuple(name for name in self.classes if name in classes or not classes)

    def _known(self) -> str:
        more = f", ... ({len(self.classes)} in all)" if len(self.classes) > 12 else ""
        return f"Known: {', '.join(self.classes[:12])}{more}."

    def found(
        self, scores: np.ndarray, times: np.ndarray, duration: float, wanted: Wanted
    ) -> tuple[np.ndarray, list[Segment]]:
        """(K,) thresholds of the chosen classes, and their segments."""
        names = self.chosen(wanted.classes)
        known = np.array([self.thresholds[self.classes.index(name)] for name in names])
        thresholds = known if wanted.threshold is None else np.full(len(names), wanted.threshold)
        segments = find_segments(
            scores,
            times,
            thresholds,
            names,
            duration=duration,
            min_length=wanted.min_length,
            smooth=wanted.smooth,
        )
        if wanted.top_k is not None:
            kept = set(strongest(scores, wanted.top_k))
            segments = [segment for segment in segments if segment.class_index in kept]
        return thresholds, segments

    def scan(
        self,
        source: Source,
        wanted: Wanted,
        sink: Callable[[np.ndarray, np.ndarray], None],
        *,
        stopped: Callable[[], bool] = lambda: False,
        opened: Callable[[Stream], None] = lambda video: None,
    ) -> Scan:
        """Take a video through the network, in memory that does not depend on its length.

        Args:
            source: Which.
            wanted: Which part, which classes.
            sink: Given (n,) seconds and (n, K) probabilities of frames, in order.
            stopped: Whether a live video shall end here; asked all the time.
            opened: Told the video before it is read.

        Raises:
            DataError: It cannot be read, or has no frame in the part that is wanted.
        """
        columns = [self.classes.index(name) for name in self.chosen(wanted.classes)]
        if self.store is not None:
            self.store.check([source.video_id])
        size = self._inference.size
        with open_stream(source.location, short_side=size, frame_rate=wanted.frame_rate) as video:
            if video.duration is not None and wanted.start >= video.duration:
                raise _too_late(source, wanted.start, video.duration)
            opened(video)
            by = {"stride": self._stride} if self._stride is not None else {"spacing": self.spacing}
            sampler = Sampler(video, start=wanted.start, end=wanted.end, **by)
            frames = _Frames(sampler, size, stopped if video.live else lambda: False)
            with closing(iter(frames)) as stream:
                count = self._through(source, stream, video.live, lambda at, rows: sink(at, rows[:, columns]))
        if not count:
            if frames.broken:
                raise DataError(frames.broken)
            if sampler.ended:
                raise _too_late(source, wanted.start, sampler.ended)
            if not video.live:
                raise DataError(f"{source.location}: holds no frame that can be read.")
        self._check_count(source, wanted, count)
        duration = sampler.ended if wanted.end is None else min(sampler.ended, wanted.end)
        return Scan(duration, video.live, frames.broken)

    def _check_count(self, source: Source, wanted: Wanted, count: int) -> None:
        if self.store is not None and not wanted.start and wanted.end is None:
            held = self.store.num_frames(source.video_id)
            if held != count:
                raise DataError(
                    f"{self.store.folder} holds features of {held} frames of '{source.video_id}', and "
                    f"{source.location} has {count}: it is another video."
                )

    def _through(
        self, source: Source, frames: Iterator[Any], live: bool, sink: Callable[[np.ndarray, np.ndarray], None]
    ) -> int:
        length = self._meta["clip"]["frames"] if live and self._window is None else self._inference.window
        cut = windows_of(self._network, length, exact=False)
        windows = StreamWindows(source.video_id, frames, cut, numbered=self.store is not None)
        join = RowJoin(lambda seconds, logits: sink(seconds, self._probabilities(logits)))
        (count,) = predict(windows, apply=self._apply(length), join=lambda _: join, session=Session(self._here.device))[
            0
        ] or (0,)
        return count

    def _apply(self, length: int) -> Apply:
        how = {
            "normalize": Normalize(**self._meta["normalization"]).to(self._here.device),
            "device": self._here.device,
            "autocast": precision("auto", self._here.device),
        }
        if self._apply_of is None:
            return in_batches(lambda frames: {LOGITS: self._network(frames)}, batch_size=1, **how)
        if self.store is not None:
            return self._apply_of(self._network, **{**how, "batch_size": 1})
        # The fine stream goes ahead as many windows as in training, of whatever length they are.
        longest = max(length, self._apply_of.keywords["longest"] * length // self._inference.window)
        return self._apply_of(self._network, longest=longest, **how)

    def _probabilities(self, logits: np.ndarray) -> np.ndarray:
        """(n, outputs) -> (n, K): each class by itself; of pretraining, against the others and background."""
        if not self._meta["background"]:
            return sigmoid(logits).astype(np.float32)
        exponents = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
        return (exponents / exponents.sum(axis=1, keepdims=True))[:, 1:].astype(np.float32)


class _Frames:
    """Cropped input frames (index, seconds, (3, S, S) uint8), decoded ahead; of a live video as far as they come.

    Attributes:
        broken: Why a live video ended early.
    """

    def __init__(self, sampler: Sampler, size: int, stopped: Callable[[], bool]) -> None:
        self._sampler, self._size, self._stopped, self.broken = sampler, size, stopped, ""

    def __iter__(self) -> Iterator[tuple[int, float, Tensor]]:
        try:
            yield from ahead(self._cropped(), _AHEAD, self._stopped)
        except DataError as error:
            if not self._sampler.video.live:
                raise
            self.broken = str(error)

    def _cropped(self) -> Iterator[tuple[int, float, Tensor]]:
        with closing(iter(self._sampler)) as pictures:
            for index, seconds, picture in pictures:
                box = centre_crop_box(*picture.shape[:2])
                yield index, seconds, crop_resize(picture[None], box, self._size)[:, 0]


def strongest(scores: np.ndarray, count: int, rows: int = 4096) -> list[int]:
    """The `count` classes with the highest score anywhere in (T, K), the highest first; read part by part."""
    best = np.full(scores.shape[1], -np.inf)
    for first in range(0, len(scores), rows):
        best = np.fmax(best, np.max(scores[first : first + rows], axis=0))
    return np.argsort(-best, kind="stable")[:count].tolist()


def _too_late(source: Source, start: float, end: float) -> DataError:
    return DataError(f"{source.location} ends at {end:.1f} s; the start ({start:g} s) is beyond that.")


def _refuse_classifier(path: Path, meta: dict[str, Any]) -> None:
    """See that a network says something about frames.

    Raises:
        CheckpointError: It was trained as a classifier of whole clips, with neither frames nor background.
    """
    if meta["command"] == "pretrain" and not meta["config"]["augment"]["methods"]:
        raise CheckpointError(
            f"{path} is a classifier of whole clips (augment.methods=none) and says nothing about frames; "
            f"run `ssdet finetune --init {path}`."
        )
