"""The layout of the super-event and TGM heads' authors (piergiaj/super-events-cvpr18, piergiaj/tgm-icml19)."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ssdet_cli.models.weights.layout import Converted

NAME = "super-events/TGM"

_EVENTS = ("super_event", "super_event2")
_LAYERS = ("sub_event1", "sub_event2", "sub_event3")
#: Modules that the authors' code registers a second time, with equal values.
_ALIASES = ("sup.", "sup2.", "pf.")
#: Parameter of a kernel that the authors multiply by zero.
_DEAD = ".delta"
_KERNELS = {"center": "centre", "gamma": "width"}
_TENSORS = {
    "cls_wts": "classes.choice",
    "per_frame.weight": "classes.weight",
    "per_frame.bias": "classes.bias",
    "h.bias": "joint.bias",
    "classify.weight": "classes.weight",
    "classify.bias": "classes.bias",
}


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the kernels of the first super-event or of the first TGM layer."""
    return not {"super_event.center", "sub_event1.center"}.isdisjoint(state)


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names for a head; the parameter without effect and second names are left out."""
    rest = {name: value for name, value in state.items() if not name.startswith(_ALIASES) and not name.endswith(_DEAD)}
    found = {name: rest.pop(name) for name in list(rest) if name in _TENSORS}
    made = {_TENSORS[name]: tensor.flatten(1) if tensor.ndim > 2 else tensor for name, tensor in found.items()}
    if "sup_mat" in rest:
        made["classes.events"] = rest.pop("sup_mat")[0]
        for name, ours in _KERNELS.items():
            both = [rest.pop(f"{event}.{name}") for event in _EVENTS if f"{event}.{name}" in rest]
            made[f"super_events.kernels.{ours}"] = torch.cat(both)
    for index, layer in enumerate(_LAYERS):
        if f"{layer}.center" in rest:
            made |= {f"stack.layers.{index}.{name}": tensor for name, tensor in _layer(rest, layer).items()}
    if "h.weight" in rest and "classes.weight" in made:
        hidden = rest.pop("h.weight").flatten(1)
        features = hidden.shape[1] - (len(made["classes.weight"]) if "classes.events" in made else 0)
        made["joint.weight"] = hidden[:, :features]
        if "classes.events" in made:  # the columns that see every class's super-event score
            made["classes.joint"] = hidden[:, features:].T.contiguous()
    return Converted({**{f"head.{name}": tensor for name, tensor in made.items()}, **rest})


def _layer(rest: dict[str, Tensor], layer: str) -> dict[str, Tensor]:
    """Take a TGM layer out of `rest`: an output channel's attention rows lie together, its 1×1 convolution apart."""
    made = {f"kernels.{ours}": rest.pop(f"{layer}.{name}") for name, ours in _KERNELS.items()}
    mixes = [rest.pop(name) for name in _numbered(rest, f"{layer}.convs.", ".weight")]
    biases = [rest.pop(name) for name in _numbered(rest, f"{layer}.convs.", ".bias")]
    attention = rest.pop(f"{layer}.soft_attn")
    made["attention"] = attention.view(len(mixes) or len(attention), -1, attention.shape[1])
    if mixes:
        made |= {"mix": torch.stack([mix.flatten() for mix in mixes]), "bias": torch.cat(biases)}
    return made


def _numbered(names: Collection[str], start: str, end: str) -> list[str]:
    found = [name for name in names if name.startswith(start) and name.endswith(end)]
    return sorted(found, key=lambda name: int(name.removeprefix(start).removesuffix(end)))
