"""`ssdet export`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.catalog import nearest
from ssdet_cli.cli import options
from ssdet_cli.cli.groups import new_app
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.errors import ConfigError

app = new_app()

_FORMATS = ["onnx", "torch-export"]


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(metavar="RUN|FILE", help="Run folder, or weights of any known origin.")],
    format: Annotated[
        str, typer.Option(metavar="onnx|torch-export", help="What to write.", autocompletion=lambda: _FORMATS)
    ] = "onnx",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write; default model.onnx or model.pt2 in the run folder."),
    ] = None,
    frames: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Frames of a clip; default as trained.")
    ] = None,
    one_length: Annotated[
        bool, typer.Option("--one-length", help="Take clips of that many frames only; some runtimes want it.")
    ] = False,
    fine: options.Fine = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a trained network as ONNX or for torch.export, and compare the file, run, with the network."""
    if format not in _FORMATS:
        raise ConfigError(
            f"Unknown format '{format}' (--format).{nearest(format, _FORMATS)} Known: {', '.join(_FORMATS)}."
        )
    from rich.console import Console

    from ssdet_cli.engine.runlog import RunLog
    from ssdet_cli.recipes import export as recipe

    with interruptible():
        done = recipe.export(
            checkpoint,
            format,
            output,
            frames=frames,
            one_length=one_length,
            fine=fine,
            force=force,
            log=RunLog(None, Console(stderr=True)),
        )
    told, size = done.metadata, done.metadata["size"]
    outputs = f"{told['outputs']}, the first of them background" if told["background_first"] else f"{told['outputs']}"
    rows = {
        "file": f"{done.path} ({done.path.stat().st_size / 2**20:.1f} MiB)",
        "input": f"frames (batch, 3, time, {size}, {size}) float32, normalised; time: {done.lengths}",
        "output": f"logits (batch, {outputs}, time); {told['activation']} makes them scores",
        "with it": "class names, normalisation, stride, size, thresholds, lengths (docs/export.md)",
        "compared": f"with the network on {', '.join(f'{batch} x {length}' for batch, length in done.checked)} frames: "
        f"largest difference {done.difference:.1e} in logits up to {done.largest:.2g}",
    }
    for label, value in rows.items():
        typer.echo(f"{label:8}  {value}")
