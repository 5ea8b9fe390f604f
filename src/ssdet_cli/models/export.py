"""Networks as files that run without ssdet: ONNX, and what torch.export saves."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ssdet_cli.errors import MissingExtraError, SsdetError

#: (B, 3, T, S, S) float32 -> (B, K, T) float32.
Runner = Callable[[np.ndarray], np.ndarray]
#: Name of what travels with the network: a key of ONNX's metadata, and a file in torch.export's archive.
METADATA = "ssdet.json"
#: Distances between the lengths that a traced network takes, smallest first.
_MULTIPLES = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Lengths:
    """How many frames the clips of an exported network may have.

    Attributes:
        shortest: Fewest.
        multiple: From one length to the next; 0 where `shortest` is the only one.
    """

    shortest: int
    multiple: int

    def __str__(self) -> str:
        if not self.multiple:
            return f"{self.shortest}"
        every = "" if self.multiple == 1 else f" in steps of {self.multiple}"
        return f"{self.shortest} or more{every}"


@dataclass(frozen=True)
class Traced:
    """A network as a graph.

    Attributes:
        program: Its graph, of (B, 3, T, S, S) for any B.
        lengths: The T it takes.
        examples: Lengths to check it with.
    """

    program: ExportedProgram
    lengths: Lengths
    examples: tuple[int, ...]


class _Network(nn.Module):
    """Input and output under the same names whatever the network is."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: Tensor) -> Tensor:
        """Logits (B, K, T) of (B, 3, T, S, S)."""
        return self.network(frames)


def trace(model: nn.Module, frames: int, size: int, *, any_length: bool = True) -> Traced:
    """Trace a network for any batch, and any length where it can be.

    Args:
        model: In evaluation mode, on the CPU.
        frames: T to trace it with; the only one where it can take no other.
        size: S, the side of its clips.
        any_length: Try other lengths than `frames`.

    Raises:
        SsdetError: It cannot be traced; the message is the tracer's first line.
    """
    network, clips = _Network(model).eval(), torch.zeros(2, 3, frames, size, size)
    if any_length:
        try:
            program = _graph(network, clips, {0: Dim("batch", min=1), 2: Dim.AUTO})
        except (RuntimeError, ValueError, AssertionError):
            pass  # a layer that is made for one length; below it gets that one
        else:
            shortest = _shortest(program)
            if shortest is not None:
                multiple = _multiple(program, clips[:1])
                if multiple:
                    lowest = frames - (frames - shortest) // multiple * multiple
                    return Traced(program, Lengths(lowest, multiple), (frames, frames + multiple, 2 * frames))
    try:
        program = _graph(network, clips, {0: Dim("batch", min=1)})
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SsdetError(f"This network cannot be exported: {_reason(error)}") from error
    return Traced(program, Lengths(frames, 0), (frames,))


def to_onnx(traced: Traced, metadata: Mapping[str, Any]) -> bytes:
    """An ONNX model with input `frames`, output `logits` and `metadata` as JSON under `METADATA`.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        SsdetError: The network has an operation without counterpart in ONNX, or is too large for one file.
    """
    require_onnx()
    sizes = {0: "batch", **({2: "time"} if traced.lengths.multiple else {})}
    try:
        with _quiet():
            program = torch.onnx.export(
                traced.program,
                (),
                dynamo=True,
                verbose=False,
                output_names=["logits"],
                dynamic_shapes={"frames": sizes},
            )
            program.model.metadata_props[METADATA] = json.dumps(metadata)
            return program.model_proto.SerializeToString()
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SsdetError(f"This network cannot be written as ONNX: {_reason(error)}") from error


def to_torch_export(traced: Traced, metadata: Mapping[str, Any]) -> bytes:
    """What `torch.export.load` reads, with `metadata` as JSON in the extra file `METADATA`."""
    buffer = io.BytesIO()
    torch.export.save(traced.program, buffer, extra_files={METADATA: json.dumps(metadata)})
    return buffer.getvalue()


def onnx_runner(content: bytes) -> Runner:
    """Run an ONNX model with onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda clips: session.run(["logits"], {"frames": clips})[0]


def torch_export_runner(content: bytes) -> Runner:
    """Run what `to_torch_export` made."""
    network = torch.export.load(io.BytesIO(content)).module()

    def run(clips: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network(torch.from_numpy(clips)).numpy()

    return run


def require_onnx() -> None:
    """See that what writes and runs ONNX is installed.

    Raises:
        MissingExtraError: It is not.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise MissingExtraError(f"ONNX needs the package {package}: pip install 'ssdet[export]'.")


def _graph(network: nn.Module, clips: Tensor, sizes: dict[int, Any]) -> ExportedProgram:
    with torch.no_grad(), _quiet():
        return torch.export.export(network, (clips,), dynamic_shapes=(sizes,))


def _shortest(program: ExportedProgram) -> int | None:
    """Fewest frames that the graph takes; None where tracing made a constant of their number."""
    (name,) = program.graph_signature.user_inputs
    frames = next(node for node in program.graph.nodes if node.name == name).meta["val"].shape[2]
    if not isinstance(frames, torch.SymInt):
        return None
    bounds = program.range_constraints.get(frames.node.expr)
    return int(bounds.lower) if bounds is not None else 1


def _multiple(program: ExportedProgram, clip: Tensor) -> int:
    """The smallest step to another length that the graph takes; 0 where it takes none."""
    network = program.module()
    for step in _MULTIPLES:
        longer = torch.cat((clip, clip[:, :, :1].expand(-1, -1, step, -1, -1)), dim=2)
        try:
            with torch.no_grad():
                network(longer)
        except (RuntimeError, AssertionError):
            continue
        return step
    return 0


def _reason(error: BaseException) -> str:
    """The line of a tracer's page-long message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "No ONNX function found" in line]
    return (telling or lines or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's remarks on its own work."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "torch.fx", "torch._export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
