"""From the words of a command to its recipe: configuration, early checks, processes."""

import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ssdet_cli.cli.console import is_main, say
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.cli.request import Request
from ssdet_cli.errors import ConfigError

if TYPE_CHECKING:
    from ssdet_cli.config.sections import Section


def configure(command: str, request: Request) -> tuple["Section", Request]:
    """Build the configuration of a command: defaults, then a file, then the command line.

    Returns:
        The configuration, with what it leaves open filled in, and the request, with what that was in its notes.
    """
    from ssdet_cli.cli.fill_in import fill_in, shorter_warmup
    from ssdet_cli.config.commands import COMMANDS, TrainingConfig
    from ssdet_cli.config.load import load_config, parse_overrides, read_yaml
    from ssdet_cli.config.locate import locate

    name, flags = request.config, request.keys()
    if request.resume and name is None:
        folder = run_to_resume(command, flags.get("run.output"))
        name, flags["run.output"] = str(folder / "config.yaml"), folder
    elif name is not None and issubclass(COMMANDS[command], TrainingConfig):
        warmup = shorter_warmup(locate(name, command), {**parse_overrides(request.overrides), **flags})
        if warmup is not None:
            flags["optim.warmup_steps"] = warmup
            request = request.noting(f"The warm-up is shortened like the run: optim.warmup_steps={warmup}.")
    cfg = load_config(COMMANDS[command], name, request.overrides, flags)
    if name is not None and not read_yaml(locate(name, command)):
        request = request.noting(f"{name} is empty: everything else is at its default.")
    if not isinstance(cfg, TrainingConfig):
        return cfg, request
    cfg, notes = fill_in(cfg)
    return cfg, request.noting(*notes)


def run_to_resume(command: str, output: str | Path | None) -> Path:
    """The run folder that `--resume` means.

    Raises:
        ConfigError: There is none.
    """
    from ssdet_cli.config import rundir

    if output is not None:
        if not (Path(output) / "config.yaml").is_file():
            raise ConfigError(f"--resume: {output} holds no config.yaml, so it is no run folder.")
        return Path(output)
    found = rundir.newest(rundir.ROOT, command, need="checkpoints/*.pt", without=rundir.DONE)
    if found is None:
        raise ConfigError(f"--resume: no unfinished {command} run under {rundir.ROOT}/; name one with --output DIR.")
    say(f"Continuing {found}.")
    return found


def print_if_asked(cfg: "Section", request: Request) -> None:
    """Print the configuration and leave, for `--print-config`."""
    if request.print_config:
        from ssdet_cli.config.load import to_yaml

        if is_main():
            typer.echo(to_yaml(cfg), nl=False)
        raise typer.Exit


def _refuse_folders_of_each(cfg: "Section") -> None:
    """Under a launcher that is not ours every rank would name the folder by its own clock.

    Raises:
        ConfigError: Several ranks are to write, and no folder is given.
    """
    if cfg.command in ("extract-features", "predict") and cfg.run.output is None:
        raise ConfigError(f"{cfg.command} of several processes needs --output DIR: the same folder for all.")


def carry_out(cfg: "Section", request: Request) -> None:
    """Check a configuration, then run its recipe here or start the processes that will.

    Raises:
        SsdetError: Anything a user can mend.
    """
    from ssdet_cli.cli import checks, launch
    from ssdet_cli.config import rundir

    print_if_asked(cfg, request)
    checks.check_names(cfg)
    checks.check_paths(cfg, resume=request.resume)
    if cfg.run.nnodes > 1 and cfg.run.output is None:
        raise ConfigError("run.nnodes > 1 needs --output DIR: the same folder on every machine.")
    cfg = cfg.model_copy(update={"run": launch.choose_devices(cfg.run)})
    starts_others = launch.needed(cfg.run)
    if request.resume and cfg.run.output is not None and rundir.is_finished(cfg.run.output):
        rundir.refuse_other_config(cfg, cfg.run.output)
        say(f"{cfg.run.output} is finished, all {cfg.loop.steps} steps of it; nothing was changed.")
        return
    if launch.is_rank():
        _refuse_folders_of_each(cfg)
    else:
        if (
            request.resume or not request.dry_run
        ) and cfg.run.node_rank == 0:  # machine 0 makes the folder, perhaps it has already
            rundir.check_folder(cfg, rundir.run_folder(cfg), resume=request.resume)
        checks.check_gpus(cfg)
    for note in request.notes:
        say(note)
    if cfg.command in ("evaluate", "extract-features", "predict"):
        cfg = rundir.with_output(cfg, rundir.run_folder(cfg))
    if starts_others:
        if not request.dry_run:
            launch.start(cfg, rundir.run_folder(cfg), resume=request.resume)
            return
        words = launch.arguments(cfg.run, [cfg.command, *request.words()])
        say("Launch: " + shlex.join([sys.executable, "-m", "torch.distributed.run", *words]))
    recipe = import_module(f"ssdet_cli.recipes.{cfg.command.replace('-', '_')}")  # torch starts here
    if cfg.command == "evaluate" and not cfg.checkpoints and not is_main():
        return  # files are scored by one process
    with interruptible():
        if cfg.command in ("evaluate", "predict"):
            recipe.run(cfg)
        elif cfg.command == "extract-features":
            recipe.run(cfg, dry_run=request.dry_run)
        else:
            recipe.run(cfg, resume=request.resume, dry_run=request.dry_run)
