"""All files of `ssdet predict`, pictures too, of everything that can be looked at."""

import json
import os
import threading

import av
import numpy as np
from PIL import Image
from test_predict import endless

from ssdet_cli.__main__ import carry_out
from ssdet_cli.errors import SsdetError
from ssdet_cli.video.decode import open_video
from ssdet_cli.video.write import write_image


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def written(name, *, overlay=True):
    own = [f"{name}.{suffix}" for suffix in ("html", "png", "srt", "vtt")] + [f"{name}.overlay.mp4"] * overlay
    return sorted(["config.yaml", "scores.npz", "segments.csv", "segments.json", *own])


def predict(*words):
    return carry_out([str(word) for word in ("predict", "--device", "cpu", *words)])


def test_a_video_file_has_every_file_and_each_can_be_opened(data, tuned, tmp_path):
    video = sorted((data.dense / "videos").glob("*.mp4"))[0]
    assert predict(video, "--checkpoint", tuned, "--output", tmp_path / "out", "--top-k", 3) == 0
    assert files(tmp_path / "out") == written(video.stem)
    with Image.open(tmp_path / "out" / f"{video.stem}.png") as timeline:
        assert timeline.width >= 800 and np.asarray(timeline.convert("L")).std() > 5
    with open_video(video) as film, open_video(tmp_path / "out" / f"{video.stem}.overlay.mp4") as overlay:
        assert overlay.num_frames == film.num_frames and overlay.height > film.height
        np.testing.assert_allclose(overlay.seconds(), film.seconds(), atol=1e-3)
    page = (tmp_path / "out" / f"{video.stem}.html").read_text(encoding="utf-8")
    assert video.name in page and ".unfinished" not in page
    assert f'<source src="{video.stem}.overlay.mp4" data-begin="0">' in page
    content = json.loads((tmp_path / "out" / "segments.json").read_text())
    assert 0 < len({one["class"] for one in content["segments"]}) <= 3
    # A part of it, without the overlay.
    words = [video, "--checkpoint", tuned, "--output", tmp_path / "part", "--start", 1, "--end", 2]
    assert predict(*words, "--no-overlay") == 0
    assert files(tmp_path / "part") == written(video.stem, overlay=False)
    assert "data-begin=" not in (tmp_path / "part" / f"{video.stem}.html").read_text(encoding="utf-8")
    assert predict(*words) == 0
    page = (tmp_path / "part" / f"{video.stem}.html").read_text(encoding="utf-8")
    assert f'<source src="{video.stem}.overlay.mp4" data-begin="1">' in page


def test_what_fails_of_the_overlay_costs_no_page(data, tuned, tmp_path, monkeypatch, capfd):
    def failing(*_, **__):
        raise SsdetError("no room")

    monkeypatch.setattr("ssdet_cli.viz.overlay.write_overlay", failing)
    video = sorted((data.dense / "videos").glob("*.mp4"))[0]
    assert predict(video, "--checkpoint", tuned, "--output", tmp_path / "out") == 1
    assert files(tmp_path / "out") == written(video.stem, overlay=False)
    assert "its pictures cannot be made. no room" in capfd.readouterr().err


def test_a_folder_of_frames_has_an_overlay_and_a_stream_has_none(tuned, tmp_path, capfd):
    for number in range(12):
        write_image(tmp_path / "jpegs" / f"{number:03d}.jpg", np.full((40, 40, 3), 20 * number, np.uint8))
    words = ["--checkpoint", tuned, "--output"]
    assert predict(tmp_path / "jpegs", *words, tmp_path / "frames", "--frame-rate", 8) == 0
    assert files(tmp_path / "frames") == written("jpegs")
    assert (
        "jpegs is a folder of pictures: this is jpegs.overlay.mp4" in (tmp_path / "frames" / "jpegs.html").read_text()
    )
    with av.open(str(tmp_path / "frames" / "jpegs.overlay.mp4")) as overlay:
        assert sum(1 for _ in overlay.decode(video=0)) == 12
    pipe, leave = tmp_path / "pipe.ts", threading.Event()
    os.mkfifo(pipe)
    writer = threading.Thread(target=endless, args=(pipe, leave), daemon=True)
    writer.start()
    assert predict(pipe, *words, tmp_path / "live", "--end", 2) == 0
    leave.set()
    writer.join(10)
    assert files(tmp_path / "live") == written("pipe", overlay=False)
    assert "cannot be read a second time, so there is no overlay of it." in capfd.readouterr().err
