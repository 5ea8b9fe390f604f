"""`--dry-run`: two real steps, and from them what the whole run would take."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any

import torch
from torch.utils.data import Dataset

from ssdet_cli.config.commands import TrainingConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.multigrid import Plan
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.host_memory import peak_memory
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import DataError
from ssdet_cli.video.decode import open_video

#: Videos of which the header is read where annotations tell no durations.
_HEADERS = 16
#: Seconds after which no further clip is read to see how long that takes.
_READING = 5.0


@dataclass(frozen=True)
class HeldOut:
    """What one validation goes through.

    Attributes:
        clips: Of a set of clips.
        seconds: Of whole videos.
    """

    clips: int = 0
    seconds: float = 0.0

    @classmethod
    def of_videos(cls, videos: VideoSet) -> "HeldOut":
        """Whole videos; those whose annotation does not say how long they are count as the others do.

        Where none says it, the headers of some files do.
        """
        known = [record.duration_seconds for record in videos.records if record.duration_seconds is not None]
        known = known or _by_header(videos)
        return cls(seconds=sum(known) / len(known) * len(videos) if known else 0.0)

    def frames(self, cfg: TrainingConfig, spacing: float) -> float:
        """Input frames that the network sees, at `spacing` seconds from one to the next."""
        of_videos = spacing
        if hasattr(cfg, "inference"):
            given = cfg.inference
            of_videos = given.seconds_between_frames or spacing * (given.stride or cfg.clip.stride) / cfg.clip.stride
        return self.clips * cfg.clip.frames + self.seconds / of_videos


def _by_header(videos: VideoSet) -> list[float]:
    """Seconds of up to `_HEADERS` videos, spread over the set; one that cannot be read is passed over."""
    files = [record.path for record in videos.records if record.path is not None and record.path.is_file()]
    found = []
    for path in files[:: -(-len(files) // _HEADERS) or 1]:
        with suppress(DataError), open_video(path, backend="pyav") as video:
            found.append(video.duration_seconds)
    return found


@dataclass(frozen=True)
class Measured:
    """What two steps showed; in a multigrid training these are steps of the largest batch.

    Attributes:
        loss: Of the second step.
        step: Seconds of the second step, without waiting for data.
        read: Seconds of one process for one clip, of all shapes as often as they come.
        forward: Seconds of one full clip's forward pass without gradients.
        spacing: Seconds from one input frame of a clip to the next.
    """

    loss: float
    step: float
    read: float
    forward: float
    spacing: float


@dataclass(frozen=True)
class Estimate:
    """What the whole run would take.

    Attributes:
        step: Seconds of an optimiser step, data included.
        network: Seconds of it that the network takes.
        reading: Seconds that the loader's processes need for a step's clips.
        validation: Seconds of one validation.
        validations: How many there are, or are left.
        total: Seconds, of what is left.
    """

    step: float
    network: float
    reading: float
    validation: float
    validations: int
    total: float


def dry_run(
    cfg: TrainingConfig,
    trainer: Trainer,
    batches: Iterable[Any],
    dataset: Dataset,
    held_out: HeldOut,
    *,
    processes: int,
    title: str,
    say: Callable[[str], None],
    plan: Plan | None = None,
) -> None:
    """Take two steps (one where the run has no more) and say what the run of so many processes would cost.

    Of a run that goes on it says what the rest would cost.

    Of a multigrid training, whose plan is given, trainer and batches have the largest of its batches at every step.
    """
    device = trainer.session.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begins = trainer.progress.step, trainer.progress.due
    if begins[0] == cfg.loop.steps:
        what = "the last validation and the report are" if begins[1] else "the report is"
        say(f"All {cfg.loop.steps:,} steps are done and {what} left. The run is as it was.")
        return
    keys = _keys(len(dataset), plan, begins[0])
    measured = measure(trainer, batches, dataset, keys, cfg.clip.frames * cfg.clip.size**2)
    cores = cores_of_a_process(cfg, trainer.session)
    found = estimate(cfg, measured, held_out, cores=cores, processes=processes, plan=plan, begins=begins)
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    say(
        f"Dry run of {title}: {parameters:,} parameters, loss {measured.loss:.3f}, {measured.step:.2f} s per step "
        f"{_with_batch(plan)}on {device}, {_memory(device)}."
    )
    slower = "; reading is the slower part, more data.workers may help" if found.reading > found.network else ""
    several = "s" * (found.validations > 1)
    tried = _without(processes) if trainer.session.world_size == 1 else ""
    say(
        f"Estimate from these steps{tried}, not a promise: {span(found.total)} for {_steps(cfg, begins[0])} "
        f"of {found.step:.2f} s (network {found.network:.2f} s, reading {found.reading:.2f} s in "
        f"{_readers(cfg)}{slower}) and {found.validations} validation{several} of {span(found.validation)}. "
        f"{'The run is as it was.' if begins[0] else 'No run was written.'}"
    )


def _with_batch(plan: Plan | None) -> str:
    if plan is None:
        return ""
    clips, (frames, _, size) = plan.largest.clips, plan.largest.shape
    return f"with the largest batch ({clips} clips of {frames} x {size} x {size}) "


def _steps(cfg: TrainingConfig, behind: int) -> str:
    whole = f"{cfg.loop.steps:,} steps"
    return f"the {cfg.loop.steps - behind:,} that are left of {whole}" if behind else whole


def cores_of_a_process(cfg: TrainingConfig, session: Session) -> int:
    """Processors that one of the run's processes on this machine has for itself and its workers.

    A task of `srun` may use those that it is bound to; `torchrun` binds none and says how many processes there are.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = cfg.run.nproc if session.world_size == 1 else int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, cores // here)


def _without(processes: int) -> str:
    return f" of one of {processes} processes, without what they exchange" if processes > 1 else ""


def _readers(cfg: TrainingConfig) -> str:
    workers = cfg.data.workers
    return "the training process" if workers == 0 else f"{workers} process{'es' * (workers > 1)} beside it"


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        used, held = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
        return f"at most {used / 2**30:.1f} GiB of the GPU's memory in use, {held / 2**30:.1f} GiB held"
    peak = peak_memory()
    if peak is None:
        return "memory unknown on this system"
    return f"at most {peak / 2**30:.1f} GiB of memory, without the loader's processes"


def measure(trainer: Trainer, batches: Iterable[Any], dataset: Dataset, keys: Sequence[tuple], pixels: int) -> Measured:
    """Take the steps, one forward pass without gradients, and read some clips; a full clip has so many pixels."""
    stream, loop = iter(batches), trainer.loop
    loss, seconds, batch = 0.0, 0.0, None
    for _ in range(min(2, loop.steps - trainer.progress.step)):
        began = time.perf_counter()
        _, waited, seen = trainer.step(stream)
        loss = trainer.meter.means(trainer.session)["loss"]  # waits for the device
        seconds, batch = time.perf_counter() - began - waited, seen[-1]
    forward = _forward(trainer, batch) / (len(batch) * batch.frames[0, 0].numel()) * pixels
    return Measured(loss, seconds, _seconds_to_read(dataset, keys), forward, _spacing(batch.frame_seconds))


def _spacing(times: torch.Tensor | None) -> float:
    """Largest distance of two frames in time, seconds: clips that are padded repeat their last time."""
    if times is None or times.shape[1] < 2:
        return 1.0
    return max(float((times[:, 1:] - times[:, :-1]).max()), 1e-3)


def _forward(trainer: Trainer, batch: Any) -> float:
    """Seconds of one pass without gradients."""
    device, network, seconds = trainer.session.device, trainer.evaluated, 0.0
    network.eval()
    with torch.no_grad():
        batch = trainer.task.prepare(batch.to(device), torch.Generator().manual_seed(0))
        for _ in range(2 if device.type == "cuda" else 1):  # kernels are chosen in the first one
            began = time.perf_counter()
            with trainer.autocast():
                logits = network(batch.frames, **batch.network_inputs())
            logits.sum().item()  # waits for the device
            seconds = time.perf_counter() - began
    network.train()
    return seconds


def _keys(samples: int, plan: Plan | None, start: int = 0) -> list[tuple]:
    """Some keys of a dataset; of a plan's shapes from a step on those with more clips more often."""
    if plan is None:
        return [(0, index) for index in range(min(samples, 9))]
    clips = {turn: part * turn.clips for turn, part in plan.share(start).items()}
    marks = [(number + 0.5) / 8 * sum(clips.values()) for number in range(8)]
    ends = list(zip(accumulate(clips.values()), clips, strict=True))
    shapes = [next((turn.shape for end, turn in ends if mark < end), ends[-1][1].shape) for mark in marks]
    return [(0, number % samples, shape) for number, shape in enumerate([shapes[0], *shapes])]


def _seconds_to_read(dataset: Dataset, keys: Sequence[tuple]) -> float:
    """Seconds of one process for one clip, a mean over some; the first is left out, it loads libraries."""
    took, began = [], time.perf_counter()
    for key in keys:
        one = time.perf_counter()
        dataset[key]
        took.append(time.perf_counter() - one)
        if time.perf_counter() - began > _READING:
            break
    return fmean(took[1:] or took)


def estimate(
    cfg: TrainingConfig,
    measured: Measured,
    held_out: HeldOut,
    *,
    cores: int,
    processes: int = 1,
    plan: Plan | None = None,
    begins: tuple[int, bool] = (0, False),
) -> Estimate:
    """Extrapolate: the loader's processes read while the network computes, so the slower of both counts.

    What is counted begins behind so many steps, with the validation that is due there where one is. Steps of a plan
    take as long as their batches have pixels, compared with the largest, which was measured.
    """
    loop, network, clips = cfg.loop, measured.step, cfg.loop.batch_size
    if plan is not None:
        share = plan.share(begins[0])
        clips = sum(part * turn.clips for turn, part in share.items())
        network *= sum(part * turn.pixels for turn, part in share.items()) / plan.largest.pixels
    clips *= loop.accumulate
    at_once = max(1, min(cfg.data.workers, cores))
    reading = clips * measured.read / at_once
    together = (lambda a, b: a + b) if cfg.data.workers == 0 else max
    step = together(network, reading)
    # Ranks share the validation set; every frame of a video is decoded as it is for a clip.
    frames = held_out.frames(cfg, measured.spacing) / processes
    per_frame = together(measured.forward, measured.read / at_once) / cfg.clip.frames
    every = loop.validate_every or max(1, -(-loop.steps // 5))
    behind, due = begins
    validations = -(-loop.steps // every) - behind // every + due
    validation = frames * per_frame
    total = (loop.steps - behind) * step + validations * validation
    return Estimate(step, network, reading, validation, validations, total)


def span(seconds: float) -> str:
    """A time that a person plans with: 40 s, 12 min, 5.3 h, 3.1 days."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
