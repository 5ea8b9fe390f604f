"""From a name to a network."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError
from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads import HEADS
from ssdet_cli.models.weights import load_weights

Options = Mapping[str, Any]


def list_models() -> list[str]:
    """Return the names of networks that take frames, sorted, without aliases."""
    return BACKBONES.names()


def list_heads() -> list[str]:
    """Return the names of per-frame heads, sorted."""
    return HEADS.names()


def create_model(
    name: str,
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int | None = None,
    pretrained: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    backbone_options: Options | None = None,
    head_options: Options | None = None,
    **options: Any,
) -> nn.Module:
    """Build a per-frame detector, or a head alone.

    Args:
        name: Backbone of the catalogue, its alias, or an import path `module:attribute`; with `in_channels` a head.
        num_classes: K, background included where there is one.
        head: Head of the catalogue or import path, behind a backbone.
        in_channels: C of the features that a head alone takes.
        pretrained: Weights file to start from, see `load_weights`.
        class_names: Names of the K classes (or of all but a leading background); with `pretrained` they decide
            whether the file's classifier means the same as ours.
        backbone_options: Keywords of the backbone.
        head_options: Keywords of the head.
        **options: Keywords of either (`dropout=0.5`); one that both know goes to both.

    Returns:
        Module taking (B, 3, T, H, W) normalised float frames to (B, K, T) logits, and optionally `lengths` (B,), the
        real frames of each clip; a head alone takes (B, C, T) features and `lengths` in their steps.

    Raises:
        ConfigError: Unknown name or option, or a value of the wrong type or out of range.
        CheckpointError: `pretrained` cannot be read or does not fit.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes must be at least 1, got {num_classes}.")
    if in_channels is not None:
        if backbone_options:
            raise ConfigError(f"backbone_options: a head alone has no backbone, got {', '.join(backbone_options)}.")
        model = _head_alone(name, num_classes, in_channels, {**options, **(head_options or {})})
    else:
        of_backbone, of_head = _split_options(options, name, head)
        of_backbone |= backbone_options or {}
        of_head |= head_options or {}
        model = _detector(name, num_classes, head, *check_options(name, head, of_backbone, of_head))
    if pretrained is not None:
        load_weights(model, pretrained, class_names=class_names)
    return model


def _head_alone(name: str, num_classes: int, in_channels: int, options: Options) -> nn.Module:
    if name in (*BACKBONES.names(), *BACKBONES.aliases):
        raise ConfigError(f"in_channels is for heads, which take features; '{name}' is a backbone and takes frames.")
    if in_channels < 1:
        raise ConfigError(f"in_channels must be at least 1, got {in_channels}.")
    build = HEADS.get(name)
    return build(in_channels, num_classes, **_accepted(options, build, f"head '{name}'"))


def _detector(name: str, num_classes: int, head: str, of_backbone: Options, of_head: Options) -> FrameDetector:
    backbone = BACKBONES.get(name)(**of_backbone)
    options = {"hidden": backbone.head_hidden, **of_head}
    return FrameDetector(backbone, HEADS.get(head)(backbone.num_features, num_classes, **options))


def check_options(
    name: str, head: str, backbone_options: Options, head_options: Options
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of a backbone and of a head as the types they ask for; neither is built.

    Raises:
        ConfigError: Unknown name or option, or a value of another type.
    """
    return (
        _accepted(backbone_options, _backbone(name), f"backbone '{name}'"),
        _accepted(head_options, HEADS.get(head), f"head '{head}'"),
    )


def _backbone(name: str) -> Callable[..., nn.Module]:
    if name in HEADS.names() and name not in BACKBONES.names():
        raise ConfigError(f"'{name}' is a head: give it in_channels, C of its features, or a backbone head='{name}'.")
    return BACKBONES.get(name)


def _split_options(options: Options, name: str, head: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give each keyword to the part that takes it."""
    of_backbone, of_head = _keywords(_backbone(name)), _keywords(HEADS.get(head))
    _refuse_unknown(options, of_backbone.keys() | of_head.keys(), f"backbone '{name}' with head '{head}'")
    return (
        {key: value for key, value in options.items() if key in of_backbone},
        {key: value for key, value in options.items() if key in of_head},
    )


def _keywords(build: Callable[..., nn.Module]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(build, eval_str=True).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _refuse_unknown(options: Options, known: Iterable[str], what: str) -> None:
    for key in options:
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise ConfigError(f"Unknown option '{key}' for {what}.{nearest(key, known)} Known: {listed}.")


def _accepted(options: Options, build: Callable[..., nn.Module], what: str) -> dict[str, Any]:
    """Refuse what `build` has no keyword for; bring the rest to the types of its signature."""
    keywords = _keywords(build)
    _refuse_unknown(options, keywords, what)
    return {key: _typed(value, keywords[key], what) for key, value in options.items()}


def _typed(value: Any, parameter: inspect.Parameter, what: str) -> Any:
    if parameter.annotation is parameter.empty:
        return value
    try:
        adapter = TypeAdapter(parameter.annotation, config=ConfigDict(arbitrary_types_allowed=True))
        return adapter.validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(
            f"Option {parameter.name}={value!r} of {what}: {reason[0].lower()}{reason[1:]}."
        ) from error
