"""A trained network for videos: what `ssdet predict` does, as a library.

from ssdet_cli import Detector

found = Detector.from_run("runs/x").predict("video.mp4")
for segment in found.segments:
    print(segment.label, segment.start, segment.end, segment.score)
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from ssdet_cli.catalog import nearest
from ssdet_cli.config.load import validate
from ssdet_cli.config.predict import PredictConfig
from ssdet_cli.data.inputs import find_sources
from ssdet_cli.engine.distributed import Session, pick_device
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.evaluation.score_rows import ScoreRows
from ssdet_cli.evaluation.segments import Segment, find_segments
from ssdet_cli.recipes import scanner
from ssdet_cli.recipes.scanner import Part

#: Where thresholds come from: the checkpoint's validation, 0.5 for want of one, or somebody said so.
ThresholdsFrom = Literal["validation", "default", "given"]


@dataclass(frozen=True)
class Prediction:
    """What is in a video.

    Attributes:
        video: As it was named.
        classes: K names.
        times: (T,) float64, start of every scored frame, seconds.
        scores: (T, K) float32 probabilities.
        thresholds: (K,) float64, scores from which on a class is present.
        segments: What is present when, by start; `class_index` is the place among `Detector.classes`.
        duration: When what was seen of the video ends, seconds.
        thresholds_from: `validation` of the checkpoint, `default` (0.5, it knows none), or `given`.
        broken: Why a video without end could not be read any further; empty where it could.
    """

    video: str
    classes: list[str]
    times: np.ndarray
    scores: np.ndarray
    thresholds: np.ndarray
    segments: list[Segment]
    duration: float
    thresholds_from: ThresholdsFrom
    broken: str = ""


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
        window: int | Literal["auto"] | None = None,
        exact: bool = False,
    ) -> "Detector":
        """Load a run, a checkpoint, or any weights that `ssdet evaluate` scores.

        Args:
            path: Run folder, or a file.
            device: auto, cpu, cuda or cuda:N.
            fine: Run or weights of a Coarse-Fine network's fine stream; default: as it was trained.
            features: Or its stored features.
            stride: Raw frames from one input frame to the next; None keeps the time between them of training.
            seconds_between_frames: Or seconds from one to the next.
            size: Side of the crop, pixels; None is that of training.
            window: Input frames in one pass; None is 512, auto as many as memory allows, and both as many as a training
                clip has for a live video.
            exact: Of a video longer than a window, what one pass would give, also where the network looks at all of it;
                memory grows with the video, which must have an end.

        Raises:
            CheckpointError: It cannot be read, or is of a network that says nothing about frames.
            ConfigError: The device is not there, or something is given that is wrong or does not fit the network.
        """
        asked = {
            "checkpoint": path,
            "fine": {"features": features, "weights": fine},
            "inference": {
                "stride": stride,
                "seconds_between_frames": seconds_between_frames,
                "size": size,
                "window": window,
                "exact": exact,
            },
            "run": {"device": str(device)},
        }
        cfg = validate(PredictConfig, asked, "Detector.from_run")
        return cls.of(cfg, Session(pick_device(cfg.run.device)))

    @classmethod
    def of(cls, cfg: PredictConfig, here: Session, log: RunLog | None = None) -> "Detector":
        """Load what a configuration names.

        Args:
            cfg: Its checkpoint, fine stream and inference are looked at.
            here: Where to compute.
            log: Told what is loaded from where.

        Raises:
            SsdetError: As `from_run`.
        """
        how = cfg.inference
        return cls(
            scanner.restore(
                cfg.checkpoint,
                here,
                fine=cfg.fine,
                stride=how.stride,
                seconds_between_frames=how.seconds_between_frames,
                size=how.size,
                window=how.window,
                exact=how.exact,
                log=log,
            )
        )

    def predict(
        self,
        video: str | Path,
        *,
        start: float | str = 0.0,
        end: float | str | None = None,
        classes: Sequence[str] | str = (),
        threshold: float | None = None,
        top_k: int | None = None,
        min_length: float = 0.0,
        smooth: float = 0.0,
        frame_rate: float | None = None,
    ) -> Prediction:
        """Find what happens in one video.

        Scores are gathered on disk while the video is read, and are in memory in the result. Of a video without end
        give `end`. Arguments mean what the options of `ssdet predict` mean, and are checked as those are.

        Args:
            video: File, folder of JPEG frames, camera, or address of a stream.
            start: Seconds, or `hh:mm:ss`.
            end: Likewise.
            classes: Names of those to look for, in a list or with commas between; none is all.
            threshold: Score from which on any class is present; None is its own, see `thresholds`.
            top_k: Segments of so many classes only, those with the highest scores; None is all.
            min_length: Shorter segments are left out, seconds.
            smooth: Segments are found in scores averaged over so many seconds.
            frame_rate: Frames per second of a folder of frames.

        Raises:
            ConfigError: An argument is wrong, or a class unknown.
            DataError: The video cannot be read, or no frame lies from `start` to `end`.
        """
        asked = {
            "data": {"videos": [str(video)], "frame_rate": frame_rate},
            "start": start,
            "end": end,
            "classes": classes,
            "threshold": threshold,
            "top_k": top_k,
            "min_length": min_length,
            "smooth": smooth,
        }
        cfg = validate(PredictConfig, asked, "Detector.predict")
        sources = find_sources(cfg.data.videos, cfg.data.frame_rate)
        if len(sources) != 1:
            raise DataError(f"{video} holds {len(sources)} videos; predict them one by one.")
        with tempfile.TemporaryDirectory(prefix="ssdet-") as folder:
            with ScoreRows(Path(folder), self.chosen(cfg.classes)) as rows:
                part = Part(cfg.start, cfg.end, cfg.data.frame_rate)
                scan = self.scanner.scan(sources[0], part, self.columns(cfg.classes), rows.append)
                scores, times = (np.array(array) for array in rows.mapped())
        return Prediction(
            str(video),
            list(rows.classes),
            times,
            scores,
            self.thresholds_of(cfg),
            self.in_checkpoint(self.segments(scores, times, scan.duration, cfg), cfg.classes),
            scan.duration,
            self.thresholds_from(cfg),
            scan.broken,
        )

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

    def thresholds_of(self, cfg: PredictConfig) -> np.ndarray:
        """(K,) thresholds of the chosen classes."""
        known = self.thresholds[self.columns(cfg.classes)]
        return known if cfg.threshold is None else np.full(len(known), cfg.threshold)

    def thresholds_from(self, cfg: PredictConfig) -> ThresholdsFrom:
        """Where they come from."""
        if cfg.threshold is not None:
            return "given"
        return "validation" if self.scanner.validated else "default"

    def segments(self, scores: np.ndarray, times: np.ndarray, duration: float, cfg: PredictConfig) -> list[Segment]:
        """What is present when in (T, K) scores of the chosen classes at (T,) times.

        `class_index` of a segment is its column in `scores`; see `in_checkpoint`.
        """
        segments = find_segments(
            scores,
            times,
            self.thresholds_of(cfg),
            self.chosen(cfg.classes),
            duration=duration,
            min_length=cfg.min_length,
            smooth=cfg.smooth,
        )
        if cfg.top_k is not None:
            kept = set(strongest(scores, cfg.top_k))
            segments = [segment for segment in segments if segment.class_index in kept]
        return segments

    def in_checkpoint(self, segments: Sequence[Segment], classes: Sequence[str]) -> list[Segment]:
        """Segments of chosen classes with their index among all classes of the checkpoint."""
        columns = self.columns(classes)
        return [replace(segment, class_index=columns[segment.class_index]) for segment in segments]


def strongest(scores: np.ndarray, count: int, rows: int = 4096) -> list[int]:
    """The `count` classes with the highest score anywhere in (T, K), the highest first; read part by part."""
    best = np.full(scores.shape[1], -np.inf)
    for first in range(0, len(scores), rows):
        best = np.fmax(best, np.fmax.reduce(scores[first : first + rows], axis=0))
    return np.argsort(-best, kind="stable")[:count].tolist()
