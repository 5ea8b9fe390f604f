"""A trained network for videos: what `ssdet predict` does, as a library.

from ssdet_cli import Detector

found = Detector.from_run("runs/x").predict("video.mp4")
for segment in found.segments:
    print(segment.label, segment.start, segment.end, segment.score)
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssdet_cli.catalog import nearest
from ssdet_cli.config.sections import FineSource
from ssdet_cli.data.inputs import find_sources
from ssdet_cli.engine.distributed import Session, pick_device
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.evaluation.score_rows import ScoreRows
from ssdet_cli.evaluation.segments import Segment, find_segments
from ssdet_cli.recipes import scanner
from ssdet_cli.recipes.scanner import Part


@dataclass(frozen=True)
class Rule:
    """When a class is present.

    Attributes:
        threshold: Of every class; None is what the checkpoint knows, or 0.5.
        top_k: Only so many classes, those with the highest scores; None is all.
        min_length: Shorter segments are left out, seconds.
        smooth: Segments are found in scores averaged over so many seconds.
    """

    threshold: float | None = None
    top_k: int | None = None
    min_length: float = 0.0
    smooth: float = 0.0


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
        scanner: Takes videos through the network.
        classes: Names in the order of the scores.
        thresholds: (K,) float64, from which score on each is present: the best in the checkpoint's validation, or 0.5.
    """

    def __init__(self, through: scanner.Scanner) -> None:
        self.scanner, self.classes, self.thresholds = through, list(through.classes), through.thresholds

    @classmethod
    def from_run(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        fine: str | Path | None = None,
        features: str | Path | None = None,
        stride: int | None = None,
        seconds_between_frames: float | None = None,
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
            seconds_between_frames: Or seconds from one to the next.
            size: Side of the crop, pixels; None is that of training.
            window: Input frames in one pass; None is 512, and as many as a training clip has for a live video.
            session: Where to compute, instead of `device`.
            log: Told what is loaded from where.

        Raises:
            CheckpointError: It cannot be read, or is of a network that says nothing about frames.
            ConfigError: The device is not there, or something is given that does not fit the network.
        """
        here = session or Session(pick_device(device))
        given = FineSource(features=features, weights=fine)
        apart = {"stride": stride, "seconds_between_frames": seconds_between_frames}
        return cls(scanner.restore(Path(path), here, fine=given, **apart, size=size, window=window, log=log))

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
            start: Seconds.
            end: Seconds.
            classes: Names of those to look for; none is all.
            threshold: Score from which on any class is present; None is its own, see `thresholds`.
            top_k: Segments of so many classes only, those with the highest scores; None is all.
            min_length: Shorter segments are left out, seconds.
            smooth: Segments are found in scores averaged over so many seconds.
            frame_rate: Frames per second of a folder of frames.

        Raises:
            ConfigError: An unknown class.
            DataError: The video cannot be read, or `start` is beyond its end.
        """
        sources = find_sources([str(video)], frame_rate)
        if len(sources) != 1:
            raise DataError(f"{video} holds {len(sources)} videos; predict them one by one.")
        with tempfile.TemporaryDirectory(prefix="ssdet-") as folder:
            with ScoreRows(Path(folder), self.chosen(classes)) as rows:
                part = Part(start, end, frame_rate)
                scan = self.scanner.scan(sources[0], part, self.columns(classes), rows.append)
                if scan.broken:
                    raise DataError(scan.broken)
                scores, times = (np.array(array) for array in rows.mapped())
        rule = Rule(threshold, top_k, min_length, smooth)
        thresholds, segments = self.found(scores, times, scan.duration, classes, rule)
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

    def columns(self, classes: Sequence[str]) -> list[int]:
        """Places of the chosen classes among all, see `chosen`."""
        return [self.classes.index(name) for name in self.chosen(classes)]

    def _known(self) -> str:
        more = f", ... ({len(self.classes)} in all)" if len(self.classes) > 12 else ""
        return f"Known: {', '.join(self.classes[:12])}{more}."

    def found(
        self, scores: np.ndarray, times: np.ndarray, duration: float, classes: Sequence[str], rule: Rule
    ) -> tuple[np.ndarray, list[Segment]]:
        """(K,) thresholds of the chosen classes, and their segments."""
        names, known = self.chosen(classes), self.thresholds[self.columns(classes)]
        thresholds = known if rule.threshold is None else np.full(len(names), rule.threshold)
        segments = find_segments(
            scores,
            times,
            thresholds,
            names,
            duration=duration,
            min_length=rule.min_length,
            smooth=rule.smooth,
        )
        if rule.top_k is not None:
            kept = set(strongest(scores, rule.top_k))
            segments = [segment for segment in segments if segment.class_index in kept]
        return thresholds, segments


def strongest(scores: np.ndarray, count: int, rows: int = 4096) -> list[int]:
    """The `count` classes with the highest score anywhere in (T, K), the highest first; read part by part."""
    best = np.full(scores.shape[1], -np.inf)
    for first in range(0, len(scores), rows):
        best = np.fmax(best, np.fmax.reduce(scores[first : first + rows], axis=0))
    return np.argsort(-best, kind="stable")[:count].tolist()
