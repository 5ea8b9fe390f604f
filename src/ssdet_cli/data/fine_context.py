"""Stored features of the fine stream that go with a clip or a window of a video."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssdet_cli.data.feature_store import FeatureStore

#: Fine frames around a window, in lengths of it: the window and as much before and behind it.
LENGTHS = 3


def fine_span(num_frames: int, start: float, length: int, longest: int) -> tuple[int, int]:
    """Fine frames [first, stop) that a window of a video is steered by.

    All of a video of up to `longest` frames; of a longer one always `longest`, with the window in their middle as far
    as the video's ends allow. The Gaussian of the temporal alignment, whose width is a part of the number of fine
    frames, is thus equally wide all along a video, and in training as it is in prediction.

    Args:
        num_frames: Fine frames of the video.
        start: First frame of the window, in fine frames.
        length: Frames of the window.
        longest: Most fine frames.
    """
    count = min(num_frames, max(longest, length))
    first = min(max(0, round(start + length / 2 - count / 2)), num_frames - count)
    return first, first + count


@dataclass(frozen=True)
class FineContext:
    """Reads them from a store; may be copied into any process.

    Attributes:
        store: Of every video.
        stages: Names of the stages.
        longest: Most fine frames, see `fine_span`.
    """

    store: FeatureStore
    stages: tuple[str, ...]
    longest: int

    def read(self, video_id: str, start: float, length: int) -> tuple[dict[str, Tensor], float]:
        """Read the features that go with frames [start, start + length) of a video.

        Returns:
            Stage -> (C, F, h, w) as stored, and `start` counted from the first of these fine frames.

        Raises:
            DataError: They cannot be read.
        """
        first, stop = fine_span(self.store.num_frames(video_id), start, length, self.longest)
        return self.store.read(video_id, self.stages, first, stop), start - first


def pad_features(parts: Sequence[Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], Tensor]:
    """Stack features (C, F, h, w) of different F, with zeros behind the shorter ones.

    Returns:
        Stage -> (B, C, F, h, w), and a mask (B, F), False at the padding.
    """
    lengths = torch.tensor([next(iter(part.values())).shape[1] for part in parts])
    frames = int(lengths.max())
    stacked = {}
    for name, first in parts[0].items():
        whole = first.new_zeros((len(parts), first.shape[0], frames, *first.shape[2:]))
        for index, part in enumerate(parts):
            whole[index, :, : lengths[index]] = part[name]
        stacked[name] = whole
    return stacked, torch.arange(frames) < lengths[:, None]
