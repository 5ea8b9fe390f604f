"""`ssdet predict`."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import options
from ssdet_cli.cli.carry_out import carry_out, configure, print_if_asked
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.request import Request
from ssdet_cli.errors import ConfigError

app = new_app()

_OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_]+)*=")


@app.command()
def predict(
    ctx: typer.Context,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIDEO... [KEY=VALUE]...",
            help="Video files, folders of videos, folders of JPEG frames, a camera (/dev/video0) or the address of a "
            "stream (data.videos); and any key of the configuration, as in inference.window=128.",
        ),
    ] = None,
    config: options.Config = None,
    trained: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="RUN|FILE",
            help="Run folder or checkpoint; default the newest run under runs/ that fits (checkpoint).",
        ),
    ] = None,
    features: options.Features = None,
    fine: options.Fine = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Score from which on a class is present; default its best in validation (threshold)."
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Classes to look for; default all (classes).")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(metavar="N", help="Only the N classes with the highest scores in a video (top_k).")
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="Begin here, seconds or hh:mm:ss (start).")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="Stop here, seconds or hh:mm:ss (end).")] = None,
    min_length: Annotated[
        float | None, typer.Option(metavar="X", help="Leave out segments shorter than X seconds (min_length).")
    ] = None,
    smooth: Annotated[
        float | None,
        typer.Option(metavar="X", help="Average scores over X seconds before segments are found (smooth)."),
    ] = None,
    frame_rate: Annotated[
        float | None,
        typer.Option(metavar="X", help="Frames per second of folders of JPEG frames (data.frame_rate)."),
    ] = None,
    no_overlay: Annotated[bool, typer.Option("--no-overlay", help="Write no overlay video (no_overlay).")] = False,
    no_pictures: Annotated[
        bool, typer.Option("--no-pictures", help="Write no timeline, overlay video or page (no_pictures).")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to write to, with a folder in it for each video where there are several; default "
            "runs/predict-<checkpoint>-<time> (run.output).",
        ),
    ] = None,
    gpus: options.Gpus = None,
    device: options.Device = None,
    nproc: options.Nproc = None,
    nnodes: options.Nnodes = None,
    node_rank: options.NodeRank = None,
    rdzv_endpoint: options.RdzvEndpoint = None,
    print_config: options.PrintConfig = False,
) -> None:
    """Find what happens in a video, a folder of videos or a stream."""
    cfg, request = configure("predict", _sorted(Request.of(ctx)))
    print_if_asked(cfg, request)
    if not cfg.data.videos:
        raise ConfigError("predict needs a video: ssdet predict VIDEO, a folder of videos, or the address of a stream.")
    if cfg.checkpoint is None:
        found = newest_run()
        cfg = cfg.model_copy(update={"checkpoint": found})
        request = request.noting(f"No --checkpoint is given: using the newest run that fits, {found}.")
    carry_out(cfg, request)


def _sorted(request: Request) -> Request:
    """Tell videos from `key=value`: whatever is there is a video, whatever it is called."""
    words = list(request.overrides)
    keys = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    videos = [word for word in words if word not in keys]
    return replace(request, overrides=keys, flags={**request.flags, **({"inputs": videos} if videos else {})})


def newest_run() -> Path:
    """The newest run with frame labels that has a best checkpoint; where there is none, the newest pretrained one.

    Raises:
        ConfigError: There is none at all.
    """
    from ssdet_cli.config import rundir

    found = rundir.newest_of(("finetune", "train-coarse-fine")) or rundir.newest_of(("pretrain",))
    if found is None:
        raise ConfigError(
            f"Nothing to predict with: no run with a checkpoint under {rundir.ROOT}/; give --checkpoint RUN|FILE."
        )
    return found
