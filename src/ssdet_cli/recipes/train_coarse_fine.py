"""`ssdet train-coarse-fine`: learn where to look in a video that a fine stream has seen."""

from functools import partial

from ssdet_cli.config.commands import TrainCoarseFineConfig
from ssdet_cli.data.clips import FrameLabelledClips
from ssdet_cli.data.coarse_fine_clips import CoarseFineClips
from ssdet_cli.engine.distributed import session
from ssdet_cli.engine.fit import FitSummary, Monitor
from ssdet_cli.recipes.batch_size import settle_batch_size
from ssdet_cli.recipes.dry_run import HeldOut
from ssdet_cli.recipes.fine_stream import build_network, fine_stream
from ssdet_cli.recipes.scoring import score_while_training
from ssdet_cli.recipes.training import load_frame_labelled, meta_of, opened, prepared_data, train, validated_before
from ssdet_cli.tasks.detection import FrameDetection
from ssdet_cli.video.transforms import Normalize


def run(cfg: TrainCoarseFineConfig, *, resume: bool = False, dry_run: bool = False) -> FitSummary | None:
    """Train the coarse stream and the fusion, or both streams; see `TrainCoarseFineConfig` for every choice.

    Raises:
        SsdetError: Anything a user can mend, in one line.
    """
    cfg.fine.refuse_nothing()
    with (
        session(cfg.run.device, deterministic=cfg.run.deterministic) as here,
        opened(cfg, here, resume=resume, dry_run=dry_run) as now,
    ):
        data = prepared_data(cfg.data, "dense", here, now.log)
        train_videos, val_videos = load_frame_labelled(data, cfg.command, now.log)
        classes = train_videos.classes
        network = build_network(cfg, classes, now)
        ids = [record.video_id for videos in (train_videos, val_videos) for record in videos.records]
        fine = fine_stream(cfg, network, ids, now)
        normalize = Normalize(*network.backbone.normalization).to(here.device)
        task = FrameDetection(normalize, clip_weight=cfg.loss.clip_weight)
        clips = FrameLabelledClips if fine.context is None else partial(CoarseFineClips, context=fine.context)
        dataset = clips(train_videos, data, cfg.clip, seed=cfg.run.seed, training=True)
        cfg = settle_batch_size(cfg, now, network, task, dataset)
        meta = {**meta_of(cfg, network, classes, background=False), "fine": fine.meta, **validated_before(now)}
        return train(
            cfg,
            now,
            network,
            task,
            dataset,
            meta=meta,
            validate=score_while_training(
                cfg, data, val_videos, normalize, here, now.log, meta=meta, apply_of=fine.apply_of
            ),
            monitor=Monitor("mAP", higher_is_better=True),
            held_out=HeldOut.of_videos(val_videos),
            title=f"train-coarse-fine {cfg.model.backbone}",
        )
