"""`ssdet evaluate`."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion, options
from ssdet_cli.cli.carry_out import Request, carry_out, configure, print_if_asked
from ssdet_cli.cli.groups import new_app
from ssdet_cli.errors import ConfigError

app = new_app()


@app.command()
def evaluate(
    overrides: options.Overrides = None,
    config: options.Config = None,
    protocol: options.Protocol = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN|FILE", help="Run folder or checkpoint; several are averaged (checkpoints)."),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Submission file to score; several are averaged (predictions)."),
    ] = None,
    annotations: options.Annotations = None,
    videos: options.Videos = None,
    dataset: options.Dataset = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="train|val|test", help="Split to score (split).", autocompletion=completion.splits),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score although videos cannot be read (allow_missing).")
    ] = False,
    output: options.Output = None,
    gpus: options.Gpus = None,
    device: options.Device = None,
    nproc: options.Nproc = None,
    print_config: options.PrintConfig = False,
) -> None:
    """Score checkpoints or prediction files under a benchmark's protocol."""
    request = Request(config, overrides or (), print_config=print_config)
    flags = {
        "protocol": protocol,
        "checkpoints": checkpoint or None,
        "predictions": predictions or None,
        "data.annotations": annotations,
        "data.videos": videos,
        "data.dataset": dataset,
        "split": split,
        "allow_missing": allow_missing or None,
        "run.output": output,
        "run.gpus": gpus,
        "run.device": device,
        "run.nproc": nproc,
    }
    cfg = configure("evaluate", request, flags)
    print_if_asked(cfg, request)
    if not cfg.checkpoints and not cfg.predictions:
        found = newest_finetuned()
        cfg = cfg.model_copy(update={"checkpoints": (found,)})
        note = f"Neither --checkpoint nor --predictions is given: evaluating the newest run, {found}."
        request = replace(request, note=note)
    carry_out(cfg, request)


def newest_finetuned() -> Path:
    """The newest finetune run that has a best checkpoint.

    Raises:
        ConfigError: There is none.
    """
    from ssdet_cli.config import rundir

    found = rundir.newest(rundir.ROOT, "finetune", need="checkpoints/best.pt")
    if found is None:
        raise ConfigError(
            f"Nothing to evaluate: no finetune run with a checkpoint under {rundir.ROOT}/; "
            "give --checkpoint RUN|FILE or --predictions FILE."
        )
    return found
