"""From a file to named tensors, executing nothing that the file holds."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ssdet_cli.errors import CheckpointError

_CONTAINERS = ("model", "model_state", "model_state_dict", "state_dict")
_WRAPPER = "module."


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a weights file onto the CPU.

    A `.safetensors` file holds the tensors themselves and perhaps a JSON object under the metadata key `meta`; any
    other file is torch's: a dict of tensors, or a dict that holds one, and perhaps a dict `meta` beside it. The
    prefix that data-parallel training leaves is taken off.

    Returns:
        Tensors by name, and `meta` (empty where the file has none).

    Raises:
        CheckpointError: Missing, truncated, or not a file of weights.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; name the weights file in it.")
    if not path.is_file():
        raise CheckpointError(f"There is no weights file {path}.")
    state, meta = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if all(name.startswith(_WRAPPER) for name in state):
        state = {name.removeprefix(_WRAPPER): tensor for name, tensor in state.items()}
    return state, meta


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, meta
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _read_torch(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError) as error:
        raise _unreadable(path, error) from error
    candidates = [payload, *(payload.get(key) for key in _CONTAINERS)] if isinstance(payload, Mapping) else []
    for candidate in candidates:
        if _is_state(candidate):
            meta = payload.get("meta")
            return dict(candidate), dict(meta) if isinstance(meta, Mapping) else {}
    raise CheckpointError(
        f"{path} holds no weights: expected a dict of tensors, or one under {', '.join(map(repr, _CONTAINERS))}."
    )


def _is_state(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return CheckpointError(f"{path} cannot be read as weights (truncated, or another kind of file): {reason}.")
