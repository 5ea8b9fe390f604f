"""`ssdet demo`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.interruption import interruptible

app = new_app()


@app.command()
def demo(
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to write to, or of a begun demo to go on with; default ssdet-demo, ssdet-demo-2, ...",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="First seed of the trainings; the data stays the same.")
    ] = 0,
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="Number of seeds to compare over.")] = 1,
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
    coarse_fine: Annotated[
        bool,
        typer.Option(
            "--coarse-fine", help="Go on with a Coarse-Fine network on stored features; takes some minutes more."
        ),
    ] = False,
) -> None:
    """Walk the whole path on generated video, on any machine.

    Generates data, pretrains with volume augmentations and as plain classification, fine-tunes both, evaluates both,
    and compares. Interrupted, it goes on where it was when it is called again with the same --output.
    """
    from ssdet_cli.recipes import demo as recipe  # torch starts here

    with interruptible():
        recipe.run(
            output or recipe.free_folder(), seed=seed, seeds=seeds, device=device, tiny=tiny, coarse_fine=coarse_fine
        )
