"""A backbone's stages, pooled over space and joined in a file."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.data.clips import VideoFacts, VideoWindow
from ssdet_cli.data.feature_writer import FeatureWriter


def pooled(stage: Tensor, side: int) -> Tensor:
    """Average (B, C, T, h, w) to (B, C, T, side, side), frame by frame; a smaller map is enlarged by repetition."""
    if side == 1:
        return stage.mean((3, 4), keepdim=True)
    # On frames: what keeps time apart needs no 3-D kernel.
    frames = F.adaptive_avg_pool2d(stage.transpose(1, 2).flatten(0, 1), side)
    return frames.unflatten(0, (-1, stage.shape[2])).transpose(1, 2)


def pooled_stages(backbone: nn.Module, names: Sequence[str], side: int) -> Callable[[Tensor], Mapping[str, Tensor]]:
    """Function of normalised frames (B, 3, T, H, W) to the named stages, pooled."""

    def network(frames: Tensor) -> Mapping[str, Tensor]:
        return {name: pooled(stage, side) for name, stage in backbone.forward_stages(frames, names).items()}

    return network


class FeatureJoin:
    """Writes the windows of one video into its file, in whatever order they come."""

    def __init__(self, video: VideoFacts, writer: FeatureWriter) -> None:
        self._stages = writer.origin.stage_strides
        self._added, self._video_id = 0, video.video_id
        self._file = writer.begin(
            {
                "video_id": video.video_id,
                "num_frames": video.num_frames,
                "stride": video.spacing.stride,
                "seconds_between_frames": video.spacing.seconds,
                "first_frame": video.first,
                "frame_rate": video.frame_rate,
                "raw_frames": video.raw_frames,
                "duration_seconds": video.duration_seconds,
                "seconds": np.round(video.seconds, 6).tolist(),
            }
        )

    def add(self, window: VideoWindow, outputs: Mapping[str, Tensor]) -> bool:
        """Write a window's stages, or some of them."""
        for name, values in outputs.items():
            stride = self._stages[name]
            self._file.add(name, window.start // stride, values, window.weights[::stride])
            self._added += 1
        return self._added == window.count * len(self._stages)

    def finish(self) -> str:
        """Give the file its name; returns the video's id."""
        self._file.commit()
        return self._video_id

    def discard(self) -> None:
        """Take the unfinished file away."""
        self._file.discard()
