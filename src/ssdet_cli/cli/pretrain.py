"""`ssdet pretrain`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion, options
from ssdet_cli.cli.carry_out import carry_out, configure
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.request import Request

app = new_app()
#: What runs when no dataset is configured.
_WITHOUT_DATA = "pretrain/generated"
#: Keys that say where data comes from.
_SOURCES = ("data.dataset", "data.videos", "data.annotations")
_NOTE = "No dataset is configured: using the generated one (--config pretrain/generated); give yours with --data PATH."


@app.command()
def pretrain(
    ctx: typer.Context,
    overrides: options.Overrides = None,
    config: options.Config = None,
    backbone: options.Backbone = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder with a folder per class, or a list of videos (data.videos)."),
    ] = None,
    dataset: options.Dataset = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Lists of the clips' labels, where --data is the clips alone (data.annotations)."
        ),
    ] = None,
    init: options.Init = None,
    allow_partial: options.AllowPartial = False,
    augment: Annotated[
        str | None,
        typer.Option(
            metavar="freeze,mixup,cutmix|none",
            help="Volume augmentations; none is plain classification pretraining (augment.methods).",
            autocompletion=completion.augmentations,
        ),
    ] = None,
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
    seed: options.Seed = None,
    deterministic: options.Deterministic = False,
    resume: options.Resume = False,
    dry_run: options.DryRun = False,
    wandb: options.Wandb = None,
    verbose: options.Verbose = False,
    print_config: options.PrintConfig = False,
) -> None:
    """Learn to detect from clips that have one label each."""
    request = Request.of(ctx)
    if config is None and not resume and not request.gives(*_SOURCES):
        request = replace(request, config=_WITHOUT_DATA).noting(_NOTE)
    carry_out(*configure("pretrain", request))
