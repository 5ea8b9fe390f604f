"""From a file to named tensors, executing nothing that the file holds."""

import argparse
import errno
import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights.arrays import DAMAGED, Refused, load_arrays

_CONTAINERS = ("model", "model_state", "model_state_dict", "state_dict", "blobs")
#: What data-parallel training, `torch.compile` and wrapping classes put before every name.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
#: First bytes of what is downloaded or checked out instead of weights, and what to do about it.
_NO_WEIGHTS = {
    b"version https://git-lfs": "a Git LFS pointer and not the weights themselves; fetch them with `git lfs pull`",
    b"<": "a web page and not weights; the download went wrong",
}
_LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
#: What the file system says, and not what a reader makes of a damaged file.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ENOENT)
#: Bytes of plain text.
_TEXT = bytes(range(32, 127)) + b"\t\n\r\f"
#: Kinds of integers that networks count and look up with.
_COUNTS = (torch.int64, torch.int32, torch.bool)
_DTYPES = tuple(type(np.dtype(code)) for code in "?bBhHiIlLefd")


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        path: The file itself, also where a run folder was named.
        container: "safetensors", "torch" or "pickle".
        state: Tensors on the CPU by name, without the prefixes that wrappers leave.
        meta: What is said of them; empty where the file says nothing.
        keys: Names beside which the tensors lie in the file; empty where it holds tensors only.
    """

    path: Path
    container: str
    state: dict[str, Tensor]
    meta: dict[str, Any]
    keys: tuple[str, ...] = ()


def read_weights(path: str | Path) -> WeightsFile:
    """Read a weights file onto the CPU; its kind is told by its content, not by its name.

    A safetensors file holds the tensors themselves and perhaps a JSON object under the metadata key `meta`. A file of
    torch's holds a dict of tensors, or a dict with one in it and perhaps a dict `meta` beside it. A pickle holds such a
    dict of numpy arrays.

    Args:
        path: File, or run folder.

    Raises:
        CheckpointError: Missing, empty, truncated, not a file of weights, or one that only running code could read.
    """
    path = checkpoint_file(Path(path))
    try:
        with open(path, "rb") as file:
            first = file.read(64)
    except OSError as error:
        raise unreadable(path, error) from error
    if not first:
        raise unreadable(path, EOFError())
    for start, what in _NO_WEIGHTS.items():
        if first.startswith(start):
            raise CheckpointError(f"{path} cannot be read as weights: it is {what}.")
    if path.suffix == ".safetensors" or first[8:10] == b'{"':
        file = _read_safetensors(path)
    elif first.startswith(b"\x80") and _LEGACY_MAGIC not in first:
        file = _from_payload(path, "pickle", _unpickle(path))
    else:
        file = _from_payload(path, "torch", _torch_load(path))
    _refuse_other_kinds(path, file.state)
    return WeightsFile(path, file.container, _without_wrappers(file.state), file.meta, file.keys)


def _refuse_other_kinds(path: Path, state: Mapping[str, Tensor]) -> None:
    """See that tensors are plain arrays of floating numbers, or of counts and indices."""
    for name, tensor in state.items():
        if tensor.layout is not torch.strided:
            kind = "sparse"
        elif tensor.is_floating_point() or tensor.dtype in _COUNTS:
            continue
        else:
            kind = str(tensor.dtype).removeprefix("torch.")
        raise CheckpointError(f"{path}: '{name}' is {kind}; weights are dense floating-point tensors, not quantised.")


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            return _without_wrappers({name.removeprefix(wrapper): tensor for name, tensor in state.items()})
    return state


def _read_safetensors(path: Path) -> WeightsFile:
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    if not state:
        raise CheckpointError(f"{path} holds no weights: it is a safetensors file without tensors.")
    return WeightsFile(path, "safetensors", state, meta if isinstance(meta, dict) else {})


def _torch_load(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
            if any(name.endswith("/constants.pkl") for name in names):
                raise _needs_code(path, "a TorchScript program")
            if not any(name.endswith("data.pkl") for name in names):
                held = f"holds {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else "is empty"
                raise CheckpointError(
                    f"{path} cannot be read as weights: it is a zip archive without weights ({held}); where a weights "
                    "file lies in it, unpack it."
                )
        with torch.serialization.safe_globals(_plain_data()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if match := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise _needs_code(path, f"a Python object ({match[1]})") from error
        raise unreadable(path, error) from error
    except (*DAMAGED, RuntimeError, OSError, zipfile.BadZipFile) as error:
        raise unreadable(path, error) from error


def _plain_data() -> list[Any]:
    """What checkpoints hold beside tensors and is data: numpy's numbers and arrays, parsed options."""
    core = np.core.multiarray if np.lib.NumpyVersion(np.__version__) < "2.0.0" else np._core.multiarray
    makers = [
        (getattr(core, maker), f"numpy.{package}.multiarray.{maker}")
        for maker in ("scalar", "_reconstruct")
        for package in ("core", "_core")
    ]
    return [*makers, np.ndarray, np.dtype, *_DTYPES, argparse.Namespace]


def _unpickle(path: Path) -> Any:
    try:
        return load_arrays(path)
    except Refused as error:
        raise _needs_code(path, f"a Python object ({error})") from error
    except (*DAMAGED, pickle.UnpicklingError, OSError) as error:
        raise unreadable(path, error) from error


def _from_payload(path: Path, container: str, payload: Any) -> WeightsFile:
    within = payload if isinstance(payload, Mapping) else {}
    if state := _as_state(payload):
        return WeightsFile(path, container, state, {})
    for key in _CONTAINERS:
        if state := _as_state(within.get(key), loose=key == "blobs"):
            meta = within.get("meta")
            keys = tuple(str(name) for name in within)
            return WeightsFile(path, container, state, dict(meta) if isinstance(meta, Mapping) else {}, keys)
    held = f" It holds {', '.join(map(str, list(within)[:6]))}." if within else ""
    raise CheckpointError(
        f"{path} holds no weights: expected a dict of tensors, or one under {', '.join(map(repr, _CONTAINERS))}.{held}"
    )


def _as_state(value: object, *, loose: bool = False) -> dict[str, Tensor]:
    """Return the named tensors of a dict, empty where it is something else; `loose` leaves other entries out."""
    if not isinstance(value, Mapping):
        return {}
    state = {name: _tensor(entry) for name, entry in value.items() if isinstance(name, str)}
    found = {name: tensor for name, tensor in state.items() if tensor is not None}
    return found if loose or len(found) == len(value) else {}


def _tensor(entry: object) -> Tensor | None:
    if isinstance(entry, np.ndarray) and entry.dtype.kind in "fiub":
        return torch.from_numpy(np.array(entry, entry.dtype.newbyteorder("=")))
    return entry.detach() if isinstance(entry, Tensor) else None


def _needs_code(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read as weights: it holds {what}, which only code from the file could rebuild; where you "
        "trust it, load it with the program it came from and save its state_dict() by torch.save or as safetensors."
    )


def unreadable(path: Path, error: Exception, kind: str = "weights") -> CheckpointError:
    """Say what a file is that cannot be read; what torch stumbled over in it ("pop from empty list") tells nobody."""
    if isinstance(error, OSError) and error.errno in _REFUSALS:
        return CheckpointError(f"{path} cannot be read ({error.strerror}).")
    with open(path, "rb") as file:
        first = file.read(512)
    if not first:
        what = "it is empty; copy or download it again"
    elif first.startswith(b"PK"):
        what = "it is truncated or damaged; copy or download it again"
    elif not first.translate(None, _TEXT):
        what = "it is a text file"
    else:
        what = "it is truncated, or another kind of file"
    return CheckpointError(f"{path} cannot be read as {kind}: {what}.")
