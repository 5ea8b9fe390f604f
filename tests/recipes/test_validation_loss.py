"""The loss of a validation: that of training, on whole videos."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from ssdet_cli.batch import VideoBatch
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.recipes.scoring import validation_loss
from ssdet_cli.tasks.detection import FrameDetection

VIDEOS = VideoSet(
    "a test",
    ("jump", "run"),
    (
        VideoRecord("long", segments=(Segment(0, 0.4, 1.6), Segment(1, 1.9, 9.0))),
        VideoRecord("unread", segments=(Segment(1, 0.0, 9.0),)),
        VideoRecord("short"),
    ),
    Path("annotations.json"),
)
LABELS = {
    "long": torch.tensor([[0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]).float(),
    "short": torch.zeros(2, 2),
}


def scores_of(video_id):
    frames = LABELS[video_id].shape[1]
    logits = np.random.default_rng(frames).normal(size=(frames, 2)).astype(np.float32)
    return VideoScores(video_id, np.arange(frames) / 2, logits, frames / 2, 2.0, frames)


@pytest.mark.parametrize("clip_weight", [0.0, 0.5, 1.0])
def test_a_single_video_has_the_loss_of_training(clip_weight):
    score = scores_of("long")
    batch = VideoBatch(torch.zeros(1, 3, 6, 1, 1), LABELS["long"][None])
    logits = torch.from_numpy(score.logits.T)[None]
    expected = FrameDetection(lambda frames: frames, clip_weight).loss(logits, batch).loss
    assert validation_loss(VIDEOS, [score], clip_weight) == pytest.approx(float(expected), abs=1e-6)


def test_every_frame_and_every_video_that_was_read_counts_once_in_whatever_order_they_come():
    scores = [scores_of("short"), scores_of("long")]
    labels = torch.cat([LABELS["short"], LABELS["long"]], 1)
    logits = [torch.from_numpy(score.logits.T) for score in scores]
    frames = float(bce(torch.cat(logits, 1), labels))
    highest, there = torch.stack([each.amax(1) for each in logits]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert validation_loss(VIDEOS, scores, 0.0) == pytest.approx(frames, abs=1e-6)
    assert validation_loss(VIDEOS, scores, 1.0) == pytest.approx(float(bce(highest, there)), abs=1e-6)
    assert validation_loss(VIDEOS, scores, 0.3) == validation_loss(VIDEOS, scores[::-1], 0.3)
