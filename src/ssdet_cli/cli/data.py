"""`ssdet data`: generate, check, convert, cache, list."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssdet_cli.cli import data_cache, data_check, data_convert
from ssdet_cli.cli.console import say
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.cli.progress import ProgressBar
from ssdet_cli.errors import ConfigError

if TYPE_CHECKING:
    from ssdet_cli.data.generated import GenerateSettings

app = new_app()


@app.callback()
def data() -> None:
    """Generate, check, convert and cache data, and list the datasets that can be read."""


app.command("check")(data_check.check)
app.command("convert")(data_convert.convert)
app.command("cache")(data_cache.cache)


@app.command()
def generate(
    out: Annotated[
        Path | None, typer.Argument(metavar="[OUT]", help="Folder to make; default ssdet-data/generated.")
    ] = None,
    size: Annotated[int | None, typer.Option(metavar="N", help="Pixels along a side of the picture.")] = None,
    classes: Annotated[int | None, typer.Option(metavar="N", help="Actions in the weakly labelled set.")] = None,
    videos: Annotated[
        int | None,
        typer.Option(metavar="N", help="Weakly labelled training clips; the other parts keep their proportion to it."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="X", help="Length of a weakly labelled clip; dense videos are longer.")
    ] = None,
    fps: Annotated[int | None, typer.Option(metavar="N", help="Frames per second.")] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="The same seed gives the same annotations, byte for byte.")
    ] = None,
    workers: Annotated[
        int, typer.Option(metavar="N", help="Processes that draw; 0 is one per core where there is enough to do.")
    ] = 0,
) -> None:
    """Make real video files of moving objects, and their annotations, from a seed."""
    from ssdet_cli.data.generated import GenerateSettings
    from ssdet_cli.recipes import generate as recipe

    given = {"size": size, "classes": classes, "seconds": seconds, "fps": fps, "seed": seed}
    chosen = {name: value for name, value in given.items() if value is not None}
    settings = GenerateSettings(**chosen) if videos is None else GenerateSettings.for_videos(videos, **chosen)
    with interruptible(), ProgressBar("Generating videos") as progress:
        made = recipe.run(out or recipe.DEFAULT, settings, workers=workers, progress=progress)
    if not made.written:
        say(f"{made.folder} is complete already.")
    _summary(made.folder, settings, made.annotations)


def _summary(folder: Path, settings: "GenerateSettings", annotations: Path) -> None:
    weak, dense = len(settings.weak_classes), len(settings.dense_classes)
    typer.echo(
        f"{folder / 'weak'}: {settings.weak_videos} training and {settings.weak_val_videos} validation clips of "
        f"{weak} actions, a folder per class\n"
        f"{folder / 'dense'}: {settings.dense_train} training, {settings.dense_val} validation and "
        f"{settings.dense_test} test videos, {dense} actions\n"
        f"{annotations}: their frame labels; the CSV files beside it are the same in Charades' columns"
    )
    say(
        f"Next: ssdet pretrain --config generated --data {shlex.quote(str(folder / 'weak'))}\n"
        f"      ssdet finetune --config generated --videos {shlex.quote(str(folder / 'dense'))} --init RUN"
    )


@app.command("list")
def list_datasets() -> None:
    """List the datasets that can be read, and what they expect."""
    from ssdet_cli.data import DATASETS
    from ssdet_cli.data.info import INFO, DatasetInfo

    kinds = {"weak": "one class for each clip", "frame": "labels in seconds", "either": "either kind of labels"}
    for name in DATASETS.names():
        row: DatasetInfo | None = INFO.get(name)
        if row is None:
            typer.echo(f"{name:<12} {_of_plugin(name)}")
            continue
        typer.echo(f"{name:<12} {row.sentence[:-1]} ({kinds[row.labels]}).")
        typer.echo(f"{'':<12}   {'--data' if row.labels == 'weak' else '--videos':<14} {row.videos}")
        if row.annotations:
            typer.echo(f"{'':<12}   {'--annotations':<14} {row.annotations}")
    say("Another dataset: --dataset module:function, or a package with the entry point group ssdet.datasets.")


def _of_plugin(name: str) -> str:
    """The first sentence of what a plug-in says of its dataset, or why there is none."""
    from ssdet_cli.data import DATASETS

    try:
        told = (DATASETS.get(name).__doc__ or "").strip().partition("\n")[0]
    except ConfigError as error:
        return str(error)
    return f"{told or 'See its documentation.'} (from a plug-in)"
