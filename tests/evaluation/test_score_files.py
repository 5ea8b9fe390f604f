"""Files of what networks said: what goes in comes out, and damage is one clear line."""

import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.evaluation.score_files import NetworkScores, ScoreFile, is_score_file, read_scores, write_scores

CLASSES = ("jump", "rennen für immer", "日本")


def said(rng, video_id, frames, stride, raw=True):
    """A network's scores of a video with a varying frame rate."""
    times = np.cumsum(rng.uniform(0.01, 0.1, frames))
    seconds = times[::stride].copy()
    logits = (rng.normal(size=(len(seconds), len(CLASSES))) * 30).astype(np.float32)
    return VideoScores(video_id, seconds, logits, float(times[-1]), 1 / 3, frames, "pyav", times if raw else None)


def content(seed=0, videos=3):
    rng = np.random.default_rng(seed)
    networks = tuple(
        NetworkScores(
            f"runs/{number}/best.pt",
            f"{number}" * 64,
            {"stride": number + 2, "seconds_between_frames": None, "crops": 1, "shifts": 1},
            tuple(said(rng, f"ä{v}", int(rng.integers(1, 40)), number + 2, bool(v % 2)) for v in range(videos)),
        )
        for number in range(2)
    )
    return ScoreFile(CLASSES, networks, {"annotations": "truth.json", "annotations_sha256": "f" * 64, "split": "test"})


def same(one, other):
    assert (one.classes, one.origin) == (other.classes, other.origin)
    for first, second in zip(one.networks, other.networks, strict=True):
        for name in ("checkpoint", "sha256", "sampling"):
            assert getattr(first, name) == getattr(second, name)
        for a, b in zip(first.scores, second.scores, strict=True):
            for name in ("video_id", "duration_seconds", "frame_rate", "num_frames", "backend"):
                assert getattr(a, name) == getattr(b, name)
            for name in ("seconds", "logits", "raw_seconds"):
                left, right = getattr(a, name), getattr(b, name)
                assert (left is None) == (right is None)
                if left is not None:
                    assert left.dtype == right.dtype
                    np.testing.assert_array_equal(left, right)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), videos=st.integers(1, 5))
def test_what_is_written_is_read_back_bit_for_bit_and_the_same_content_is_the_same_file(tmp_path_factory, seed, videos):
    path = tmp_path_factory.mktemp("scores") / "x.npz"
    write_scores(path, content(seed, videos))
    same(read_scores(path), content(seed, videos))
    before = path.read_bytes()
    write_scores(path, content(seed, videos))
    assert path.read_bytes() == before and [each.name for each in path.parent.iterdir()] == ["x.npz"]


def test_numpy_alone_reads_it_without_pickle(tmp_path):
    write_scores(tmp_path / "x.npz", content())
    with np.load(tmp_path / "x.npz", allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
        assert (about["format"], about["version"]) == ("ssdet scores", 1)
        assert about["networks"][1]["checkpoint"] == "runs/1/best.pt"
        assert arrays["classes"].tolist() == list(CLASSES)
        assert arrays["logits_0"].dtype == np.float32 and len(arrays["logits_0"]) == arrays["rows_0"].sum()


def test_a_file_is_told_by_its_first_bytes_or_its_name(tmp_path):
    write_scores(tmp_path / "scores", content())
    (tmp_path / "text.npz").write_text("a 1 0.5\n")
    (tmp_path / "PK.txt").write_text("PK 1 0.5\n")
    assert is_score_file(tmp_path / "scores") and is_score_file(tmp_path / "text.npz")
    assert not is_score_file(tmp_path / "PK.txt") and not is_score_file(tmp_path)


def changed(path, **entries):
    """Write the archive anew with other arrays."""
    with np.load(path) as arrays:
        held = {name: arrays[name] for name in arrays.files}
    held.update(entries)
    np.savez(path, **{name: values for name, values in held.items() if values is not None})


def test_another_version_format_or_file_is_one_line(tmp_path):
    path = tmp_path / "x.npz"
    about = {"format": "ssdet scores", "version": 2, "networks": [], "origin": {}}
    write_scores(path, content())
    changed(path, about=np.array(json.dumps(about)))
    with pytest.raises(DataError, match=r"x.npz has the format version 2, and this ssdet reads version 1\."):
        read_scores(path)
    changed(path, about=np.array(json.dumps({**about, "format": "other"})))
    with pytest.raises(DataError, match="x.npz holds no scores of `ssdet evaluate --save-predictions`"):
        read_scores(path)
    np.savez(path, scores=np.zeros((2, 3)), times=np.zeros(2))  # as `ssdet predict` leaves them
    with pytest.raises(DataError, match="holds no scores of `ssdet evaluate"):
        read_scores(path)
    np.savez(path, about=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="x.npz is damaged, or no file of --save-predictions .*allow_pickle"):
        read_scores(path)
    path.write_text("a 1 0.5\n")
    with pytest.raises(DataError, match="x.npz is damaged, or no file of --save-predictions"):
        read_scores(path)
    with pytest.raises(DataError, match="Cannot read the predictions .*none.npz: No such file"):
        read_scores(tmp_path / "none.npz")


@pytest.mark.parametrize("entry", ["rows_0", "logits_1", "videos_0", "raw_1", "num_frames_0", "backend_0", "seconds_1"])
def test_arrays_that_do_not_fit_each_other_or_are_absent_are_refused(tmp_path, entry):
    path = tmp_path / "x.npz"
    for cut in (lambda values: values[:-1], lambda values: None, lambda values: values[:0]):
        write_scores(path, content())
        with np.load(path) as arrays:
            values = arrays[entry]
        changed(path, **{entry: cut(values)})
        with pytest.raises(DataError, match="x.npz is damaged, or no file of"):
            read_scores(path)


def test_scores_that_cannot_be_ranked_are_neither_written_nor_read(tmp_path):
    path, whole = tmp_path / "x.npz", content()
    write_scores(path, whole)
    before = path.read_bytes()
    with np.load(path) as arrays:
        logits = arrays["logits_0"].copy()
    for bad in (np.nan, np.inf, -np.inf):
        logits[-1, 0] = bad
        changed(path, logits_0=logits)
        with pytest.raises(DataError, match="x.npz: a score of 'ä2' is NaN or infinite, which cannot be ranked"):
            read_scores(path)
        path.write_bytes(before)
        whole.networks[0].scores[2].logits[-1, 0] = bad
        with pytest.raises(DataError, match="runs/0/best.pt: a score of 'ä2' is NaN or infinite"):
            write_scores(path, whole)
        assert path.read_bytes() == before


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read_as_it_was(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "x.npz"
    write_scores(path, content())
    whole = bytearray(path.read_bytes())
    if data.draw(st.booleans(), "cut"):
        whole = whole[: data.draw(st.integers(0, len(whole) - 1), "at")]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1), "place")] = data.draw(st.integers(0, 255), "byte")
    path.write_bytes(whole)
    try:
        found = read_scores(path)
    except DataError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        same(found, content())


def test_an_archive_of_no_arrays_is_refused(tmp_path):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("about", "text")
    (tmp_path / "x.npz").write_bytes(held.getvalue())
    with pytest.raises(DataError, match="x.npz is damaged, or no file of"):
        read_scores(tmp_path / "x.npz")
