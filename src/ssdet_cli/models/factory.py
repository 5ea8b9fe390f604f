"""From a name to a network."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ssdet_cli.catalog import nearest
from ssdet_cli.config.sections import HUB
from ssdet_cli.errors import ConfigError
from ssdet_cli.models.backbones import BACKBONES, REQUIRED
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads import HEADS
from ssdet_cli.models.weights import load_weights
from ssdet_cli.models.weights.hub import load_hub


def list_models() -> list[str]:
    """Return the names that `create_model` knows, sorted, without aliases and without those of timm (`timm/<name>`)."""
    return BACKBONES.names()


def create_model(
    name: str,
    num_classes: int,
    *,
    head: str = "linear",
    pretrained: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a per-frame detector.

    Args:
        name: Backbone of the catalogue, its alias, or an import path `module:attribute`.
        num_classes: K, background included where there is one.
        head: Head of the catalogue or import path.
        pretrained: Weights file to start from, see `load_weights`; "hub" is what torchvision or timm publish for
            their networks, see `load_hub`.
        class_names: Names of the K classes (or of all but a leading background); with `pretrained` they decide
            whether the file's classifier means the same as ours.
        **options: Keywords of the backbone or of the head (`dropout=0.5`).

    Returns:
        Module taking (B, 3, T, H, W) normalised float frames to (B, K, T) logits.

    Raises:
        ConfigError: Unknown name or option, a value out of range, or a backbone that does not keep the contract.
        CheckpointError: `pretrained` cannot be read or does not fit.
    """
    if num_classes < 1:
        raise ConfigError(f"num_classes must be at least 1, got {num_classes}.")
    build_backbone, build_head = BACKBONES.get(name), HEADS.get(head)
    if not callable(build_backbone):
        kind = type(build_backbone).__name__
        raise ConfigError(f"Backbone '{name}' is a {kind}, which cannot be called to build a network.")
    backbone_options, head_options = _split_options(options, name, build_backbone, head, build_head)
    try:
        inspect.signature(build_backbone).bind(**backbone_options)
    except TypeError as error:
        raise ConfigError(f"Backbone '{name}' cannot be built: {error}.") from error
    backbone = build_backbone(**backbone_options)
    _check_contract(name, backbone)
    model = FrameDetector(
        backbone,
        build_head(backbone.num_features, num_classes, **{"hidden": backbone.head_hidden, **head_options}),
    )
    if pretrained is not None and str(pretrained) == HUB:
        load_hub(model, name, class_names=class_names)
    elif pretrained is not None:
        load_weights(model, pretrained, class_names=class_names)
    return model


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


def _keywords(build: Callable[..., nn.Module]) -> set[str]:
    parameters = inspect.signature(build).parameters.values()
    return {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}


def _split_options(
    options: dict[str, Any], name: str, build_backbone: Callable, head: str, build_head: Callable
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give each keyword to the part that takes it."""
    of_backbone, of_head = _keywords(build_backbone), _keywords(build_head)
    for key in options:
        if key not in of_backbone | of_head:
            known = sorted(of_backbone | of_head)
            raise ConfigError(
                f"Unknown option '{key}' for backbone '{name}' with head '{head}'.{nearest(key, known)} "
                f"Known: {', '.join(known)}."
            )
    return (
        {key: value for key, value in options.items() if key in of_backbone},
        {key: value for key, value in options.items() if key in of_head},
    )
