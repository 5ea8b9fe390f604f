"""Weights that torchvision and timm publish themselves: `--init hub`."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from torch import Tensor, nn

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights import torchvision
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.models.weights.load import fill
from ssdet_cli.models.weights.report import LoadReport

#: Seconds to wait for a server's first answer.
PATIENCE = 10


@dataclass(frozen=True)
class Published:
    """Weights of a library for one of our backbones.

    Attributes:
        source: File or repository they came from.
        library: Whose naming they had.
        backbone: Tensors by their names in the backbone.
        classifier: `weight` (K, C) and `bias` (K,) of the linear map on the same features; empty where there is none.
        classes: Names of its K classes; None where the library does not tell.
    """

    source: str
    library: str
    backbone: Mapping[str, Tensor]
    classifier: Mapping[str, Tensor]
    classes: Sequence[str] | None


def load_hub(
    model: nn.Module, name: str, *, class_names: Sequence[str] | None = None, allow_partial: bool = False
) -> LoadReport:
    """Load into `model` what the library of its backbone publishes.

    Args:
        model: Detector with a backbone and a classifier.
        name: Of the backbone, or of a head alone, for the error.
        class_names: See `load_weights`.
        allow_partial: See `load_weights`.

    Raises:
        CheckpointError: Nothing is published, or it can be neither found on this machine nor fetched.
    """
    if not hasattr(getattr(model, "backbone", None), "published"):
        raise CheckpointError(
            f"No library publishes weights for '{name}': --init hub is for torchvision/... and timm/...; "
            "give a file or a run folder (--init FILE)."
        )
    found = model.backbone.published()
    state = {f"backbone.{key}": tensor for key, tensor in found.backbone.items()}
    ours = model.get_submodule(model.classifier)
    if found.classifier and ours.weight.shape[1:] == found.classifier["weight"].shape[1:]:
        state |= {f"{model.classifier}.{key}": tensor for key, tensor in found.classifier.items()}
    return fill(
        model,
        state,
        {"classes": found.classes} if found.classes else {},
        source=found.source,
        layout=found.library,
        class_names=class_names,
        allow_partial=allow_partial,
    )


def torchvision_weights(name: str) -> Published:
    """Return torchvision's default weights for one of its video networks, for a backbone that holds it as `video`.

    Args:
        name: As torchvision has it.

    Raises:
        CheckpointError: Neither in torch hub's folder nor to be fetched, or the file is damaged.
    """
    from torchvision.models import get_model_weights

    weights = get_model_weights(name).DEFAULT
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)
    if not file.is_file():
        _fetch(weights, file)
    held = read_weights(file).state
    if not torchvision.recognises(held):
        raise CheckpointError(f"{file} does not hold torchvision's {name} (first: '{next(iter(held))}'); remove it.")
    state = torchvision.convert(held, {}).state
    rows = {
        key.removeprefix(torchvision.CLASSIFIER): tensor.flatten(1) if tensor.ndim > 1 else tensor
        for key, tensor in state.items()
        if key.startswith(torchvision.CLASSIFIER)
    }
    return Published(
        source=str(file),
        library="torchvision",
        backbone={
            key.removeprefix(torchvision.BACKBONE): tensor
            for key, tensor in state.items()
            if key.startswith(torchvision.BACKBONE)
        },
        classifier=rows,
        classes=weights.meta["categories"] if rows else None,
    )


def _fetch(weights: Any, file: Path) -> None:
    """Download into torch hub's folder; a server that does not answer is noticed within `PATIENCE` seconds."""
    try:
        with urlopen(Request(weights.url, method="HEAD"), timeout=PATIENCE):
            pass
        with redirect_stdout(sys.stderr):  # torch announces a download where we print results
            weights.get_state_dict(progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError) as error:  # unreachable or cut off; wrong hash
        raise unreachable(weights.url, f"place it at {file}, or give it by --init FILE", error) from error


def unreachable(what: str, remedy: str, error: Exception) -> CheckpointError:
    """Return the one line about weights that cannot be fetched."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return CheckpointError(f"{what} cannot be fetched ({reason}). Get it on another machine and {remedy}.")
