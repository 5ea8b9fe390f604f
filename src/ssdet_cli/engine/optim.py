"""Optimiser, its parameter groups, and the learning rate of every step."""

import math

import torch
from torch import nn

from ssdet_cli.catalog import nearest
from ssdet_cli.config.sections import OptimConfig
from ssdet_cli.errors import ConfigError

#: Words of a parameter's name that can be parts: a stream, and what it is made of.
_DEPTH = 2


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict]:
    """Split parameters by part of the network, learning rate, and weight decay (not on norms and biases).

    A part is a module of the network or of one of its streams: `backbone`, `head`, `fine`, `coarse`, `fusion`. A
    parameter's rate is `lr` times the scales of all parts that it is in. Each group keeps its own `base_lr`, which
    warm-up and schedule scale, so that a smaller rate stays smaller throughout.

    Raises:
        ConfigError: A scale of a part that the network does not have.
    """
    scales = {"backbone": optim.backbone_lr_scale, **optim.lr_scales}
    groups: dict[tuple[str, float, bool], list[nn.Parameter]] = {}
    parts: set[str] = set()
    for name, parameter in model.named_parameters():
        path = name.split(".")[:-1][:_DEPTH]
        parts.update(path)
        if parameter.requires_grad:
            scale = math.prod(scales.get(part, 1.0) for part in path)
            groups.setdefault((path[0] if path else "", scale, parameter.ndim > 1), []).append(parameter)
    for part in optim.lr_scales:
        if part not in parts:
            known = ", ".join(sorted(parts))
            raise ConfigError(f"optim.lr_scales.{part}: no such part.{nearest(part, sorted(parts))} Known: {known}.")
    return [
        {
            "params": parameters,
            "name": f"{part}, {'decayed' if decayed else 'not decayed'}",
            "lr": optim.lr * scale,
            "base_lr": optim.lr * scale,
            "weight_decay": optim.weight_decay if decayed else 0.0,
        }
        for (part, scale, decayed), parameters in sorted(groups.items(), key=lambda item: item[0], reverse=True)
    ]


def build_optimizer(model: nn.Module, optim: OptimConfig) -> torch.optim.Optimizer:
    """SGD or AdamW over `parameter_groups`."""
    groups = parameter_groups(model, optim)
    if optim.name == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.nesterov)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=(optim.momentum, optim.beta2))


def lr_factor(step: int, total: int, optim: OptimConfig) -> float:
    """Factor on every group's learning rate at optimiser step `step` (from 0) of `total`.

    Linear warm-up reaches 1 at step `warmup_steps`; a cosine then falls to 0 at `total`; `step` multiplies by gamma
    at its milestones, which are parts of the whole run.
    """
    if step < optim.warmup_steps:
        return (step + 1) / (optim.warmup_steps + 1)
    if optim.schedule == "constant":
        return 1.0
    if optim.schedule == "step":
        return optim.gamma ** sum(step >= milestone * total for milestone in optim.milestones)
    progress = (step - optim.warmup_steps) / max(1, total - optim.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every parameter group `factor` times its own base learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
