"""An evaluation says which reader read its videos."""

import json
import shutil

import av
import pytest

from ssdet_cli.config.commands import EvaluateConfig
from ssdet_cli.config.load import load_config
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.recipes import evaluate
from ssdet_cli.recipes.members import readers_of
from ssdet_cli.video._decord import import_decord

needs_decord = pytest.mark.skipif(import_decord() is None, reason="decord has no wheel for this platform")


def evaluated(tuned, output, **flags):
    flags = {"protocol": "charades-localize", "checkpoints": (tuned,), "run.device": "cpu", **flags}
    evaluate.run(load_config(EvaluateConfig, flags={**flags, "run.output": output}))
    return json.loads((output / "metrics.json").read_text())["videos_read_by"], (output / "report.html").read_text()


def as_avi(path):
    """Store a video as what decord is not given."""
    with av.open(str(path)) as source, av.open(str(path.with_suffix(".avi")), "w") as made:
        stream = made.add_stream("mpeg4", rate=source.streams.video[0].average_rate)
        stream.pix_fmt = "yuv420p"
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        for frame in source.decode(video=0):
            plain = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")  # without its time
            made.mux(stream.encode(plain))
        made.mux(stream.encode(None))
    path.unlink()


@pytest.mark.parametrize(
    ("asked", "reader"), [("auto", "pyav"), ("pyav", "pyav"), pytest.param("decord", "decord", marks=needs_decord)]
)
def test_the_reader_that_was_asked_for_is_the_one_that_is_named(tuned, tmp_path, asked, reader):
    readers, page = evaluated(tuned, tmp_path / "out", **{"data.backend": asked})
    assert readers == {reader: 4}
    assert f"Videos read by {reader} 4." in page


@needs_decord
def test_decord_by_name_leaves_no_video_to_another_reader(data, tuned, tmp_path):
    evaluated(tuned, tmp_path / "all")
    shutil.copytree(data.folder, tmp_path / "copy")
    scored = (tmp_path / "all/submission.txt").read_text().split()[0]
    as_avi(next((tmp_path / "copy" / "dense").rglob(f"{scored}.mp4")))
    videos = {"data.videos": tmp_path / "copy" / "dense"}
    with pytest.raises(DataError, match=rf"{scored}\.avi: decord is not reliable on avi files; use backend 'pyav'\."):
        evaluated(tuned, tmp_path / "one", **videos, **{"data.backend": "decord"})
    readers, _ = evaluated(tuned, tmp_path / "two", **videos)
    assert readers == {"pyav": 4}


def test_members_of_an_ensemble_read_the_same_videos():
    def read(video_id, backend):
        return VideoScores(video_id, None, None, 1.0, 1.0, 1, backend)

    assert readers_of([read("a", "decord"), read("b", "pyav"), read("a", "decord")]) == {"decord": 1, "pyav": 1}
