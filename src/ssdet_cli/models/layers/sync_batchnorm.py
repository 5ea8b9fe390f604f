"""Batch norm whose training statistics are taken over the clips of all ranks: N clips on each of R ranks are normalised
as N·R clips on one.

On GPUs that is torch's own `nn.SyncBatchNorm`, which has no CPU kernel; elsewhere it is written out here. Mean and
variance of every rank go to all ranks by one sum, and their gradients by another. With counts n_r, means μ_r and
variances σ²_r

    mean = Σ n_r μ_r / Σ n_r,    variance = Σ n_r (σ²_r + (μ_r − mean)²) / Σ n_r
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssdet_cli.errors import ConfigError
from ssdet_cli.models.layers.sub_batchnorm import SubBatchNorm

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class _SumOverRanks(torch.autograd.Function):
    """Sum over all ranks; the gradient of every rank's part is the sum of the gradients on all."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def statistics_of_all_ranks(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,), biased variance (C,) and count of (N, C, ...) values over all ranks; differentiable."""
    variance, mean = torch.var_mean(values, [0, *range(2, values.ndim)], correction=0)
    count = mean.new_tensor([values.numel() // values.shape[1]])
    # Every rank fills its own row, so a sum brings all rows together.
    own = torch.arange(dist.get_world_size(), device=values.device)[:, None] == dist.get_rank()
    rows = _SumOverRanks.apply(torch.where(own, torch.cat((mean, variance, count)), 0.0))
    means, variances, counts = rows.split([len(mean), len(mean), 1], dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return mean, (counts * (variances + (means - mean).square())).sum(0) / total, total


class _Activated:
    """What timm's norms do besides: dropping and an activation, kept as the submodules that they were."""

    def after(self, values: Tensor) -> Tensor:
        """Apply them where there are any."""
        for name in ("drop", "act"):
            if hasattr(self, name):
                values = getattr(self, name)(values)
        return values


class SyncBatchNorm(_Activated, _BatchNorm):
    """Synchronised batch norm of (N, C, ...) values on any device; plain batch norm in evaluation and on one rank."""

    def _check_input_dim(self, values: Tensor) -> None:
        """Any number of dimensions will do."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (N, C, ...); statistics are at least single precision."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return self.after(super().forward(values))
        mean, variance, count = statistics_of_all_ranks(values.to(torch.promote_types(values.dtype, torch.float32)))
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shape = (-1, *[1] * (values.ndim - 2))
        normed = (values - mean.view(shape)) * scale.view(shape)
        if self.affine:
            normed = normed + self.bias.view(shape)
        return self.after(normed.to(values.dtype))

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else (1 / self.num_batches_tracked).to(mean)
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


class SyncBatchNormOnGpu(_Activated, nn.SyncBatchNorm):
    """torch's own, which DistributedDataParallel accepts on GPUs only."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalise (N, C, ...)."""
        return self.after(super().forward(values))


def synchronise_norms(module: nn.Module, device: torch.device) -> int:
    """Replace every batch norm in `module` by one over all ranks, with the same parameters, statistics and names.

    Args:
        module: Changed in place.
        device: Where it will run.

    Returns:
        How many there are.

    Raises:
        ConfigError: A norm is split (`model.norm_splits`), or of a kind that does more than its parameters say.
    """
    kind = SyncBatchNormOnGpu if device.type == "cuda" else SyncBatchNorm
    found = 0
    for parent in list(module.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, _BatchNorm):
                setattr(parent, name, _synchronised(norm, kind))
                found += 1
    return found


def _synchronised(norm: _BatchNorm, kind: type[_BatchNorm]) -> _BatchNorm:
    if isinstance(norm, SubBatchNorm):
        raise ConfigError(
            f"model.sync_bn takes statistics over all ranks and model.norm_splits={norm.splits} over parts of one "
            "rank's batch; give one of them."
        )
    timms = hasattr(norm, "drop") and hasattr(norm, "act")
    if type(norm) not in (*_PLAIN, nn.SyncBatchNorm) and not timms:
        raise ConfigError(f"model.sync_bn: {type(norm).__name__} is a batch norm that cannot be made one of all ranks.")
    new = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    new.weight, new.bias = norm.weight, norm.bias
    new.running_mean, new.running_var = norm.running_mean, norm.running_var
    new.num_batches_tracked = norm.num_batches_tracked
    if timms:
        new.drop, new.act = norm.drop, norm.act
    return new.train(norm.training)
