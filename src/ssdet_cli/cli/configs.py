"""`ssdet configs`: list, show, copy."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion
from ssdet_cli.cli.console import say
from ssdet_cli.cli.groups import new_app
from ssdet_cli.errors import ConfigError

app = new_app()

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Name from ssdet configs list, as in pretrain/generated.",
        autocompletion=completion.configs,
    ),
]


@app.callback()
def configs() -> None:
    """List, show and copy the shipped configurations."""


@app.command("list")
def list_configs() -> None:
    """List the shipped configurations with their first line."""
    from ssdet_cli.config.locate import shipped

    found = shipped()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        typer.echo(f"{name:{width}}  {first.removeprefix('#').strip() if first.startswith('#') else ''}".rstrip())


@app.command()
def show(name: Name) -> None:
    """Print a shipped configuration as it is written."""
    typer.echo(find(name).read_text(encoding="utf-8"), nl=False)


@app.command()
def copy(
    name: Name,
    target: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="File or folder to copy to; default ./<name>.yaml.")
    ] = None,
) -> None:
    """Copy a shipped configuration to a file of your own, to be changed; nothing is overwritten."""
    from ssdet_cli.files import write_atomically

    source = find(name)
    target = target or Path(source.name)
    target = target / source.name if target.is_dir() else target
    if target.exists():
        raise ConfigError(f"{target} exists already; name another file.")
    write_atomically(target, source.read_bytes())
    command = source.parent.name
    say(f"Copied to {target}. Use it with: ssdet {command} --config {shlex.quote(str(target))}")


def find(name: str) -> Path:
    """The shipped file of a full name, or of a bare name that only one command has.

    Raises:
        ConfigError: No such name, or several.
    """
    from ssdet_cli.catalog import nearest
    from ssdet_cli.config.locate import shipped

    found = shipped()
    fitting = [known for known in found if known == name or known.split("/", 1)[-1] == name]
    if len(fitting) == 1 or name in found:
        return found[name if name in found else fitting[0]]
    if fitting:
        raise ConfigError(f"Several configurations are called '{name}': {', '.join(fitting)}; give the whole name.")
    raise ConfigError(
        f"No shipped configuration '{name}'.{nearest(name, found)} Shipped: {', '.join(found) or 'none'}."
    )
