import numpy as np
import pytest

from ssdet_cli.data.annotations import Segment, VideoRecord, VideoSet
from ssdet_cli.data.charades import load_charades
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import PROTOCOLS
from ssdet_cli.evaluation.charades_classify import CharadesClassify
from ssdet_cli.evaluation.interface import VideoScores


@pytest.fixture
def videos(tmp_path):
    records = (
        VideoRecord("a", segments=(Segment(0, 1.0, 2.0), Segment(0, 3.0, 4.0), Segment(1, 9.0, 2.0))),
        VideoRecord("my video", segments=(Segment(1, 0.0, 5.0),)),
        VideoRecord("empty"),
        VideoRecord("c", segments=(Segment(1, 0.0, 5.0),)),
    )
    return VideoSet("made up", ("sit", "run"), records, tmp_path / "x.csv")


def official(truth, scores, order):
    """The script, row by row: empty videos get no id there, so nothing of theirs is ever looked up."""
    table = [scores[name] if truth[name] and name in scores else [-np.inf] * 2 for name in order]
    found = []
    for label in range(2):
        ranking = sorted(range(len(order)), key=lambda row: -table[row][label])
        hits = [label in truth[order[row]] for row in ranking]
        found.append(np.mean([sum(hits[: at + 1]) / (at + 1) for at, hit in enumerate(hits) if hit]))
    return found


def test_the_highest_frame_counts_and_empty_videos_rank_last(videos):
    predictions = {
        "a": np.array([[0.1, 0.2], [0.9, 0.1]]),
        "my video": np.array([[0.95, 0.5]]),
        "empty": np.array([[0.99, 0.99]]),
    }
    truth = {"a": {0, 1}, "my video": {1}, "empty": set(), "c": {1}}
    highest = {name: scores.max(axis=0) for name, scores in predictions.items()}
    result = CharadesClassify().score(videos, predictions)
    assert result.per_class_AP == pytest.approx(official(truth, highest, ["a", "my video", "empty", "c"]))
    assert result.per_class_AP == pytest.approx([1 / 2, (1 + 1 + 3 / 4) / 3])  # c's row comes behind that of empty
    assert (result.frames, result.positives, result.missing_videos) == (4, (1, 3), ("c",))
    assert result.notes == ("1 videos without actions rank last, as in the official script.",)
    assert PROTOCOLS.get("charades-classify") is CharadesClassify


def test_files_are_a_line_per_video(videos, tmp_path):
    protocol, path = CharadesClassify(), tmp_path / "predictions.txt"
    predictions = {"my video": np.array([[0.25, 1 / 3], [0.5, 0.0]]), "a": np.array([[0.1, 1.0]], np.float32)}
    text = protocol.submission_text(videos, predictions)
    assert text == b"a 0.100000001 1\nmy%20video 0.5 0.3333333333333333\n"
    path.write_bytes(text + b"zzz 1 2\na\t.5 -inf\n\n")
    read = protocol.read_submission(path, videos)
    assert read.predictions["my video"].tolist() == [[0.5, 1 / 3]] and read.predictions["a"].tolist() == [
        [0.5, -np.inf]
    ]
    assert len(read.notes) == 2 and "'zzz'" in read.notes[0] and "1 lines repeat" in read.notes[1]
    assert protocol.score(videos, read.predictions).missing_videos == ("empty", "c")


def test_a_separator_behind_the_last_score_is_no_score(videos, tmp_path):
    # Files of the script's age end their lines so, for which it takes a line of 158 fields.
    (tmp_path / "p.txt").write_text("a 0.5 0.25 \nmy%20video\t0.1\t0.2\t\r\n")
    read = CharadesClassify().read_submission(tmp_path / "p.txt", videos)
    assert {name: scores.tolist() for name, scores in read.predictions.items()} == {
        "a": [[0.5, 0.25]],
        "my video": [[0.1, 0.2]],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 0.5 0.5", "line 1: id and 2 scores are needed, got 3 scores"),
        ("a", "line 1: id and 2 scores are needed, got 0 scores"),
        ("a 1 x", "line 1: 'x' is not a number"),
        ("a 1 nan", "line 1: a score is NaN"),
        ("b 1 2", "names none of the 4 annotated videos; its first is 'b'"),
        ("", "holds no predictions"),
    ],
)
def test_bad_files_are_told(videos, tmp_path, text, message):
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        CharadesClassify().read_submission(tmp_path / "p.txt", videos)


def test_times_are_those_of_the_scores(videos):
    scores = VideoScores("a", np.array([0.0, 0.4]), np.zeros((2, 2), np.float32), 1.0, 10.0, 10)
    assert CharadesClassify().frame_seconds(videos.records[0], scores).tolist() == [0.0, 0.4]
    with pytest.raises(ValueError, match="give the VideoScores"):
        CharadesClassify().frame_seconds(videos.records[0])
    with pytest.raises(DataError, match="'a' have no row"):
        CharadesClassify().score(videos, {"a": np.zeros((0, 2))})


@pytest.mark.needs_shared_data
def test_the_real_test_set_has_its_empty_videos(shared_data):
    videos = load_charades(None, shared_data / "charades" / "Charades_v1_test.csv", "test")
    rows = CharadesClassify().rows(videos, {record.video_id: np.zeros((1, 157)) for record in videos.records})
    assert rows.targets.shape == (1863, 157) and np.isneginf(rows.scores).all(axis=1).sum() == 49
    assert (~rows.targets.any(axis=1)).sum() == 49 and rows.targets.any(axis=0).all()
