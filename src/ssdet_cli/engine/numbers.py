"""Precision and determinism: how numbers are computed."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
#: What cuBLAS needs to be deterministic, before its first use.
_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_UNCERTAIN = "does not have a deterministic implementation"


def precision(name: str, device: torch.device) -> Callable[[], AbstractContextManager]:
    """How the network computes.

    Args:
        name: bf16 and fp16 are autocast, fp32 and tf32 say how a GPU multiplies float32, and auto is bf16 where the
            device computes in it natively, else float32 as torch sets it up.
        device: Where.
    """
    native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    dtype = _DTYPES.get("bf16" if name == "auto" and native else name)
    if dtype is not None:
        return lambda: torch.autocast(device.type, dtype)
    if name in ("fp32", "tf32"):
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = name == "tf32"
    return nullcontext


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Ask torch for deterministic algorithms; what has none warns (see `told_once`)."""
    if not wanted:
        yield
        return
    os.environ.setdefault(_CUBLAS, ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


@contextmanager
def told_once(say: Callable[[str], None]) -> Iterator[None]:
    """Say which operations cannot be deterministic, each once, in place of torch's warnings."""
    told: set[str] = set()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def instead(message: Warning | str, *place: Any, **more: Any) -> None:
            operation, found, _ = str(message).partition(_UNCERTAIN)
            if not found:
                show(message, *place, **more)
            elif operation not in told:
                told.add(operation)
                say(f"Not deterministic: {operation.strip()} has no deterministic implementation.")

        warnings.filterwarnings("always", message=f".*{_UNCERTAIN}")
        warnings.showwarning = instead
        yield
