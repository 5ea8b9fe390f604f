"""`ssdet predict`: what happens in videos, as scores, segments, subtitles and pictures."""

import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
from rich.console import Console

from ssdet_cli.config import rundir
from ssdet_cli.config.predict import PredictConfig
from ssdet_cli.data.inputs import Source, find_sources
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import DataError, SsdetError
from ssdet_cli.evaluation.score_rows import ScoreRows
from ssdet_cli.evaluation.thresholds import DEFAULT
from ssdet_cli.files import staged, write_atomically
from ssdet_cli.interrupts import asked_to_stop
from ssdet_cli.recipes.detector import Detector
from ssdet_cli.recipes.live import LiveView, clock
from ssdet_cli.recipes.prediction_files import Found, drop_earlier, write_files, write_pictures
from ssdet_cli.recipes.scanner import Part, Scan
from ssdet_cli.video.stream import Stream, goes_on, local_path

#: Classes on the screen where nothing else is said.
_SHOWN = 8


def run(cfg: PredictConfig) -> list[Path]:
    """Predict every video; one that fails does not keep the others from it.

    Returns:
        The folder of every video of this process that is done.

    Raises:
        ConfigError: Something that is asked for does not exist.
        DataError: The only video cannot be read.
        KeyboardInterrupt: Asked for while a video that ends is read; what was seen of it is written.
        SsdetError: Some of several cannot, or files cannot be written.
    """
    with session(cfg.run.device) as here:
        log = RunLog(None, Console(stderr=True) if here.is_main else None)
        sources = find_sources(cfg.data.videos, cfg.data.frame_rate, say=log.say)
        detector = Detector.of(cfg, here, log)
        detector.chosen(cfg.classes)
        if detector.scanner.store is not None:
            detector.scanner.store.check(source.video_id for source in sources)
        if here.is_main:
            rundir.check_folder(cfg, cfg.run.output)
        here.broadcast(None)
        log.say(_title(cfg, detector, len(sources), here))
        return _Predictions(cfg, detector, sources, here, log).carry_out()


def _title(cfg: PredictConfig, detector: Detector, count: int, here: Session) -> str:
    videos = "1 video" if count == 1 else f"{count} videos"
    thresholds = {
        "validation": "thresholds from its validation",
        "default": f"threshold {DEFAULT}, since it knows none",
        "given": f"threshold {cfg.threshold}",
    }[detector.thresholds_from(cfg)]
    classes = len(detector.chosen(cfg.classes))
    return f"{videos} through {cfg.checkpoint}, {classes} classes, {thresholds}, on {here.device}."


class _Predictions:
    """One call: what is asked for, and of which videos."""

    def __init__(
        self, cfg: PredictConfig, detector: Detector, sources: list[Source], here: Session, log: RunLog
    ) -> None:
        self.cfg, self.detector, self.sources, self.here, self.log = cfg, detector, sources, here, log
        # What is found in one video that is named lies in the folder itself; of several, and of a folder of them, each
        # has a folder of its own.
        named = local_path(cfg.data.videos[0])
        self.alone = len(cfg.data.videos) == len(sources) == 1 and named in (None, Path(sources[0].location))
        self.part = Part(cfg.start, cfg.end, cfg.data.frame_rate)
        self.told = False

    def carry_out(self) -> list[Path]:
        """Predict this process's share, then tell what failed on any."""
        done: list[Path] = []
        failures: dict[str, str] = {}
        stopped = False
        for source in self.sources[self.here.rank :: self.here.world_size]:
            try:
                folder, broken, stopped = self._one(source)
            except DataError as error:
                if len(self.sources) == 1:
                    raise
                failures[source.location] = str(error)
                self.log.say(f"Not predicted: {error}")
                continue
            done.append(folder)
            if broken:
                failures[source.location] = broken
            if stopped:
                stopped = not goes_on(source.location)  # what has no end is done then
                break
        if self.here.is_main and not self.alone:
            with suppress(OSError):  # of nothing that was found there is no folder
                self.cfg.run.output.rmdir()
        failures = {place: reason for part in self.here.gather(failures) for place, reason in part.items()}
        if stopped:
            raise KeyboardInterrupt
        if failures:
            first = next(iter(failures.values()))
            if len(self.sources) == 1:
                raise SsdetError(f"{first} What was there before is written.")
            raise SsdetError(
                f"{len(failures)} of {len(self.sources)} videos failed and all others are done; the first: {first}"
            )
        return done

    def _one(self, source: Source) -> tuple[Path, str, bool]:
        """Predict one video; returns its folder, what went wrong all the same, and whether it was asked to stop."""
        began = time.monotonic()
        folder = self.cfg.run.output if self.alone else self.cfg.run.output / source.video_id
        with (
            staged(folder, "the prediction") as place,
            tempfile.TemporaryDirectory(dir=place) as rows_at,
            ScoreRows(Path(rows_at), self.detector.chosen(self.cfg.classes)) as rows,
        ):
            scan, asked = self._scan(source, rows)
            if asked and not len(rows):
                raise KeyboardInterrupt
            found = self._found(source, rows, scan, partial=asked and not scan.whole and not scan.live)
            write_files(place, rows, found, self.detector.in_checkpoint(found.segments, self.cfg.classes))
            self._keep_config()
            wrong = ""
            try:
                wrong = self._draw(place, folder, source, found)
            except KeyboardInterrupt:
                self.log.say(f"{source.video_id}: interrupted while its pictures were made; its scores are written.")
                asked = True
            drop_earlier(folder)
        seen = clock(scan.duration - self.cfg.start)
        self.log.say(
            f"{source.video_id}: {f'interrupted after {seen}' if found.partial else seen} of video in "
            f"{time.monotonic() - began:.1f} s, {len(found.segments)} segments, written to {folder}"
        )
        return folder, scan.broken or wrong, asked

    def _keep_config(self) -> None:
        """Write `config.yaml`, once there is something that it tells about."""
        if not self.told:
            folder = self.cfg.run.output
            write_atomically(folder / "config.yaml", rundir.text_of(self.cfg, folder))
            self.told = True

    def _scan(self, source: Source, rows: ScoreRows) -> tuple[Scan, bool]:
        """Fill the rows; returns how that went, and whether somebody asked to stop."""
        asked: list[Callable[[], bool]] = []
        views: list[LiveView] = []
        told: list[bool] = []
        with ExitStack() as stack:

            def opened(video: Stream) -> LiveView:
                end = video.duration if self.cfg.end is None else min(self.cfg.end, video.duration or self.cfg.end)
                shown = self.cfg.top_k or _SHOWN
                view = LiveView(self.log.console, source.video_id, rows.classes, shown, end, self.cfg.start)
                views.append(stack.enter_context(view))
                # A file is done again from its beginning where a scheduler stops that.
                ends = (signal.SIGINT, signal.SIGTERM) if goes_on(source.location) else (signal.SIGINT,)
                asked.append(stack.enter_context(asked_to_stop(ends)))
                if video.live and self.cfg.end is None:
                    self.log.say(f"{source.location} has no end: Ctrl-C ends it, and what was seen is written.")
                return view

            def sink(seconds: np.ndarray, scores: np.ndarray) -> None:
                rows.append(seconds, scores)
                views[0].show(seconds, scores)

            def stopped() -> bool:
                stop = any(ask() for ask in asked)
                if stop and not told and not goes_on(source.location):
                    told.append(True)
                    self.log.say("Interrupted: what was seen is scored and written; another Ctrl-C ends at once.")
                return stop

            columns = self.detector.columns(self.cfg.classes)
            scan = self.detector.scanner.scan(source, self.part, columns, sink, stopped=stopped, opened=opened)
            return scan, stopped()

    def _draw(self, place: Path, folder: Path, source: Source, found: Found) -> str:
        """Make the pictures; returns why there are none, which loses nothing else."""
        if self.cfg.no_pictures:
            return ""
        try:
            overlay = not (self.cfg.no_overlay or found.partial)  # it would take as long again
            for note in write_pictures(place, folder, source, found, self.part, self.cfg.top_k, overlay):
                self.log.say(note)
        except SsdetError as error:
            return f"{source.location}: its pictures cannot be made. {error}"
        return ""

    def _found(self, source: Source, rows: ScoreRows, scan: Scan, *, partial: bool) -> Found:
        scores, times = rows.mapped()
        return Found(
            name=source.video_id,
            location=source.location,
            checkpoint=str(self.cfg.checkpoint),
            scores=scores,
            times=times,
            duration=scan.duration,
            thresholds=self.detector.thresholds_of(self.cfg),
            thresholds_from=self.detector.thresholds_from(self.cfg),
            segments=self.detector.segments(scores, times, scan.duration, self.cfg),
            classes=rows.classes,
            partial=partial,
        )
