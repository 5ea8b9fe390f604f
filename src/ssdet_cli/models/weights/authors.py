"""The layout of the authors' code: SSDet, X3D-Multigrid, and the fine stream of Coarse-Fine Networks.

Every batch norm holds its scale and offset, statistics `bn` for evaluation, and statistics `split_bn` of S splits for
training, split after split in one vector.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from ssdet_cli.models.layers.sub_batchnorm import pooled_statistics
from ssdet_cli.models.weights.layout import Converted, Normalization, rename

NAME = "X3D-Multigrid/SSDet"
#: Input statistics of the authors' scripts.
KINETICS: Normalization = ((0.433869, 0.404551, 0.377609), (0.151988, 0.148559, 0.156976))
CHARADES: Normalization = ((0.413, 0.368, 0.338), (0.131, 0.125, 0.132))
CHARADES_CLASSES = 157

_MODULES = {
    "conv1_s": "backbone.stem_space",
    "conv1_t": "backbone.stem_time",
    "bn1": "backbone.stem_time.norm",
    "conv5": "backbone.conv5",
    "bn5": "backbone.conv5.norm",
    "fc1": "head.fc1",
    "fc2": "head.fc2",
}
_PARTS = {
    "conv1": "conv_a",
    "bn1": "conv_a.norm",
    "conv2": "conv_b",
    "bn2": "conv_b.norm",
    "fc1": "squeeze.reduce",
    "fc2": "squeeze.expand",
    "conv3": "conv_c",
    "bn3": "conv_c.norm",
    "downsample.0": "shortcut",
    "downsample.1": "shortcut.norm",
}
_BLOCK = re.compile(r"(layer[1-4]\.\d+)\.(.+)")
_SPLIT = ".split_bn."


def recognises(state: Mapping[str, Tensor], wanted: Collection[str] = ()) -> bool:
    """Tell by the two convolutions of the stem."""
    return {"conv1_s.weight", "conv1_t.weight"} <= state.keys()


def convert(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> Converted:
    """Return the tensors under our names; of the statistics those for evaluation.

    Where these were never made (mean 0 and variance 1 throughout, and not so in the splits), they are made here.
    """
    splits = _splits(state)
    adapted = [f"statistics of {splits} norm splits left out, the aggregated ones taken"] if splits > 1 else []
    if _never_aggregated(state):
        state = _aggregated(state)
        adapted = [f"statistics of {splits} norm splits aggregated, which the file had not done"]
    kept = {name.replace(".bn.running", ".running"): value for name, value in state.items() if _SPLIT not in name}
    kept = {name: value for name, value in kept.items() if not name.endswith(".bn.num_batches_tracked")}
    classifier = state.get("fc2.weight")
    detects = classifier is not None and classifier.shape[0] == CHARADES_CLASSES
    return Converted(rename(kept, _module), tuple(adapted), CHARADES if detects else KINETICS, splits)


def _module(name: str) -> str | None:
    if match := _BLOCK.fullmatch(name):
        return f"backbone.{match[1]}.{_PARTS[match[2]]}" if match[2] in _PARTS else None
    return _MODULES.get(name)


def _splits(state: Mapping[str, Tensor]) -> int:
    mean, split = state.get("bn1.bn.running_mean"), state.get("bn1.split_bn.running_mean")
    return 1 if mean is None or split is None else split.numel() // mean.numel()


def _never_aggregated(state: Mapping[str, Tensor]) -> bool:
    return _moved(state, _SPLIT) and not _moved(state, ".bn.")


def _moved(state: Mapping[str, Tensor], kind: str) -> bool:
    """Whether a statistic of one kind is not as every norm starts; the counters, which would tell, are optional."""
    starts = {f"{kind}running_mean": 0.0, f"{kind}running_var": 1.0}
    return any(
        bool(torch.any(tensor != start))
        for entry, start in starts.items()
        for name, tensor in state.items()
        if name.endswith(entry)
    )


def _aggregated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    made = dict(state)
    for name, means in state.items():
        norm, found, _ = name.partition(f"{_SPLIT}running_mean")
        if found:
            channels = state[f"{norm}.weight"].numel()
            variances = state[f"{norm}{_SPLIT}running_var"]
            pooled = pooled_statistics(means.view(-1, channels), variances.view(-1, channels))
            made[f"{norm}.bn.running_mean"], made[f"{norm}.bn.running_var"] = pooled
    return made
