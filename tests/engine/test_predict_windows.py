"""Whole videos through a network that takes short clips only."""

import numpy as np
import pytest
import torch

from ssdet_cli.data.clips import WholeVideo
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.predict import predict
from ssdet_cli.models import create_model
from ssdet_cli.models.detectors.frame import FrameDetector


class Brightness(torch.nn.Module):
    """Features are the mean of each frame; it remembers how many it was given."""

    temporal_stride = 1

    def __init__(self, longest: int | None):
        super().__init__()
        self.seen: list[int] = []
        if longest is not None:
            self.longest_clip = longest

    def forward_features(self, frames):
        self.seen.append(frames.shape[2])
        return frames.mean((1, 3, 4))[:, None]


@pytest.mark.parametrize(("longest", "seen"), [(4, {4}), (None, {8}), (100, {8})])
def test_no_window_is_longer_than_the_backbone_wants(longest, seen):
    video = WholeVideo(
        video_id="v",
        frames=torch.arange(11, dtype=torch.uint8).view(1, -1, 1, 1).expand(3, -1, 2, 2),
        seconds=np.arange(11.0),
        duration_seconds=11.0,
        frame_rate=1.0,
        num_frames=11,
    )
    backbone = Brightness(longest)
    scores, failures = predict(
        FrameDetector(backbone, torch.nn.Identity()).eval(),
        [[video]],
        normalize=lambda frames: frames.float(),
        session=Session(torch.device("cpu")),
        window=8,
        batch_size=2,
        autocast=torch.no_grad,
    )
    assert not failures and set(backbone.seen) == seen
    np.testing.assert_allclose(scores[0].logits[:, 0], np.arange(11.0), rtol=1e-6)


def test_attention_over_whole_clips_asks_for_short_windows():
    with torch.device("meta"):
        assert create_model("torchvision/mvit_v2_s", 3).longest_clip == 16
        assert create_model("torchvision/swin3d_t", 3).longest_clip is None
