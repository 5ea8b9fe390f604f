"""Weights that no run of ours stands behind, as the checkpoint of one: for scoring what others have trained."""

from pathlib import Path
from typing import Any

from ssdet_cli.config.commands import FrameLabelledClip
from ssdet_cli.config.sections import InferenceConfig
from ssdet_cli.engine.checkpoint import load_checkpoint
from ssdet_cli.engine.runlog import RunLog
from ssdet_cli.errors import CheckpointError
from ssdet_cli.models import create_model, load_weights
from ssdet_cli.models.weights.files import read_weights
from ssdet_cli.models.weights.streams import COARSE, is_both, is_coarse
from ssdet_cli.recipes.scoring import asked_spacing, trained_spacing
from ssdet_cli.recipes.weights import Description, describe

_OF_A_CHECKPOINT = {"format", "model", "meta"}


def is_ours(path: Path) -> bool:
    """Whether this is a run folder or a checkpoint of one, and not weights alone.

    Raises:
        CheckpointError: It cannot be read.
    """
    return path.is_dir() or set(read_weights(path).keys) >= _OF_A_CHECKPOINT


def checkpoint_of(path: Path, inference: InferenceConfig, log: RunLog) -> dict[str, Any]:
    """Read a checkpoint of ours, or make one of weights of any known origin.

    What such a file does not say is as `inference` has it or else our own commands: one raw frame in ten, the crop of
    the network. Class names are those of the annotations (`classes` is None).

    Args:
        path: Run folder, or file.
        inference: Sampling asked for.
        log: To say what a file of another origin was taken for.

    Raises:
        CheckpointError: Unreadable, of no known layout, of a network that the shapes do not tell, or without a
            classifier.
    """
    if is_ours(path):
        return load_checkpoint(path)
    found = describe(path)
    said = found.file.meta
    _refuse_no_detector(found)
    options = {"head": said.get("head", "linear"), **said.get("options", {})}
    model = create_model(found.network(found.backbone), found.num_classes, **options)
    network = model.coarse if is_coarse(found.converted.state) else model
    log.say(load_weights(network, path).summary())
    mean, std = network.backbone.normalization
    clip = {
        "frames": network.backbone.default_clip[0],
        "stride": inference.stride or FrameLabelledClip().stride,
        "size": inference.size or network.backbone.default_clip[2],
    }
    meta = {
        "command": "train-coarse-fine" if found.streams else "finetune",
        "backbone": found.backbone,
        "head": "linear",
        "options": {},
        "num_classes": found.num_classes,
        "classes": None,
        "clip": clip,
        "fine": {"joint": is_both(found.converted.state), "weights": None, "features": None, "origin": None},
        "config": {"data": {}},
        **said,
        "normalization": {"mean": list(mean), "std": list(std)},
    }
    spacing = asked_spacing(inference, trained_spacing(meta["clip"]))
    log.say(f"{path}: {found.backbone}, {found.num_classes} classes, {spacing}, {meta['clip']['size']} pixels.")
    return {"model": network.state_dict(), "meta": meta}


def refuse_unknown_network(found: Description) -> None:
    """See that weights tell which network they are for.

    Raises:
        CheckpointError: They do not.
    """
    if found.backbone is None:
        path = found.file.path
        raise CheckpointError(
            f"{path}: the shapes do not tell which network this is; `ssdet weights convert {path} OUT.safetensors "
            "--backbone NAME` writes a file that says so."
        )


def _refuse_no_detector(found: Description) -> None:
    """See that there is a whole detector, of a network that is known.

    Raises:
        CheckpointError: There is not.
    """
    path, state = found.file.path, found.converted.state
    if not any(name.startswith(("backbone.", COARSE)) for name in state):
        raise CheckpointError(f"{path} holds a head and no backbone; give a whole detector.")
    refuse_unknown_network(found)
    if found.num_classes is None:
        raise CheckpointError(
            f"{path} holds no classifier and detects nothing yet; run `ssdet finetune --init {path} "
            f"--backbone {found.backbone}`."
        )
