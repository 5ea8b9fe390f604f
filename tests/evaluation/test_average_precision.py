import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ssdet_cli.evaluation import average_precision, mean_ap, weighted_ap


def column(*values, dtype=np.float64):
    return np.array(values, dtype=dtype)[:, None]


def plain_ap(scores, targets):
    """The definition, one row after the other."""
    ranking = sorted(range(len(scores)), key=lambda row: -scores[row])
    found, total = 0, 0.0
    for rank, row in enumerate(ranking, start=1):
        if targets[row]:
            found += 1
            total += found / rank
    return total / found if found else float("nan")


def test_hand_worked_ranking():
    # ranks of the positives are 1, 3 and 4: (1/1 + 2/3 + 3/4) / 3
    ap = average_precision(column(0.9, 0.8, 0.7, 0.6, 0.1), column(1, 0, 1, 1, 0))
    assert ap[0] == pytest.approx((1 + 2 / 3 + 3 / 4) / 3, abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_equal_scores_keep_their_row_order(dtype):
    ties = column(2, 2, 2, 1, dtype=dtype)
    assert average_precision(ties, column(1, 0, 0, 0))[0] == 1
    assert average_precision(ties, column(0, 0, 1, 0))[0] == pytest.approx(1 / 3)


def test_zero_and_minus_zero_are_a_tie():
    for dtype in (np.float32, np.float64):
        assert average_precision(column(-0.0, 0.0, dtype=dtype), column(1, 0))[0] == 1
        assert average_precision(column(0.0, -0.0, dtype=dtype), column(1, 0))[0] == 1


def test_a_class_without_positives_is_nan_and_leaves_the_mean_alone():
    scores = np.array([[0.1, 0.9], [0.5, 0.2]])
    ap = average_precision(scores, np.array([[0, 0], [1, 0]]))
    assert ap[0] == 1 and np.isnan(ap[1])
    assert mean_ap(ap) == 1
    assert weighted_ap(ap, np.array([1, 0])) == 1


def test_means_without_any_positive_are_nan():
    ap = average_precision(np.zeros((3, 2)), np.zeros((3, 2)))
    assert np.isnan(mean_ap(ap)) and np.isnan(weighted_ap(ap, np.zeros(2)))


def test_weighted_ap_counts_positives():
    assert weighted_ap(np.array([1.0, 0.25]), np.array([1, 3])) == pytest.approx((1 + 0.75) / 4)


def test_minus_infinity_ranks_last_in_row_order():
    scores = column(-np.inf, 0.3, -np.inf)
    assert average_precision(scores, column(0, 0, 1))[0] == pytest.approx(1 / 3)
    assert average_precision(scores, column(1, 0, 0))[0] == pytest.approx(1 / 2)


def test_nan_is_refused_with_its_class():
    scores = np.zeros((4, 20))
    scores[2, 18] = np.nan
    with pytest.raises(ValueError, match="class 18"):
        average_precision(scores, np.zeros((4, 20)))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 2\).*\(4, 3\)"):
        average_precision(np.zeros((4, 2)), np.zeros((4, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_torch_tensors_give_the_same(dtype):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 3, generator=generator).to(dtype).requires_grad_()
    targets = torch.rand(50, 3, generator=generator) < 0.3
    expected = average_precision(scores.detach().double().numpy(), targets.numpy())
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), levels=st.integers(1, 8), single=st.booleans())
def test_heavy_ties_follow_the_definition(seed, rows, levels, single):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-levels, levels, (rows, 18)) / 3).astype(np.float32 if single else np.float64)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    targets = rng.random(scores.shape) < 0.3
    expected = [plain_ap(scores[:, k], targets[:, k]) for k in range(18)]
    np.testing.assert_allclose(average_precision(scores, targets), expected, rtol=0, atol=1e-13)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 200))
def test_without_ties_it_is_what_scikit_learn_computes(seed, rows):
    rng = np.random.default_rng(seed)
    scores = rng.permutation(np.arange(rows, dtype=np.float32) - rows / 3)[:, None]
    targets = rng.random((rows, 1)) < 0.4
    targets[0] = True
    expected = average_precision_score(targets[:, 0], scores[:, 0])
    assert average_precision(scores, targets)[0] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 60), levels=st.integers(1, 8), single=st.booleans())
def test_with_ties_taken_together_it_is_what_scikit_learn_computes(seed, rows, levels, single):
    rng = np.random.default_rng(seed)
    scores = (rng.integers(-levels, levels, (rows, 2)) / 3).astype(np.float32 if single else np.float64)
    targets = rng.random(scores.shape) < 0.3
    targets[0] = True
    expected = [average_precision_score(targets[:, k], scores[:, k]) for k in range(2)]
    np.testing.assert_allclose(average_precision(scores, targets, ties="together"), expected, rtol=0, atol=1e-12)


def test_importing_the_protocols_loads_no_torch():
    code = (
        "import sys; from ssdet_cli.evaluation import PROTOCOLS;"
        "[PROTOCOLS.get(n) for n in PROTOCOLS.entries];"
        "import ssdet_cli.evaluation.report, ssdet_cli.data.charades;"
        "import ssdet_cli.data.multithumos, ssdet_cli.data.folder;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
