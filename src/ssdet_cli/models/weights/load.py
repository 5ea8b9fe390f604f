"""Loading a weights file into a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights import own
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.models.weights.report import LoadReport

LAYOUTS: tuple[ModuleType, ...] = (own,)
ENOUGH = 0.9
BACKGROUND = "background"
_COUNTER = "num_batches_tracked"


def load_weights(
    model: nn.Module,
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    allow_partial: bool = False,
) -> LoadReport:
    """Load a weights file into `model`, in place; on an error the model is as it was.

    The layout is told by the names in the file. A classifier for other classes is left as initialised. One that has a
    background row more than ours, for classes of the same names, loses that row.

    Args:
        model: Network with the attribute `classifier`.
        path: File of weights.
        class_names: Of `model`, without or with a leading background; None compares sizes only.
        allow_partial: Accept a file that fills less than nine tenths of the model.

    Raises:
        CheckpointError: Unreadable, of unknown layout, or too little of it fits.
    """
    state, meta = read_weights(path)
    layout = _layout_of(state, path)
    return fill(
        model,
        layout.convert(state),
        meta,
        source=str(path),
        layout=layout.NAME,
        class_names=class_names,
        allow_partial=allow_partial,
    )


def fill(
    model: nn.Module,
    state: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    *,
    source: str,
    layout: str,
    class_names: Sequence[str] | None,
    allow_partial: bool,
) -> LoadReport:
    """Put tensors that have our names into `model`; see `load_weights`.

    Args:
        model: Network with the attribute `classifier`.
        state: Tensors by the names of the model's state dict.
        meta: What the file says of them: `classes`, `background`.
        source: Where they come from, for the report.
        layout: Whose names they had.
        class_names: See `load_weights`.
        allow_partial: See `load_weights`.

    Raises:
        CheckpointError: Too little of it fits.
    """
    state, adapted = _adapt_classifier(dict(state), meta, model, class_names)
    ours = model.state_dict()
    fits = {name: tensor for name, tensor in state.items() if name in ours and ours[name].shape == tensor.shape}
    skipped = {name for name in ours if name.startswith(f"{model.classifier}.")} - fits.keys() if adapted else set()
    report = LoadReport(
        path=source,
        layout=layout,
        matched=tuple(fits),
        missing=tuple(name for name in ours if name not in fits and name not in skipped and _COUNTER not in name),
        unexpected=tuple(name for name in state if name not in fits),
        adapted=tuple(adapted),
    )
    if not allow_partial:
        _check_enough(report, ours, state, _own_parts(model))
    model.load_state_dict(fits, strict=False)
    return report


def _own_parts(model: nn.Module) -> tuple[str, ...]:
    """Prefixes of what no file of another library can hold (see `ssdet_cli.models.backbones`)."""
    return tuple(f"backbone.{part}" for part in getattr(getattr(model, "backbone", None), "own_parts", ()))


def _layout_of(state: Mapping[str, Tensor], path: str | Path) -> ModuleType:
    for layout in LAYOUTS:
        if layout.recognises(state):
            return layout
    known = ", ".join(layout.NAME for layout in LAYOUTS)
    raise CheckpointError(f"{path} has names of no known layout (first: '{next(iter(state))}'). Known: {known}.")


def _adapt_classifier(
    state: dict[str, Tensor], meta: Mapping[str, Any], model: nn.Module, class_names: Sequence[str] | None
) -> tuple[dict[str, Tensor], list[str]]:
    """Drop the classifier, or its background row, where its rows are not our classes; say so in a phrase."""
    prefix = f"{model.classifier}."
    weight = state.get(f"{prefix}weight")
    if weight is None:
        return state, []
    rows, wanted = weight.shape[0], model.get_submodule(model.classifier).weight.shape[0]
    theirs = _row_names(meta.get("classes"), rows, background=bool(meta.get("background")))
    ours = _row_names(class_names, wanted, background=class_names is not None and len(class_names) < wanted)
    comparable = theirs is not None and ours is not None
    if rows == wanted and (not comparable or theirs == ours):
        return state, []
    if comparable and theirs == [BACKGROUND, *ours]:
        state = {name: tensor[1:] if name.startswith(prefix) else tensor for name, tensor in state.items()}
        return state, [f"background row of {model.classifier} dropped, its {wanted} classes kept"]
    held = f"{rows - 1} classes and background" if meta.get("background") else f"{rows} classes"
    what = f"{held} in the file, {wanted} {'others ' if rows == wanted else ''}here"
    state = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    return state, [f"{model.classifier} newly initialised ({what})"]


def _row_names(names: Sequence[str] | None, rows: int, *, background: bool) -> list[str] | None:
    """Name every row of a classifier; None where the names do not tell. A background's own name does not matter."""
    if names is None or rows - len(names) not in ((0, 1) if background else (0,)):
        return None
    return [BACKGROUND, *names[len(names) - rows + 1 :]] if background else list(names)


def _check_enough(
    report: LoadReport, ours: Mapping[str, Tensor], state: Mapping[str, Tensor], own_parts: tuple[str, ...]
) -> None:
    missing = [name for name in report.missing if not name.startswith(own_parts)]
    filled = sum(_COUNTER not in name for name in report.matched)
    wanted = len(missing) + filled
    if filled >= ENOUGH * wanted and filled > 0:
        return
    name = (missing or report.missing)[0]
    found = f"{tuple(state[name].shape)} in the file" if name in state else "absent from the file"
    raise CheckpointError(
        f"{report.path} fills only {filled} of {wanted} tensors of this model; "
        f"'{name}' should be {tuple(ours[name].shape)} and is {found}. Is it for another backbone?"
    )
