"""Run folders: their names, what may be written into them, and finding the newest."""

import shlex
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from ssdet_cli.config.commands import COMMANDS
from ssdet_cli.config.load import load_config, read_yaml, to_plain, to_yaml, validate
from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.files import refuse_unwritable, write_atomically

#: Where runs go that were given no folder.
ROOT = Path("runs")
#: What shows that a folder already holds a run.
_TRACES = ("metrics.jsonl", "checkpoints")
#: Written last of all: what shows that a run is done.
DONE = "summary.json"
#: Keys that may change between a run and its resumption: they do not change what is computed.
_FREE_ON_RESUME = (
    "run.output",
    "run.device",
    "run.node_rank",
    "run.rdzv_endpoint",
    "run.verbose",
    "run.wandb",
    "data.workers",
    "data.prefetch",
    "data.videos",
    "data.annotations",
    "data.index",
    "data.file_timeout",
    "fine.features",
    "loop.log_every",
    "loop.max_time",
    "loop.save_every",
    "loop.keep_every",
    "loop.keep_most",
    "loop.skip_bad_batches",
)


def run_folder(cfg: BaseModel) -> Path:
    """The folder of a run: `run.output`, else a new `runs/<command>-<model>-<time>` that does not exist yet.

    A comparison of evaluations goes to `runs/compare-<time>`.
    """
    if cfg.run.output is not None:
        return cfg.run.output
    checkpoint = getattr(cfg, "checkpoint", None)
    if getattr(cfg, "compare", ()):
        what = "compare"
    elif checkpoint is not None:
        what = f"{cfg.command}-{checkpoint.stem}"
    else:
        what = f"{cfg.command}-{cfg.model.backbone if hasattr(cfg, 'model') else cfg.protocol}"
    plain = "".join(letter if letter.isalnum() or letter in "_." else "-" for letter in what)
    first = ROOT / f"{plain}-{datetime.now():%Y%m%d-%H%M%S}"
    folder, number = first, 2
    while folder.exists():
        folder, number = first.with_name(f"{first.name}-{number}"), number + 1
    return folder


def with_output(cfg: BaseModel, folder: Path) -> BaseModel:
    """The configuration with `run.output` filled in."""
    return cfg.model_copy(update={"run": cfg.run.model_copy(update={"output": folder})})


def text_of(cfg: BaseModel, folder: Path) -> str:
    """The text of `config.yaml`: complete, but that `evaluate` says of its data what was given, nothing more.

    The rest of an evaluation's data section comes from the checkpoint, and a default written down would hide it.
    """
    cfg = with_output(cfg, folder)
    if cfg.command == "evaluate":
        given = cfg.model_dump(mode="json", include={"data"}, exclude_unset=True)
        return yaml.safe_dump({**to_plain(cfg), "data": given.get("data")}, sort_keys=False)
    return to_yaml(cfg)


def check_folder(cfg: BaseModel, folder: Path, *, resume: bool = False) -> None:
    """See that a command may write into a folder.

    Args:
        cfg: Configuration of the command.
        folder: Where.
        resume: Continue what the folder holds.

    Raises:
        ConfigError: The folder holds a run and `resume` is not set, or the other way round, or the run in it is done
            or another one, or it is a file, or nothing can be written there.
    """
    refuse_unwritable(folder, "run.output")
    held = [name for name in _TRACES if (folder / name).exists()]
    if held and cfg.command in ("evaluate", "extract-features", "predict"):
        raise ConfigError(
            f"{folder} is a training run, and its config.yaml and report.html would be lost; "
            f"give another folder, such as --output {shlex.quote(str(folder / cfg.command))}."
        )
    if held and not resume:
        raise ConfigError(
            f"{folder} already holds a run ({held[0]}); give another --output, or --resume to continue it."
        )
    if cfg.command == "predict" and _holds_other_than(folder, cfg.command):
        raise ConfigError(f"{folder} holds something else than an earlier prediction; give another folder (--output).")
    if resume and not held:
        raise ConfigError(f"{folder} holds no run to continue; leave out --resume to start one there.")
    if resume and (folder / "config.yaml").is_file():
        refuse_other_config(cfg, folder)
    if resume and is_finished(folder):
        raise ConfigError(f"{folder} is finished ({DONE}); there is nothing to resume.")


def _holds_other_than(folder: Path, command: str) -> bool:
    return folder.is_dir() and any(folder.iterdir()) and command_of(folder) != command


def prepare(cfg: BaseModel, folder: Path, *, resume: bool = False) -> Path:
    """Make a run folder and write `config.yaml`, complete and itself a valid `--config`.

    Args:
        cfg: Configuration of a command.
        folder: Where; `run.output` of the file says the same.
        resume: Continue what the folder holds.

    Returns:
        `folder`.

    Raises:
        ConfigError: See `check_folder`.
        SsdetError: It cannot be written.
    """
    check_folder(cfg, folder, resume=resume)
    write_atomically(folder / "config.yaml", text_of(cfg, folder))
    return folder


def checkpoint_file(path: Path) -> Path:
    """The file meant by a run folder (best, else last) or by a file.

    Raises:
        CheckpointError: Neither is there.
    """
    if path.is_dir():
        for name in ("best.pt", "last.pt"):
            if (path / "checkpoints" / name).is_file():
                return path / "checkpoints" / name
        raise CheckpointError(f"{path} holds no checkpoints/best.pt or checkpoints/last.pt; is it a run folder?")
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; give a run folder or a file of weights.")
    return path


def is_begun(folder: Path) -> bool:
    """Whether a folder holds a run that can be continued, unless it is finished."""
    return any((folder / name).exists() for name in _TRACES)


def is_finished(folder: Path) -> bool:
    """Whether the run in a folder is done and has left all that it leaves."""
    return (folder / DONE).is_file()


def refuse_other_config(cfg: BaseModel, then: Path | dict[str, Any]) -> None:
    """Refuse to continue a run as another one.

    Args:
        cfg: Configuration that continues.
        then: Run folder, or the plain values that a checkpoint holds.

    Raises:
        ConfigError: They differ in a key that changes what is computed; all such keys are named.
    """
    if isinstance(then, Path):
        then = to_plain(load_config(type(cfg), str(then / "config.yaml")))
    else:  # keys that came with a later version are at their defaults
        then = to_plain(validate(type(cfg), then, "the checkpoint"))
    now, then = _flat(to_plain(cfg)), _flat(then)
    if now.get("loop.batch_size") == "auto":  # what the run found
        now["loop.batch_size"] = then["loop.batch_size"]
    changed = [
        f"{key}: {then.get(key)} -> {now.get(key)}"
        for key in sorted(now.keys() | then.keys())
        if not key.startswith(_FREE_ON_RESUME) and now.get(key) != then.get(key)
    ]
    if changed:
        raise ConfigError(f"--resume continues a run as it was; this configuration differs in {'; '.join(changed)}.")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def command_of(folder: Path) -> str | None:
    """The command whose `config.yaml` a folder holds; None where there is none that can be read."""
    try:
        keys = set(read_yaml(folder / "config.yaml"))
    except ConfigError:
        return None
    fitting = [name for name, config in COMMANDS.items() if keys and keys <= set(config.model_fields)]
    return fitting[0] if fitting else None


def newest_of(commands: Iterable[str], need: str = "checkpoints/best.pt") -> Path | None:
    """The run of one of several commands under `ROOT` whose file `need` is the youngest, or None."""
    runs = [newest(ROOT, command, need=need) for command in commands]
    return max((run for run in runs if run is not None), key=lambda run: (run / need).stat().st_mtime, default=None)


def newest(root: Path, command: str, *, need: str, without: str | None = None) -> Path | None:
    """The run of `command` directly under `root` whose file `need` is the youngest, or None.

    Args:
        root: Folder of run folders.
        command: As in `COMMANDS`.
        need: Pattern of a file that it must hold, relative to the run folder.
        without: File that it must not hold.
    """
    held = [path for path in root.glob(f"*/{need}") if path.is_file()]
    depth = len(Path(need).parts)
    for path in sorted(held, key=lambda path: path.stat().st_mtime, reverse=True):
        folder = path.parents[depth - 1]
        if without is not None and (folder / without).exists():
            continue
        if command_of(folder) == command:
            return folder
    return None
