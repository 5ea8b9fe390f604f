"""Clips of a shape that comes with their key."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from ssdet_cli.config.multigrid import MultigridConfig
from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data import clips as clips_module
from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.clips import FrameLabelledClips, WeakClips, collate
from ssdet_cli.data.loader import PlannedBatches, build_loader
from ssdet_cli.data.multigrid import ClipShape, build_plan
from ssdet_cli.video.write import write_video

CLIP = ClipConfig(frames=8, stride=2, size=32, flip=False)
DATA = DataConfig(backend="pyav", workers=0)
#: Every raw frame is grey of another level: the pixels tell which frames a clip took.
STEP = 5


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    write_video(path, [np.full((48, 48, 3), STEP * number, np.uint8) for number in range(40)], 10)
    record = VideoRecord("a", path, label=1, segments=(Segment(0, 1.0, 2.0),), duration_seconds=4.0)
    return VideoSet("a", ("x", "y"), (record, replace(record, video_id="b")), path.parent)


def frames_of(sample):
    """Raw frames of a clip, by their grey."""
    return (sample.frames.double().mean((0, 2, 3)) / STEP).round().int().tolist()


def test_a_clip_has_the_shape_of_its_key_and_lies_where_the_full_clip_would(videos):
    dataset = WeakClips(videos, DATA, CLIP, seed=0, training=True)
    strides = set()
    for epoch in range(40):
        full = frames_of(dataset[epoch, 0])
        sample = dataset[epoch, 0, ClipShape(2, 4, 24)]
        assert sample.frames.shape == (3, 2, 24, 24) and sample.labels.shape == (3, 2)
        first, last = frames_of(sample)
        strides.add(last - first)
        assert first == full[0] and last <= full[-1]
    assert strides == {2, 4, 6, 8}  # 1 to 4 times the usual one


def test_a_sample_depends_on_its_key_alone(videos):
    one, other = (WeakClips(videos, DATA, CLIP, seed=5, training=True) for _ in range(2))
    shape = ClipShape(4, 2, 16)
    for epoch in range(3):
        other[epoch, 1, ClipShape(2, 4, 24)]  # what is read before does not matter
        assert torch.equal(one[epoch, 0, shape].frames, other[epoch, 0, shape].frames)
    assert torch.equal(one[0, 0].frames, one[0, 0, ClipShape(8, 1, 32)].frames)


def test_labels_of_frames_keep_to_the_frames_of_a_stretched_clip(videos):
    dataset = FrameLabelledClips(videos, DATA, CLIP, seed=0, training=True)
    samples = [dataset[epoch, 0, ClipShape(4, 2, 24)] for epoch in range(20)]
    batch = collate(samples)
    assert batch.labels.shape == (20, 2, 8) and batch.label_seconds.shape == (20, 8)
    assert {round(float(each[1] - each[0]), 2) for each in batch.frame_seconds} == {0.2, 0.4}
    for sample in samples:
        assert (sample.frame_seconds * 10).round().int().tolist() == frames_of(sample)
        assert torch.equal(sample.label_seconds[::2], sample.frame_seconds)
        acts = (sample.label_seconds >= 1.0) & (sample.label_seconds < 2.0)
        inside = (sample.label_seconds - 1.0).abs().minimum((sample.label_seconds - 2.0).abs()) > 1e-6
        assert torch.equal(sample.labels[0].bool()[inside], acts[inside])


class Telling(WeakClips):
    """Names the process that made a sample."""

    def __getitem__(self, key):
        return replace(super().__getitem__(key), backend=str(os.getpid()))


def test_workers_go_on_when_the_shape_changes(videos):
    plan = build_plan(MultigridConfig(preset="x3d"), clips=1, frames=8, size=32, steps=20)
    dataset = Telling(videos, DATA, CLIP, seed=0, training=True)
    batches = PlannedBatches(2, plan)
    loader = build_loader(
        dataset, batches, clips_module.collate, DataConfig(workers=1, prefetch=2), device=torch.device("cpu")
    )
    seen = list(loader)
    assert len(seen) == 20 and len({tuple(batch.frames.shape) for batch in seen}) == 8
    assert len({process for batch in seen for process in batch.backends} - {str(os.getpid())}) == 1
    for step, (batch, keys) in enumerate(zip(seen, batches, strict=True)):
        turn = plan.at(step)
        shape = (turn.clips, 3, turn.shape.frames, turn.shape.size, turn.shape.size)
        assert tuple(batch.frames.shape) == shape
        assert torch.equal(batch.frames[-1], dataset[keys[-1]].frames)


def test_the_label_of_a_clip_holds_for_the_frames_that_are_repeated_after_its_end(videos):
    sample = WeakClips(videos, DATA, CLIP.model_copy(update={"frames": 99}), seed=0, training=False)[(0, 0)]
    assert frames_of(sample)[-2:] == [frames_of(sample)[-1]] * 2
    assert sample.valid is None and (sample.labels.sum(0) == 1).all()
    assert (sample.labels[videos.records[0].label + 1] == 1).all()
