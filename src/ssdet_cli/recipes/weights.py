"""`ssdet weights`: what a file of weights is, and the same weights in our own layout."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ssdet_cli import __version__
from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.files import write_atomically
from ssdet_cli.models import LoadReport, create_model
from ssdet_cli.models.backbones import BACKBONES
from ssdet_cli.models.detectors import COARSE_FINE
from ssdet_cli.models.heads import HEADS
from ssdet_cli.models.weights import own
from ssdet_cli.models.weights.files import WeightsFile, read_weights
from ssdet_cli.models.weights.guess import guess_backbone
from ssdet_cli.models.weights.layout import Converted, Normalization
from ssdet_cli.models.weights.load import plan, refuse_not_finite
from ssdet_cli.models.weights.recognise import layout_of
from ssdet_cli.models.weights.streams import COARSE, is_both, is_coarse, one_of, place

SUFFIX = ".safetensors"
#: Endings of what is no parameter.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked", "split_mean", "split_var")


@dataclass(frozen=True)
class Description:
    """What a file of weights is.

    Attributes:
        file: The file as it was read.
        layout: Whose names it has.
        backbone: Network of the catalogue, of a Coarse-Fine network that of its streams; None where it cannot be told.
        num_classes: Rows of the classifier; None without one.
        converted: The tensors under our names.
        normalization: Of the input; None where neither file nor layout tells.
    """

    file: WeightsFile
    layout: str
    backbone: str | None
    num_classes: int | None
    converted: Converted
    normalization: Normalization | None

    @property
    def parameters(self) -> int:
        """Numbers that training changes, as far as the names tell."""
        state = self.converted.state
        return sum(tensor.numel() for name, tensor in state.items() if not name.endswith(_STATISTICS))

    @property
    def streams(self) -> str | None:
        """Which streams of a Coarse-Fine network it holds; None where it is of another kind."""
        if is_both(self.converted.state):
            return "both streams"
        return "the coarse stream" if is_coarse(self.converted.state) else None

    def network(self, backbone: str) -> str:
        """The name that `create_model` knows of the network with such a backbone that these weights are for."""
        return COARSE_FINE + backbone.removeprefix(COARSE_FINE) if self.streams else backbone


def describe(path: Path, backbone: str | None = None) -> Description:
    """Say what a file is.

    Args:
        path: File, or run folder.
        backbone: Network that it is for, where the file does not tell (timm's); `coarse_fine_<backbone>` goes too.

    Raises:
        CheckpointError: It cannot be read, or has names of no known layout.
        ConfigError: Unknown backbone.
    """
    file = read_weights(path)
    model = None if backbone is None else _on_meta(backbone, 1, file.meta)
    layout = layout_of(file.state, file.path, model.state_dict().keys() if model else ())
    converted = layout.convert(file.state, file.meta)
    one = one_of(converted.state, COARSE) if is_both(converted.state) else converted.state
    name = _backbone_of(file.meta, one) or (_canonical(backbone) if backbone else None)
    normalization = converted.normalization or (_normalization_of(name) if name else None)
    return Description(file, layout.NAME, name, _num_classes(file.meta, one), converted, normalization)


def try_on(found: Description, backbone: str) -> tuple[LoadReport, str | None]:
    """Say what loading a file into a network would do, without building it.

    Returns:
        The report, and the line of the error that loading would end with unless `allow_partial` is set.

    Raises:
        ConfigError: Unknown backbone.
    """
    model = _on_meta(found.network(backbone), found.num_classes or 1, found.file.meta)
    try:
        return _plan(model, found)[0], None
    except CheckpointError as error:
        return _plan(model, found, allow_partial=True)[0], str(error)


def convert(
    source: Path, target: Path, *, backbone: str | None = None, force: bool = False
) -> tuple[Description, LoadReport | None]:
    """Write weights of any known origin as safetensors under our names, and what is known of them as JSON beside.

    Args:
        source: File, or run folder.
        target: File to write.
        backbone: Network that they are for; told by the shapes where it is not given.
        force: Write over a file that is there.

    Returns:
        What `source` is, and what became of its tensors; None where they had our names already, or are a head's.

    Raises:
        CheckpointError: `source` cannot be read, has names of no known layout, or does not fit its network,
            or holds a number that is none.
        ConfigError: `target` is there already or is no `.safetensors`, or the network cannot be told.
    """
    if target.suffix != SUFFIX:
        raise ConfigError(f"{target}: weights are written as safetensors; give a name that ends in {SUFFIX}.")
    if target.exists() and not force:
        raise ConfigError(f"{target} exists already; name another file, or give --force to write over it.")
    found, report = describe(source, backbone), None
    state = found.converted.state
    if found.layout != own.NAME and any(name.startswith("backbone.") for name in state):
        if (name := backbone or found.backbone) is None:
            raise ConfigError(f"{source}: the shapes do not tell which network this is; give --backbone NAME.")
        found = replace(found, backbone=_canonical(name))
        model = _on_meta(found.network(found.backbone), found.num_classes or 1, found.file.meta)
        report, state = _plan(model.coarse if found.streams else model, found)
    refuse_not_finite(state, str(found.file.path))
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    write_atomically(target, save(tensors, metadata={"meta": json.dumps(_meta(found))}))
    return found, report


def _canonical(backbone: str) -> str:
    return BACKBONES.canonical(backbone.removeprefix(COARSE_FINE))


def _meta(found: Description) -> dict[str, Any]:
    """What travels with the weights: all that our own file said, but for paths of the machine it was made on."""
    with open(checkpoint_file(found.file.path), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known = {
        "backbone": found.backbone,
        "num_classes": found.num_classes,
        "normalization": _as_dict(found.normalization) if found.normalization else None,
    }
    return {
        **_without_paths(found.file.meta),
        **{key: value for key, value in known.items() if value is not None},
        "ssdet": __version__,
        "layout": found.layout,
        "source": {"file": found.file.path.name, "sha256": digest},
    }


def _without_paths(meta: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in meta.items() if key != "config"}
    if not isinstance(fine := meta.get("fine"), Mapping):
        return meta
    origin = fine.get("origin")
    if isinstance(origin, Mapping) and "checkpoint" in origin:
        origin = {**origin, "checkpoint": Path(origin["checkpoint"]).name}
    return {**meta, "fine": {**fine, "weights": None, "features": None, "origin": origin}}


def _as_dict(normalization: Normalization) -> dict[str, list[float]]:
    mean, std = normalization
    return {"mean": list(mean), "std": list(std)}


def _plan(model: nn.Module, found: Description, *, allow_partial: bool = False) -> tuple[LoadReport, dict[str, Tensor]]:
    placed = place(found.converted.state, model.state_dict().keys())
    return plan(
        model,
        placed.state,
        found.file.meta,
        source=str(found.file.path),
        layout=found.layout,
        allow_partial=allow_partial,
        adapted=(*found.converted.adapted, *placed.adapted),
        normalization=found.converted.normalization,
        free=placed.free,
    )


def _on_meta(backbone: str, num_classes: int, meta: Mapping[str, Any]) -> nn.Module:
    """Build a detector without memory for its weights, with the head that a file of ours names."""
    head = meta.get("head")
    with torch.device("meta"):
        return create_model(backbone, num_classes, head=head if head in HEADS.names() else "linear")


def _backbone_of(meta: Mapping[str, Any], state: Mapping[str, Tensor]) -> str | None:
    name = meta.get("backbone")
    return name if isinstance(name, str) else guess_backbone(state)


def _normalization_of(backbone: str) -> Normalization | None:
    """What a network of torchvision or timm expects; nothing is imported on the word of a file."""
    return None if ":" in backbone else _on_meta(backbone, 1, {}).backbone.normalization


def _num_classes(meta: Mapping[str, Any], state: Mapping[str, Tensor]) -> int | None:
    rows = [state[name].shape[0] for name in ("head.fc2.weight", "head.classes.weight") if name in state]
    return rows[0] if rows else meta.get("num_classes")
