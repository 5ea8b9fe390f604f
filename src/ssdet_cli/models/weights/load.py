"""Loading a weights file into a model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.layers.sub_batchnorm import SPLIT_ENTRIES
from ssdet_cli.models.weights.classifier import HEAD, adapt_head, classifiers
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.models.weights.layout import Normalization
from ssdet_cli.models.weights.recognise import layout_of
from ssdet_cli.models.weights.report import LoadReport, in_words
from ssdet_cli.models.weights.streams import COARSE, FINE, place

#: Share of the model that a file must fill, and of the file's backbone that the model must have a place for.
ENOUGH = 0.9
_COUNTER = "num_batches_tracked"
_EXTRA_STATE = "_extra_state"
_BACKBONE = "backbone."
#: Of a detector, and of the streams of a Coarse-Fine network.
_OF_BACKBONE = (_BACKBONE, FINE + _BACKBONE, COARSE + _BACKBONE)


def load_weights(
    model: nn.Module,
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    allow_partial: bool = False,
) -> LoadReport:
    """Load a weights file into `model`, in place; on an error the model is as it was.

    The layout is told by the names in the file, see `recognise.LAYOUTS`. A classifier for other classes is left as
    initialised, and so is a head of another kind. One that has a background row more than ours, for classes of the same
    names, loses that row. Where the file's origin normalises its input otherwise, `model.backbone.normalization`
    follows the file.

    Args:
        model: Network with the attribute `classifier`, or a backbone alone, which takes the file's backbone.
        path: File of weights, or run folder.
        class_names: Of `model`, without or with a leading background; None compares sizes only.
        allow_partial: Accept a file that fills less than nine tenths of the model, or whose backbone has more than a
            tenth that the model lacks.

    Raises:
        CheckpointError: Unreadable, of unknown layout, too little of it fits, much of its backbone has no place here,
            a tensor of the backbone has another shape there, or a number is none.
    """
    if _is_backbone(model):
        report = load_weights(_Alone(model), path, class_names=class_names, allow_partial=allow_partial)
        return _without_prefix(report)
    file = read_weights(path)
    wanted = model.state_dict().keys()
    held = file.state
    if isinstance(model, _Alone) and held.keys() <= model.backbone.state_dict().keys():
        held = {_BACKBONE + name: tensor for name, tensor in held.items()}
    layout = layout_of(held, file.path, wanted)
    try:
        converted = layout.convert(held, file.meta)
        placed = place(converted.state, wanted)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path}: {error}") from error
    return fill(
        model,
        placed.state,
        file.meta,
        source=str(file.path),
        layout=layout.NAME,
        class_names=class_names,
        allow_partial=allow_partial,
        adapted=(*converted.adapted, *placed.adapted),
        normalization=converted.normalization,
        free=placed.free,
    )


def _is_backbone(model: nn.Module) -> bool:
    """Whether this is neither a detector nor a head; a library's classifier may have lent a backbone its name."""
    return not hasattr(model, "backbone") and (hasattr(model, "forward_features") or not hasattr(model, "classifier"))


class _Alone(nn.Module):
    """A backbone by itself, under the name that it has in a detector."""

    classifier = ()

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone


def _without_prefix(report: LoadReport) -> LoadReport:
    """Name the tensors as the backbone alone does."""
    matched, missing, unexpected = (
        tuple(name.removeprefix(_BACKBONE) for name in names)
        for names in (report.matched, report.missing, report.unexpected)
    )
    return replace(report, matched=matched, missing=missing, unexpected=unexpected)


def fill(
    model: nn.Module, state: Mapping[str, Tensor], meta: Mapping[str, Any], *, free: Sequence[str] = (), **told: Any
) -> LoadReport:
    """Put tensors that have our names into `model`; arguments and errors as of `plan` and `refuse_not_finite`."""
    report, fits = plan(model, state, meta, free=free, **told)
    refuse_not_finite(fits, report.path)
    if report.normalization is not None:
        for backbone in _backbones(model, free):
            backbone.normalization = report.normalization
    model.load_state_dict(fits, strict=False)
    return report


def refuse_not_finite(state: Mapping[str, Tensor], source: str) -> None:
    """See that all numbers are numbers: a run that diverged leaves others, and so would all that starts from it.

    Raises:
        CheckpointError: One is infinite or not a number, in single precision.
    """
    for name, tensor in state.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise CheckpointError(f"{source}: '{name}' holds values that are infinite or not a number.")


def plan(
    model: nn.Module,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    *,
    source: str,
    layout: str,
    class_names: Sequence[str] | None = None,
    allow_partial: bool = False,
    adapted: Sequence[str] = (),
    normalization: Normalization | None = None,
    free: Sequence[str] = (),
) -> tuple[LoadReport, dict[str, Tensor]]:
    """Say what loading tensors that have our names would do; `model` is only looked at and may be on the meta device.

    Args:
        model: Network with the attribute `classifier`.
        state: Tensors by the names of the model's state dict.
        meta: What the file says of them: `classes`, `background`.
        source: Where they come from, for the report.
        layout: Whose names they had.
        class_names: See `load_weights`.
        allow_partial: See `load_weights`.
        adapted: What was done to the tensors before, for the report.
        normalization: Of the input that they were trained with; None leaves the backbone's.
        free: Prefixes of what the tensors need not fill, of which `adapted` speaks.

    Returns:
        The report, and the tensors that fit.

    Raises:
        CheckpointError: Too little of it fits, much of its backbone has no place here, or a tensor of the backbone has
            another shape there.
    """
    ours = model.state_dict()
    held, reshaped = match_shapes(_for_head_alone(state, ours), ours)
    state, of_head, replaced = held, [], tuple(free)
    for classifier in classifiers(model):
        state, phrases, anew = adapt_head(state, meta, model, classifier, class_names)
        of_head, replaced = [*of_head, *phrases], (*replaced, *anew)
    fits = {name: tensor for name, tensor in state.items() if name in ours and ours[name].shape == tensor.shape}
    report = LoadReport(
        path=source,
        layout=layout,
        matched=tuple(fits),
        missing=tuple(name for name in ours if name not in fits and not _derived(name)),
        unexpected=tuple(name for name in held if name not in fits and not _derived(name)),
        adapted=(
            *adapted,
            *reshaped,
            *_adapt_splits(state, ours, fits),
            *of_head,
            *_adapt_input(model, normalization, free),
        ),
        normalization=normalization,
        replaced=replaced,
    )
    if not allow_partial:
        _check_enough(report, ours, held, _own_parts(model))
        _check_depth(report, held)
    return report, fits


def _for_head_alone(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Give a head that is a model of its own the names without the prefix that heads of detectors have."""
    prefix = f"{HEAD}."
    if any(name.startswith((prefix, _BACKBONE)) for name in ours):
        return state
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def match_shapes(state: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Add or take trailing axes of length 1: a 1×1×1 convolution is a linear layer.

    Returns:
        All tensors, and a phrase where some were reshaped.
    """
    shaped, count = {}, 0
    for name, tensor in state.items():
        wanted = ours[name].shape if name in ours else tensor.shape
        reshape = tensor.shape != wanted and _core(tensor.shape) == _core(wanted)
        shaped[name] = tensor.reshape(wanted) if reshape else tensor
        count += reshape
    return shaped, [f"{count} tensors reshaped (1×1×1 convolutions, linear layers)"] if count else []


def _core(shape: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(shape)
    return _core(shape[:-1]) if shape and shape[-1] == 1 else shape


def _derived(name: str) -> bool:
    """Whether a tensor need not be in a file: counters, statistics of splits (made of all together), other state."""
    return name.endswith((_COUNTER, _EXTRA_STATE, *SPLIT_ENTRIES))


def _adapt_splits(state: Mapping[str, Tensor], ours: Mapping[str, Tensor], fits: Mapping[str, Tensor]) -> list[str]:
    theirs = {tensor.shape[0] for name, tensor in state.items() if name.endswith(SPLIT_ENTRIES) and name not in fits}
    if not theirs:
        return []
    wanted = next((tensor.shape[0] for name, tensor in ours.items() if name.endswith(SPLIT_ENTRIES)), 1)
    return [f"statistics of {theirs.pop()} norm splits aggregated, {wanted} here"]


def _adapt_input(model: nn.Module, normalization: Normalization | None, free: Sequence[str]) -> list[str]:
    if normalization is None or all(_same(normalization, each.normalization) for each in _backbones(model, free)):
        return []
    return [f"input normalised as these weights were trained, {in_words(normalization)}"]


def _backbones(model: nn.Module, free: Sequence[str]) -> list[nn.Module]:
    """The backbone, or those of all streams but a free one."""
    parts = [
        getattr(part, "backbone", None)
        for name, part in model.named_modules()
        if not f"{name}.".startswith(tuple(free))
    ]
    return [part for part in parts if hasattr(part, "normalization")]


def _same(one: Normalization, other: Normalization) -> bool:
    return all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(sum(one, ()), sum(map(tuple, other), ()), strict=True))


def _own_parts(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of what no file of another library can hold (see `ssdet_cli.models.backbones`)."""
    of_backbone = getattr(getattr(model, "backbone", None), "own_parts", ())
    return (*getattr(model, "own_parts", ()), *(f"backbone.{part}" for part in of_backbone))


def _check_enough(
    report: LoadReport, ours: Mapping[str, Tensor], state: Mapping[str, Tensor], own_parts: tuple[str, ...]
) -> None:
    missing = [name for name in report.missing if not name.startswith((*own_parts, *report.replaced))]
    other_shape = [name for name in missing if name.startswith("backbone.") and name in state]
    filled = sum(not _derived(name) for name in report.matched)
    wanted = len(missing) + filled
    if filled >= ENOUGH * wanted and filled > 0 and not other_shape:
        return
    name = (other_shape or missing or report.missing)[0]
    found = f"{tuple(state[name].shape)} in the file" if name in state else "absent from the file"
    raise CheckpointError(
        f"{report.path} fills only {filled} of {wanted} tensors of this model; "
        f"'{name}' should be {tuple(ours[name].shape)} and is {found}. Is it for another backbone? "
        "--allow-partial (allow_partial) takes what fits."
    )


def _check_depth(report: LoadReport, state: Mapping[str, Tensor]) -> None:
    """Refuse the weights of a deeper network of the same family: all of ours is there, and is not what was trained."""
    used, left = (
        [name for name in names if name.startswith(_OF_BACKBONE) and not _derived(name)]
        for names in (report.matched, report.unexpected)
    )
    if not used or len(left) <= (1 - ENOUGH) * (len(used) + len(left)):
        return
    raise CheckpointError(
        f"{report.path} has {len(left)} tensors of its backbone, of {len(used) + len(left)}, that this model has no "
        f"place for, as '{left[0]}' {tuple(state[left[0]].shape)}. Is it for a deeper backbone? "
        "--allow-partial (allow_partial) takes what fits."
    )
