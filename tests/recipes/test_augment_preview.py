import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ssdet_cli.augment import volume_cutmix, volume_freeze, volume_mixup
from ssdet_cli.errors import ConfigError, DataError, SsdetError
from ssdet_cli.recipes.augment_preview import METHODS, run


def film(
    path: Path, frames: int, rate: Fraction | int = 12, size: tuple[int, int] = (96, 64), down: bool = False
) -> Path:
    """Write a video of a bright square that slides over a dark ground."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate), options={"crf": "12"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p" if size[0] % 2 == size[1] % 2 == 0 else "yuv444p"
        for index in range(frames):
            picture = np.full((size[1], size[0], 3), (70, 40, 90) if down else (20, 60, 50), dtype=np.uint8)
            side = min(size) // 3
            place = index * (size[1] if down else size[0]) // frames
            rows = slice(place, place + side) if down else slice(side, 2 * side)
            columns = slice(side, 2 * side) if down else slice(place, place + side)
            picture[rows, columns] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def decode(path: Path) -> tuple[np.ndarray, Fraction]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        return frames, stream.average_rate


def picture_of(frames: np.ndarray, report: dict) -> np.ndarray:
    box = report["picture"]
    rows = slice(box["top"], box["top"] + box["height"])
    return frames[:, rows, box["left"] : box["left"] + box["width"]]


def augmented(method: str, report: dict, frames: int, clips: torch.Tensor | None = None):
    """What the augmentations of training give for the draw in the sidecar; columns of one pixel unless told."""
    labels = torch.zeros(2, 3, frames)
    labels[0, 1] = labels[1, 2] = 1
    clips = torch.zeros(2, 1, frames, 1, report["picture"]["width"]) if clips is None else clips
    draw = report["draw"]
    start, length = torch.tensor(draw["start"]), torch.tensor(draw["length"])
    if method == "freeze":
        return volume_freeze(clips, labels, start.repeat(2), length.repeat(2))
    mix = {"mixup": volume_mixup, "cutmix": volume_cutmix}[method]
    return mix(clips, labels, start[:, None].repeat(1, 2), length[:, None].repeat(1, 2), torch.tensor([1, 0]))


@pytest.fixture(scope="module")
def preview(tmp_path_factory):
    """A preview of two clips of different rate and shape, with its sidecar."""
    folder = tmp_path_factory.mktemp("preview")
    clips = [film(folder / "slide_right.mp4", 26), film(folder / "fall.mp4", 60, 24, (64, 64), down=True)]
    result = run(clips, ("all",), folder / "out", seed=3, height=64)
    return result, json.loads(result.sidecar.read_text())


def test_every_method_gets_a_playable_video_at_the_frame_rate_of_the_source(preview):
    result, record = preview
    assert tuple(result.videos) == METHODS
    for method, path in result.videos.items():
        frames, rate = decode(path)
        report = record["methods"][method]
        assert path.name == report["file"]
        assert len(frames) == record["num_frames"] == 26
        assert rate == 12
        assert frames.shape[1:3] == (report["height"], report["width"])
        assert report["height"] % 2 == report["width"] % 2 == 0
        assert report["height"] > report["picture"]["top"] + report["picture"]["height"] + 40


def test_nothing_but_the_named_files_is_written(preview):
    result, _ = preview
    named = {*result.videos.values(), result.contact_sheet, result.sidecar}
    assert set(result.sidecar.parent.iterdir()) == named


def test_the_contact_sheet_is_a_wide_picture(preview):
    result, record = preview
    with Image.open(result.contact_sheet) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == 1920
        assert 700 <= sheet.height <= 1080
    assert record["contact_sheet"] == result.contact_sheet.name


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_are_those_of_training(preview, method):
    report = preview[1]["methods"][method]
    _, labels = augmented(method, report, 26)
    np.testing.assert_allclose(np.array(report["weights"]), labels[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(np.sum(report["weights"], axis=0), 1, atol=1e-6)


def test_the_sidecar_says_how_well_the_weights_sum_to_one(preview):
    result, record = preview
    check = record["weights_sum_to_one"]
    assert check["holds"] is True
    assert check["largest_deviation"] == result.largest_deviation <= check["tolerance"]
    assert all(record["methods"][method]["largest_area_deviation"] < 1e-5 for method in METHODS)


def test_frozen_frames_repeat_one_source_frame(preview):
    report = preview[1]["methods"]["freeze"]
    source, partner = report["source_frames"]
    start, length = report["draw"]["start"], report["draw"]["length"]
    first = preview[1]["clips"][0]["source_frames"][0]
    assert report["frozen_frames"] == list(range(start, start + length))
    assert {source[frame] for frame in report["frozen_frames"]} == {first + start}
    assert source[start + length :] == list(range(first + start + 1, first + 26 - length + 1))
    assert partner == [None] * 26


@pytest.mark.parametrize("method", ["mixup", "cutmix"])
def test_windows_cover_every_frame_and_name_who_is_shown(preview, method):
    report = preview[1]["methods"][method]
    covered = [frame for begin, end in report["draw"]["windows"] for frame in range(begin, end)]
    assert set(covered) == set(range(26))
    for row, (begin, end) in enumerate(report["draw"]["windows"]):
        outside = [frame for frame in range(26) if not begin <= frame < end]
        assert all(report["source_frames"][row][frame] is None for frame in outside)
        assert all(report["weights"][row + 1][frame] == 0 for frame in outside)


def test_the_seam_stands_where_the_area_of_the_label_says(preview):
    report = preview[1]["methods"]["cutmix"]
    np.testing.assert_allclose(report["seam"], report["weights"][1], atol=0.06)
    assert preview[1]["methods"]["mixup"]["seam"] is None


@pytest.mark.parametrize("method", METHODS)
def test_the_picture_is_what_training_sees(preview, method, tmp_path):
    result, record = preview
    report = record["methods"][method]
    shown = picture_of(decode(result.videos[method])[0], report).astype(int)
    assert shown.shape[1:3] == (64, 96)
    if method == "freeze":
        start, length = report["draw"]["start"], report["draw"]["length"]
        still = shown[start : start + length]
        assert np.abs(still - still[0]).mean() < 3
        assert np.abs(np.diff(shown[:start], axis=0)).mean() > np.abs(np.diff(still, axis=0)).mean()
        return
    # The grounds of the two clips differ: (20, 60, 50) and (70, 40, 90) in the lowest rows, where no square passes.
    marker = torch.zeros(2, 1, 26, 1, 96)
    marker[1] = 1
    share = augmented(method, report, 26, marker)[0][0, 0, :, 0].numpy()
    ground = np.median(shown[:, -6:-2], axis=1)
    free = np.r_[4:28, 70:92]
    expected = np.array([20, 60, 50]) + share[:, free, None] * np.array([50, -20, 40])
    assert np.median(np.abs(ground[:, free] - expected)) < 5


def test_the_playhead_moves(preview):
    result, record = preview
    report = record["methods"]["mixup"]
    frames, _ = decode(result.videos["mixup"])
    panel = frames[:, report["picture"]["top"] + report["picture"]["height"] + 10 :]
    bright = [(frame > 200).all(axis=2).sum(axis=0).argmax() for frame in panel]
    assert (np.diff(bright) > 0).all()


def test_the_same_seed_gives_the_same_preview_and_another_one_does_not(tmp_path):
    clip = film(tmp_path / "clip.mp4", 24)
    texts = [
        run([clip], ("freeze",), tmp_path / name, seed=seed, height=32).sidecar.read_text()
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_method_has_the_same_draw_alone_and_among_all(tmp_path):
    clip = film(tmp_path / "clip.mp4", 12)
    alone = run([clip], ("cutmix",), tmp_path / "one", height=32)
    among = run([clip], ("all",), tmp_path / "all", height=32)
    draws = [json.loads(result.sidecar.read_text())["methods"]["cutmix"]["draw"] for result in (alone, among)]
    assert draws[0] == draws[1]
    assert list(alone.videos) == ["cutmix"]


def test_one_long_clip_is_mixed_with_another_part_of_itself(tmp_path):
    result = run([film(tmp_path / "walk.mp4", 50, 10)], ("mixup",), tmp_path / "out", height=32)
    record = json.loads(result.sidecar.read_text())
    assert record["classes"] == ["background", "walk", "walk (2nd half)"]
    assert record["num_frames"] == 25
    assert not set(record["clips"][0]["source_frames"]) & set(record["clips"][1]["source_frames"])
    assert "walk.mp4: 0.0 to 2.5 s of 5.0 s are shown (25 frames)." in result.notes


def test_one_short_clip_is_mixed_with_its_mirror_image(tmp_path):
    result = run([film(tmp_path / "walk.mp4", 10)], ("mixup",), tmp_path / "out", height=32)
    record = json.loads(result.sidecar.read_text())
    assert record["classes"][2] == "walk (mirrored)"
    assert record["clips"][1]["mirrored"] is True
    assert "Mixed with its mirror image." in result.notes
    frozen = run([tmp_path / "walk.mp4"], ("freeze",), tmp_path / "frozen", height=32)
    assert len(frozen.notes) == 1  # nothing is mixed


@pytest.mark.parametrize(
    ("frames", "size"), [(2, (64, 48)), (3, (65, 47)), (5, (48, 96)), (4, (320, 20)), (4, (20, 320))]
)
def test_short_odd_and_narrow_videos_work(tmp_path, frames, size):
    result = run([film(tmp_path / "clip.mp4", frames, size=size)], ("all",), tmp_path / "out", height=48)
    for path in result.videos.values():
        assert len(decode(path)[0]) == frames
    assert result.largest_deviation < 1e-6


def test_a_fractional_frame_rate_is_kept(tmp_path):
    rate = Fraction(30000, 1001)
    result = run([film(tmp_path / "clip.mp4", 9, rate)], ("freeze",), tmp_path / "out", height=32)
    assert float(decode(result.videos["freeze"])[1]) == pytest.approx(float(rate), rel=1e-3)


def broken(path: Path) -> Path:
    whole = film(path.with_name("whole.mp4"), 60, size=(160, 120))
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole.unlink()
    return path


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good"), ("bad",)])
def test_a_truncated_file_leaves_nothing_behind(tmp_path, order):
    clips = {"good": film(tmp_path / "good.mp4", 60), "bad": broken(tmp_path / "bad.mp4")}
    with pytest.raises(DataError, match=r"bad\.mp4") as caught:
        run([clips[name] for name in order], ("all",), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.mp4"):
        run([tmp_path / "nowhere.mp4"], ("all",), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_replaced_leaves_nothing_half_written(tmp_path):
    clip, out = film(tmp_path / "clip.mp4", 6), tmp_path / "out"
    in_the_way = out / "clip_contact_sheet.png"
    (in_the_way / "inside").mkdir(parents=True)
    with pytest.raises(SsdetError, match="out: the preview cannot be written"):
        run([clip], ("freeze",), out, height=32)
    assert list(out.iterdir()) == [in_the_way]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("frieze",)}, "Unknown method 'frieze'. Did you mean 'freeze'"),
        ({"methods": ()}, "methods is empty"),
        ({"seconds": 0.0}, "seconds must be more than 0, got 0"),
        ({"height": 8}, "height must be at least 32 pixels, got 8"),
        ({"clips": []}, "takes one clip or two, got 0"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, changes, message):
    arguments = {"clips": [tmp_path / "clip.mp4"], "methods": ("all",), "output": tmp_path / "out", **changes}
    with pytest.raises(ConfigError, match=message):
        run(**arguments)


def test_an_output_that_is_a_file_is_refused(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(ConfigError, match="output must be a folder"):
        run([tmp_path / "clip.mp4"], ("all",), taken)
    assert taken.read_text() == "mine"


@pytest.mark.needs_shared_data
@pytest.mark.parametrize(
    ("name", "rate"),
    [("arm_wrestling.mp4", 28), ("flipping_a_pancake.mkv", 30), ("fullhd_72frames.mp4", 2160 / 77), ("test.avi", 25)],
)
def test_real_clips_can_be_previewed(shared_data, tmp_path, name, rate):
    clip = shared_data / "clips" / name
    result = run([clip], ("all",), tmp_path / "out", seconds=0.5, height=64)
    record = json.loads(result.sidecar.read_text())
    assert record["frame_rate"] == pytest.approx(rate, rel=0.01)
    for path in result.videos.values():
        frames, shown_rate = decode(path)
        assert len(frames) == record["num_frames"] == round(0.5 * record["frame_rate"])
        assert float(shown_rate) == pytest.approx(record["frame_rate"], rel=1e-3)


@pytest.mark.needs_shared_data
def test_the_corrupted_real_clip_gives_one_line_and_no_files(shared_data, tmp_path):
    with pytest.raises(DataError, match=r"corrupted\.mp4") as caught:
        run([shared_data / "clips" / "corrupted.mp4"], ("all",), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
