"""`ssdet backbones`."""

from ssdet_cli.cli.console import console, say
from ssdet_cli.cli.groups import new_app

#: One line per backbone where nobody looks at a terminal.
_PIPE_WIDTH = 120

app = new_app()


@app.command()
def backbones() -> None:
    """List the backbones with their sizes."""
    from rich.table import Table

    from ssdet_cli.models.backbones import BACKBONES
    from ssdet_cli.models.backbones.info import INFO

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backbone", no_wrap=True)
    for heading in ("parameters", "GFLOPs", "frames", "stride"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("weights from")
    for name in BACKBONES.names():
        known = INFO.get(name)
        if known is None:
            table.add_row(name, "-", "-", "-", "-", "-")
            continue
        shape = f"{known.frames}x{known.crop}"
        table.add_row(
            name, f"{known.parameters / 1e6:.2f} M", f"{known.gmacs:.2f}", shape, str(known.stride), known.weights
        )
    out = console(results=True)
    if not out.is_terminal:
        out.width = _PIPE_WIDTH
    out.print(table)
    aliases = ", ".join(f"{alias} is {name}" for alias, name in BACKBONES.aliases.items())
    say(
        f"In short: {aliases}. GFLOPs are multiply-adds of one clip, as papers count them; frames are of how many "
        "pixels a side; stride is in raw frames. No weights are shipped: "
        "--init takes a run folder, a weights file, or hub where the network's own library publishes some."
    )
    say(
        "Besides these: timm/<name> is any image model of timm, frame by frame, with convolutions over time behind it; "
        "module:attribute is somebody else's (docs/plugins.md)."
    )
