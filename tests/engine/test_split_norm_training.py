"""Split batch norm inside the training loop: averaging, resuming, several processes."""

import pytest
import torch
from test_distributed_gloo import torchrun
from test_fit import HERE, stop_at, train, weights

from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.models import create_model
from ssdet_cli.models.layers.sub_batchnorm import pooled_statistics
from ssdet_cli.tasks.pretraining import VolumePretraining


def split_trainer(session=HERE, steps=6, **loop):
    torch.manual_seed(0)
    return Trainer(
        create_model("x3d_tiny", 3, norm_splits=2),
        VolumePretraining(lambda frames: frames.float() / 255, None, "frame"),
        optim=OptimConfig(lr=1e-2),
        loop=LoopConfig(steps=steps, log_every=1, validate_every=2, save_every=2, **loop),
        session=session,
        seed=3,
        meta={"classes": ["a", "b"]},
    )


def test_resuming_continues_the_statistics_of_every_split_bit_for_bit(tmp_path):
    whole = split_trainer(ema=0.9)
    train(whole, tmp_path / "whole")
    half = split_trainer(ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        train(half, tmp_path / "half", validate=stop_at(half, 4))
    again = split_trainer(ema=0.9)
    again.load(load_checkpoint(tmp_path / "half" / "checkpoints" / "last.pt"))
    assert again.progress.step == 2
    train(again, tmp_path / "half", first=2)
    assert any("split_mean" in name for name in weights(whole))
    for name, value in weights(whole).items():
        assert torch.equal(weights(again)[name], value), name


def test_every_checkpoint_holds_the_aggregated_statistics(tmp_path):
    run = split_trainer(ema=0.5)
    train(run, tmp_path)
    saved = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    for part in ("model", "trained"):
        state = saved[part]
        for name in [name for name in state if name.endswith("split_mean")]:
            norm = name.removesuffix("split_mean")
            found = state[f"{norm}running_mean"], state[f"{norm}running_var"]
            torch.testing.assert_close(found, pooled_statistics(state[name], state[f"{norm}split_var"]))
    assert not torch.equal(*(saved[part]["backbone.conv5.norm.running_mean"] for part in ("model", "trained")))


RANK = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from test_fit import batch
from test_split_norm_training import split_trainer
from ssdet_cli.engine.distributed import session

with session("cpu") as here:
    run = split_trainer(here)
    for step in range(3):
        run.step(iter([batch(2 * step + here.rank)]))
    here.copy_buffers(run.model)
    state = {name: value.double().sum().item() for name, value in run.model.eval().state_dict().items()}
    both = here.gather(state)
    assert both[0] == both[1], [name for name in state if both[0][name] != both[1][name]]
    print("rank", here.rank, "fine", flush=True)
"""


def test_two_processes_end_with_the_same_weights_and_statistics(tmp_path, request):
    (tmp_path / "rank.py").write_text(RANK)
    done = torchrun(tmp_path / "rank.py", str(request.path.parent))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fine") == 2
