"""`inference.window=auto`: as many input frames in one pass as memory allows, the same number on all ranks."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.clips import VideoFacts, VideoWindow
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.out_of_memory import advice_on_videos
from ssdet_cli.engine.pass_size import frames_that_fit
from ssdet_cli.engine.predict import in_batches
from ssdet_cli.models.detectors.frame import temporal_multiple

#: Where nothing can be measured, and where videos are no longer and so much fits.
USUAL = 512
#: Longest window of videos whose length nobody knows yet.
LONGEST = 4096
#: Windows are multiples of it where memory bounds them: what is free varies from call to call.
_STEP = 64
#: Where the loader's workers leave what they read.
_SHARED = Path("/dev/shm")
_PART_OF_SHARED = 0.6


@dataclass(frozen=True)
class PassSize:
    """What goes through at once.

    Attributes:
        window: Input frames of a window.
        most_frames: Input frames of a pass of several windows; None where nobody measured.
    """

    window: int
    most_frames: int | None = None


def measured(
    network: nn.Module,
    compute: Callable[[Tensor], Mapping[str, Tensor]],
    *,
    size: int,
    batch_size: int,
    longest: int,
    here: Session,
    data: DataConfig | None = None,
    **how: object,
) -> PassSize:
    """Find the longest window that fits; every rank must call it.

    No longer than the longest video, where that is longer than the usual window: machines with room for whole videos
    then agree.

    Args:
        network: Says what windows it can do.
        compute: Normalised frames (1, 3, T, S, S) -> outputs, as for the videos.
        size: S.
        batch_size: Most windows in a pass.
        longest: Input frames of the longest video.
        here: This process.
        data: How videos are read ahead; None where they are not.
        **how: `normalize`, `device` and `autocast` of `in_batches`.

    Raises:
        OutOfMemory: Not even a short window fits.
    """
    own = getattr(network, "longest_clip", None)
    if own is not None and own <= USUAL:
        return PassSize(own)
    wanted = max(USUAL, -(-longest // _STEP) * _STEP)
    multiple, of_frame = temporal_multiple(getattr(network, "backbone", network)), 3 * size * size
    apply = in_batches(compute, batch_size=1, **how)

    def through(frames: int) -> None:
        frames = max(1, frames // multiple) * multiple
        zeros = torch.zeros(3, frames, size, size, dtype=torch.uint8)
        window = VideoWindow(VideoFacts("trial", raw_frames=frames), 0, zeros, np.ones(frames, np.float32))
        with torch.no_grad():
            for _ in apply([window]):
                pass

    share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    workers, ahead = (data.workers, data.prefetch) if data is not None else (0, 0)
    found = frames_that_fit(
        through,
        here.device,
        most=wanted * batch_size,
        usual=USUAL,
        unit=multiple,
        share=share,
        # Read ahead, being put together (twice) in every worker, and in this process.
        waiting=of_frame * (workers * (ahead + 2) + batch_size + 2),
    )
    if found is not None and workers and _SHARED.is_dir():
        room = _PART_OF_SHARED * shutil.disk_usage(_SHARED).free / share
        found = min(found, max(USUAL, int(room / (of_frame * workers * (ahead + 1)))))
    everywhere = here.gather(found)
    if None in everywhere:
        return PassSize(USUAL)
    fits = min(everywhere)
    window = min(wanted, fits if fits < 2 * _STEP else fits // _STEP * _STEP)
    if window < max(2, multiple):
        raise advice_on_videos(max(2, multiple), 1, here.device)
    return PassSize(window, fits)
