"""`ssdet backbones`."""

from ssdet_cli.cli.console import console, say
from ssdet_cli.cli.groups import new_app

app = new_app()


@app.command()
def backbones() -> None:
    """List the backbones with their sizes."""
    from rich.table import Table

    from ssdet_cli.models.backbones import BACKBONES
    from ssdet_cli.models.backbones.info import INFO

    table = Table("backbone", box=None, pad_edge=False, header_style="bold")
    for heading in ("parameters", "GFLOPs", "frames x crop", "stride"):
        table.add_column(heading, justify="right")
    table.add_column("also called")
    for name in BACKBONES.names():
        other = ", ".join(alias for alias, target in BACKBONES.aliases.items() if target == name)
        known = INFO.get(name)
        if known is None:
            table.add_row(name, "-", "-", "-", "-", other)
            continue
        shape = f"{known.frames} x {known.crop}"
        table.add_row(name, f"{known.parameters:,}", f"{known.gmacs:.2f}", shape, str(known.stride), other)
    console(results=True).print(table)
    say(
        "GFLOPs are multiply-adds of one clip, as papers count them; stride is in raw frames. No weights are shipped: "
        "--init takes a run folder or a weights file. Another backbone: --backbone module:function."
    )
