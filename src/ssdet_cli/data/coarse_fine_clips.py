"""Clips with frame labels and the fine stream's features of their videos."""

from dataclasses import replace

import numpy as np
import torch

from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.clips import FrameLabelledClips, Sample
from ssdet_cli.data.fine_context import FineContext
from ssdet_cli.data.multigrid import ClipShape


class CoarseFineClips(FrameLabelledClips):
    """`FrameLabelledClips` that carry what a store holds of the whole video, or of a long part of it.

    Args:
        *args: Of `FrameLabelledClips`.
        context: Where the features are; at the spacing of the clips.
        **options: Of `FrameLabelledClips`.
    """

    def __init__(self, *args: object, context: FineContext, **options: object) -> None:
        super().__init__(*args, **options)
        self.context = context

    def make(self, record: VideoRecord, shape: ClipShape, rng: np.random.Generator, turn: int = 0) -> Sample:
        """Read a clip, then the features around it."""
        sample = super().make(record, shape, rng, turn)
        features, start = self.context.read(record.video_id, sample.start, shape.frames)
        return replace(sample, features=features, feature_start=torch.tensor(start, dtype=torch.float32))
