"""What a training configuration leaves open and its other parts answer: the backbone, and the clip that goes with it.

Order: keys that are given, then the run that `model.init` names, then the backbone's own clip, then the defaults of the
sections. A configuration that a run wrote is complete, so nothing is filled in twice.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssdet_cli.cli import checks

if TYPE_CHECKING:
    from ssdet_cli.config.commands import TrainingConfig

#: Key of the clip -> attribute of `BackboneInfo`.
_OWN = {"frames": "frames", "stride": "stride", "size": "crop"}
#: Key of the clip that only a run may decide.
_BY_TIME = "seconds_between_frames"


def fill_in(cfg: "TrainingConfig") -> tuple["TrainingConfig", tuple[str, ...]]:
    """Fill in what is not given; returns the configuration and a sentence on what the initial run decided.

    Raises:
        SsdetError: The initial weights cannot be read.
    """
    from ssdet_cli.config.load import merge, validate

    cfg, told = _follow_features(cfg)
    given = cfg.model_dump(exclude_unset=True)
    open_clip = [name for name in cfg.clip.of_backbone if name not in given.get("clip", {})]
    open_backbone = "backbone" not in given.get("model", {})
    run = _described(cfg) if open_backbone or open_clip else {}
    found: dict[str, dict[str, Any]] = {}
    if run and open_backbone:
        found["model"] = {"backbone": run["backbone"]}
    backbone = run["backbone"] if run and open_backbone else cfg.model.backbone
    same = bool(run) and _canonical(run["backbone"]) == _canonical(backbone)
    clip = run["clip"] if same else _own_clip(backbone)
    if "stride" in given.get("clip", {}):  # whoever counts frames does not go by time
        open_clip = [name for name in open_clip if name != _BY_TIME]
    if taken := {name: clip[name] for name in open_clip if clip.get(name) is not None}:
        found["clip"] = taken
    if not found:
        return cfg, told
    notes = (_taken_from(cfg.model.init, found),) if same else ()
    return validate(type(cfg), merge(found, given), "command line"), (*told, *notes)


def shorter_warmup(path: Path, command_line: Mapping[str, Any]) -> int | None:
    """The warm-up of a configuration file whose steps the command line makes so few that it would not end.

    It keeps its part of the run: a recipe is tried with `--steps 10` and nothing else.

    Args:
        path: The file.
        command_line: Dotted key -> value.

    Returns:
        Steps, below those of the command line; None where the file's own warm-up fits, is no number, or somebody gave
        one.
    """
    from ssdet_cli.config.load import read_yaml
    from ssdet_cli.config.sections import LoopConfig

    optim, loop = (part if isinstance(part, dict) else {} for part in map(read_yaml(path).get, ("optim", "loop")))
    planned = loop.get("steps", LoopConfig.model_fields["steps"].default)
    warmup, steps = optim.get("warmup_steps"), command_line.get("loop.steps")
    counts = all(isinstance(value, int) and value > 0 for value in (planned, warmup, steps))
    if not counts or "optim.warmup_steps" in command_line or not steps <= warmup < planned:
        return None
    return warmup * steps // planned


def _taken_from(source: Path, found: Mapping[str, Mapping[str, Any]]) -> str:
    words = " ".join(f"{part}.{key}={value}" for part, values in found.items() for key, value in values.items())
    return f"Taken from {source}: {words}"


def _follow_features(cfg: "TrainingConfig") -> tuple["TrainingConfig", tuple[str, ...]]:
    """Fill in the sampling of stored features, which the clips must share, where the configuration reads some.

    Raises:
        DataError: There are no features where they should be.
    """
    folder = cfg.fine.features if hasattr(cfg, "fine") else None
    if folder is None:
        return cfg, ()
    from ssdet_cli.config.load import merge, validate
    from ssdet_cli.data.feature_files import read_index

    origin = read_index(folder)["origin"]
    clip = {"stride": origin.stride, "size": origin.size}
    given = cfg.model_dump(exclude_unset=True)
    if origin.seconds_between_frames is not None and "stride" not in given.get("clip", {}):
        clip[_BY_TIME] = origin.seconds_between_frames
    theirs = {"model": {"backbone": origin.backbone}, "clip": clip}
    found = {
        part: taken
        for part, values in theirs.items()
        if (taken := {key: value for key, value in values.items() if key not in given.get(part, {})})
    }
    if not found:
        return cfg, ()
    return validate(type(cfg), merge(found, given), "command line"), (_taken_from(folder, found),)


def _canonical(backbone: str) -> str:
    from ssdet_cli.models.backbones import BACKBONES

    return BACKBONES.aliases.get(backbone, backbone)


def _own_clip(backbone: str) -> dict[str, int]:
    """The clip that a backbone of the table was made for; empty for others."""
    from ssdet_cli.models.backbones.info import INFO

    info = INFO.get(_canonical(backbone))
    return {} if info is None else {name: getattr(info, attribute) for name, attribute in _OWN.items()}


def _described(cfg: "TrainingConfig") -> Mapping[str, Any]:
    """`backbone` and `clip` of the run or checkpoint that `model.init` names; empty where it does not say."""
    init = cfg.model.init
    if init is None or not init.exists():
        return {}
    return _from_run(init) or _from_checkpoint(cfg, init)


def _from_run(folder: Path) -> Mapping[str, Any]:
    from ssdet_cli.config import rundir
    from ssdet_cli.config.commands import COMMANDS, TrainingConfig
    from ssdet_cli.config.load import load_config

    kind = COMMANDS.get(rundir.command_of(folder) or "")
    if kind is None or not issubclass(kind, TrainingConfig):
        return {}
    theirs = load_config(kind, str(folder / "config.yaml"))
    return {"backbone": theirs.model.backbone, "clip": theirs.clip.model_dump(include={*_OWN, _BY_TIME})}


def _from_checkpoint(cfg: "TrainingConfig", init: Path) -> Mapping[str, Any]:
    checks.check_names(cfg)  # a typing error should not wait for torch
    file = checks.checkpoint_file(init)
    from ssdet_cli.models.weights.files import read_weights

    meta = read_weights(file).meta
    return meta if {"backbone", "clip"} <= meta.keys() else {}
