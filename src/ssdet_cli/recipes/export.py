"""`ssdet export`: a trained network as a file that runs without ssdet, checked against the network itself."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ssdet_cli import __version__
from ssdet_cli.config import rundir
from ssdet_cli.config.sections import FineSource, InferenceConfig
from ssdet_cli.engine.distributed import Session
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import ConfigError, SsdetError
from ssdet_cli.files import write_atomically
from ssdet_cli.models import export as graphs
from ssdet_cli.models.detectors.coarse_fine import CoarseFine
from ssdet_cli.models.export import Lengths, Runner
from ssdet_cli.recipes import evaluate_checkpoints, fine_stream
from ssdet_cli.recipes.foreign import checkpoint_of

Format = Literal["onnx", "torch-export"]
SUFFIXES: dict[Format, str] = {"onnx": ".onnx", "torch-export": ".pt2"}
#: Largest difference to the network that is rounding, as a part of the largest logit.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The file.
        metadata: What travels with the network, see docs/export.md.
        lengths: Frames that a clip may have.
        checked: (B, T) of the clips that the file and the network were compared on.
        difference: Largest of a logit.
        largest: Largest logit, for comparison.
    """

    path: Path
    metadata: dict[str, Any]
    lengths: Lengths
    checked: tuple[tuple[int, int], ...]
    difference: float
    largest: float


def export(
    checkpoint: Path,
    format: Format,
    output: Path | None = None,
    *,
    frames: int | None = None,
    one_length: bool = False,
    fine: Path | None = None,
    force: bool = False,
    log: RunLog | None = None,
) -> Exported:
    """Write a network, run the file, and compare.

    Args:
        checkpoint: Run folder, or weights of any known origin.
        format: What to write.
        output: File to write; default `model.onnx` or `model.pt2` in the run folder, or beside the file.
        frames: Frames of a clip; default as trained.
        one_length: Take clips of `frames` frames only; some runtimes want that.
        fine: Weights of a Coarse-Fine network's fine stream; default: as it was trained.
        force: Write over a file that is there.
        log: Told what is loaded from where.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        ConfigError: `output` is there already or has another suffix, or the fine stream is not to be had.
        MissingExtraError: ONNX is asked for and its packages are not installed.
        SsdetError: The network cannot be written in this format, or the file says something else than the network.
    """
    target = _target(checkpoint, format, output, force)
    if format == "onnx":
        graphs.require_onnx()
    log = log or RunLog(None, None)
    model, meta = _restore(checkpoint, fine, log)
    length, size = frames or meta["clip"].get("frames") or model.backbone.default_clip[0], meta["clip"]["size"]
    log.say("Tracing takes from seconds to a few minutes.")
    traced = graphs.trace(model, length, size, any_length=not one_length)
    metadata = _metadata(checkpoint, meta, length, traced.lengths)
    if format == "onnx":
        content = graphs.to_onnx(traced, metadata)
        run = graphs.onnx_runner(content)
    else:
        content = graphs.to_torch_export(traced, metadata)
        run = graphs.torch_export_runner(content)
    shapes = tuple((batch, frames) for batch, frames in zip((1, 3, 2), traced.examples, strict=False))
    shapes = shapes if len(shapes) > 1 else ((1, length), (3, length))
    difference, largest = _compare(model, run, shapes, size)
    if not difference <= TOLERANCE * max(largest, 1.0):
        raise SsdetError(
            f"The exported network says something else than the network: logits differ by {difference:.2g} "
            f"(largest logit {largest:.2g}); nothing was written."
        )
    write_atomically(target, content)
    return Exported(target, metadata, traced.lengths, shapes, difference, largest)


def _target(checkpoint: Path, format: Format, output: Path | None, force: bool) -> Path:
    suffix = SUFFIXES[format]
    target = output or (checkpoint if checkpoint.is_dir() else checkpoint.parent) / f"model{suffix}"
    if target.suffix != suffix:
        raise ConfigError(f"{target}: {format} is written to files that end in {suffix}.")
    if target.is_dir() or (target.exists() and not force):
        raise ConfigError(f"{target} exists already; name another file, or give --force to write over it.")
    return target


def _restore(path: Path, fine: Path | None, log: RunLog) -> tuple[nn.Module, dict[str, Any]]:
    """The network on the CPU, in evaluation mode, and what its checkpoint says of it."""
    here = Session(torch.device("cpu"))
    state = checkpoint_of(path, InferenceConfig(), log)
    meta = state["meta"]
    if meta["command"] != "train-coarse-fine":
        if fine is not None:
            raise ConfigError(f"--fine {fine} is for Coarse-Fine checkpoints, and {path} is none.")
        return evaluate_checkpoints.restore(state, here), meta
    model, _ = fine_stream.restore(state, FineSource(weights=fine), InferenceConfig(), (), here, log)
    if not isinstance(model, CoarseFine):
        raise ConfigError(
            f"{path} is a coarse stream; to be exported it needs the fine one's weights: --fine RUN|FILE."
        )
    return model, meta


def _metadata(checkpoint: Path, meta: dict[str, Any], frames: int, lengths: Lengths) -> dict[str, Any]:
    validated, background = meta.get("validated") or {}, bool(meta.get("background"))
    with open(rundir.checkpoint_file(checkpoint), "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "ssdet": __version__,
        "backbone": meta["backbone"],
        "head": meta.get("head"),
        "classes": meta.get("classes"),
        "outputs": meta["num_classes"],
        "background_first": background,
        "activation": "softmax" if background else "sigmoid",
        "thresholds": validated.get("thresholds"),
        "normalization": meta["normalization"],
        "size": meta["clip"]["size"],
        "stride": meta["clip"]["stride"],
        "frame_seconds": meta["clip"].get("seconds_between_frames") or validated.get("frame_seconds"),
        "frames": {"usual": frames, "fewest": lengths.shortest, "multiple": lengths.multiple},
        "weights_sha256": digest,
    }


def _compare(model: nn.Module, run: Runner, shapes: tuple[tuple[int, int], ...], size: int) -> tuple[float, float]:
    """Largest difference of a logit between the network and its file over noise of some shapes, and largest logit."""
    rng, difference, largest = np.random.default_rng(0), 0.0, 0.0
    for batch, frames in shapes:
        clips = rng.standard_normal((batch, 3, frames, size, size), dtype=np.float32)
        with torch.no_grad():
            wanted = model(torch.from_numpy(clips)).numpy()
        found = run(clips)
        if found.shape != wanted.shape:
            raise SsdetError(f"The exported network gives {found.shape} for {clips.shape} and not {wanted.shape}.")
        difference = np.fmax(difference, np.abs(found - wanted).max()) if np.isfinite(found).all() else np.inf
        largest = max(largest, float(np.abs(wanted).max()))
    return float(difference), largest
