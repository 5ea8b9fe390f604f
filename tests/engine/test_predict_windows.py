"""Long videos in windows: equal to one pass where that can be, exactly in chunks where it cannot, memory flat."""

import weakref
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoRecord
from ssdet_cli.data.clips import VideoWindow, VideoWindows
from ssdet_cli.data.windows import Windows
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.exact import logits_in_chunks, stages_in_chunks, windows_of
from ssdet_cli.engine.predict import LOGITS, ScoreJoin, in_batches, predict
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.models import create_model
from ssdet_cli.models.backbones.slowfast import SlowFast, SlowFastSize
from ssdet_cli.models.detectors.frame import FrameDetector, stage_strides, temporal_multiple
from ssdet_cli.models.heads.linear import LinearHead
from ssdet_cli.video.sampling import Spacing

HERE = Session(torch.device("cpu"))
HOW = {"normalize": lambda frames: frames.float() / 255, "device": HERE.device, "autocast": nullcontext}


class Stream:
    """A reader of random pictures, the same at every reading, that notes how much is asked for at a time."""

    frame_rate, backend = 10.0, "stream"

    def __init__(self, num_frames, damaged_from=None):
        self.num_frames, self.damaged_from, self.asked = num_frames, damaged_from, []
        self.duration_seconds = num_frames / self.frame_rate

    def open(self, record):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def seconds(self):
        return np.arange(self.num_frames) / self.frame_rate

    def frames(self, indices):
        if self.damaged_from is not None and indices[-1] >= self.damaged_from:
            raise DataError("v.mp4: damaged.")
        self.asked += indices.tolist()
        self.most = max(getattr(self, "most", 0), len(indices))
        pictures = [np.random.default_rng(index).integers(0, 255, (16, 16, 3), np.uint8) for index in indices]
        return np.stack(pictures)


def stream(num_frames, windows, *, stride=1, size=16, **damage):
    dataset = VideoWindows([VideoRecord("v")], DataConfig(), spacing=Spacing(stride), size=size, windows=windows)
    dataset.reader = Stream(num_frames, **damage)
    return dataset


def strong(module):
    """Batch norms that let every path through, so that what is far away can be seen."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
    return module.eval()


def scores(detector, windows, num_frames, apply=None):
    apply = apply or in_batches(lambda frames: {LOGITS: detector(frames)}, batch_size=3, **HOW)
    (result,), failures = predict(stream(num_frames, windows), apply=apply, join=ScoreJoin, session=HERE)
    assert failures == {}
    assert result.num_frames == num_frames and len(result.logits) == num_frames and result.backend == "stream"
    return result.logits


class Mixer(nn.Module):
    """A backbone of two convolutions over time, the second with a stride."""

    stage_names, stage_channels, stage_strides = ("one", "two"), (4, 5), (1, 2)
    num_features, head_hidden, temporal_stride, temporal_reach = 5, None, 2, 3

    def __init__(self):
        super().__init__()
        self.one = nn.Conv3d(3, 4, (3, 3, 3), stride=(1, 4, 4), padding=(1, 1, 1))
        self.two = nn.Conv3d(4, 5, (5, 3, 3), stride=(2, 1, 1), padding=(2, 1, 1))

    def forward_features(self, frames):
        return self.two(self.one(frames).relu()).mean((3, 4))


@pytest.mark.parametrize("num_frames", [1, 17, 40, 41, 67])
def test_scores_of_finite_reach_in_windows_equal_one_pass(num_frames):
    torch.manual_seed(1)
    detector = FrameDetector(Mixer(), LinearHead(5, 3)).eval()
    assert (detector.temporal_reach, temporal_multiple(detector.backbone)) == (7, 2)
    whole = scores(detector, Windows(1000), num_frames)
    joined = scores(detector, windows_of(detector, 20, exact=True), num_frames)
    assert np.abs(whole - joined).max() < 1e-5


def seen(backbone, num_frames, at):
    """The farthest step, in input frames, that changes with frame `at`."""
    frames = torch.randn(1, 3, num_frames, 16, 16, dtype=torch.float64)
    other = frames.clone()
    other[:, :, at] += 3
    farthest = 0
    with torch.no_grad():
        one, two = (backbone.forward_stages(clip, backbone.stage_names) for clip in (frames, other))
    for name, stride in zip(backbone.stage_names, stage_strides(backbone), strict=True):
        changed = (one[name] != two[name]).any(1).any(-1).any(-1)[0].nonzero()[:, 0] * stride
        farthest = max(farthest, at - int(changed.min()), int(changed.max()) - at)
    return farthest


def small_slowfast():
    return SlowFast(SlowFastSize(alpha=4, lateral_kernel=7, width=16, depths=(1, 1, 1, 1)), (16, 2, 32))


@pytest.mark.parametrize(
    ("build", "num_frames"),
    [
        (small_slowfast, 64),
        (lambda: create_model("torchvision/mc3_18", 2).backbone, 24),
        (lambda: create_model("timm/resnet10t", 2, time_depth=2, time_kernel=5).backbone, 16),
    ],
    ids=["slowfast", "mc3", "timm"],
)
def test_no_step_sees_farther_than_its_backbone_says(build, num_frames):
    backbone = strong(build()).double()
    for part in backbone.modules():
        if hasattr(part, "mix"):
            nn.init.normal_(part.mix.weight)
    multiple = temporal_multiple(backbone)
    middle = num_frames // 2 // multiple * multiple
    farthest = max(seen(backbone, num_frames, middle + shift) for shift in {0, multiple - 1})
    assert backbone.temporal_reach - multiple < farthest <= backbone.temporal_reach < middle


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("torchvision/r3d_18", Windows(512, 8, 54)),
        ("torchvision/s3d", Windows(512, 8, 51)),
        ("slowfast_r50_4x16", Windows(512, 8, 90)),
        ("torchvision/swin3d_t", Windows(512, 2)),
        ("x3d_m", Windows(512)),
    ],
)
def test_how_long_videos_are_cut_follows_from_the_backbone_alone_and_behind_a_head(name, windows):
    with torch.device("meta"):
        detector = create_model(name, 2)
    assert windows_of(detector.backbone, 512, exact=False) == windows
    assert windows_of(detector, 512, exact=False).multiple == windows.multiple


def test_stages_of_a_strided_backbone_in_windows_equal_one_pass():
    backbone, num_frames = strong(small_slowfast()), 150
    windows = windows_of(backbone, 64, exact=False)
    (whole,) = stream(num_frames, Windows(1000))
    frames = HOW["normalize"](whole.frames)[None]
    with torch.no_grad():
        one = backbone.forward_stages(frames, backbone.stage_names)
        assert len(windows.spans(num_frames)) == 5
        for (start, stop), weights in zip(windows.spans(num_frames), windows.weights(num_frames), strict=True):
            part = backbone.forward_stages(frames[:, :, start:stop], backbone.stage_names)
            own = torch.from_numpy(weights) > 0
            for name, values in one.items():
                assert torch.allclose(part[name][:, :, own], values[:, :, start:stop][:, :, own], atol=1e-5), name


@pytest.mark.parametrize(("num_frames", "chunk"), [(5, 8), (23, 8), (33, 1), (24, 8)])
def test_x3d_in_chunks_equals_one_pass(num_frames, chunk):
    detector = strong(create_model("x3d_tiny", 4))
    windows = windows_of(detector, max(chunk, 2), exact=True)
    assert windows.spans(23)[1][0] == max(chunk, 2)
    whole = scores(detector, Windows(1000), num_frames)
    assert np.abs(scores(detector, windows, num_frames, logits_in_chunks(detector, **HOW)) - whole).max() < 1e-5
    frames = torch.rand(1, 3, num_frames, 24, 24)
    names = ("layer1", "layer3", "conv5")
    with torch.no_grad():
        one, parts = detector.backbone.forward_stages(frames, names), {}
        for name, number, values in detector.backbone.forward_stages_in_chunks(frames.split(chunk, 2), names):
            assert number == len(parts.setdefault(name, []))
            parts[name].append(values)
    for name, values in one.items():
        assert torch.allclose(torch.cat(parts[name], 2), values, rtol=1e-5, atol=1e-5), name


def test_x3d_in_windows_is_an_approximation_and_says_that_it_has_no_reach():
    detector = strong(create_model("x3d_tiny", 4))
    assert detector.temporal_reach is None
    assert np.abs(scores(detector, Windows(8), 24) - scores(detector, Windows(1000), 24)).max() > 1e-4


def test_an_unknown_stage_in_chunks_is_refused():
    backbone = create_model("x3d_tiny", 4).backbone
    with pytest.raises(ConfigError, match="Unknown stage 'layer9'"):
        next(backbone.forward_stages_in_chunks([torch.zeros(1, 3, 2, 16, 16)], ("layer9",)))


def test_exact_is_refused_where_there_is_no_way():
    with pytest.raises(ConfigError, match="mvit cannot go through a long video exactly .* leave out --exact"):
        windows_of(nn.Identity(), 64, exact=True, name="mvit")


@pytest.mark.parametrize("exact", [False, True])
def test_a_video_that_is_damaged_on_the_way_is_a_failure_and_the_next_one_is_whole(exact):
    detector = strong(create_model("x3d_tiny", 4))
    windows = windows_of(detector, 8, exact=exact)
    damaged = list(stream(40, windows, damaged_from=30))
    assert damaged[-1].failure and len(damaged) > 1
    sound = [
        VideoWindow(replace(each.video, video_id="sound"), each.start, each.frames, each.weights, each.count)
        for each in stream(20, windows)
    ]
    batched = in_batches(lambda frames: {LOGITS: detector(frames)}, batch_size=4, **HOW)
    apply = logits_in_chunks(detector, **HOW) if exact else batched
    results, failures = predict([*damaged, *sound], apply=apply, join=ScoreJoin, session=HERE)
    assert [result.video_id for result in results] == ["sound"]
    assert failures == {"v": "v.mp4: damaged."}


@pytest.mark.parametrize("windows", [Windows(16), Windows(17, 4, 3), Windows(64)])
def test_windows_hold_the_frames_of_the_video_and_each_is_decoded_once(windows):
    dataset = stream(101, windows, stride=2)
    whole = torch.from_numpy(Stream(101).frames(np.arange(0, 101, 2))).permute(3, 0, 1, 2)
    for window in dataset:
        assert torch.equal(window.frames, whole[:, window.start : window.start + len(window.weights)])
        assert window.video.seconds == pytest.approx(np.arange(51) / 5)
    assert dataset.reader.asked == list(range(0, 101, 2))


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_long_video_takes_the_memory_of_a_few_windows(in_chunks):
    held, most = weakref.WeakSet(), 0

    def normalize(frames):
        nonlocal most
        most = max(most, sum(clip.numel() for clip in held))
        return frames.float() / 255

    def watched(windows):
        for window in windows:
            held.add(window.frames)
            yield window

    how = {**HOW, "normalize": normalize}
    backbone = create_model("x3d_tiny", 4).eval().backbone
    if in_chunks:
        apply = stages_in_chunks(backbone, ("layer1",), lambda stage: stage.mean((3, 4)), **how)
    else:
        apply = in_batches(lambda frames: {LOGITS: frames.mean((3, 4))}, batch_size=4, **how)
    dataset = stream(4000 if in_chunks else 20_000, Windows(64, 1, 0 if in_chunks else None), stride=10)

    class Count:
        def __init__(self, video):
            self.added = 0

        def add(self, window, outputs):
            self.added += 1
            return self.added == window.count

        def finish(self):
            return self.added

        def discard(self):
            raise AssertionError("complete")

    (count,), _ = predict(watched(iter(dataset)), apply=apply, join=Count, session=HERE)
    assert count == (7 if in_chunks else 62)
    assert dataset.reader.most <= 64
    assert most <= 6 * 3 * 64 * 16 * 16


class Brightness(nn.Module):
    """Features are the mean of each frame; it remembers how many it was given."""

    temporal_stride, stage_names = 1, ("mean",)

    def __init__(self, longest):
        super().__init__()
        self.seen, self.longest_clip = set(), longest

    def forward_features(self, frames):
        self.seen.add(frames.shape[2])
        return frames.mean((1, 3, 4))[:, None]


@pytest.mark.parametrize(("longest", "seen"), [(4, {4}), (None, {8}), (100, {8})])
def test_no_window_is_longer_than_the_backbone_wants(longest, seen):
    detector = FrameDetector(Brightness(longest), nn.Identity()).eval()
    logits = scores(detector, windows_of(detector, 8, exact=False), 11)
    assert detector.backbone.seen == seen
    expected = Stream(11).frames(np.arange(11)).mean((1, 2, 3)) / 255
    np.testing.assert_allclose(logits[:, 0], expected, rtol=1e-5)


def test_attention_over_whole_clips_asks_for_short_windows():
    with torch.device("meta"):
        assert create_model("torchvision/mvit_v2_s", 3).longest_clip == 16
        assert create_model("torchvision/swin3d_t", 3).longest_clip is None
