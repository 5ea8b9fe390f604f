import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssdet_cli.evaluation import FrameAveragePrecision, average_precision, mean_ap, weighted_ap


def drawn(rows=60, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, classes, generator=generator).round(decimals=1)  # with ties
    targets = (torch.rand(rows, classes, generator=generator) < 0.3).long()
    targets[:, -1] = 0
    return scores, targets


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
@pytest.mark.parametrize("ties", ["order", "together"])
def test_batches_give_what_all_at_once_gives(ties):
    scores, targets = drawn()
    expected = average_precision(scores, targets, ties=ties)
    positives = targets.sum(0).numpy()
    for average, value in (
        ("none", expected),
        ("macro", mean_ap(expected)),
        ("weighted", weighted_ap(expected, positives)),
    ):
        metric = FrameAveragePrecision(5, average=average, ties=ties)
        for part in range(0, 60, 17):
            metric.update(scores[part : part + 17], targets[part : part + 17])
        torch.testing.assert_close(metric.compute(), torch.tensor(value, dtype=torch.float64), equal_nan=True)
        metric.reset()
        assert metric.compute().isnan().all() and metric.compute().shape == torch.as_tensor(value).shape


def test_clips_count_where_they_are_valid():
    scores, targets = drawn(rows=24)
    clips, labels = (values.view(4, 6, 5).transpose(1, 2) for values in (scores, targets))
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[1, 4:] = False
    kept = valid.flatten()
    metric = FrameAveragePrecision(5, average="none")
    metric.update(clips.bfloat16().requires_grad_(), labels, valid)
    expected = average_precision(scores.bfloat16()[kept], targets[kept])
    torch.testing.assert_close(metric.compute(), torch.from_numpy(expected), equal_nan=True)
    assert metric.scores[0].dtype == torch.float32 and not metric.scores[0].requires_grad
    assert torch.equal(metric.targets[0], targets[kept] > 0)


def test_what_does_not_fit_is_told():
    metric = FrameAveragePrecision(5)
    for scores, targets, valid, text in (
        (torch.zeros(3, 4), torch.zeros(3, 4), None, r"must both be \(N, 5\) or \(B, 5, T\), got \(3, 4\)"),
        (torch.zeros(3, 5), torch.zeros(2, 5), None, r"got \(3, 5\) and \(2, 5\)"),
        (torch.zeros(5), torch.zeros(5), None, r"got \(5,\)"),
        (torch.zeros(2, 5, 3), torch.zeros(2, 5, 3), torch.ones(2), r"valid must be \(2, 3\), got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=text):
            metric.update(scores, targets, valid)
    metric.update(torch.full((2, 5), torch.nan), torch.ones(2, 5))
    with pytest.raises(ValueError, match="class 0 contain NaN"):
        metric.compute()
    for wrong, text in (({"num_classes": 0}, "positive"), ({"average": "mean"}, "'mean'"), ({"ties": "no"}, "'no'")):
        with pytest.raises(ValueError, match=text):
            FrameAveragePrecision(**{"num_classes": 5, **wrong})


RANK = """
import sys
import torch
import torch.distributed as dist
sys.path.insert(0, sys.argv[1])
from test_metric import drawn
from ssdet_cli.evaluation import FrameAveragePrecision, average_precision

rank = int(sys.argv[3])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
scores, targets = drawn()
expected = torch.from_numpy(average_precision(scores, targets))
for cut in (23, 60):  # the second time process 1 has nothing
    metric = FrameAveragePrecision(5, average="none")
    mine = slice(0, cut) if rank == 0 else slice(cut, 60)
    for row in range(mine.start, mine.stop, 10):
        part = slice(row, min(row + 10, mine.stop))
        metric.update(scores[part], targets[part])
    torch.testing.assert_close(metric.compute(), expected, rtol=0, atol=0, equal_nan=True)
    assert sum(map(len, metric.scores)) == mine.stop - mine.start, "what is its own again"
dist.destroy_process_group()
"""


def test_two_processes_give_what_one_gives(tmp_path):
    (tmp_path / "rank.py").write_text(RANK)
    words = [sys.executable, tmp_path / "rank.py", Path(__file__).parent, tmp_path / "meet"]
    both = [subprocess.Popen([*map(str, words), str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said


def test_the_examples_of_the_documentation_run(capsys):
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    plain, metric = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    scores, targets = drawn()
    known = {"scores": scores, "targets": targets}
    exec(compile(plain, "docs/evaluation.md", "exec"), known)
    assert known["ap"].shape == (5,)
    shape = (2, 157, 6)
    batch = (torch.randn(shape), torch.rand(shape) < 0.5, torch.ones(2, 6, dtype=torch.bool))
    exec(compile(metric, "docs/evaluation.md", "exec"), {"batches": [batch]})
    assert "tensor(0." in capsys.readouterr().out
