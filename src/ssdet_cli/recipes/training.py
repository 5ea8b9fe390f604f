"""What the training commands do alike: data, network, run folder, resume, dry run, report."""

import gc
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ssdet_cli import __version__
from ssdet_cli.config import rundir
from ssdet_cli.config.commands import TrainingConfig
from ssdet_cli.config.life import Life, refuse_held
from ssdet_cli.config.load import to_plain
from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.config.sections import HUB, DataConfig, ModelConfig
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoSet, check_labels
from ssdet_cli.data.class_names import class_difference
from ssdet_cli.data.clips import collate, with_files
from ssdet_cli.data.copies import note_on_copies
from ssdet_cli.data.generated import GenerateSettings, is_generated
from ssdet_cli.data.index import without_unusable
from ssdet_cli.data.loader import PlannedBatches, TrainingBatches, build_loader
from ssdet_cli.data.multigrid import Plan
from ssdet_cli.data.reading import dead_workers_named
from ssdet_cli.engine import wandb_run
from ssdet_cli.engine.checkpoint import latest_checkpoint
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.fit import FitSummary, Monitor, Validate, fit
from ssdet_cli.engine.out_of_memory import advice, is_out_of_memory
from ssdet_cli.engine.phases import STEPS, VALIDATION
from ssdet_cli.engine.runlog import ENV, RunLog, environment
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.errors import BY_SRUN, ConfigError, DataError, SsdetError
from ssdet_cli.files import drop_unfinished
from ssdet_cli.models import LoadReport, create_model, load_weights
from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.factory import check_options
from ssdet_cli.models.layers.sync_batchnorm import synchronise_norms
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.models.weights.guess import same_shapes
from ssdet_cli.models.weights.hub import load_hub
from ssdet_cli.recipes import generate
from ssdet_cli.recipes.dry_run import HeldOut, dry_run
from ssdet_cli.recipes.generate import DEFAULT
from ssdet_cli.recipes.multigrid import plan_of, refuse_unfit, table
from ssdet_cli.recipes.scaled_lr import scaled
from ssdet_cli.tasks.interface import Task
from ssdet_cli.viz.run_report import write_run_report


@dataclass(frozen=True)
class Run:
    """Where one run writes, and what it continues.

    Attributes:
        session: This process among all.
        log: Run folder (from `begin` on) and progress line.
        resume: Continue what the folder holds.
        dry_run: Only try; no folder is made, and one that is continued is left as it is.
        state: Checkpoint to continue from; None for a new run.
        life: Says in the folder whether the run goes on.
    """

    session: Session
    log: RunLog
    resume: bool = False
    dry_run: bool = False
    state: dict[str, Any] | None = None
    life: Life = field(default_factory=Life)

    @property
    def step(self) -> int:
        """Optimiser steps that lie behind."""
        return self.state["progress"]["step"] if self.state is not None else 0

    @property
    def _due(self) -> bool:
        """Whether the validation of that step is still to be done."""
        return self.state is not None and bool(self.state["progress"].get("due"))

    def processes(self, cfg: TrainingConfig) -> int:
        """How many processes make the run, see `processes_of`."""
        return processes_of(cfg, self.session, dry_run=self.dry_run)

    def begin(self, cfg: TrainingConfig, monitor: Monitor) -> Path:
        """Make the run folder (rank 0), now that data and network are there: what fails earlier leaves no folder."""
        made = None
        if self.session.is_main:
            made = str(rundir.prepare(cfg, rundir.run_folder(cfg), resume=self.resume))
        folder = Path(self.session.broadcast(made))
        if self.session.is_main:
            self.life.begin(folder, _facts(cfg, monitor, resume_command(cfg, folder, self.session.world_size)))
            self.log.keep_in(folder, self.step if self.resume else None, validated=not self._due)
            drop_unfinished(folder / "checkpoints")
        told = environment(self.session.device, self.session.world_size, folder / ENV if self.resume else None)
        self.log.write_json(ENV, told)
        if cfg.run.wandb is not None:
            self.log.also_to_wandb(cfg.run.wandb, to_plain(cfg))
        return folder


def processes_of(cfg: TrainingConfig, session: Session, *, dry_run: bool) -> int:
    """How many processes make a run; of one that is tried by a single process, as many as would be started."""
    return cfg.run.nproc * cfg.run.nnodes if dry_run and session.world_size == 1 else session.world_size


@contextmanager
def opened(cfg: TrainingConfig, session: Session, *, resume: bool, dry_run: bool) -> Iterator[Run]:
    """Check the run folder, open the log, and load what a resumed run continues from; `Run.begin` makes the folder.

    Raises:
        ConfigError: The network has no such option, the folder holds another run, is in use or cannot be
            written, or the configuration differs from that of the resumed run.
        MissingExtraError: Weights & Biases is asked for and not installed.
        CheckpointError: The checkpoint to resume from cannot be read.
    """
    check_options(cfg.network, cfg.model.head, options_of(cfg.model))  # a typo is told before anything is made
    if cfg.run.wandb is not None:
        wandb_run.require()
    log = RunLog(None, Console(stderr=True) if session.is_main else None)
    if dry_run and not resume:
        yield Run(session, log, dry_run=True)
        return
    if session.is_main:
        rundir.check_folder(cfg, rundir.run_folder(cfg), resume=resume)
        refuse_held(rundir.run_folder(cfg))
    session.broadcast(None)
    state = latest_checkpoint(cfg.run.output) if resume else None
    if state is not None:
        rundir.refuse_other_config(cfg, state["meta"]["config"])
        now = processes_of(cfg, session, dry_run=dry_run)
        if (count := state.get("world_size", now)) != now:
            raise ConfigError(f"--resume continues a run as it was: {count} processes made it and there are {now} now.")
    if resume and state is None:
        log.say(f"{cfg.run.output} has no checkpoint yet; the run begins anew.")
    if dry_run:
        yield Run(session, log, resume=True, dry_run=True, state=state)
        return
    try:
        with Life() as life, session.explained():
            yield Run(session, log, resume=resume, state=state, life=life)
    except BaseException as error:
        with suppress(SsdetError, OSError):  # of a full disk the first error tells
            log.write_timing()
            # Of an error that is not ours the reader wants to hear at once; it may be another rank's.
            if isinstance(error, SsdetError) and log.folder is not None and log.metrics.exists():
                write_run_report(log.folder)
        with suppress(OSError):
            log.close(failed=True)
        raise
    log.close()


def _facts(cfg: TrainingConfig, monitor: Monitor, resume: str) -> dict[str, Any]:
    return {
        "command": cfg.command,
        "model": cfg.model.backbone,
        "head": cfg.model.head,
        "steps": cfg.loop.steps,
        "metric": monitor.name,
        "higher_is_better": monitor.higher_is_better,
        "resume": resume,
    }


def prepared_data(data: DataConfig, kind: str, session: Session, log: RunLog) -> DataConfig:
    """Fill in the generated dataset's place, generating it (rank 0) where it is not there yet.

    Args:
        data: As configured.
        kind: "weak" or "dense".
        session: This process; the others wait for rank 0.
        log: To say so.
    """
    if data.dataset != "generated" or data.videos is not None:
        return data
    if session.is_main:
        log.say(f"The generated dataset is in {DEFAULT}; it is made there if it is not.")
        if not is_generated(DEFAULT):  # a complete set made with other settings is as good
            generate_with_progress(DEFAULT, GenerateSettings(), log)
    session.broadcast(None)
    return data.model_copy(update={"videos": DEFAULT / kind})


def generate_with_progress(folder: Path, settings: GenerateSettings, log: RunLog) -> Path:
    """Make the generated set unless it is there, under a progress line; returns its folder."""
    log.start("Generating videos", 0, settings.videos)
    try:
        return generate.run(folder, settings, progress=lambda done, total, what: log.advance(done, "")).folder
    finally:
        log.stop()


def load_split(data: DataConfig, split: str, log: RunLog, *, told: tuple[str, ...] = ()) -> VideoSet:
    """Read one split's annotations; oddities that loading met are said.

    Args:
        data: As configured.
        split: "train", "val" or "test".
        log: To say what there is.
        told: Oddities of another split, which are said already.

    Raises:
        DataError: Nothing in it.
    """
    load = DATASETS.get(data.dataset)
    with _uncollected():
        videos = load(data.videos, data.annotations, split)
    for note in videos.notes:
        if note not in told:
            log.say(note)
    if not videos.records:
        raise DataError(f"{videos.name}: no videos in {videos.source}.")
    videos, missing = with_files(videos)
    if missing:
        log.say(f"{videos.name}: {len(missing)} videos have no file and are left out, the first is {missing[0]}.")
    videos, note = without_unusable(videos, data)
    if note:
        log.say(note)
    log.say(f"{videos.name}: {len(videos)} videos, {len(videos.classes)} classes.")
    if (copies := note_on_copies(data.cache, videos)) is not None:
        log.say(copies)
    return videos


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep Python's collector from looking through 240,000 living records again and again: half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def load_frame_labelled(data: DataConfig, command: str, log: RunLog) -> tuple[VideoSet, VideoSet]:
    """Read the training and the validation split of a set with frame labels.

    Args:
        data: As configured.
        command: Whose data it is, for the errors.
        log: To say what there is.

    Raises:
        DataError: No labels of frames, no actions at all, or splits of different classes.
    """
    train = load_split(data, "train", log)
    check_labels(train, "frame", command)
    if not any(record.segments for record in train.records):
        raise DataError(f"{train.name}: none of its {len(train)} videos in {train.source} has an action.")
    val = load_split(data, "val", log, told=train.notes)
    if train.classes != val.classes:
        other = class_difference(val.classes, train.classes)
        raise DataError(f"{val.name} has other classes than {train.name} ({other}); both need one class list.")
    return train, val


def options_of(model: ModelConfig) -> dict[str, Any]:
    """Keywords of the network's parts.

    Raises:
        ConfigError: An option that is a key of its own.
    """
    if twice := sorted(type(model).model_fields.keys() & model.options.keys()):
        raise ConfigError(f"model.options.{twice[0]} is a key of its own; give model.{twice[0]}.")
    named = {"dropout": model.dropout} if model.dropout is not None else {}
    if model.norm_splits > 1:
        named["norm_splits"] = model.norm_splits
    return {**named, **model.options}


def build_detector(cfg: TrainingConfig, outputs: int, classes: tuple[str, ...], run: Run) -> nn.Module:
    """Build the network and load `model.init`; a classifier that does not fit is replaced and said in one line."""
    torch.manual_seed(cfg.run.seed)
    model = create_model(
        cfg.network,
        outputs,
        head=cfg.model.head,
        checkpoint_activations=cfg.model.checkpoint_activations,
        **options_of(cfg.model),
    )
    load_init(cfg, model, classes, run)
    return model


def load_init(cfg: TrainingConfig, model: nn.Module, classes: tuple[str, ...], run: Run) -> None:
    """Load `model.init` into a network and say what became of it; of a resumed run only how its input is normalised.

    Raises:
        ConfigError: A resumed run knows other classes than its data now holds, or the weights are of another network.
    """
    if run.state is not None:  # weights that it started from may have decided that
        if other := class_difference(run.state["meta"]["classes"], classes):
            raise ConfigError(
                f"{cfg.run.output} was trained on other classes than the annotations now hold ({other}); put the "
                "annotations back, or begin a new run with --init."
            )
        normalization = run.state["meta"]["normalization"]
        model.backbone.normalization = tuple(normalization["mean"]), tuple(normalization["std"])
        return
    if cfg.model.init is None:
        return
    if str(cfg.model.init) == HUB:
        report = _load_published(cfg, model, classes, run.session)
    else:
        file = checkpoint_file(cfg.model.init)
        _check_backbone(cfg, file)
        report = load_weights(model, file, class_names=classes, allow_partial=cfg.model.allow_partial)
    run.log.say(report.details() if cfg.run.verbose else report.summary())


def _load_published(cfg: TrainingConfig, model: nn.Module, classes: tuple[str, ...], session: Session) -> LoadReport:
    """Load what the backbone's library publishes; rank 0 fetches it, the others then find it there."""
    if not session.is_main:
        session.broadcast(None)
    report = load_hub(model, cfg.model.backbone, class_names=classes, allow_partial=cfg.model.allow_partial)
    if session.is_main:
        session.broadcast(None)
    return report


def _check_backbone(cfg: TrainingConfig, file: Path) -> None:
    """Say which backbone a run of ours needs before its tensors are compared one by one.

    Raises:
        ConfigError: The run has another backbone.
    """
    theirs, ours = read_weights(file).meta.get("backbone"), BACKBONES.canonical(cfg.model.backbone)
    if theirs is not None and not same_shapes(BACKBONES.canonical(theirs), ours):
        raise ConfigError(f"{file} holds {theirs} and model.backbone is {ours}; give --backbone {theirs}.")


def meta_of(cfg: TrainingConfig, model: nn.Module, classes: tuple[str, ...], *, background: bool) -> dict[str, Any]:
    """What travels with the weights, so that a checkpoint needs no other file to be used."""
    mean, std = model.backbone.normalization
    return {
        "ssdet": __version__,
        "command": cfg.command,
        "backbone": cfg.model.backbone,
        "head": cfg.model.head,
        "options": options_of(cfg.model),
        "num_classes": len(classes) + background,
        "classes": list(classes),
        "background": background,
        "normalization": {"mean": list(mean), "std": list(std)},
        "clip": cfg.clip.model_dump(include={"frames", "stride", "size", "seconds_between_frames"}),
        "config": to_plain(cfg),
    }


def validated_before(run: Run) -> dict[str, Any]:
    """What the validation of the checkpoint that a run continues from told, for the next checkpoint; else nothing."""
    meta = run.state["meta"] if run.state is not None else {}
    return {"validated": meta["validated"]} if "validated" in meta else {}


def training_loader(
    cfg: TrainingConfig, dataset: Dataset, run: Run, plan: Plan | None = None, taken: Plan | None = None
) -> tuple[DataLoader, float | Callable[[int], float]]:
    """The loader from the run's step on, and optimiser steps per epoch, or what gives the epoch of a step.

    Args:
        cfg: With a number in `loop.batch_size`.
        dataset: To train on.
        run: What is continued or only tried.
        plan: Of the run, where there is one.
        taken: What the loader follows in its place; None is the plan itself.
    """
    share = {"seed": cfg.run.seed, "rank": run.session.rank, "world_size": run.processes(cfg)}
    if plan is not None:
        how = {"accumulate": cfg.loop.accumulate, "start": run.step, **share}
        batches = PlannedBatches(len(dataset), taken or plan, **how)
        loader = build_loader(dataset, batches, collate, cfg.data, device=run.session.device)
        return loader, PlannedBatches(len(dataset), plan, **how).passes
    batches = TrainingBatches(
        len(dataset),
        cfg.loop.batch_size,
        total=cfg.loop.steps * cfg.loop.accumulate,
        start=run.step * cfg.loop.accumulate,
        **share,
    )
    loader = build_loader(dataset, batches, collate, cfg.data, device=run.session.device)
    return loader, batches.per_epoch / cfg.loop.accumulate


def train(
    cfg: TrainingConfig,
    run: Run,
    model: nn.Module,
    task: Task,
    dataset: Dataset,
    *,
    meta: dict[str, Any],
    validate: Validate,
    monitor: Monitor,
    held_out: HeldOut,
    title: str,
) -> FitSummary | None:
    """Carry the run out (or, in a dry run, two steps of it) and leave its report; None after a dry run."""
    plan = plan_of(cfg, model, run.log.say)
    taken = plan.only(plan.largest) if plan is not None and run.dry_run else plan
    processes = run.processes(cfg)
    loader, steps_per_epoch = training_loader(cfg, dataset, run, plan, taken)
    if cfg.model.sync_bn and run.session.world_size > 1:
        synchronise_norms(model, run.session.device)
    trainer = Trainer(
        model,
        task,
        optim=scaled(cfg, processes, steps_per_epoch, run.log.say),
        loop=cfg.loop,
        session=run.session,
        seed=cfg.run.seed,
        meta=meta,
        compiled=cfg.model.compile,
        channels_last=cfg.model.channels_last,
        say=run.log.say,
        plan=plan,
    )
    if run.state is not None:
        trainer.load(run.state)
    trainer.plan = taken
    if plan is not None:
        refuse_unfit(cfg, plan, trainer, outputs=meta["num_classes"])
    if run.dry_run:
        if plan is not None:
            run.log.say(table(plan, trainer, processes, len(dataset)))
        with memory_advised(cfg, trainer), dead_workers_named():
            dry_run(
                cfg,
                trainer,
                loader,
                dataset,
                held_out,
                processes=processes,
                title=title,
                say=run.log.say,
                plan=plan,
            )
        return None
    folder = run.begin(cfg, monitor)
    if run.state is not None:
        run.log.say(f"Resumed {folder} at step {trainer.progress.step} of {cfg.loop.steps}.")
    with memory_advised(cfg, trainer), run.log.phases.phase(STEPS):
        summary = fit(
            trainer,
            run.log.phases.waiting(loader),
            steps_per_epoch=steps_per_epoch,
            validate=_timed(validate, run.log),
            monitor=monitor,
            log=run.log,
            title=title,
            resume_hint=f"Resume with: {resume_command(cfg, folder, run.session.world_size)}",
        )
    if run.session.is_main:
        run.log.write_timing()
        write_run_report(folder)
        run.log.write_json(
            rundir.DONE,
            {
                "scores": summary.scores,
                "seconds": round(summary.seconds, 1),
                "steps": summary.steps,
                "clips_read_by": summary.clips_read_by,
            },
        )
        run.log.say(
            f"Done in {summary.seconds:.0f} s, {summary.clips_per_second:.1f} clips/s, "
            f"{100 * summary.data_wait:.0f} % of the time waiting for data. Run folder: {folder}"
        )
    return summary


def _timed(validate: Validate, log: RunLog) -> Validate:
    """The same validation; its time is its own, and what took how long is written down after each."""

    def timed(network: nn.Module) -> dict[str, float]:
        with log.phases.phase(VALIDATION):
            scores = validate(network)
        log.write_timing()
        return scores

    return timed


@contextmanager
def memory_advised(cfg: TrainingConfig, trainer: Trainer) -> Iterator[None]:
    """Say what to reduce where memory does not suffice.

    Raises:
        OutOfMemory: It does not.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            step = trainer.progress.step
            turn = trainer.plan.at(step) if trainer.plan is not None else None
            raise advice(cfg, trainer.session.device, step + 1, turn) from error
        raise


def resume_command(cfg: TrainingConfig, folder: Path, world_size: int) -> str:
    """The command that continues a run, however it was started."""
    words = f"{cfg.command} --resume --output {shlex.quote(str(folder))}"
    if cfg.run.nnodes > 1:
        return f"ssdet {words} --node-rank N (on every machine, with its N)"
    if BY_SRUN in os.environ:
        return f"srun ssdet {words}"
    if cfg.run.nproc == world_size:
        return f"ssdet {words}"
    return f"torchrun --standalone --nproc-per-node {world_size} -m ssdet_cli {words}"
