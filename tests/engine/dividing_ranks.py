"""The same steps on one rank and on two, with and without accumulation, for `test_divided_batch.py`.

`python dividing_ranks.py FOLDER` leaves the weights of every run and prints how often gradients were reduced.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch._dynamo  # what every optimiser imports, in some seconds
from forked_ranks import run_ranks
from test_fit import batch
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from ssdet_cli.batch import VideoBatch
from ssdet_cli.config.sections import LoopConfig, OptimConfig
from ssdet_cli.engine.distributed import Session, session
from ssdet_cli.engine.trainer import Trainer
from ssdet_cli.models import create_model
from ssdet_cli.models.layers.sync_batchnorm import synchronise_norms
from ssdet_cli.tasks.pretraining import VolumePretraining

CLIPS, STEPS = 8, 2


class Plain(nn.Module):
    """Without batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Conv3d(3, 8, 3, padding=1), nn.Conv1d(8, 3, 1)

    def forward(self, frames):
        return self.head(self.backbone(frames).relu().mean((3, 4)))


class Unused(Plain):
    """With a layer that nothing flows through."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(2, 2)


def x3d(**options) -> nn.Module:
    return create_model("x3d_tiny", 3, dropout=0.0, **options)


NETWORKS = {
    "plain": Plain,
    "unused": Unused,
    "x3d": x3d,
    "x3d run again": partial(x3d, checkpoint_activations=True),
    "coarse-fine": lambda: create_model("coarse_fine_x3d_tiny", 3, dropout=0.0),
}
#: Network, ranks, passes per step; a step always has all of the clips.
RUNS = [
    *((name, ranks, passes) for name in ("plain", "x3d") for ranks in (1, 2) for passes in (1, 2)),
    ("x3d run again", 2, 1),
    ("unused", 2, 1),
    ("coarse-fine", 2, 1),
]


def share(step: int, part: int, passes: int, here: Session) -> VideoBatch:
    """What a rank sees in one pass of a step, as `TrainingBatches` deals it."""
    whole, size = batch(step, CLIPS), CLIPS // passes // here.world_size
    first = (part * here.world_size + here.rank) * size
    mine = slice(first, first + size)
    frames = torch.nn.functional.interpolate(whole.frames.float(), size=(4, 32, 32)).to(torch.uint8)
    return replace(whole, frames=frames[mine], labels=whole.labels[mine], video_ids=whole.video_ids[mine])


def train(place: Path, name: str, passes: int) -> None:
    """Some steps; rank 0 leaves the weights, and every rank its gradient reductions of each step."""
    with session("cpu") as here:
        torch.manual_seed(0)
        network = NETWORKS[name]().double()  # in single precision the rounding of X3D's small gradients would show
        if name == "coarse-fine":
            network.fine.head.requires_grad_(False)
        if here.world_size > 1:
            synchronise_norms(network, here.device)
        trainer = Trainer(
            network,
            VolumePretraining(lambda frames: frames.double() / 255, None, "frame"),
            optim=OptimConfig(lr=0.05),
            loop=LoopConfig(steps=STEPS, accumulate=passes),
            session=here,
            seed=0,
            meta={},
        )
        reductions = []
        if here.world_size > 1:
            trainer.replica.register_comm_hook(reductions, count_reductions)
        counts = []
        for step in range(STEPS):
            reductions.clear()
            trainer.step(iter(share(step, part, passes, here) for part in range(passes)))
            counts.append(len(reductions))
        weights = {key: value for key, value in network.state_dict().items() if torch.is_tensor(value)}
        others, loss = here.gather(weights), trainer.meter.means(here)["loss"]
        same = all(torch.equal(value, other[key]) for other in others for key, value in weights.items())
        if here.is_main:
            torch.save(weights, place / f"{name} {here.world_size} {passes}.pt")
            counted = {"reductions": counts, "same": same, "loss": loss}
            (place / f"{name} {here.world_size} {passes}.json").write_text(json.dumps(counted))


def count_reductions(reductions, bucket):
    reductions.append(bucket.index())
    return allreduce_hook(None, bucket)


def main(place: Path) -> None:
    """Carry all of it out."""
    for name, ranks, passes in RUNS:
        ends = run_ranks(partial(train, place, name, passes), place / "said", ranks)
        assert [end.code for end in ends] == [0] * ranks, (name, ranks, passes, ends)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
