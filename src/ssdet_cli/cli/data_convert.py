"""`ssdet data convert`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli.console import say
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.errors import ConfigError


def convert(
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT", help="Annotation files, or folders of them, of one form.")
    ],
    output: Annotated[Path, typer.Option(metavar="FILE", help="File to write, *.json or *.csv.")],
    form: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FORM",
            help="via, cvat, elan, charades, csv, json, multithumos or tsu; told by the content where not given.",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(metavar="X", help="Frames per second of the videos, where frames are counted (CVAT)."),
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the videos: they say frame rates and durations.")
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Tier (ELAN), attribute (VIA) or label (CVAT) to take; may be repeated."),
    ] = None,
    subset: Annotated[
        str | None, typer.Option(metavar="train|val|test", help="What the videos belong to, where the input is silent.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Turn the files of annotation tools, or of another form, into one JSON or CSV with classes.txt beside it."""
    from ssdet_cli.data.convert import convert as carry_out

    if subset not in (None, "train", "val", "test"):
        raise ConfigError(f"--subset {subset} is unknown; use train, val or test.")
    if fps is not None and not fps > 0:
        raise ConfigError(f"--fps must be above 0, got {fps:g}.")
    with interruptible():
        made = carry_out(
            inputs, output, form=form, frame_rate=fps, videos=videos, tiers=tier or (), subset=subset, force=force
        )
    for note in made.notes:
        say(note)
    typer.echo(f"{made.annotations}: {made.videos} videos, {made.actions} actions of {len(made.names)} classes.")
    typer.echo(f"{made.classes}: their names, in index order.")
    dataset = made.annotations.suffix.lower().removeprefix(".")
    say(f"Use it with: ssdet finetune --dataset {dataset} --annotations {made.annotations} --videos DIR ...")
