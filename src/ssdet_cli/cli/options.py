"""Options that several commands share, and the keys that named options stand for.

A default lives in the configuration only: an option that is not given is None and changes nothing. The sentence behind
each says which key it stands for.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from ssdet_cli.cli import completion

#: Parameter of a command that is configured -> the key that it stands for; the same in every such command.
KEYS = {
    "protocol": "protocol",
    "checkpoint": "checkpoints",
    "predictions": "predictions",
    "compare": "compare",
    "weights": "weights",
    "average": "average",
    "save_predictions": "save_predictions",
    "trained": "checkpoint",
    "stages": "stages",
    "pool": "pool",
    "format": "format",
    "dtype": "dtype",
    "exact": "inference.exact",
    "split": "split",
    "allow_missing": "allow_missing",
    "bootstrap": "bootstrap",
    "data": "data.videos",
    "dataset": "data.dataset",
    "annotations": "data.annotations",
    "videos": "data.videos",
    "cache": "data.cache",
    "backbone": "model.backbone",
    "head": "model.head",
    "init": "model.init",
    "allow_partial": "model.allow_partial",
    "augment": "augment.methods",
    "features": "fine.features",
    "fine": "fine.weights",
    "joint": "fine.joint",
    "train_fine": "fine.train",
    "steps": "loop.steps",
    "batch_size": "loop.batch_size",
    "lr": "optim.lr",
    "precision": "loop.precision",
    "max_time": "loop.max_time",
    "sync_bn": "model.sync_bn",
    "deterministic": "run.deterministic",
    "output": "run.output",
    "gpus": "run.gpus",
    "device": "run.device",
    "nproc": "run.nproc",
    "nnodes": "run.nnodes",
    "node_rank": "run.node_rank",
    "rdzv_endpoint": "run.rdzv_endpoint",
    "inputs": "data.videos",
    "threshold": "threshold",
    "classes": "classes",
    "top_k": "top_k",
    "start": "start",
    "end": "end",
    "min_length": "min_length",
    "smooth": "smooth",
    "no_overlay": "no_overlay",
    "no_pictures": "no_pictures",
    "frame_rate": "data.frame_rate",
    "seed": "run.seed",
    "wandb": "run.wandb",
    "verbose": "run.verbose",
}

#: Parameter -> its option, where the option has another key in another command.
OPTIONS = {"trained": "--checkpoint"}


def option_of(name: str) -> str:
    """The option behind which a parameter's value stands."""
    return OPTIONS.get(name, "--" + name.replace("_", "-"))


def given(ctx: typer.Context) -> dict[str, Any]:
    """The named options of `KEYS` that stand on the command line: parameter -> value."""
    return {
        name: value
        for name, value in ctx.params.items()
        if name in KEYS and value is not None and value is not False and value != () and value != []
    }


Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Any key of the configuration, as in optim.lr=0.02; --print-config shows all of them.",
        autocompletion=completion.keys,
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Configuration to start from: a shipped name (see ssdet configs list) or a YAML file.",
        autocompletion=completion.configs,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder to write to; default runs/<command>-<model>-<time> (run.output)."),
]
Gpus = Annotated[str | None, typer.Option(metavar="0,1", help="GPUs to use, one process on each (run.gpus).")]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda",
        help="Where to compute; auto takes a GPU when there is one (run.device).",
        autocompletion=completion.devices,
    ),
]
Nproc = Annotated[int | None, typer.Option(metavar="N", help="Processes to start on this machine (run.nproc).")]
Nnodes = Annotated[int | None, typer.Option(metavar="N", help="Machines that take part (run.nnodes).")]
NodeRank = Annotated[int | None, typer.Option(metavar="N", help="Number of this machine, from 0 (run.node_rank).")]
RdzvEndpoint = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where the machines meet: a port of machine 0 (run.rdzv_endpoint)."),
]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Seed of every draw (run.seed).")]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Continue the run in --output, or the newest unfinished one under runs/."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Build everything, run two steps, say what a run would cost; leaves no run behind."),
]
PrintConfig = Annotated[
    bool, typer.Option("--print-config", help="Print the whole resulting configuration as YAML and leave.")
]
Backbone = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Network, from ssdet backbones (model.backbone).",
        autocompletion=completion.backbones,
    ),
]
Init = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN|WEIGHTS|hub",
        help="Run folder or weights file to start from; hub: what torchvision or timm publish (model.init).",
    ),
]
AllowPartial = Annotated[
    bool, typer.Option("--allow-partial", help="Accept weights of which less than 90 % fit (model.allow_partial).")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="List every tensor that --init filled, changed or left out (run.verbose)."),
]
Wandb = Annotated[
    str | None,
    typer.Option(
        metavar="PROJECT", help="Log to Weights & Biases too; WANDB_MODE=offline needs no network (run.wandb)."
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Kind of dataset, from ssdet data list (data.dataset).", autocompletion=completion.datasets
    ),
]
Annotations = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Annotation file with frame labels (data.annotations).")
]
Videos = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the videos (data.videos).")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder of resized copies, from ssdet data cache (data.cache).")
]
Features = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Stored features of a Coarse-Fine network's fine stream (fine.features)."),
]
Fine = Annotated[
    Path | None,
    typer.Option(metavar="RUN|FILE", help="Weights of a Coarse-Fine network's fine stream (fine.weights)."),
]
Protocol = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="How scores are taken (protocol).", autocompletion=completion.protocols),
]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Optimiser steps of the whole run (loop.steps).")]
BatchSize = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto", help="Clips in one forward pass of one process; auto finds what fits (loop.batch_size)."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="bf16|fp16|tf32|fp32",
        help="How the network computes; default bf16 where the GPU has it (loop.precision).",
    ),
]
MaxTime = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Save and leave with exit code 75 within this time: 3h50m, 90m, 5400 (seconds), 1-02:00:00 "
        "(loop.max_time). SIGTERM and SIGUSR1 do the same.",
    ),
]
SyncBn = Annotated[
    bool,
    typer.Option("--sync-bn", help="Batch norm takes its statistics over the clips of all processes (model.sync_bn)."),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic", help="Ask torch for deterministic algorithms; what has none is named (run.deterministic)."
    ),
]
LearningRate = Annotated[float | None, typer.Option("--lr", metavar="X", help="Learning rate of the head (optim.lr).")]
