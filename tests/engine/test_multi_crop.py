"""Three crops of every frame: each goes through the network, and their probabilities are averaged."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clips import VideoWindows
from ssdet_cli.data.windows import Windows
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.predict import LOGITS, ScoreJoin, in_batches, predict
from ssdet_cli.errors import ConfigError
from ssdet_cli.recipes.scoring import whole_video_scores
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.write import write_video

HERE = Session(torch.device("cpu"))
FRAMES = 40


class Brightness(torch.nn.Module):
    """Says how bright a frame is; knows nothing of others."""

    temporal_reach = 0

    def forward(self, frames):
        level = frames.mean((1, 3, 4))
        return torch.stack([level, -level / 2], dim=1)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Dark on the left, bright on the right, and brighter from frame to frame."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"

    def picture(number):
        shade = np.repeat(np.array([20, 80, 170], np.uint8), 32) + np.uint8(number)
        return np.broadcast_to(shade[None, :, None], (32, 96, 3)).copy()

    write_video(path, (picture(number) for number in range(FRAMES)), 10, crf=1)
    return VideoSet("one", ("a", "b"), (VideoRecord("film", path),), path)


def scored(film, crops, window=12, **options):
    (result,), failures = whole_video_scores(
        Brightness(), film, DataConfig(workers=0, backend="pyav"), spacing=Spacing(1), size=32, window=window,
        batch_size=2, normalize=lambda frames: frames.float() / 255 * 6 - 3, here=HERE, autocast=nullcontext,
        crops=crops, **options,
    )  # fmt: skip
    assert not failures
    return result.logits


def test_the_score_is_the_mean_of_the_probabilities_of_the_crops(film):
    levels = (np.array([20, 80, 170])[:, None] + np.arange(FRAMES)) / 255 * 6 - 3
    each = np.stack([levels, -levels / 2], axis=-1)
    mean = (1 / (1 + np.exp(-each))).mean(axis=0)
    assert 1 / (1 + np.exp(-scored(film, 3))) == pytest.approx(mean, abs=0.02)
    assert scored(film, 1) == pytest.approx(each[1], abs=0.1)
    assert scored(film, 3) == pytest.approx(scored(film, 3, window=64), abs=1e-4)


def test_a_frame_is_decoded_once_and_no_more_than_a_window_is_held(film):
    windows = list(VideoWindows(film.records, DataConfig(), spacing=Spacing(1), size=32, windows=Windows(12), crops=3))
    assert {window.count for window in windows} == {len(windows)} and [w.crop for w in windows[:3]] == [0, 1, 2]
    assert max(window.frames.shape[1] for window in windows) <= 12
    seen = {crop: sum(w.frames.float().mean() for w in windows if w.crop == crop) for crop in range(3)}
    assert seen[0] < seen[1] < seen[2]
    apply = in_batches(
        lambda frames: {LOGITS: Brightness()(frames)},
        normalize=lambda frames: frames.float(), device=HERE.device, batch_size=4, autocast=nullcontext,
    )  # fmt: skip
    results, _ = predict(windows[:-1], apply=apply, join=ScoreJoin, session=HERE)
    assert results == []  # a crop of the last window is missing


def test_scores_of_certainty_do_not_become_infinite(film):
    class Certain(Brightness):
        def forward(self, frames):
            return super().forward(frames) * 400

    assert np.isfinite(scored(film, 3)).all()
    logits = whole_video_scores(
        Certain(), film, DataConfig(workers=0), spacing=Spacing(4), size=32, window=12, batch_size=2,
        normalize=lambda frames: frames.float() - 90, here=HERE, autocast=nullcontext, crops=3,
    )[0][0].logits  # fmt: skip
    assert np.abs(logits) == pytest.approx(np.log(2))  # two of three crops are certain of it


def test_what_several_crops_do_not_go_with_is_said(film):
    with pytest.raises(ConfigError, match="inference.crops=3 does not go with a Coarse-Fine network; leave it out"):
        scored(film, 3, apply_of=lambda *_, **__: None)
    with pytest.raises(ConfigError, match="inference.crops=3 does not go with exact"):
        scored(film, 3, exact=True)


def test_evaluation_alone_takes_crops():
    assert load_config(EvaluateConfig, None, ["inference.crops=3"]).inference.crops == 3
    with pytest.raises(ConfigError, match="inference.crops"):
        load_config(EvaluateConfig, None, ["inference.crops=2"])
