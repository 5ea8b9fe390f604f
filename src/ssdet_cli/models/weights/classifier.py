"""Making room for a classifier of other classes, or for another head, than the one in a file."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

BACKGROUND = "background"
HEAD = "head"


def classifiers(model: nn.Module) -> tuple[str, ...]:
    """Names of the submodules whose rows are classes; a detector with more than one has a tuple of them."""
    return (model.classifier,) if isinstance(model.classifier, str) else model.classifier


def adapt_head(
    state: dict[str, Tensor],
    meta: Mapping[str, Any],
    model: nn.Module,
    classifier: str,
    class_names: Sequence[str] | None,
) -> tuple[dict[str, Tensor], list[str], tuple[str, ...]]:
    """Make room for our head where the file's is another, or for our classifier where its classes are others.

    Returns:
        What is left of the file, what was done about it in phrases, and prefixes of what the file need not hold.
    """
    layer, head = f"{classifier}.", f"{HEAD}."
    ours = model.state_dict()
    rows_fit = all(
        name in state and state[name].shape[1:] == tensor.shape[1:]
        for name, tensor in ours.items()
        if name.startswith(layer)
    )
    if rows_fit or not layer.startswith(head):
        state, adapted = _adapt_classifier(state, meta, model, classifier, class_names)
        return state, adapted, (layer,) if adapted else ()
    held = any(name.startswith(head) for name in state)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(layer)}
    kept = [
        name.removeprefix(head)
        for name, tensor in state.items()
        if name.startswith(head) and name in ours and ours[name].shape == tensor.shape
    ]
    but = f" but for {', '.join(kept)}" if kept else ""
    return state, [f"{HEAD} newly initialised{but} ({'another' if held else 'none'} in the file)"], (head,)


def _adapt_classifier(
    state: dict[str, Tensor],
    meta: Mapping[str, Any],
    model: nn.Module,
    classifier: str,
    class_names: Sequence[str] | None,
) -> tuple[dict[str, Tensor], list[str]]:
    """Drop the classifier, or its background row, where its rows are not our classes; say so in a phrase."""
    prefix = f"{classifier}."
    weight = state.get(f"{prefix}weight")
    if weight is None:
        return state, []
    rows, wanted = weight.shape[0], model.get_submodule(classifier).weight.shape[0]
    theirs = _row_names(meta.get("classes"), rows, background=bool(meta.get("background")))
    ours = _row_names(class_names, wanted, background=class_names is not None and len(class_names) < wanted)
    comparable = theirs is not None and ours is not None
    if rows == wanted and (not comparable or theirs == ours):
        return state, []
    if comparable and theirs == [BACKGROUND, *ours]:
        state = {name: tensor[1:] if name.startswith(prefix) else tensor for name, tensor in state.items()}
        return state, [f"background row of {classifier} dropped, its {wanted} classes kept"]
    held = f"{rows - 1} classes and background" if meta.get("background") else f"{rows} classes"
    what = f"{held} in the file, {wanted} {'others ' if rows == wanted else ''}here"
    state = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    return state, [f"{classifier} newly initialised ({what})"]


def _row_names(names: Sequence[str] | None, rows: int, *, background: bool) -> list[str] | None:
    """Name every row of a classifier; None where the names do not tell. A background's own name does not matter."""
    if names is None or rows - len(names) not in ((0, 1) if background else (0,)):
        return None
    return [BACKGROUND, *names[len(names) - rows + 1 :]] if background else list(names)
