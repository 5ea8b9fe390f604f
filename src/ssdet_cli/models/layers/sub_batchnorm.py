"""Batch norm whose training statistics are taken over parts of the batch: a batch that grows keeps the statistics of a
small one (Wu et al., "A Multigrid Method for Efficiently Training Video Models", CVPR 2020, section 4).

Clip i belongs to split i mod S. Scale and offset are shared; every split has running statistics of its own, and
evaluation uses those of all splits together. With mean μ_s and variance σ²_s of split s they are

    mean = (1/S) Σ μ_s,    variance = (1/S) Σ σ²_s + (1/S) Σ (μ_s − mean)²

which is what one batch norm would have seen, the splits being of equal size.
"""

from typing import Any

import torch
from torch import Tensor, nn

from ssdet_cli.errors import ConfigError

#: What a state dict holds besides the entries of ordinary batch norm, each (S, C).
SPLIT_ENTRIES = ("split_mean", "split_var")


def pooled_statistics(means: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) of groups of equal size with these means and variances (S, C)."""
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


class SubBatchNorm(nn.BatchNorm2d):
    """Split batch norm on frames (B·T, C, H, W).

    `running_mean` and `running_var` are the aggregated statistics, made anew whenever the module goes to evaluation and
    whenever its state dict is taken: without the `split_` entries that is the state dict of `nn.BatchNorm2d`. A state
    dict without them, or with those of another number of splits, seeds every split from the aggregated ones.

    Args:
        channels: C.
        splits: S.
        momentum: Of the running statistics.

    Raises:
        ConfigError: `splits` is below 1.
    """

    def __init__(self, channels: int, splits: int, *, momentum: float = 0.1) -> None:
        super().__init__(channels, momentum=momentum)
        self.register_buffer("split_mean", torch.zeros(_checked(splits), channels))
        self.register_buffer("split_var", torch.ones(splits, channels))

    @property
    def splits(self) -> int:
        """S."""
        return self.split_mean.shape[0]

    def set_splits(self, splits: int) -> None:
        """Change S; every new split starts from the aggregated statistics.

        Raises:
            ConfigError: `splits` is below 1.
        """
        if _checked(splits) != self.splits:
            self.aggregate()
            self._seed(splits)

    @torch.no_grad()
    def _seed(self, splits: int) -> None:
        self.split_mean = self.running_mean.repeat(splits, 1)
        self.split_var = self.running_var.repeat(splits, 1)

    @torch.no_grad()
    def aggregate(self) -> None:
        """Write the statistics of all splits together to `running_mean` and `running_var`."""
        mean, variance = pooled_statistics(self.split_mean, self.split_var)
        self.running_mean.copy_(mean)
        self.running_var.copy_(variance)

    def train(self, mode: bool = True) -> "SubBatchNorm":
        """Set the mode; going to evaluation aggregates."""
        if not mode:
            self.aggregate()
        return super().train(mode)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        self.aggregate()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        held = [state.get(prefix + name) for name in SPLIT_ENTRIES]
        seeds = prefix + "running_mean" in state and any(
            entry is None or entry.shape != self.split_mean.shape for entry in held
        )
        if seeds:
            for name, source in zip(SPLIT_ENTRIES, ("running_mean", "running_var"), strict=True):
                state[prefix + name] = state[prefix + source].repeat(self.splits, 1)
        super()._load_from_state_dict(state, prefix, *args)

    def forward(self, frames: Tensor, num_frames: int = 1) -> Tensor:
        """Normalise frames (B·T, C, H, W), clips of `num_frames` = T; the layout in memory stays.

        Raises:
            ConfigError: While training, B is no multiple of S.
        """
        if not self.training:
            return super().forward(frames)
        clips = frames.shape[0] // num_frames
        if clips % self.splits:
            raise ConfigError(
                f"A batch of {clips} clips cannot be cut into {self.splits} splits (model.norm_splits); "
                f"take a multiple of {self.splits}."
            )
        groups = frames.unflatten(0, (-1, self.splits, num_frames))  # (B / S, S, T, C, H, W), a view
        # Centred first: exact also where the mean is large, and the only thing kept for the backward pass. Statistics
        # are float32 under autocast.
        mean = groups.mean((0, 2, 4, 5), keepdim=True, dtype=self.running_mean.dtype)
        centred = groups - mean
        variance = centred.square().mean((0, 2, 4, 5), keepdim=True)
        self._track(mean, variance, groups.numel() // (self.splits * frames.shape[1]))
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.eps)
        return (centred * scale + self.bias[:, None, None]).to(frames.dtype).flatten(0, 2)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the splits' running statistics; the variance unbiased, as batch norm has it."""
        shape = self.split_mean.shape
        self.split_mean.lerp_(mean.detach().view(shape), self.momentum)
        self.split_var.lerp_(variance.detach().view(shape) * (count / max(count - 1, 1)), self.momentum)
        self.num_batches_tracked.add_(1)

    def extra_repr(self) -> str:
        """Add the number of splits."""
        return f"{super().extra_repr()}, splits={self.splits}"


def _checked(splits: int) -> int:
    if splits < 1:
        raise ConfigError(f"norm_splits must be at least 1, got {splits}.")
    return splits


def set_norm_splits(module: nn.Module, splits: int) -> None:
    """Give every 2-D batch norm in `module` so many splits, keeping its parameters and aggregated statistics.

    Ordinary batch norms become split ones in place; with `splits` = 1 they stay what they are.

    Raises:
        ConfigError: `splits` is below 1.
    """
    _checked(splits)
    for parent in list(module.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, SubBatchNorm):
                norm.set_splits(splits)
            elif isinstance(norm, nn.BatchNorm2d) and splits > 1:
                setattr(parent, name, _split(norm, splits))


def _split(norm: nn.BatchNorm2d, splits: int) -> SubBatchNorm:
    split = SubBatchNorm(norm.num_features, splits, momentum=norm.momentum).to(norm.weight)
    split.weight, split.bias = norm.weight, norm.bias
    split.running_mean, split.running_var = norm.running_mean, norm.running_var
    split.num_batches_tracked = norm.num_batches_tracked
    split._seed(splits)
    return split.train(norm.training)


def drop_split_entries(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Pre-hook of `load_state_dict`: let ordinary batch norms take what was trained with splits."""
    split = {name for name, child in module.named_modules() if isinstance(child, SubBatchNorm)}
    for key in [key for key in state if key.startswith(prefix) and key.endswith(SPLIT_ENTRIES)]:
        if key.removeprefix(prefix).rpartition(".")[0] not in split:
            del state[key]
