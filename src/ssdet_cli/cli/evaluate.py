"""`ssdet evaluate`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ssdet_cli.cli import checks, completion, options
from ssdet_cli.cli.carry_out import carry_out, configure, print_if_asked
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.request import Request
from ssdet_cli.errors import ConfigError

app = new_app()
#: Options whose values may follow each other, as a shell writes `--predictions *.npz`.
_MEMBERS = ("--checkpoint", "--predictions")


class Evaluate(TyperCommand):
    """The command, whose ensembles may be given with their option once."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; a plain one behind a member of an ensemble is another member."""
        words: list[str] = []
        option, value_follows = None, False
        for word in args:
            if option is not None and not value_follows and not word.startswith("-") and "=" not in word:
                words.append(option)
            elif not value_follows:
                option = word if word in _MEMBERS else None
            value_follows = word in _MEMBERS and not value_follows
            words.append(word)
        return super().parse_args(ctx, words)


def two_folders(value: tuple[Path, Path] | None) -> tuple[Path, Path] | None:
    """See that no option was taken for the second folder of `--compare`, where only one is given.

    Raises:
        typer.BadParameter: One was.
    """
    for path in value or ():
        if str(path).startswith("-"):
            raise typer.BadParameter(f"two folders are needed, and {path} is an option (or write ./{path}).")
    return value


@app.command(cls=Evaluate)
def evaluate(
    ctx: typer.Context,
    overrides: options.Overrides = None,
    config: options.Config = None,
    protocol: options.Protocol = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN|FILE", help="Run folder or checkpoint; several, A B, are averaged (checkpoints)."),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Submission file, or one of --save-predictions; several are averaged (predictions)."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="W,W", help="What each member of an ensemble counts for, checkpoints first, as in 2,1 (weights)."
        ),
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(metavar="probabilities|logits", help="What an ensemble averages (average)."),
    ] = None,
    smooth: Annotated[
        float | None,
        typer.Option(metavar="X", help="Average scores over X seconds before they are scored (smooth)."),
    ] = None,
    save_predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep what the networks said, for --predictions under any protocol (save_predictions).",
        ),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            metavar="A B",
            callback=two_folders,
            help="Folders of two evaluations to put side by side, class by class, with significance (compare).",
        ),
    ] = None,
    features: options.Features = None,
    fine: options.Fine = None,
    annotations: options.Annotations = None,
    cache: options.Cache = None,
    videos: options.Videos = None,
    dataset: options.Dataset = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="train|val|test", help="Split to score (split).", autocompletion=completion.splits),
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score although videos cannot be read (allow_missing).")
    ] = False,
    bootstrap: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Draw the videos N times anew for 95 % intervals of the AP, as in 1000 (bootstrap)."
        ),
    ] = None,
    seed: options.Seed = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for metrics.json, submission.txt and report.html; default runs/evaluate-<protocol>-<time>, "
            "with --compare runs/compare-<time> (run.output).",
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
    """Score checkpoints or prediction files under a benchmark's protocol, or compare two evaluations (--compare)."""
    cfg, request = configure("evaluate", Request.of(ctx))
    print_if_asked(cfg, request)
    checks.check_names(cfg)
    if not cfg.checkpoints and not cfg.predictions and not cfg.compare:
        found = newest_detector()
        cfg = cfg.model_copy(update={"checkpoints": (found,)})
        request = request.noting(
            f"Neither --checkpoint nor --predictions is given: evaluating the newest run, {found}."
        )
    carry_out(cfg, request)


def newest_detector() -> Path:
    """The newest run with frame labels that has a best checkpoint.

    Raises:
        ConfigError: There is none.
    """
    from ssdet_cli.config import rundir

    found = rundir.newest_of(("finetune", "train-coarse-fine"))
    if found is None:
        raise ConfigError(
            f"Nothing to evaluate: no finetune run with a checkpoint under {rundir.ROOT}/; "
            "give --checkpoint RUN|FILE or --predictions FILE."
        )
    return found
