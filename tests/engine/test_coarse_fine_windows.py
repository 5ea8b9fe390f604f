"""Whole videos through both streams, window by window: the same whether fine features are stored or computed."""

from contextlib import nullcontext
from itertools import zip_longest

import numpy as np
import pytest
import torch

from ssdet_cli.data.clips import VideoFacts, VideoWindow
from ssdet_cli.data.feature_files import Origin
from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.feature_writer import FeatureWriter
from ssdet_cli.data.fine_context import FineContext
from ssdet_cli.data.windows import Windows
from ssdet_cli.engine.coarse_fine import with_fine_stream, with_stored_features
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.features import FeatureJoin, pooled_stages
from ssdet_cli.engine.predict import LOGITS, in_batches, predict
from ssdet_cli.errors import SsdetError
from ssdet_cli.models import create_model

WINDOW, LONGEST = 8, 24
HOW = {"normalize": lambda frames: frames.float() / 128 - 1, "device": torch.device("cpu"), "autocast": nullcontext}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    return create_model("coarse_fine_x3d_tiny", 3).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def windows():
    """A short video, one of nine windows, one of two, interleaved as two workers give them."""
    draw = torch.Generator().manual_seed(4)
    videos = []
    for name, frames in (("short", 5), ("long", 38), ("two", 11)):
        pixels = torch.randint(0, 256, (3, frames, 24, 24), generator=draw, dtype=torch.uint8)
        facts, cut = (
            VideoFacts(name, raw_frames=frames, frame_rate=10.0, raw_seconds=np.arange(frames) / 10),
            Windows(WINDOW),
        )
        spans, weights = cut.spans(frames), cut.weights(frames)
        videos.append(
            [
                VideoWindow(facts, start, pixels[:, start:stop], own, len(spans), "test")
                for (start, stop), own in zip(spans, weights, strict=True)
            ]
        )
    assert len(videos[1]) > 5
    return [window for group in zip_longest(*videos) for window in group if window is not None]


@pytest.fixture(scope="module")
def context(network, windows, tmp_path_factory):
    backbone = network.fine.backbone
    origin = Origin(
        weights_sha256="0",
        backbone="x3d_tiny",
        checkpoint="here",
        stride=1,
        size=24,
        normalization=[[0.0] * 3, [1.0] * 3],
        pool=7,
        dtype="float32",
        stages=dict(zip(backbone.stage_names, backbone.stage_channels, strict=True)),
        stage_strides=dict.fromkeys(backbone.stage_names, 1),
    )
    writer = FeatureWriter(tmp_path_factory.mktemp("features"), origin)
    writer.prepare([])
    apply = in_batches(pooled_stages(backbone, backbone.stage_names, 7), batch_size=2, **HOW)
    predict(windows, apply=apply, join=lambda video: FeatureJoin(video, writer), session=Session(HOW["device"]))
    done = writer.finished(["short", "long", "two"])
    writer.write_index(done, complete=True)
    return FineContext(FeatureStore(writer.folder), tuple(backbone.stage_names), LONGEST)


def logits(apply, windows):
    with torch.no_grad():
        return {(window.video.video_id, window.start): out[LOGITS].numpy() for window, out in apply(windows)}


def test_computed_and_stored_features_give_the_same_logits_in_any_company(network, windows, context):
    computed = logits(with_fine_stream(network, LONGEST, batch_size=1, **HOW), windows)
    assert len(computed) == len(windows)
    for batch_size in (2, 5):
        at_once = logits(with_fine_stream(network, LONGEST, batch_size=batch_size, **HOW), windows)
        assert at_once.keys() == computed.keys()
        for key, values in computed.items():
            np.testing.assert_allclose(values, at_once[key], atol=1e-5, err_msg=str(key))
    for batch_size in (1, 3):
        stored = logits(with_stored_features(network, context, batch_size=batch_size, **HOW), windows)
        assert stored.keys() == computed.keys()
        for key, values in computed.items():
            np.testing.assert_allclose(values, stored[key], atol=1e-4, err_msg=str(key))
    coarse = logits(with_stored_features(network.coarse, context, batch_size=1, **HOW), windows[:2])
    assert all(np.allclose(values, computed[key], atol=1e-4) for key, values in coarse.items())


def test_a_video_of_one_window_has_the_logits_of_the_network_itself(network, windows):
    (short,) = [window for window in windows if window.video.video_id == "short"]
    found = logits(with_fine_stream(network, LONGEST, batch_size=2, **HOW), [short])[("short", 0)]
    np.testing.assert_allclose(found, network(HOW["normalize"](short.frames[None]))[0].numpy(), atol=1e-5)


def test_no_more_of_a_long_video_is_held_than_its_windows_need(network, monkeypatch):
    frames = 400
    facts, cut = VideoFacts("long", raw_frames=frames, frame_rate=10.0), Windows(WINDOW)
    spans, weights = cut.spans(frames), cut.weights(frames)
    pixels = torch.zeros(3, WINDOW, 16, 16, dtype=torch.uint8)
    held = []

    def through(clips):
        return {"layer1": torch.zeros(len(clips), 2, clips.shape[2], 1, 1)}

    def coarse(clips, features, *rest):
        held.append(features["layer1"].untyped_storage().nbytes() // 8)
        return torch.zeros(len(clips), 3, clips.shape[2])

    monkeypatch.setattr(network, "fine_features", through)
    monkeypatch.setattr(network.coarse, "forward", coarse)
    windows = (
        VideoWindow(facts, start, pixels[:, : stop - start], own, len(spans), "test")
        for (start, stop), own in zip(spans, weights, strict=True)
    )
    assert len(logits(with_fine_stream(network, LONGEST, batch_size=2, **HOW), windows)) == len(spans)
    assert max(held) <= 2 * LONGEST


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_video_that_breaks_off_is_told_and_forgotten(network, windows, batch_size):
    long = [window for window in windows if window.video.video_id == "long"]
    (short,) = [window for window in windows if window.video.video_id == "short"]
    broken = VideoWindow(long[0].video, failure="damaged")
    results = list(with_fine_stream(network, LONGEST, batch_size=batch_size, **HOW)([long[0], long[1], broken, short]))
    assert [window.failure for window, outputs in results if not outputs] == ["damaged"]
    assert results[-1][0] is short


def test_passes_of_either_stream_that_do_not_fit_are_made_smaller_or_told(network, windows, monkeypatch, caplog):
    computed = logits(with_fine_stream(network, LONGEST, batch_size=1, **HOW), windows)
    forward, features, limits = network.coarse.forward, network.fine_features, {"coarse": 2, "fine": 3}

    def limited(name, function):
        def run(clips, *rest):
            if len(clips) > limits[name]:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return function(clips, *rest)

        return run

    monkeypatch.setattr(network.coarse, "forward", limited("coarse", forward))
    monkeypatch.setattr(network, "fine_features", limited("fine", features))
    smaller = logits(with_fine_stream(network, LONGEST, batch_size=8, **HOW), windows)
    assert smaller.keys() == computed.keys()
    assert all(np.allclose(values, smaller[key], atol=1e-5) for key, values in computed.items())
    assert "going on with" in caplog.text
    for name in limits:
        monkeypatch.setitem(limits, name, 0)
        with pytest.raises(SsdetError, match=r"Out of memory on cpu .* Reduce, in this order: 1. inference.window=4"):
            logits(with_fine_stream(network, LONGEST, batch_size=8, **HOW), windows)
        monkeypatch.setitem(limits, name, 8)
