"""`ssdet demo`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion
from ssdet_cli.cli.groups import new_app

app = new_app()


@app.command()
def demo(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder to write to.")] = Path("ssdet-demo"),
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of the data and of both trainings.")] = 0,
    device: Annotated[
        str,
        typer.Option(
            metavar="auto|cpu|cuda",
            help="Where to compute; auto takes a GPU when there is one.",
            autocompletion=completion.devices,
        ),
    ] = "auto",
    tiny: Annotated[
        bool, typer.Option("--tiny", help="A very small one that shows that everything runs, in a minute or two.")
    ] = False,
) -> None:
    """Walk the whole path on generated video: pretrain twice, fine-tune both, evaluate both, compare."""
    from ssdet_cli.recipes import demo as recipe  # torch starts here

    recipe.run(output, seed, device, tiny)
