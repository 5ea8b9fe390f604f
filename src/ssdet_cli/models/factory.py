"""From a name to a network."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from ssdet_cli.catalog import nearest
from ssdet_cli.config.sections import HUB
from ssdet_cli.errors import ConfigError
from ssdet_cli.models.backbones import BACKBONES, REQUIRED
from ssdet_cli.models.detectors import COARSE_FINE, coarse_fine_names
from ssdet_cli.models.detectors.coarse_fine import CoarseFine, build_coarse_fine
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads import HEADS
from ssdet_cli.models.weights import load_weights
from ssdet_cli.models.weights.hub import load_hub


def list_models() -> list[str]:
    """Return the names that `create_model` knows, sorted, without aliases and without those of timm (`timm/<name>`)."""
    return sorted([*BACKBONES.names(), *coarse_fine_names()])


def list_heads() -> list[str]:
    """Return the names of the per-frame heads, sorted; with `in_channels`, `create_model` builds one alone."""
    return HEADS.names()


def create_model(
    name: str,
    num_classes: int,
    *,
    head: str = "linear",
    in_channels: int | None = None,
    pretrained: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    checkpoint_activations: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a per-frame detector, or a head alone.

    Args:
        name: Backbone of the catalogue, its alias, or an import path `module:attribute`; with `in_channels`, a head;
            `coarse_fine_<backbone>` with an X3D is both streams of a Coarse-Fine network.
        num_classes: K, background included where there is one.
        head: Head of the catalogue or import path, behind a backbone.
        in_channels: C of the features that a head alone takes.
        pretrained: Weights file to start from, see `load_weights`; "hub" is what torchvision or timm publish for
            their networks, see `load_hub`.
        class_names: Names of the K classes (or of all but a leading background); with `pretrained` they decide
            whether the file's classifier means the same as ours.
        checkpoint_activations: Run the backbones' blocks again in the backward pass instead of keeping what it needs.
        **options: Keywords of the backbone or of the head (`dropout=0.5`); one that both have goes to both. Of
            Coarse-Fine networks those of the backbones, or of `build_coarse_fine`.

    Returns:
        Module taking (B, 3, T, H, W) normalised float frames, and optionally `lengths` (B,), the real frames of each
        clip, to (B, K, T) logits; a head alone takes (B, C, T) features and `lengths` in their steps.

    Raises:
        ConfigError: Unknown name or option, a value of the wrong type or out of range, or a backbone that does not
            keep the contract or cannot run its blocks again.
        CheckpointError: `pretrained` cannot be read or does not fit.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes must be at least 1, got {num_classes}.")
    if in_channels is not None:
        model = _head_alone(name, num_classes, in_channels, options)
    elif name.startswith(COARSE_FINE):
        model = _coarse_fine(name, num_classes, head, options)
    else:
        of_backbone, of_head = split_options(options, name, head)
        backbone = _build_backbone(name, of_backbone)
        of_head = {"hidden": backbone.head_hidden, **of_head}
        model = FrameDetector(backbone, HEADS.get(head)(backbone.num_features, num_classes, **of_head))
    if checkpoint_activations:
        _checkpoint(model, name)
    if pretrained is not None and str(pretrained) == HUB:
        load_hub(model, name, class_names=class_names)
    elif pretrained is not None:
        load_weights(model, pretrained, class_names=class_names)
    return model


def _head_alone(name: str, num_classes: int, in_channels: int, options: Mapping[str, Any]) -> nn.Module:
    if name in (*BACKBONES.names(), *BACKBONES.aliases):
        raise ConfigError(f"in_channels is for heads, which take features; '{name}' is a backbone and takes frames.")
    if in_channels < 1:
        raise ConfigError(f"in_channels must be at least 1, got {in_channels}.")
    build = HEADS.get(name)
    known = _keywords(build)
    _refuse_unknown(options, known, f"head '{name}'")
    return build(in_channels, num_classes, **_typed(options, known))


def _checkpoint(model: nn.Module, name: str) -> None:
    backbones = [part.backbone for part in model.modules() if hasattr(part, "backbone")]
    if not all(hasattr(backbone, "set_checkpointing") for backbone in backbones) or not backbones:
        raise ConfigError(
            f"'{name}' cannot recompute its activations (it has no set_checkpointing); "
            "leave checkpoint_activations at false."
        )
    for backbone in backbones:
        backbone.set_checkpointing(True)


def _build_backbone(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a backbone and see that it has what is asked of it.

    Raises:
        ConfigError: It cannot be built without more options, or lacks something.
    """
    build = _builder(name)
    try:
        inspect.signature(build).bind(**options)
    except TypeError as error:
        raise ConfigError(f"Backbone '{name}' cannot be built: {error}.") from error
    backbone = build(**options)
    _check_contract(name, backbone)
    return backbone


def _builder(name: str) -> Callable[..., nn.Module]:
    """Find what builds a backbone.

    Raises:
        ConfigError: Unknown, or nothing that can be called.
    """
    build = BACKBONES.get(name)
    if not callable(build):
        kind = type(build).__name__
        raise ConfigError(f"Backbone '{name}' is a {kind}, which cannot be called to build a network.")
    return build


def _coarse_fine(name: str, num_classes: int, head: str, options: Mapping[str, Any]) -> CoarseFine:
    build, of_backbone, of_both = _coarse_fine_options(name, head, options)
    fine, coarse = (build(**of_backbone) for _ in range(2))
    return build_coarse_fine(fine, coarse, num_classes, **of_both)


def _coarse_fine_options(
    name: str, head: str, options: Mapping[str, Any]
) -> tuple[Callable[..., nn.Module], dict[str, Any], dict[str, Any]]:
    """What builds the backbone of both streams, its keywords, and those of `build_coarse_fine`."""
    known = coarse_fine_names()
    backbone = name.removeprefix(COARSE_FINE)
    backbone = BACKBONES.aliases.get(backbone, backbone)
    if COARSE_FINE + backbone not in known:
        raise ConfigError(f"Unknown model '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    if head != "linear":
        raise ConfigError(f"{name} has heads of its own, the linear ones; head='{head}' goes with a backbone alone.")
    build = BACKBONES.get(backbone)
    of_backbone, of_both = _keywords(build), _keywords(build_coarse_fine)
    _refuse_unknown(options, {**of_backbone, **of_both}, name)
    return build, _typed(options, of_backbone), _typed(options, of_both)


def _check_contract(name: str, backbone: object) -> None:
    """See that somebody else's backbone has what ours have.

    Raises:
        ConfigError: It lacks something; the first such thing is named.
    """
    if not isinstance(backbone, nn.Module):
        raise ConfigError(f"Backbone '{name}' gives a value of type {type(backbone).__name__}, not a torch.nn.Module.")
    for attribute, meaning in REQUIRED.items():
        if not hasattr(backbone, attribute):
            raise ConfigError(f"Backbone '{name}' lacks `{attribute}` ({meaning}); see docs/plugins.md.")


def check_options(name: str, head: str, options: Mapping[str, Any]) -> None:
    """See that a network has these options, without building it.

    Raises:
        ConfigError: Unknown name or option, or a value of the wrong type.
    """
    if name.startswith(COARSE_FINE):
        _coarse_fine_options(name, head, options)
    else:
        split_options(options, name, head)


def split_options(options: Mapping[str, Any], name: str, head: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give each keyword to the part that takes it, as the type that it asks for; nothing is built.

    Raises:
        ConfigError: Unknown name or option, or a value of the wrong type.
    """
    if name in HEADS.names() and name not in BACKBONES.names():
        raise ConfigError(f"'{name}' is a head: give in_channels, C of its features, or a backbone and head='{name}'.")
    of_backbone, of_head = _keywords(_builder(name)), _keywords(HEADS.get(head))
    _refuse_unknown(options, {**of_backbone, **of_head}, f"backbone '{name}' with head '{head}'")
    return _typed(options, of_backbone), _typed(options, of_head)


def _keywords(build: Callable[..., nn.Module]) -> dict[str, Any]:
    """Keyword -> the type that it asks for; `Any` where its annotation names what only a type checker imports."""
    try:
        parameters = inspect.signature(build, eval_str=True).parameters
    except NameError:
        parameters = inspect.signature(build).parameters
    return {
        name: Any if each.annotation is each.empty or isinstance(each.annotation, str) else each.annotation
        for name, each in parameters.items()
        if each.kind is each.KEYWORD_ONLY
    }


def _refuse_unknown(options: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    for key in options:
        if key not in known:
            listed = ", ".join(sorted(known))
            raise ConfigError(f"Unknown option '{key}' for {what}.{nearest(key, known)} Known: {listed}.")


def _typed(options: Mapping[str, Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that are among the keywords, as the types that these ask for."""
    return {key: _as(keywords[key], key, value) for key, value in options.items() if key in keywords}


def _as(annotation: Any, key: str, value: Any) -> Any:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise ConfigError(f"Option {key}={value!r}: {reason[0].lower()}{reason[1:]}.") from error
