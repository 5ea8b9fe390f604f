"""The order that an evaluation keeps gives the numbers that the scores gave."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssdet_cli.data import DATASETS
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation import PROTOCOLS, average_precision
from ssdet_cli.evaluation.bootstrap import harmonic_numbers, resampled_precision, weighted_precision
from ssdet_cli.evaluation.ranks import FORMAT, rank_rows, read_ranks
from ssdet_cli.evaluation.rows import Rows


def kept(rows, path):
    ranks = rank_rows(rows, "made-up", tuple(f"c{label}" for label in range(rows.scores.shape[1])), "abc")
    path.write_bytes(ranks.to_bytes())
    return read_ranks(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks") / "ranks.npz"


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=300),
    levels=st.integers(1, 40),
    single=st.booleans(),
    rate=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
)
def test_a_file_gives_the_same_ap_with_and_without_weights(path, seed, sizes, levels, single, rate):
    """To the last bit, ties in row order."""
    rng = np.random.default_rng(seed)
    videos = np.repeat(np.arange(len(sizes)), sizes)
    scores = (rng.integers(-levels, levels, (len(videos), 5)) / 3).astype(np.float32 if single else np.float64)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    targets = rng.random(scores.shape) < rate
    found = kept(Rows(scores, targets, videos, video_ids=tuple(f"v{n}" for n in range(len(sizes)))), path)
    np.testing.assert_array_equal(found.average_precision(), average_precision(scores, targets))
    np.testing.assert_array_equal(found.rows, sizes)
    weights = rng.integers(0, 4, (5, len(sizes))).astype(np.int32)
    harmonic = harmonic_numbers(weights, found.rows)
    expected = resampled_precision(scores, targets, videos, weights)
    for label, one in enumerate(found.rankings):
        if targets[:, label].any():
            counts = one.counts.astype(np.int32)
            column = weighted_precision(one.videos, one.positives, weights, harmonic, counts)
            np.testing.assert_allclose(column, expected[:, label], rtol=0, atol=1e-12)
        else:
            assert not len(one.videos) and np.isnan(expected[:, label]).all()


def test_what_a_file_says_comes_back(path):
    rows = Rows(np.zeros((4, 2)), np.array([[1, 0]] * 4, bool), np.array([0, 0, 2, 2]), 0.0, ("ü", "b c", "d"))
    found = kept(rows, path)
    assert (found.protocol, found.annotations_sha256, found.absent) == ("made-up", "abc", 0.0)
    assert (found.classes, found.video_ids) == (("c0", "c1"), ("ü", "b c", "d"))
    assert found.rows.tolist() == [2, 0, 2] and found.average_precision().tolist() == [1.0, 0.0]
    assert np.load(path)["format"] == FORMAT


def test_rows_of_a_video_between_two_positives_are_one_entry(path):
    rng = np.random.default_rng(0)
    videos = np.repeat(np.arange(300), 40)
    scores = np.repeat(rng.normal(size=(300, 1)), 40, axis=0) + rng.normal(size=(12000, 1)) / 1000
    targets = np.zeros((12000, 1), bool)
    targets[::1000] = True
    found = kept(Rows(scores, targets, videos, video_ids=tuple(map(str, range(300)))), path).rankings[0]
    assert len(found.videos) < 400 and found.videos.dtype == np.uint16 and found.counts.max() == 40
    assert found.average_precision() == average_precision(scores, targets)[0]


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "absent key", "too few bits", "other video"])
def test_a_damaged_file_is_one_line(path, damage):
    rows = Rows(np.arange(6.0)[:, None], np.array([[1], [0]] * 3, bool), np.arange(6), video_ids=tuple("abcdef"))
    whole = rank_rows(rows, "made-up", ("c",), "abc").to_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"hello\n", "empty": b""}.get(damage, whole))
    parts = dict(np.load(path)) if path.read_bytes() == whole else {}
    if damage == "absent key":
        del parts["counts"]
    elif damage == "too few bits":
        parts["counts"] = parts["counts"][:-1]
    elif damage == "other video":
        parts["videos"] = parts["videos"] + np.uint8(6)
    if parts:
        np.savez(path, **parts)
    with pytest.raises(DataError, match="is damaged") as caught:
        read_ranks(path)
    assert "evaluate again" in str(caught.value) and "\n" not in str(caught.value)


def test_another_format_is_refused(path):
    rows = Rows(np.zeros((1, 1)), np.ones((1, 1), bool), np.zeros(1, int), video_ids=("a",))
    kept(rows, path)
    np.savez(path, **{**np.load(path), "format": FORMAT + 1})
    with pytest.raises(DataError, match=f"has format {FORMAT + 1}, this version reads format {FORMAT}"):
        read_ranks(path)


@pytest.mark.needs_shared_data
def test_the_real_test_set_fits_into_a_few_megabytes(shared_data, path):
    videos = DATASETS.get("charades")(None, shared_data / "charades" / "Charades_v1_test.csv", "test")
    protocol = PROTOCOLS.get("charades-localize")()
    rng = np.random.default_rng(0)
    noise = {record.video_id: rng.normal(size=(25, 157)).round(2) for record in videos.records}
    found = kept(protocol.rows(videos, noise), path)
    assert path.stat().st_size < 10e6
    assert [*found.average_precision()] == list(protocol.score(videos, noise).per_class_AP)
