"""Optimiser, its parameter groups, and the learning rate of every step."""

import math

import torch
from torch import nn

from ssdet_cli.config.sections import OptimConfig


def parameter_groups(model: nn.Module, optim: OptimConfig) -> list[dict]:
    """Split parameters by learning rate (backbone, head) and weight decay (not on norms and biases).

    Everything under `model.head` is head. Each group keeps its own `base_lr`, which warm-up and schedule scale, so
    that a smaller backbone rate stays smaller throughout.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("head."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "name": f"{'head' if head else 'backbone'}, {'decayed' if decayed else 'not decayed'}",
            "lr": optim.lr if head else optim.lr * optim.backbone_lr_scale,
            "base_lr": optim.lr if head else optim.lr * optim.backbone_lr_scale,
            "weight_decay": optim.weight_decay if decayed else 0.0,
        }
        for (head, decayed), parameters in sorted(groups.items(), reverse=True)
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
