"""From the words of a command to its recipe: configuration, early checks, processes."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ssdet_cli.cli.console import say
from ssdet_cli.errors import ConfigError

if TYPE_CHECKING:
    from ssdet_cli.config.sections import Section


@dataclass(frozen=True)
class Request:
    """What the common options ask for.

    Attributes:
        config: Name or file of a configuration.
        overrides: `section.key=value` words.
        resume: Continue a run.
        dry_run: Only try.
        print_config: Only show.
        note: A choice that was made for the user, told once everything is known to be right.
    """

    config: str | None = None
    overrides: Sequence[str] = ()
    resume: bool = False
    dry_run: bool = False
    print_config: bool = False
    note: str = ""

    def gives(self, *keys: str) -> bool:
        """Whether one of the keys is overridden."""
        return any(word.partition("=")[0] in keys for word in self.overrides)


def configure(command: str, request: Request, flags: Mapping[str, Any]) -> "Section":
    """Build the configuration of a command: defaults, then a file, then the command line."""
    from ssdet_cli.config.commands import COMMANDS
    from ssdet_cli.config.load import load_config

    name, flags = request.config, dict(flags)
    if request.resume and name is None:
        folder = run_to_resume(command, flags.get("run.output"))
        name, flags["run.output"] = str(folder / "config.yaml"), folder
    return load_config(COMMANDS[command], name, request.overrides, flags)


def run_to_resume(command: str, output: Path | None) -> Path:
    """The run folder that `--resume` means.

    Raises:
        ConfigError: There is none.
    """
    from ssdet_cli.config import rundir

    if output is not None:
        if not (output / "config.yaml").is_file():
            raise ConfigError(f"--resume: {output} holds no config.yaml, so it is no run folder.")
        return output
    found = rundir.newest(rundir.ROOT, command, need="checkpoints/last.pt", without="summary.json")
    if found is None:
        raise ConfigError(f"--resume: no unfinished {command} run under {rundir.ROOT}/; name one with --output DIR.")
    say(f"Continuing {found}.")
    return found


def print_if_asked(cfg: "Section", request: Request) -> None:
    """Print the configuration and leave, for `--print-config`."""
    if request.print_config:
        from ssdet_cli.config.load import to_yaml

        typer.echo(to_yaml(cfg), nl=False)
        raise typer.Exit


def carry_out(cfg: "Section", request: Request) -> None:
    """Check a configuration, then run its recipe here or start the processes that will.

    Raises:
        SsdetError: Anything a user can mend.
    """
    from ssdet_cli.cli import checks, launch
    from ssdet_cli.config import rundir

    print_if_asked(cfg, request)
    checks.check_names(cfg)
    checks.check_paths(cfg)
    if request.note:
        say(request.note)
    if cfg.run.nnodes > 1 and cfg.run.output is None:
        raise ConfigError("run.nnodes > 1 needs --output DIR: the same folder on every machine.")
    cfg = cfg.model_copy(update={"run": launch.choose_devices(cfg.run)})
    if launch.needed(cfg.run):
        folder = rundir.run_folder(cfg)
        if not request.dry_run:
            raise SystemExit(launch.start(cfg, folder, resume=request.resume))  # the ranks have spoken
        words = launch.arguments(cfg, folder / "config.yaml", resume=request.resume)
        say("Launch: " + shlex.join([sys.executable, "-m", "torch.distributed.run", *words]))
    recipe = import_module(f"ssdet_cli.recipes.{cfg.command}")  # torch starts here
    if cfg.command == "evaluate":
        recipe.run(cfg)
    else:
        recipe.run(cfg, resume=request.resume, dry_run=request.dry_run)
