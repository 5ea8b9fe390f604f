"""`ssdet pretrain`: learn to detect from clips that have one label each."""

import torch
from torch import nn
from torch.utils.data import DataLoader

from ssdet_cli.augment import VolumeAugment
from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.commands import PretrainConfig
from ssdet_cli.data.annotations import check_labels
from ssdet_cli.data.class_names import class_difference
from ssdet_cli.data.clips import WeakClips, collate
from ssdet_cli.data.loader import ValidationBatches, build_loader
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.fit import FitSummary, Monitor, Validate
from ssdet_cli.engine.numbers import precision
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.trainer import Meter
from ssdet_cli.errors import DataError
from ssdet_cli.recipes.batch_size import settle_batch_size
from ssdet_cli.recipes.dry_run import HeldOut
from ssdet_cli.recipes.training import build_detector, load_split, meta_of, opened, prepared_data, train
from ssdet_cli.tasks.pretraining import VolumePretraining
from ssdet_cli.video.transforms import Normalize


def run(cfg: PretrainConfig, *, resume: bool = False, dry_run: bool = False) -> FitSummary | None:
    """Pretrain; see `PretrainConfig` for every choice.

    Raises:
        SsdetError: Anything a user can mend, in one line.
    """
    with (
        session(cfg.run.device, deterministic=cfg.run.deterministic) as here,
        opened(cfg, here, resume=resume, dry_run=dry_run) as now,
    ):
        data = prepared_data(cfg.data, "weak", here, now.log)
        train_videos = load_split(data, "train", now.log)
        check_labels(train_videos, "weak", cfg.command)
        val_videos = load_split(data, "val", now.log, told=train_videos.notes)
        if train_videos.classes != val_videos.classes:
            other = class_difference(val_videos.classes, train_videos.classes)
            raise DataError(
                f"{val_videos.name} has other classes than {train_videos.name} ({other}); both need the same folders."
            )
        classes = train_videos.classes
        if len(classes) == 1:
            now.log.say(f"{train_videos.name} has only one class, {classes[0]}: nothing is learnt by telling it apart.")
        model = build_detector(cfg, len(classes) + 1, classes, now)
        task = build_task(cfg, model, here, now.log)
        dataset = WeakClips(train_videos, data, cfg.clip, seed=cfg.run.seed, training=True)
        cfg = settle_batch_size(cfg, now, model, task, dataset)
        held_out = WeakClips(val_videos, data, cfg.clip, seed=cfg.run.seed, training=False)
        batches = ValidationBatches(len(held_out), cfg.loop.batch_size, rank=here.rank, world_size=here.world_size)
        loader = build_loader(held_out, batches, collate, data, device=here.device)
        return train(
            cfg,
            now,
            model,
            task,
            dataset,
            meta=meta_of(cfg, model, classes, background=True),
            validate=fixed_draws(task, loader, here, cfg.loop.precision, now.log),
            monitor=Monitor("loss", higher_is_better=False),
            held_out=HeldOut(clips=len(held_out)),
            title=f"pretrain {cfg.model.backbone} ({', '.join(cfg.augment.methods) or 'classification'})",
        )


def build_task(cfg: PretrainConfig, model: nn.Module, here: Session, log: RunLog) -> VolumePretraining:
    """Normalisation and augmentations (compiled on GPUs unless told otherwise) and the loss of a configuration."""
    normalize = Normalize(*model.backbone.normalization).to(here.device)
    level = cfg.loss.level if cfg.loss.level != "auto" else ("frame" if cfg.augment.methods else "clip")
    if not cfg.augment.methods:
        return VolumePretraining(normalize, None, level)
    compiled = cfg.augment.compile if cfg.augment.compile is not None else _can_compile(cfg, normalize, here, log)
    return VolumePretraining(None, _augment(cfg, normalize, compiled), level)


def _augment(cfg: PretrainConfig, normalize: Normalize, compiled: bool) -> VolumeAugment:
    return VolumeAugment(
        cfg.augment.methods,
        probability=cfg.augment.probability,
        cutmix_style=cfg.augment.cutmix_style,
        compile=compiled,
        dynamic=False if cfg.multigrid.on else None,
        normalize=normalize,
    )


def _can_compile(cfg: PretrainConfig, normalize: Normalize, here: Session, log: RunLog) -> bool:
    """Try on a small batch whether this GPU machine has what torch.compile needs (a C compiler, for one)."""
    if here.device.type != "cuda":
        return False
    clips = torch.zeros(2, 3, 4, 16, 16, dtype=torch.uint8, device=here.device)
    labels = torch.zeros(2, 2, 4, device=here.device)
    try:
        _augment(cfg, normalize, compiled=True).fixed(clips, labels)
    except (RuntimeError, OSError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        log.say(f"The augmentations run uncompiled, torch.compile does not work here: {reason}")
        return False
    return True


def fixed_draws(
    task: VolumePretraining, loader: DataLoader, here: Session, precision_name: str, log: RunLog
) -> Validate:
    """Validation on held-out clips with the same draws every time: loss and accuracy per frame over all ranks."""
    autocast = precision(precision_name, here.device)
    told: set[str] = set()

    def validate(network: nn.Module) -> dict[str, float]:
        meter = Meter({name: torch.zeros(2, dtype=torch.float64, device=here.device) for name in ("loss", "accuracy")})
        for batch in loader:
            for path, reason in batch.failures:
                if path not in told:
                    told.add(path)
                    log.say(f"Left out of validation, the next clip stands in: {reason}")
            batch: VideoBatch = task.prepare(batch.to(here.device, non_blocking=True), None)
            with autocast():
                logits = network(batch.frames, **batch.network_inputs())
            meter.add(dict(task.loss(logits, batch).totals))
            if here.stop.asked():
                break
        here.leave_if_asked()
        return meter.means(here)

    return validate
