"""`ssdet extract-features`: whole videos through a frozen backbone, its stages into a folder of files."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import ExtractFeaturesConfig
from ssdet_cli.config.life import taken
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clips import VideoWindows, with_files
from ssdet_cli.data.copies import note_on_copies
from ssdet_cli.data.feature_writer import FeatureWriter, window_of
from ssdet_cli.data.loader import build_stream
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.exact import stages_in_chunks, windows_of
from ssdet_cli.engine.features import FeatureJoin, pooled, pooled_stages
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.predict import Apply, in_batches, predict
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import SsdetError
from ssdet_cli.files import write_atomically
from ssdet_cli.recipes.frozen import Frozen, restore, told_window
from ssdet_cli.recipes.video_lengths import lengths_of, listed
from ssdet_cli.recipes.window_length import measured
from ssdet_cli.video.transforms import Normalize

#: Bytes that are left free on the disk.
_SPARE = 64 * 2**20


def run(cfg: ExtractFeaturesConfig, *, dry_run: bool = False) -> Path:
    """Store the features of every video; what an earlier call finished is not done again.

    Returns:
        The folder.

    Raises:
        ConfigError: The folder holds other features, or the backbone cannot do what is asked for.
        SsdetError: The disk has too little room, or videos cannot be read and `allow_missing` is not set.
    """
    with session(cfg.run.device, deterministic=cfg.run.deterministic) as here:
        log = RunLog(None, Console(stderr=True) if here.is_main else None)
        videos = _videos(cfg, log)
        frozen = restore(cfg, here, log)
        work = _Extraction(cfg, frozen, videos, here, log)
        return work.try_out() if dry_run else work.carry_out()


def _videos(cfg: ExtractFeaturesConfig, log: RunLog) -> VideoSet:
    videos = listed(cfg.data, cfg.split)
    for note in videos.notes:
        log.say(note)
    videos, missing = with_files(videos)
    if missing:
        log.say(f"{len(missing)} videos have no file and are left out, the first is {missing[0]}.")
    log.say(f"{videos.name}: {len(videos)} videos.")
    if (copies := note_on_copies(cfg.data.cache, videos)) is not None:
        log.say(copies)
    return videos


class _Extraction:
    """One call: what is asked for, and what there is already."""

    def __init__(
        self, cfg: ExtractFeaturesConfig, frozen: Frozen, videos: VideoSet, here: Session, log: RunLog
    ) -> None:
        self.cfg, self.here, self.log, self.videos = cfg, here, log, videos
        self.backbone, self.origin, self.folder = frozen.backbone, frozen.origin, cfg.run.output
        self._frames: dict[str, int] = {}
        self.most_frames: int | None = None
        if cfg.inference.window == "auto":
            self._settle_window()
        window, exact = self.cfg.inference.window, self.cfg.inference.exact
        self.windows = windows_of(self.backbone, window, exact=exact, name=self.origin.backbone)
        self.writer = FeatureWriter(self.folder, self.origin)

    def _settle_window(self) -> None:
        """Replace `inference.window=auto` by a number: that of the features which are there, or what memory allows."""
        inference = self.cfg.inference
        before = _of_main(self.here, lambda: window_of(self.folder))
        if before is not None:
            window = self.most_frames = before
            self.log.say(f"inference.window=auto: {window} input frames, as of the features in {self.folder}.")
        else:
            found = measured(
                self.backbone,
                self._network,
                size=self.origin.size,
                batch_size=inference.batch_size,
                longest=max(self._lengths(self.videos.records).values(), default=0),
                here=self.here,
                data=self.cfg.data,
                **self._how,
            )
            window, self.most_frames = found.window, found.most_frames
            self.log.say(f"inference.window=auto: windows of up to {window} input frames fit on {self.here.device}.")
        self.cfg = self.cfg.model_copy(update={"inference": inference.model_copy(update={"window": window})})
        self.origin = replace(self.origin, window=told_window(self.cfg, self.backbone, window))

    def _lengths(self, records: Sequence[VideoRecord]) -> dict[str, int]:
        """Video id -> input frames, of those whose header can be read; every rank must ask for the same."""
        unknown = [record for record in records if record.video_id not in self._frames]
        self._frames |= lengths_of(unknown, self.cfg.data, self.origin.spacing, self.here).frames
        ids = [record.video_id for record in records]
        return {video_id: self._frames[video_id] for video_id in ids if video_id in self._frames}

    def carry_out(self) -> Path:
        """Do what is left to do."""
        with ExitStack() as stack:
            return self._carry_out(self._begin(stack))

    def _carry_out(self, done: dict[str, object]) -> Path:
        left = [record for record in self.videos.records if record.video_id not in done]
        if done and self.log.console is not None:
            videos = "1 video is" if len(done) == 1 else f"{len(done)} videos are"
            self.log.say(f"{videos} done already, {len(left)} {'is' if len(left) == 1 else 'are'} left.")
        frames = self._lengths(left)
        self._check_space(frames)
        began = time.monotonic()
        try:
            results, failures = self._predict(self._share(left, frames), began)
        except KeyboardInterrupt:
            if self.here.is_main:
                self.writer.write_index(self.writer.finished(self._ids), complete=False)
            raise
        self._end(len(results), failures, time.monotonic() - began)
        return self.folder

    def try_out(self) -> Path:
        """Say what it would cost, from one window of the first video that can be read."""
        lengths = self._lengths(self.videos.records)
        frames = sum(lengths.values())
        for window in VideoWindows(
            self.videos.records, self.cfg.data, spacing=self.origin.spacing, size=self.origin.size, windows=self.windows
        ):
            if not window.failure:
                break
        else:
            raise SsdetError(f"None of the {len(self.videos)} videos can be read, the first: {window.failure}")
        began = time.perf_counter()
        for _ in self._apply()([window]):
            pass
        seconds = (time.perf_counter() - began) / window.frames.shape[1]
        need = sum(map(self.origin.num_bytes, lengths.values()))
        alone = self.here.world_size == 1  # then this process tries what as many as are asked for would do
        processes = self.cfg.run.nproc * self.cfg.run.nnodes if alone else self.here.world_size
        self.log.say(
            f"Dry run of {self.origin.backbone}: {len(lengths)} videos, {frames:,} input frames, "
            f"{_sized(need)} of features; {1000 * seconds:.1f} ms per frame on {self.here.device} without "
            f"reading, {frames * seconds / 3600 / processes:.2f} h. Nothing was written."
        )
        return self.folder

    @property
    def _ids(self) -> list[str]:
        return [record.video_id for record in self.videos.records]

    def _begin(self, stack: ExitStack) -> dict[str, object]:
        """Prepare the folder on rank 0, and have it alone; every rank gets what is done."""

        def prepare() -> dict[str, object]:
            rundir.check_folder(self.cfg, self.folder)
            self.writer.make_folder()
            stack.enter_context(taken(self.folder))
            done = self.writer.prepare(self._ids)
            self.writer.write_index(done, complete=False)
            write_atomically(self.folder / "config.yaml", rundir.text_of(self.cfg, self.folder))
            return done

        return _of_main(self.here, prepare)

    def _check_space(self, frames: dict[str, int]) -> None:
        need = sum(map(self.origin.num_bytes, frames.values()))
        free = shutil.disk_usage(self.folder).free
        self.log.say(f"{_sized(need)} will be written to {self.folder}, {_sized(free)} are free.")
        if need + _SPARE > free:
            raise SsdetError(
                f"The features need {_sized(need)} and {self.folder} has {_sized(free)} free; "
                "make room, give another --output, or store less (--pool, --stages, --dtype)."
            )

    def _share(self, left: list[VideoRecord], frames: dict[str, int]) -> list[VideoRecord]:
        """This rank's videos: dealt out from the longest to the shortest, so that all have about as much to do."""
        order = sorted(left, key=lambda record: (-frames.get(record.video_id, 0), record.video_id))
        return order[self.here.rank :: self.here.world_size]

    @property
    def _in_chunks(self) -> bool:
        return self.cfg.inference.exact and getattr(self.backbone, "temporal_reach", None) is None

    @property
    def _how(self) -> dict[str, Any]:
        return {
            "normalize": Normalize(*self.origin.normalization).to(self.here.device),
            "device": self.here.device,
            "autocast": precision(self.cfg.inference.precision, self.here.device),
        }

    @property
    def _side(self) -> int:
        return 1 if self.origin.format == "npy" else self.origin.pool

    @property
    def _network(self) -> Callable[[Tensor], Mapping[str, Tensor]]:
        return pooled_stages(self.backbone, tuple(self.origin.stages), self._side)

    def _apply(self) -> Apply:
        if self._in_chunks:
            names, side = tuple(self.origin.stages), self._side
            return stages_in_chunks(self.backbone, names, lambda stage: pooled(stage, side), **self._how)
        most, batch_size = self.most_frames, self.cfg.inference.batch_size
        return in_batches(self._network, batch_size=batch_size, most_frames=most, **self._how)

    def _predict(self, share: list[VideoRecord], began: float) -> tuple[list[str], dict[str, str]]:
        dataset = VideoWindows(
            share, self.cfg.data, spacing=self.origin.spacing, size=self.origin.size, windows=self.windows
        )
        self.log.start("videos", 0, len(share))

        def advance(done: int) -> None:
            self.log.advance(done, f"{done / max(time.monotonic() - began, 1e-9):.2f} videos/s")

        try:
            return predict(
                build_stream(dataset, self.cfg.data, most_workers=1 if self._in_chunks else None),
                apply=self._apply(),
                join=lambda video: FeatureJoin(video, self.writer),
                session=self.here,
                advance=advance,
            )
        finally:
            self.log.stop()

    def _end(self, count: int, failures: dict[str, str], seconds: float) -> None:
        """Write the index from the files, tell what could not be read.

        Raises:
            SsdetError: Files that ranks wrote are not there, or videos could not be read.
        """
        if self.here.is_main:
            there = self.writer.finished(self._ids)
            lost = [name for name in self._ids if name not in there and name not in failures]
            self.writer.write_index(there, complete=not lost, failed=failures)
            if lost:
                raise SsdetError(
                    f"{len(lost)} videos were done and are not in {self.folder}, the first is {lost[0]}; "
                    "is it one folder on all machines?"
                )
            self.log.say(f"Stored {count} videos in {seconds:.0f} s in {self.folder}, {len(there)} are there now.")
            for reason in failures.values():
                self.log.say(f"Not stored: {reason}")
        if failures and not self.cfg.allow_missing:
            raise SsdetError(
                f"{len(failures)} of {len(self.videos)} videos could not be read and have no features, the first: "
                f"{next(iter(failures.values()))} All others are stored; --allow-missing makes this a success."
            )


def _of_main(here: Session, work: Callable[[], Any]) -> Any:
    """What rank 0 makes, on every rank; an error of its is raised on all."""
    made: Any = None
    if here.is_main:
        try:
            made = work()
        except SsdetError as error:
            made = error
    made = here.broadcast(made)
    if isinstance(made, SsdetError):
        raise made
    return made


def _sized(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
