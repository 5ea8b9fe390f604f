"""`ssdet extract-features`: whole videos through a frozen backbone, its stages into a folder of files."""

import shutil
import time
from pathlib import Path

from rich.console import Console

from ssdet_cli.config import rundir
from ssdet_cli.config.commands import ExtractFeaturesConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clips import VideoWindows, with_files
from ssdet_cli.data.copies import note_on_copies
from ssdet_cli.data.feature_writer import FeatureWriter
from ssdet_cli.data.loader import build_stream
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.exact import stages_in_chunks, windows_of
from ssdet_cli.engine.features import FeatureJoin, pooled, pooled_stages
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.predict import Apply, in_batches, predict
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import SsdetError
from ssdet_cli.files import write_atomically
from ssdet_cli.recipes.frozen import Frozen, restore
from ssdet_cli.recipes.video_lengths import Lengths, lengths_of, listed
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
        self.windows = windows_of(
            self.backbone, cfg.inference.window, exact=cfg.inference.exact, name=frozen.origin.backbone
        )
        self.writer = FeatureWriter(self.folder, self.origin)

    def carry_out(self) -> Path:
        """Do what is left to do."""
        done = self._begin()
        left = [record for record in self.videos.records if record.video_id not in done]
        if done and self.log.console is not None:
            self.log.say(f"{len(done)} videos are done already, {len(left)} are left.")
        lengths = lengths_of(left, self.cfg.data, self.origin.spacing, self.here)
        self._check_space(lengths)
        began = time.monotonic()
        try:
            results, failures = self._predict(self._share(left, lengths), began)
        except KeyboardInterrupt:
            if self.here.is_main:
                self.writer.write_index(self.writer.finished(self._ids), complete=False)
            raise
        self._end(len(results), failures, time.monotonic() - began)
        return self.folder

    def try_out(self) -> Path:
        """Say what it would cost, from one window of the first video that can be read."""
        lengths = lengths_of(self.videos.records, self.cfg.data, self.origin.spacing, self.here)
        frames = sum(lengths.frames.values())
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
        need = sum(map(self.origin.num_bytes, lengths.frames.values()))
        self.log.say(
            f"Dry run of {self.origin.backbone}: {len(lengths.frames)} videos, {frames:,} input frames, "
            f"{_sized(need)} of features; {1000 * seconds:.1f} ms per frame on {self.here.device} without "
            f"reading, {frames * seconds / 3600 / self.here.world_size:.2f} h. Nothing was written."
        )
        return self.folder

    @property
    def _ids(self) -> list[str]:
        return [record.video_id for record in self.videos.records]

    def _begin(self) -> dict[str, object]:
        """Prepare the folder on rank 0; every rank gets what is done."""
        done: object = None
        if self.here.is_main:
            try:
                rundir.check_folder(self.cfg, self.folder)
                done = self.writer.prepare(self._ids)
                self.writer.write_index(done, complete=False)
                write_atomically(self.folder / "config.yaml", rundir.text_of(self.cfg, self.folder))
            except SsdetError as error:
                done = error
        done = self.here.broadcast(done)
        if isinstance(done, SsdetError):
            raise done
        return done

    def _check_space(self, lengths: Lengths) -> None:
        need = sum(map(self.origin.num_bytes, lengths.frames.values()))
        free = shutil.disk_usage(self.folder).free
        self.log.say(f"{_sized(need)} will be written to {self.folder}, {_sized(free)} are free.")
        if need + _SPARE > free:
            raise SsdetError(
                f"The features need {_sized(need)} and {self.folder} has {_sized(free)} free; "
                "make room, give another --output, or store less (--pool, --stages, --dtype)."
            )

    def _share(self, left: list[VideoRecord], lengths: Lengths) -> list[VideoRecord]:
        """This rank's videos: dealt out from the longest to the shortest, so that all have about as much to do."""
        order = sorted(left, key=lambda record: (-lengths.frames.get(record.video_id, 0), record.video_id))
        return order[self.here.rank :: self.here.world_size]

    @property
    def _in_chunks(self) -> bool:
        return self.cfg.inference.exact and getattr(self.backbone, "temporal_reach", None) is None

    def _apply(self) -> Apply:
        origin, names = self.origin, tuple(self.origin.stages)
        how = {
            "normalize": Normalize(*self.origin.normalization).to(self.here.device),
            "device": self.here.device,
            "autocast": precision(self.cfg.inference.precision, self.here.device),
        }
        side = 1 if origin.format == "npy" else origin.pool
        if self._in_chunks:
            return stages_in_chunks(self.backbone, names, lambda stage: pooled(stage, side), **how)
        network = pooled_stages(self.backbone, names, side)
        return in_batches(network, batch_size=self.cfg.inference.batch_size, **how)

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


def _sized(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"
