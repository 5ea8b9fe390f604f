import numpy as np
import pytest

from ssdet_cli.data.annotations import Segment, rasterize
from ssdet_cli.data.charades import load_charades
from ssdet_cli.errors import DataError

HEADER = "original_vido_id video_id frame_id path labels\n"


def lines(video_id, number, labels):
    told = (f'{video_id} {number} {frame} {video_id}/{video_id}-{frame + 1:06d}.jpg "{own}"\n' for frame, own in labels)
    return "".join(told)


def test_runs_of_labelled_frames_become_actions_that_label_the_same_frames(tmp_path):
    labels = ["92", "92,147", "147", "", "92", "92"]
    path = tmp_path / "train.csv"
    path.write_text(HEADER + lines("AB12C", 0, enumerate(labels)) + lines("00607", 1, enumerate(["", ""])))
    found = load_charades(None, path, "train")
    first, second = found.records
    assert first.segments == (Segment(92, 0.0, 1 / 24), Segment(147, 1 / 24, 2 / 24), Segment(92, 4 / 24, 5 / 24))
    assert (first.duration_seconds, second.duration_seconds, second.segments) == (6 / 24, 2 / 24, ())
    seen = rasterize(first.segments, np.arange(6) / 24, 157)
    assert [",".join(map(str, np.flatnonzero(frame))) for frame in seen.T] == labels


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("AB12C 0 1 x.jpg 92\n", "line 2: frame 0 of 'AB12C' is expected, found frame 1"),
        ("AB12C 0 0 x.jpg\n", "line 2: five fields are expected"),
        ('AB12C 0 0 x.jpg "157"\n', "line 2: class 157 is not a number from 0 to 156"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, complaint):
    (tmp_path / "train.csv").write_text(HEADER + text)
    with pytest.raises(DataError, match=complaint):
        load_charades(None, tmp_path / "train.csv", "train")
