"""Per-frame losses with masks, and the one definition of the time axis.

Shape letters: B clips, K classes, T input frames, L label times.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with soft labels per frame: -sum_k y log softmax(z).

    Source: SSDet (AAAI 2023), detection pretraining.

    Args:
        logits: (B, K, L).
        labels: (B, K, L), every column sums to 1.

    Returns:
        (B, L) float32.
    """
    return -(labels.float() * F.log_softmax(logits.float(), dim=1)).sum(dim=1)


def resize_time(logits: Tensor, frames: int) -> Tensor:
    """Bring (B, K, T') logits to `frames` steps by linear interpolation (backbones that shorten time)."""
    if logits.shape[2] == frames:
        return logits
    return F.interpolate(logits.float(), size=frames, mode="linear", align_corners=False)


def interpolate_in_time(values: Tensor, seconds: Tensor, times: Tensor) -> Tensor:
    """Read values at other times: linear between neighbours, constant beyond the ends.

    A logit belongs to the time of its input frame; this is the only place where time is resampled for a loss.

    Args:
        values: (B, K, T).
        seconds: (B, T), rising.
        times: (B, L).

    Returns:
        (B, K, L).
    """
    if values.shape[2] == 1:
        return values.expand(-1, -1, times.shape[1])
    right = torch.searchsorted(seconds.contiguous(), times.contiguous(), right=True).clamp(1, seconds.shape[1] - 1)
    left = right - 1
    t0, t1 = seconds.gather(1, left), seconds.gather(1, right)
    weight = ((times - t0) / (t1 - t0).clamp_min(1e-9)).clamp(0, 1).to(values.dtype).unsqueeze(1)

    def at(index: Tensor) -> Tensor:
        return values.gather(2, index.unsqueeze(1).expand(-1, values.shape[1], -1))

    return torch.lerp(at(left), at(right), weight)


def frame_bce(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over classes and valid times.

    Args:
        logits: (B, K, L).
        labels: (B, K, L) in [0, 1].
        valid: (B, L) bool; times that are padding count neither above nor below the line.

    Returns:
        Scalar; 0 where nothing is valid.
    """
    loss = F.binary_cross_entropy_with_logits(logits.float(), labels.float(), reduction="none").mean(dim=1)
    return (loss * valid).sum() / valid.sum().clamp_min(1)


def clip_max_bce(logits: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy between the maxima over valid time of logits and labels.

    Args:
        logits: (B, K, L).
        labels: (B, K, L).
        valid: (B, L) bool; clips without any valid time are left out.

    Returns:
        Scalar.
    """
    hidden = ~valid.unsqueeze(1)
    highest = logits.float().masked_fill(hidden, -torch.inf).amax(dim=2)
    present = labels.float().masked_fill(hidden, 0.0).amax(dim=2)
    any_valid = valid.any(dim=1, keepdim=True)
    highest = torch.where(any_valid, highest, torch.zeros_like(highest))
    loss = F.binary_cross_entropy_with_logits(highest, present, reduction="none").mean(dim=1)
    return (loss * any_valid[:, 0]).sum() / any_valid.sum().clamp_min(1)
