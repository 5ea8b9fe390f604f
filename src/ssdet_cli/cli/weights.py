"""`ssdet weights`: convert, inspect."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssdet_cli.cli import completion, options
from ssdet_cli.cli.console import say
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.interruption import interruptible

if TYPE_CHECKING:
    from ssdet_cli.models import LoadReport
    from ssdet_cli.recipes.weights import Description

app = new_app()

File = Annotated[Path, typer.Argument(metavar="FILE", help="Weights of any known origin, or a run folder.")]
For = Annotated[
    str | None,
    typer.Option(
        "--backbone",
        metavar="NAME",
        help="Network that the weights are for; told by their shapes where it can be.",
        autocompletion=completion.backbones,
    ),
]


@app.callback()
def weights() -> None:
    """Convert weights of any known origin, and say what a file is."""


@app.command()
def inspect(file: File, backbone: For = None, verbose: options.Verbose = False) -> None:
    """Say what a file of weights is: whose names, which network, classes, input, and whether it fits --backbone."""
    from ssdet_cli.recipes import weights as recipe

    found = recipe.describe(file, backbone)
    fit = recipe.try_on(found, backbone) if backbone else None
    rows = _rows(found) | (_fit_rows(found.network(backbone), *fit) if fit else {})
    width = max(map(len, rows))
    for label, value in rows.items():
        typer.echo(f"{label:{width}}  {value}")
    if verbose:
        for name, tensor in found.file.state.items():
            typer.echo(f"  {name} {tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}")


def _rows(found: "Description") -> dict[str, str]:
    from ssdet_cli.models.weights.guess import alike
    from ssdet_cli.models.weights.report import in_words

    file, converted = found.file, found.converted
    also = ", ".join(found.network(name) for name in alike(found.backbone)) if found.backbone else ""
    network = found.network(found.backbone) if found.backbone else "not told by the shapes"
    network = network + (f" ({also} have the same)" if also else "")
    rows = {
        "file": f"{file.path} ({file.container}, {file.path.stat().st_size / 2**20:.1f} MiB)",
        "layout": found.layout,
        "network": f"{found.streams} of {network}" if found.streams else network,
        "classes": str(found.num_classes) if found.num_classes else "no classifier",
        "tensors": str(len(file.state)),
        "parameters": f"{found.parameters:,}",
        "norm splits": str(converted.splits),
        "input": in_words(found.normalization) if found.normalization else "not known",
        "container": ", ".join(file.keys) or "tensors only",
    }
    if converted.adapted:
        rows["changes"] = "; ".join(converted.adapted)
    return rows


def _fit_rows(backbone: str, report: "LoadReport", error: str | None) -> dict[str, str]:
    told = f"needs --allow-partial: {error}" if error else "yes"
    return {f"fits {backbone}": told, "loading": report.summary()}


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Weights of any known origin, or a run folder.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, *.safetensors.")],
    backbone: For = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write weights of any known origin as safetensors under our own names."""
    from ssdet_cli.recipes import weights as recipe

    with interruptible():
        found, report = recipe.convert(source, target, backbone=backbone, force=force)
    classes = f"{found.num_classes} classes" if found.num_classes else "no classifier"
    network = found.network(found.backbone) if found.backbone else "a head"
    network = f"{found.streams} of {network}" if found.streams else network
    typer.echo(f"{target}: {network}, {classes}, from {found.layout} layout.")
    if changes := "; ".join(report.adapted if report else found.converted.adapted):
        say(f"Changed: {changes}.")
    if report and report.unexpected:
        say(f"Left out, this network has no place for them: {', '.join(report.unexpected)}.")
    if found.backbone:
        command = "train-coarse-fine" if found.streams else "finetune"
        say(f"Use it with: ssdet {command} --init {target} --backbone {found.backbone}")
