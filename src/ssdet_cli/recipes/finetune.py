"""`ssdet finetune`: teach a pretrained backbone to label every frame of a video."""

from ssdet_cli.config.commands import FinetuneConfig
from ssdet_cli.data.clips import FrameLabelledClips
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.fit import FitSummary, Monitor
from ssdet_cli.recipes.batch_size import settle_batch_size
from ssdet_cli.recipes.dry_run import HeldOut
from ssdet_cli.recipes.scoring import score_while_training
from ssdet_cli.recipes.training import (
    build_detector,
    load_frame_labelled,
    meta_of,
    opened,
    prepared_data,
    train,
    validated_before,
)
from ssdet_cli.tasks.detection import FrameDetection
from ssdet_cli.video.transforms import Normalize


def run(cfg: FinetuneConfig, *, resume: bool = False, dry_run: bool = False) -> FitSummary | None:
    """Fine-tune; see `FinetuneConfig` for every choice.

    Raises:
        SsdetError: Anything a user can mend, in one line.
    """
    with (
        session(cfg.run.device, deterministic=cfg.run.deterministic) as here,
        opened(cfg, here, resume=resume, dry_run=dry_run) as now,
    ):
        data = prepared_data(cfg.data, "dense", here, now.log)
        train_videos, val_videos = load_frame_labelled(data, cfg.command, now.log)
        classes = train_videos.classes
        model = build_detector(cfg, len(classes), classes, now)
        normalize = Normalize(*model.backbone.normalization).to(here.device)
        task = FrameDetection(normalize, clip_weight=cfg.loss.clip_weight)
        dataset = FrameLabelledClips(train_videos, data, cfg.clip, seed=cfg.run.seed, training=True)
        cfg = settle_batch_size(cfg, now, model, task, dataset)
        meta = {**meta_of(cfg, model, classes, background=False), **validated_before(now)}
        return train(
            cfg,
            now,
            model,
            task,
            dataset,
            meta=meta,
            validate=score_while_training(cfg, data, val_videos, normalize, here, now.log, meta=meta),
            monitor=Monitor("mAP", higher_is_better=True),
            held_out=HeldOut.of_videos(val_videos),
            title=f"finetune {cfg.model.backbone}",
        )
