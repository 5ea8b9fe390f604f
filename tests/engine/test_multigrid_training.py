"""Batches of changing shape inside the training loop: rates, norms, resuming, compiling, several processes."""

import json
from functools import partial

import pytest
import torch
from test_distributed_gloo import torchrun
from test_fit import HERE, stop_at, weights
from torch import nn

from ssdet_cli.augment import VolumeAugment
from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.multigrid import MultigridConfig
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.data.multigrid import build_plan
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.fit import Monitor, fit
from ssdet_cli.engine.graphs import one_graph_per_shape
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.models.layers.sub_batchnorm import SubBatchNorm, pooled_statistics, set_norm_splits
from ssdet_cli.tasks.pretraining import VolumePretraining

#: Two phases of three shapes, and the last shape to the end; splits 4, 2, 1 and two steps in turn.
CYCLES = MultigridConfig(
    long_cycle=((4, 0.5, 0.5), (2, 0.5, 1), (1, 1, 1)),
    short_cycle=(((1, 0.5), (1, 1)),),
    phases=(0.4, 0.8),
    clips_per_statistic=1,
)
STEPS = 15


class Split(nn.Module):
    """A convolution, a norm that can be split, dropout, and two parts with learning rates of their own."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Conv1d(8, 3, 1))

    def set_norm_splits(self, splits):
        set_norm_splits(self.backbone, splits)

    def forward(self, frames):
        clips, _, times = frames.shape[:3]
        hidden, norm = self.backbone[0](frames.transpose(1, 2).flatten(0, 1)), self.backbone[1]
        hidden = norm(hidden, times) if isinstance(norm, SubBatchNorm) else norm(hidden)
        return self.head(hidden.relu().mean((2, 3)).unflatten(0, (clips, times)).transpose(1, 2))


def plan():
    return build_plan(CYCLES, clips=2, frames=4, size=8, steps=STEPS)


def batch(step, seed=0):
    turn, generator = plan().at(step), torch.Generator().manual_seed(100 * seed + step)
    shape = (turn.clips, 3, turn.shape.frames, turn.shape.size, turn.shape.size)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    labels = torch.softmax(torch.randn(turn.clips, 3, 1, generator=generator), 1).expand(-1, -1, turn.shape.frames)
    return VideoBatch(frames, labels, video_ids=tuple(map(str, range(turn.clips))))


def trainer(session=HERE, compiled=False, **loop):
    torch.manual_seed(0)
    return Trainer(
        Split(),
        VolumePretraining(lambda frames: frames.float() / 255, None, "frame"),
        optim=OptimConfig(lr=0.1, backbone_lr_scale=0.1, schedule="constant", warmup_steps=3),
        loop=LoopConfig(steps=STEPS, log_every=1, validate_every=1, save_every=1, **loop),
        session=session,
        seed=3,
        meta={},
        compiled=compiled,
        plan=plan(),
    )


def train(run, folder, first=0, validate=lambda network: {"loss": 1.0}):
    fit(
        run,
        [batch(step) for step in range(first, STEPS)],
        steps_per_epoch=lambda step: plan().clips_before(step) / 10,
        validate=validate,
        monitor=Monitor("loss", higher_is_better=False),
        log=RunLog(folder, None, resume_step=first if first else None),
        title="test",
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run = trainer(ema=0.9)
    train(run, folder)
    return run, folder


def lines(folder):
    read = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in read if line["split"] == "train"]


@pytest.mark.parametrize("stop", [2, 3, 5, 8, 9, 12])
def test_a_run_stopped_in_any_phase_resumes_to_the_same_end_bit_for_bit(whole, tmp_path, stop):
    half = trainer(ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        train(half, tmp_path, validate=stop_at(half, stop))
    again = trainer(ema=0.9)
    again.load(load_checkpoint(tmp_path / "checkpoints" / "last.pt"))
    assert again.progress.step == stop - 1
    train(again, tmp_path, first=stop - 1)
    for name, value in weights(whole[0]).items():
        assert torch.equal(weights(again)[name], value), name
    kept = ("step", "epoch", "loss", "lr", "lr_0", "batch", "frames", "size", "norm_splits")
    assert [[line[key] for key in kept] for line in lines(tmp_path)] == [
        [line[key] for key in kept] for line in lines(whole[1])
    ]


def test_the_log_tells_the_shape_and_counts_passes_by_samples(whole):
    seen = lines(whole[1])
    assert [line["norm_splits"] for line in seen] == [8, 8, 4, 4, 2, 2, 2, 8, 4, 4, 2, 2, 2, 2, 2]
    assert [line["batch"] for line in seen] == [line["norm_splits"] for line in seen]
    assert [line["frames"] for line in seen] == [2, 2, 2, 2, 4, 4, 4, 2, 2, 2, 4, 4, 4, 4, 4]
    assert [line["size"] for line in seen][:6] == [2, 4, 4, 8, 4, 8]
    assert [line["epoch"] for line in seen] == [sum(each["batch"] for each in seen[: n + 1]) / 10 for n in range(STEPS)]


def test_warm_up_and_the_long_cycle_multiply_every_groups_own_rate(whole):
    for line, turn in zip(lines(whole[1]), map(plan().at, range(STEPS)), strict=True):
        rate = 0.1 * turn.lr * min(1, line["step"] / 4)
        rates = {round(value, 9) for name, value in line.items() if name.startswith("lr_")}
        assert rates == {round(rate, 9), round(rate / 10, 9)} and line["lr"] == pytest.approx(rate)


def test_new_splits_start_from_the_statistics_of_all_old_ones():
    run = trainer(ema=0.5)
    for step in range(2):
        run.step(iter([batch(step)]))
    norms = run.model.backbone[1], run.average.module.backbone[1]
    before = [pooled_statistics(norm.split_mean, norm.split_var) for norm in norms]
    assert [norm.splits for norm in norms] == [8, 8]
    run._turn_to(2)
    for norm, (mean, variance) in zip(norms, before, strict=True):
        assert norm.splits == 4
        assert torch.equal(norm.split_mean, mean.expand(4, -1))
        assert torch.equal(norm.split_var, variance.expand(4, -1))
    assert not torch.equal(norms[0].split_mean, norms[1].split_mean)


def test_every_shape_is_compiled_once_and_its_graph_serves_when_it_comes_back(monkeypatch):
    graphs = []

    def counting(graph, inputs):
        graphs.append(tuple(inputs[0].shape))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    run = trainer(compiled=True)
    counts = []
    for step in range(STEPS):
        run.step(iter([batch(step)]))
        counts.append(len(graphs))
    assert counts[:6] == [1, 2, 3, 4, 5, 6] and counts[-1] == len(plan().turns) == 6
    eager = trainer()
    for step in range(STEPS):
        eager.step(iter([batch(step)]))
    for name, value in weights(eager).items():
        torch.testing.assert_close(weights(run)[name], value, msg=name)


def test_an_augmentation_is_compiled_once_for_every_shape(monkeypatch):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    one_graph_per_shape(3)
    augment = VolumeAugment("freeze", probability=1.0, compile=True, dynamic=False)
    for clips, frames, size in [(4, 2, 4), (2, 4, 4), (2, 4, 8)] * 2:
        labels = torch.ones(clips, 3, frames) / 3
        augment(torch.rand(clips, 3, frames, size, size), labels, torch.Generator().manual_seed(0))
    assert len(graphs) == 3


RANK = """
import sys
from functools import partial
import torch
sys.path.insert(0, sys.argv[1])
from test_multigrid_training import STEPS, batch, trainer
from ssdet_cli.engine.distributed import session

graphs, made = [], []

def trained(here, **how):
    made.clear()
    run = trainer(here, ema=0.9, **how)
    for step in range(STEPS):
        run.step(iter([batch(step, here.rank)]))
        made.append(len(graphs))
    for network in (run.model, run.average.module):
        here.copy_buffers(network)
    return run

def state_of(run):
    return {**run.model.eval().state_dict(), **{f"ema.{k}": v for k, v in run.evaluated.eval().state_dict().items()}}

with session("cpu") as here:
    run = trained(here)
    state = state_of(run)
    both = here.gather({name: value.double().sum().item() for name, value in state.items()})
    assert both[0] == both[1], [name for name in both[0] if both[0][name] != both[1][name]]
    assert run.shape_of_last_step()["batch"] == 4

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward
    torch.compile = partial(torch.compile, backend=counting)
    compiled = trained(here, compiled=True)
    assert compiled.network is not compiled.replica, "the compiler was given up"
    assert 0 < made[0] < made[5] == made[-1], made  # six shapes, and then every graph is there
    for name, value in state_of(compiled).items():
        torch.testing.assert_close(value, state[name], msg=name)
    print("rank", here.rank, "fine", flush=True)
"""


def test_two_processes_go_through_the_shapes_together_compiled_or_not(tmp_path, request):
    (tmp_path / "rank.py").write_text(RANK)
    done = torchrun(tmp_path / "rank.py", str(request.path.parent))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fine") == 2
