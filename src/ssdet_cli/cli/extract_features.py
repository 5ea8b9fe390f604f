"""`ssdet extract-features`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion, options
from ssdet_cli.cli.carry_out import carry_out, configure
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.request import Request

app = new_app()


@app.command()
def extract_features(
    ctx: typer.Context,
    overrides: options.Overrides = None,
    config: options.Config = None,
    trained: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="RUN|FILE", help="Run folder or checkpoint to use (checkpoint)."),
    ] = None,
    backbone: options.Backbone = None,
    init: options.Init = None,
    videos: options.Videos = None,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    cache: options.Cache = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="train|val|test|all",
            help="Split of the dataset (split).",
            autocompletion=completion.splits_or_all,
        ),
    ] = None,
    stages: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Stages to store; default: all of them (stages).")
    ] = None,
    pool: Annotated[
        int | None, typer.Option(metavar="N", help="Height and width that every stage is averaged to (pool).")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="safetensors|npy",
            help="All stages, or one (T, C) array per video for other programs (format).",
            autocompletion=completion.formats,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            metavar="float16|bfloat16|float32",
            help="Type of the stored numbers (dtype).",
            autocompletion=completion.dtypes,
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Of a long video, exactly what one pass would give (inference.exact)."),
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Succeed although videos cannot be read (allow_missing).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the features; one that holds some of the same is continued (run.output).",
        ),
    ] = None,
    gpus: options.Gpus = None,
    device: options.Device = None,
    nproc: options.Nproc = None,
    nnodes: options.Nnodes = None,
    node_rank: options.NodeRank = None,
    rdzv_endpoint: options.RdzvEndpoint = None,
    dry_run: options.DryRun = False,
    print_config: options.PrintConfig = False,
) -> None:
    """Store a backbone's features of whole videos."""
    carry_out(*configure("extract-features", Request.of(ctx)))
