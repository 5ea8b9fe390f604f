"""`ssdet runs`: list, show."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ssdet_cli.cli import completion
from ssdet_cli.cli.console import console, say
from ssdet_cli.cli.groups import Group, new_app

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ssdet_cli.recipes.runs import RunRecord

#: Where runs go that were given no folder; `rundir.ROOT`, which would bring the configurations' models with it.
_ROOT = Path("runs")
#: One line per run where nobody looks at a terminal.
_PIPE_WIDTH = 200
_COLOURS = {"running": "cyan", "finished": "green", "interrupted": "yellow", "failed": "red", "stale": "magenta"}
_CURVE_COLOURS = ("bright_black", "bright_yellow")
_HEIGHT = 9


class Runs(Group):
    """`ssdet runs` alone and `ssdet runs FOLDER` mean `ssdet runs list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the words; what is no command of the group is a folder to list."""
        if not ctx.resilient_parsing and (not args or args[0] not in (*self.commands, *ctx.help_option_names)):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = new_app(cls=Runs)
Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout, for scripts.")]


@app.callback()
def runs() -> None:
    """List run folders with their state and best score, and draw the curves of one."""


@app.command("list")
def list_runs(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FOLDER]...", help="Run folders, or folders of run folders; default runs/."),
    ] = None,
    as_json: Json = False,
) -> None:
    """List run folders: command, model, state, step and epoch, best score, age."""
    from ssdet_cli.recipes.runs import find_runs, read_run

    roots = folders or ([_ROOT] if _ROOT.is_dir() else [])
    records = sorted(map(read_run, find_runs(roots)), key=lambda record: record.age if record.age is not None else 0.0)
    if as_json:
        typer.echo(json.dumps([record.to_plain() for record in records], indent=2))
        return
    if not records:
        say(f"No runs under {', '.join(map(str, roots or [_ROOT]))}/; ssdet runs FOLDER looks elsewhere.")
        return
    _print_table(records, several=len(roots) > 1 or roots[0] != _ROOT)


def _print_table(records: Sequence["RunRecord"], *, several: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from ssdet_cli.config.life import age

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("command", no_wrap=True)
    table.add_column("model", overflow="fold")
    table.add_column("state", no_wrap=True)
    for heading in ("step", "epoch", "best", "changed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        table.add_row(
            Text(_printable(record.folder if several else record.name)),
            record.command or "-",
            Text(_printable(record.model or "-")),
            Text(record.state, style=_COLOURS.get(record.state, "red")),
            _step(record),
            "-" if record.epoch is None else f"{record.epoch:.1f}",
            _best(record),
            "-" if record.age is None else f"{age(record.age)} ago",
        )
    out = console(results=True)
    if not out.is_terminal:
        out.width = _PIPE_WIDTH
    out.print(table)
    for record in records:
        for sentence in (*([record.reason] if record.reason else []), *record.troubles):
            say(f"{_printable(record.name)}: {_printable(sentence)}")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _step(record: "RunRecord") -> str:
    if record.step is None and record.steps is None:
        return "-"
    return f"{record.step or 0:,}/{record.steps:,}" if record.steps is not None else f"{record.step:,}"


def _best(record: "RunRecord") -> str:
    return "-" if record.best is None else f"{record.metric} {record.best:.4g}"


@app.command()
def show(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="Run folder, or a name under runs/; default the newest.",
            autocompletion=completion.runs,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw a run's curves in the terminal, with its last metrics, its resume command and its files."""
    from ssdet_cli.recipes.runs import Metrics, find_run, read_metrics, read_run

    folder = find_run(name, _ROOT) if name is not None else _newest()
    record = read_run(folder)
    path = folder / "metrics.jsonl"
    try:
        metrics = read_metrics(path) if path.is_file() else Metrics()
    except OSError:
        metrics = Metrics()  # `read_run` named it
    resume, files = _resume_command(record), _files(folder)
    if as_json:
        content = {**record.to_plain(), "resume": resume, "files": files, "metrics": metrics.lines}
        typer.echo(json.dumps(content, indent=2))
        return
    out = console(results=True)
    out.print(f"[bold]{_escaped(record.folder)}[/]  {_escaped(record.command or 'unknown command')} ", end="")
    out.print(f"{_escaped(record.model or '')}  [{_COLOURS.get(record.state, 'red')}]{record.state}[/]")
    for sentence in (*([record.reason] if record.reason else []), *record.troubles):
        out.print(f"  {_escaped(sentence)}")
    _print_curves(out, metrics.lines)
    _print_facts(out, record, metrics.lines, folder)
    if resume is not None:
        out.print(f"resume   {_escaped(resume)}")
    for label, file in files.items():
        out.print(f"{label:8} {_escaped(file)}")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(_printable(text))


def _newest() -> Path:
    from ssdet_cli.errors import ConfigError
    from ssdet_cli.recipes.runs import find_runs, read_run

    found = [read_run(folder) for folder in (find_runs([_ROOT]) if _ROOT.is_dir() else [])]
    found = [record for record in found if record.age is not None]
    if not found:
        raise ConfigError(f"There are no runs under {_ROOT}/; name a run folder.")
    folder = min(found, key=lambda record: record.age).folder
    say(f"The newest run, {folder}.")
    return Path(folder)


def _resume_command(record: "RunRecord") -> str | None:
    """How to go on with a run that has stopped, in its own words; None where there is nothing to go on with."""
    from ssdet_cli.config.life import read_status

    folder = Path(record.folder)
    stopped = record.state in ("interrupted", "failed", "stale")
    if not stopped or record.command in (None, "evaluate") or not (folder / "config.yaml").is_file():
        return None
    if record.command == "extract-features":
        return f"ssdet extract-features --config {shlex.quote(str(folder / 'config.yaml'))}"
    own = read_status(folder).get("resume")
    return own if isinstance(own, str) else f"ssdet {record.command} --resume --output {shlex.quote(record.folder)}"


def _files(folder: Path) -> dict[str, str]:
    """The files that one looks for, where they are there."""
    names = {
        "best": "checkpoints/best.pt",
        "last": "checkpoints/last.pt",
        "config": "config.yaml",
        "metrics": "metrics.jsonl",
        "curves": "curves.png",
        "report": "report.html",
        "scores": "metrics.json",
    }
    return {label: str(folder / name) for label, name in names.items() if (folder / name).is_file()}


def _print_curves(out: "Console", lines: Sequence[dict[str, Any]]) -> None:
    """One panel for the loss, one for the score, one for the learning rate, where there are any."""
    from ssdet_cli.recipes.runs import is_number
    from ssdet_cli.viz.terminal_curves import Curve, draw_panel

    braille = "⣿●│".encode(out.encoding, "ignore").decode(out.encoding) == "⣿●│"
    width = min(out.width if out.is_terminal else 100, 120)
    for key, title in (("loss", "loss"), ("mAP", "mAP (%)"), ("accuracy", "accuracy"), ("lr", "learning rate")):
        curves = []
        for split, marked in (("train", False), ("val", True)):
            if (split, key) == ("val", "lr"):  # the same again
                continue
            points = [
                (line["step"], line[key]) for line in lines if line["split"] == split and is_number(line.get(key))
            ]
            if points:
                curves.append(Curve(split, *zip(*points, strict=True), marked=marked))
        if not curves:
            continue
        height = _HEIGHT if key != "lr" else _HEIGHT // 2
        out.print()
        for row in draw_panel(title, curves, width, height, braille=braille):
            out.print(_coloured(row, curves))
    out.print()


def _coloured(row: Sequence[Any], curves: Sequence[Any]) -> "Text":
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    for cell in row:
        style = "" if cell.curve < 0 else _CURVE_COLOURS[curves[cell.curve].marked]
        text.append(cell.letter, style)
    return text


def _print_facts(out: "Console", record: "RunRecord", lines: Sequence[dict[str, Any]], folder: Path) -> None:
    from ssdet_cli.config.life import age
    from ssdet_cli.viz.run_timing import read_timing

    facts = {"step": _step(record) + ("" if record.epoch is None else f", epoch {record.epoch:.2f}")}
    if record.best is not None:
        where = f" at step {record.best_step:,}" if record.best_step is not None else ""
        facts["best"] = f"{_best(record)}{where}"
    for split in ("train", "val"):
        last = next((line for line in reversed(lines) if line["split"] == split), {})
        values = ((key, value) for key, value in last.items() if key not in ("step", "epoch", "split", "time"))
        shown = "  ".join(f"{key} {value:.4g}" for key, value in values if isinstance(value, int | float))
        if shown:
            facts[split] = shown
    shares = read_timing(folder)
    if shares:
        facts["time"] = "  ".join(f"{name} {100 * share:.0f} %" for name, _, share in shares)
    if record.age is not None:
        facts["changed"] = f"{age(record.age)} ago"
    for label, text in facts.items():
        out.print(f"{label:8} {_escaped(text)}")
