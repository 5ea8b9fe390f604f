"""Which fine frames belong to which coarse step: Gaussian weights (Coarse-Fine Networks, section 3.3)."""

import torch
from torch import Tensor

from ssdet_cli.models.layers.grid_pool import last_frames


def temporal_alignment(
    positions: Tensor,
    num_frames: int,
    fine_mask: Tensor,
    fine_start: Tensor | None = None,
    *,
    sigma_divisor: float = 8.0,
    lengths: Tensor | None = None,
) -> Tensor:
    """Return the weight of every fine frame for every coarse step.

    Step k stands for the fine frame μ = g·(T - 1) + start, the very frame that Grid Pool samples (the authors' code
    has g·T there, one frame more at the end). The weights are a Gaussian around μ, scaled so that the nearest frame
    of the video has weight 1, also where μ lies far outside the video.

    Args:
        positions: g, (B, K) in [0, 1].
        num_frames: T, input frames of the coarse clip.
        fine_mask: (B, F) bool, False at padding.
        fine_start: (B,) first frame of the coarse clip, in fine frames; None is 0.
        sigma_divisor: The standard deviation is the number of fine frames of the video, divided by this.
        lengths: (B,) frames of each coarse clip that are real; None is all.

    Returns:
        (B, F, K) in [0, 1], 0 at padding; of the dtype of `positions`.
    """
    centre = positions * last_frames(num_frames, lengths)
    if fine_start is not None:
        centre = centre + fine_start.to(centre.dtype)[:, None]
    valid = fine_mask[:, :, None]
    sigma = fine_mask.sum(1).clamp(min=1).to(centre.dtype)[:, None, None] / sigma_divisor
    frames = torch.arange(fine_mask.shape[1], device=centre.device, dtype=centre.dtype)[None, :, None]
    exponent = -((frames - centre[:, None]) ** 2) / (2 * sigma**2)
    exponent = exponent.masked_fill(~valid, torch.finfo(exponent.dtype).min)
    # Less the greatest exponent instead of divided by the greatest weight: nothing underflows. A video without any
    # fine frame has equal exponents, which the mask then removes.
    return torch.exp(exponent - exponent.amax(1, keepdim=True)) * valid
