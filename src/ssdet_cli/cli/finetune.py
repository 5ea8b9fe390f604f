"""`ssdet finetune`."""

from typing import Annotated

import typer

from ssdet_cli.cli import completion, options
from ssdet_cli.cli.carry_out import carry_out, configure
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.request import Request

app = new_app()


@app.command()
def finetune(
    ctx: typer.Context,
    overrides: options.Overrides = None,
    config: options.Config = None,
    init: options.Init = None,
    allow_partial: options.AllowPartial = False,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    cache: options.Cache = None,
    videos: options.Videos = None,
    head: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Per-frame head (model.head).", autocompletion=completion.heads),
    ] = None,
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
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    wandb: options.Wandb = None,
    verbose: options.Verbose = False,
    print_config: options.PrintConfig = False,
) -> None:
    """Teach a pretrained backbone to label every frame of a video."""
    carry_out(*configure("finetune", Request.of(ctx)))
