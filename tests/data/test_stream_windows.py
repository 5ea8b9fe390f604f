"""Windows of a video without a known end are those of one with it, and the join gives every frame once."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data.clips import VideoFacts, VideoWindow
from ssdet_cli.data.stream_windows import StreamWindows
from ssdet_cli.data.windows import Windows
from ssdet_cli.engine.coarse_fine import with_fine_stream
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.predict import LOGITS, ScoreJoin, predict
from ssdet_cli.engine.streaming import RowJoin
from ssdet_cli.models import create_model

HERE = Session(torch.device("cpu"))


@st.composite
def cuts(draw):
    multiple = draw(st.sampled_from([1, 2, 4]))
    reach = draw(st.none() | st.integers(0, 5))
    margin = -(-(reach or 0) // multiple) * multiple
    length = draw(st.integers(2 * margin + multiple, 2 * margin + 4 * multiple + 5))
    return Windows(length, multiple, reach), draw(st.integers(1, 70))


def counting(frames, first=0):
    """Frames that show their own number."""
    return ((first + index, index / 10, torch.full((3, 1, 1), index, dtype=torch.uint8)) for index in range(frames))


def joined(windows, apply):
    seconds, rows = [], []
    join = RowJoin(lambda times, logits: (seconds.append(times), rows.append(logits)))
    results, failures = predict(windows, apply=apply, join=lambda video: join, session=HERE)
    assert not failures and results == [sum(map(len, rows))]
    return np.concatenate(seconds), np.concatenate(rows)


@settings(deadline=None)
@given(cuts(), st.integers(0, 50))
def test_an_open_end_changes_nothing(cut, first):
    windows, frames = cut
    stream = StreamWindows("v", counting(frames, first), windows, numbered=True)
    found, most = [], 0
    for window in stream:
        found.append(window)
        most = max(most, len(stream._held))
    assert [(w.start - first, w.start - first + w.frames.shape[1]) for w in found] == windows.spans(frames)
    assert [w.count for w in found] == [0] * (len(found) - 1) + [len(found)]
    assert found[-1].video.num_frames == first + frames
    assert most <= windows.length + 1
    for window in found:
        assert window.frames[0, :, 0, 0].tolist() == [round(10 * time) for time in window.seconds]
    # The same outputs, joined as a video of known length is and as one without: each window says something of its own.
    noise = np.random.default_rng(frames).standard_normal((len(found), windows.length, 2)).astype(np.float32)

    def apply(some):
        for number, window in enumerate(some):
            yield window, {LOGITS: torch.from_numpy(noise[number, : len(window.weights)].T)}

    seconds, rows = joined(iter(found), apply)
    facts = VideoFacts("v", raw_frames=frames, frame_rate=10.0, raw_seconds=np.arange(frames) / 10)
    known = [
        VideoWindow(facts, start, torch.empty(3, stop - start, 1, 1), own, len(found))
        for (start, stop), own in zip(windows.spans(frames), windows.weights(frames), strict=True)
    ]
    (whole,), _ = predict(known, apply=apply, join=ScoreJoin, session=HERE)
    assert seconds == pytest.approx(whole.seconds)
    np.testing.assert_allclose(rows, whole.logits, atol=1e-5)


@pytest.mark.parametrize("frames", [5, 25, 38])
def test_a_fine_stream_needs_no_known_end_either(frames):
    torch.manual_seed(3)
    network = create_model("coarse_fine_x3d_tiny", 3).eval().requires_grad_(False)
    pixels = torch.randint(0, 256, (3, frames, 24, 24), dtype=torch.uint8)
    how = {"normalize": lambda clip: clip.float() / 128 - 1, "device": HERE.device, "autocast": nullcontext}
    cut = Windows(8)
    given_frames = ((index, index / 10, pixels[:, index]) for index in range(frames))
    _, rows = joined(StreamWindows("v", given_frames, cut), with_fine_stream(network, 24, batch_size=1, **how))
    facts = VideoFacts("v", raw_frames=frames, frame_rate=10.0, raw_seconds=np.arange(frames) / 10)
    spans = cut.spans(frames)
    known = [
        VideoWindow(facts, start, pixels[:, start:stop], own, len(spans))
        for (start, stop), own in zip(spans, cut.weights(frames), strict=True)
    ]
    (whole,), _ = predict(known, apply=with_fine_stream(network, 24, batch_size=2, **how), join=ScoreJoin, session=HERE)
    np.testing.assert_allclose(rows, whole.logits, atol=1e-4)
