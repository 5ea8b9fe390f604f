"""Several passes over a video whose frames begin later each time: their probabilities are averaged."""

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
from ssdet_cli.recipes.scoring import refuse_passes, whole_video_scores
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.write import write_video

HERE = Session(torch.device("cpu"))
FRAMES, RATE = 41, 10
DATA = DataConfig(workers=0, backend="pyav")


class Brightness(torch.nn.Module):
    """Says how bright a frame is; knows nothing of others."""

    temporal_reach = 0

    def forward(self, frames):
        level = frames.mean((1, 3, 4))
        return torch.stack([level, -level / 2], dim=1)


class First(Brightness):
    """Says how bright the first frame of its window is, of all its frames: not the same thing in every pass."""

    def forward(self, frames):
        return super().forward(frames)[:, :, :1].expand(-1, -1, frames.shape[2])


def level(number):
    """What `Brightness` says of a raw frame."""
    return (30.0 + 4 * number) / 255 * 6 - 3


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Brighter from frame to frame, evenly; and a film of three frames."""
    folder = tmp_path_factory.mktemp("films")

    def picture(number):
        return np.full((32, 32, 3), 30 + 4 * number, np.uint8)

    for name, count in (("film", FRAMES), ("short", 3)):
        write_video(folder / f"{name}.mp4", (picture(number) for number in range(count)), RATE, crf=1)
    records = tuple(VideoRecord(name, folder / f"{name}.mp4") for name in ("film", "short"))
    return VideoSet("two", ("a", "b"), records, folder)


def scored(film, shifts, network=Brightness, spacing=None, window=64, **options):
    results, failures = whole_video_scores(
        network(), film, DATA, spacing=spacing or Spacing(4), size=32, window=window, batch_size=2,
        normalize=lambda frames: frames.float() / 255 * 6 - 3, here=HERE, autocast=nullcontext, shifts=shifts,
        **options,
    )  # fmt: skip
    assert not failures
    return {result.video_id: result for result in results}


def windows_of(film, shifts, spacing, length):
    return list(VideoWindows(film.records, DATA, spacing=spacing, size=32, windows=Windows(length), shifts=shifts))


def test_one_pass_is_what_it_was(film):
    plain, _ = whole_video_scores(
        Brightness(), film, DATA, spacing=Spacing(4), size=32, window=64, batch_size=2,
        normalize=lambda frames: frames.float() / 255 * 6 - 3, here=HERE, autocast=nullcontext,
    )  # fmt: skip
    for result in plain:
        np.testing.assert_array_equal(scored(film, 1)[result.video_id].logits, result.logits)


@pytest.mark.parametrize("spacing", [Spacing(4), Spacing(4, 0.4)], ids=["frames", "seconds"])
def test_a_network_that_follows_time_says_the_same_however_often_it_is_asked(film, spacing):
    one = scored(film, 1, spacing=spacing)["film"]
    for shifts in (2, 4):
        found = scored(film, shifts, spacing=spacing)["film"]
        np.testing.assert_array_equal(found.seconds, one.seconds)
        # Before the first frame of a shifted pass there is nothing to interpolate from, nor behind the last.
        inner = found.seconds < FRAMES / RATE - 0.8
        inner[0] = False
        assert inner.sum() >= 7
        assert found.logits[inner] == pytest.approx(one.logits[inner], abs=0.03)


def test_the_score_is_the_mean_of_the_probabilities_of_passes_brought_to_the_times_of_the_first(film):
    found = scored(film, 2, network=First)["film"]  # passes begin with the raw frames 0 and 2
    each = np.stack([np.full(11, level(0)), np.full(11, level(2))])
    mean = (1 / (1 + np.exp(-each))).mean(axis=0)
    assert 1 / (1 + np.exp(-found.logits[:, 0])) == pytest.approx(mean, abs=0.01)
    assert abs(level(2) - level(0)) > 0.15


def test_the_passes_see_the_frames_in_between_and_hold_no_more_than_a_window(film):
    windows = [each for each in windows_of(film, 4, Spacing(4), 6) if each.video.video_id == "film"]
    assert {window.count for window in windows} == {len(windows)}
    assert max(window.frames.shape[1] for window in windows) <= 6
    seen = {}
    for window in windows:
        indices = window.video.indices[window.start : window.start + window.frames.shape[1]]
        seen.setdefault(window.video.shift, set()).update(indices.tolist())
        assert window.frames.float().mean((0, 2, 3)).numpy() == pytest.approx(30 + 4 * indices, abs=3)
    assert seen == {part / 4: set(range(part, FRAMES, 4)) for part in range(4)}


def test_passes_by_time_begin_between_the_moments(film):
    windows = [each for each in windows_of(film, 2, Spacing(1, 0.5), 99) if each.video.video_id == "film"]
    assert [window.video.seconds[:2].tolist() for window in windows] == [[0.0, 0.5], [0.25, 0.75]]
    assert [len(window.video.seconds) for window in windows] == [9, 8]  # 4.1 s: moments before the end
    assert windows[1].video.indices[:3].tolist() == [3, 8, 13]


def test_a_video_shorter_than_a_shift_has_fewer_passes(film):
    for spacing, parts in ((Spacing(4), [0.0, 0.25, 0.5]), (Spacing(1, 0.4), [0.0, 0.25, 0.5])):
        windows = [each for each in windows_of(film, 4, spacing, 64) if each.video.video_id == "short"]
        assert [window.video.shift for window in windows] == parts and {window.count for window in windows} == {3}
        found = scored(film, 4, spacing=spacing)["short"]
        assert found.logits.shape == (1, 2) and found.logits[0, 0] == pytest.approx(level(1), abs=0.05)


def test_scores_depend_neither_on_windows_nor_on_batches_nor_on_the_order_of_outputs(film):
    together = scored(film, 3)["film"].logits
    np.testing.assert_allclose(scored(film, 3, window=3)["film"].logits, together, atol=1e-4)
    apply = in_batches(
        lambda frames: {LOGITS: Brightness()(frames)},
        normalize=lambda frames: frames.float() / 255 * 6 - 3, device=HERE.device, batch_size=4, autocast=nullcontext,
    )  # fmt: skip
    windows = windows_of(film, 3, Spacing(4), 6)
    results, _ = predict(windows[::-1], apply=apply, join=ScoreJoin, session=HERE)
    found = {result.video_id: result for result in results}["film"]
    np.testing.assert_allclose(found.logits, together, atol=1e-4)
    assert predict(windows[:-1], apply=apply, join=ScoreJoin, session=HERE)[0][0].video_id == "film"
    assert len(predict(windows[:-1], apply=apply, join=ScoreJoin, session=HERE)[0]) == 1  # a pass of `short` is missing


def test_crops_and_shifts_go_together(film):
    both, shifted = scored(film, 2, crops=3)["film"], scored(film, 2)["film"]
    np.testing.assert_allclose(both.logits, shifted.logits, atol=1e-4)  # a square film has one square


def test_what_shifts_do_not_go_with_is_said(film):
    with pytest.raises(ConfigError, match="inference.shifts=2 does not go with a Coarse-Fine network; leave it out"):
        scored(film, 2, apply_of=lambda *_, **__: None)
    with pytest.raises(ConfigError, match=r"inference.shifts=2 does not go with exact \(inference.exact\)"):
        scored(film, 2, exact=True)
    with pytest.raises(ConfigError, match="inference.shifts=5: with one frame in 4 there are no more than 4 different"):
        scored(film, 5)
    with pytest.raises(ConfigError, match=r"one frame in 4 .* give inference.shifts=4 at most, or leave it out"):
        refuse_passes(Spacing(4), exact=False, crops=1, shifts=5, steered=False)
    with pytest.raises(ConfigError, match=r"leave inference.shifts out, or give inference.stride=2 or more"):
        refuse_passes(Spacing(1), exact=False, crops=1, shifts=2, steered=False)
    with pytest.raises(ConfigError, match="inference.shifts=0: "):
        load_config(EvaluateConfig, None, ["inference.shifts=0"])
