"""`ssdet train-coarse-fine`."""

from typing import Annotated

import typer

from ssdet_cli.cli import options
from ssdet_cli.cli.carry_out import carry_out, configure
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.request import Request

app = new_app()


@app.command()
def train_coarse_fine(
    ctx: typer.Context,
    overrides: options.Overrides = None,
    config: options.Config = None,
    features: options.Features = None,
    init: options.Init = None,
    allow_partial: options.AllowPartial = False,
    fine: options.Fine = None,
    joint: Annotated[
        bool,
        typer.Option("--joint", help="Run the fine stream on the clips instead of reading its features (fine.joint)."),
    ] = False,
    train_fine: Annotated[
        bool, typer.Option("--train-fine", help="With --joint: train the fine stream too, else frozen (fine.train).")
    ] = False,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    cache: options.Cache = None,
    videos: options.Videos = None,
    backbone: options.Backbone = None,
    protocol: options.Protocol = None,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    precision: options.Precision = None,
    max_time: options.MaxTime = None,
    output: options.Output = None,
    gpus: options.Gpus = None,
    device: options.Device = None,
    nproc: options.Nproc = None,
    nnodes: options.Nnodes = None,
    node_rank: options.NodeRank = None,
    rdzv_endpoint: options.RdzvEndpoint = None,
    sync_bn: options.SyncBn = False,
    seed: options.Seed = None,
    deterministic: options.Deterministic = False,
    wandb: options.Wandb = None,
    verbose: options.Verbose = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    print_config: options.PrintConfig = False,
) -> None:
    """Train a second stream that looks where it is worth while, steered by a fine one."""
    carry_out(*configure("train-coarse-fine", Request.of(ctx)))
