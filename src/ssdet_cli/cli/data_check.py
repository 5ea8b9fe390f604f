"""`ssdet data check`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssdet_cli.cli import completion, options
from ssdet_cli.cli.console import console, say
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.cli.progress import ProgressBar
from ssdet_cli.errors import ConfigError

if TYPE_CHECKING:
    from ssdet_cli.config.data_check import DataCheckConfig
    from ssdet_cli.recipes.data_check import Checked

#: Videos that the screen names, the worst first.
_NAMED = 8


#: Option -> the key that it stands for; videos and data are one.
_KEYS = {
    "dataset": "data.dataset",
    "annotations": "data.annotations",
    "split": "split",
    "annotations_only": "annotations_only",
    "decode": "decode",
    "min_frames": "min_frames",
    "min_seconds": "min_seconds",
    "leave_out": "leave_out",
    "output": "output",
    "workers": "workers",
    "timeout": "timeout",
}

_Config = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Configuration of a training: its data, and its clip as what videos must be long enough for.",
        autocompletion=completion.configs,
    ),
]
_Data = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Clips with one label each, or a list of them, as of pretrain: --videos, of --dataset folder by default.",
    ),
]
_Split = Annotated[str | None, typer.Option(metavar="train|val|test|all", help="Split to check; default all (split).")]
_AnnotationsOnly = Annotated[bool, typer.Option("--annotations-only", help="Look at no video (annotations_only).")]
_Fast = Annotated[bool, typer.Option("--fast", help="Read headers only, decode nothing (decode=headers).")]
_Decode = Annotated[
    str | None,
    typer.Option(
        metavar="headers|ends|all",
        help="What of a file is read: headers; first, middle and last frame; all frames. Default ends (decode).",
    ),
]
_MinFrames = Annotated[int | None, typer.Option(metavar="N", help="Frames that a video must have (min_frames).")]
_MinSeconds = Annotated[float | None, typer.Option(metavar="X", help="Seconds that a video must have (min_seconds).")]
_LeaveOut = Annotated[
    str | None,
    typer.Option(metavar="CODE,...", help="Codes whose videos leave the clean list besides errors (leave_out)."),
]
_Output = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder for report, index and clean list; default ssdet-data/check-<dataset>-<videos> (output).",
    ),
]
_Workers = Annotated[
    int | None, typer.Option(metavar="N", help="Processes that read videos; default one per core (workers).")
]
_Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", help="What one file may take; default 60 (timeout).")
]
_Strict = Annotated[bool, typer.Option("--strict", help="Leave with 1 where there is an error or a warning.")]


def check(
    ctx: typer.Context,
    overrides: options.Overrides = None,
    config: _Config = None,
    dataset: options.Dataset = None,
    annotations: options.Annotations = None,
    videos: options.Videos = None,
    data: _Data = None,
    split: _Split = None,
    annotations_only: _AnnotationsOnly = False,
    fast: _Fast = False,
    decode: _Decode = None,
    min_frames: _MinFrames = None,
    min_seconds: _MinSeconds = None,
    leave_out: _LeaveOut = None,
    output: _Output = None,
    workers: _Workers = None,
    timeout: _Timeout = None,
    strict: _Strict = False,
    print_config: options.PrintConfig = False,
) -> None:
    """Find what is wrong with a dataset, index its files and list what can be used; nothing of it is changed."""
    from ssdet_cli.config.data_check import load_check_config

    if videos is not None and data is not None:
        raise ConfigError("--videos and --data are the same (data.videos); give one of them.")
    if fast and decode not in (None, "headers"):
        raise ConfigError(f"--fast and --decode {decode} contradict each other; give one of them.")
    words = {key: ctx.params[name] for name, key in _KEYS.items()} | {"data.videos": videos or data}
    named = config is not None or any(word.startswith("data.dataset=") for word in overrides or ())
    if data is not None and dataset is None and not named:
        words["data.dataset"] = "folder"
    given = {key: value for key, value in words.items() if value is not None and value is not False}
    cfg = load_check_config(config, overrides or [], given | ({"decode": "headers"} if fast else {}))
    if print_config:
        from ssdet_cli.config.load import to_yaml

        typer.echo(to_yaml(cfg), nl=False)
        return
    from ssdet_cli.recipes.data_check import run

    with interruptible(), ProgressBar("Checking files") as progress:
        checked = run(cfg, progress)
    _show(checked)
    _next_steps(cfg, checked)
    if strict and checked.has_faults:
        raise typer.Exit(1)


def _show(checked: "Checked") -> None:
    """Counts of every code, the worst offenders, and on how much a score will rest."""
    from rich.table import Table
    from rich.text import Text

    report, shown = checked.report, console(results=True)
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    table = Table("code", "", box=None, pad_edge=False, header_style="bold")
    table.add_column("videos", justify="right")
    table.add_column("times", justify="right")
    table.add_column("meaning")
    for code, row in report["codes"].items():
        style = colours[row["severity"]]
        cells = (Text(code, style=style), Text(row["severity"], style=style))
        table.add_row(*cells, f"{row['subjects']:,}", f"{row['count']:,}", Text(row["meaning"]))
    if report["codes"]:
        shown.print(table)
    else:
        shown.print("Nothing was found.")
    for line in _offenders(checked):
        shown.print(Text(line))
    for sentence in report["score"]:
        shown.print(Text(sentence))


def _offenders(checked: "Checked") -> list[str]:
    """The first findings that make a file unusable or a label doubtful; where there are none, nothing."""
    faults = [finding for finding in checked.findings if finding.severity != "note"]
    faults.sort(key=lambda finding: (finding.severity != "error", -finding.count))
    lines = [f"  {one.code}: {one.subject or one.split} ({one.split}): {one.detail}" for one in faults[:_NAMED]]
    if len(faults) > _NAMED:
        lines.append(f"  and {len(faults) - _NAMED:,} more in report.json")
    return lines


def _next_steps(cfg: "DataCheckConfig", checked: "Checked") -> None:
    for name, path in checked.written.items():
        say(f"Wrote {path}" + (f" ({name})." if name not in path.name else "."))
    words = ["data.index=" + str(checked.written["index"])] if "index" in checked.written else []
    if cfg.data.frame_rate is not None:
        words.append(f"data.frame_rate={cfg.data.frame_rate:g}")
    if "backend" in cfg.data.model_fields_set:
        words.append(f"data.backend={cfg.data.backend}")
    if "clean list" not in checked.written:
        if cfg.annotations_only and cfg.data.videos is None:
            say("There is no clean list: it names the files of the clips, and no --videos was given.")
        else:
            say("Nothing is left that could be used: there is no clean list.")
        return
    listed = checked.written["clean list"]
    if listed.suffix == ".json":
        place = ["--videos", str(cfg.data.videos)] if cfg.data.videos is not None else ["--videos", "DIR"]
        words = ["ssdet", "finetune", "--dataset", "json", "--annotations", str(listed), *place, *words]
    else:
        words = ["ssdet", "pretrain", "--data", str(listed), *words]
    say(f"Next: {shlex.join(words)}")
