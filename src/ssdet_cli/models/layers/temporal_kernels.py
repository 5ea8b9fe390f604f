"""Learned distributions over time: the filters of super-events and the kernels of TGM layers.

Sources: Piergiovanni & Ryoo, "Learning Latent Super-Events to Detect Multiple Activities in Videos" (CVPR 2018) for
the Cauchy form, and "Temporal Gaussian Mixture Layer for Videos" (ICML 2019) for the Gaussian one.
"""

import math

import torch
from torch import Tensor, nn

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError

KERNELS = ("cauchy", "gaussian")


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """Return (B, T) bool, True at the first `lengths` (B,) of `steps` steps."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


class TemporalKernels(nn.Module):
    """N distributions over the steps of a sequence, each with a learned centre and a learned width.

    With ĉ, γ̂ the parameters and ℓ the sequence's length, the centre is (ℓ - 1)(tanh ĉ + 1) / 2. Then

    - "cauchy": f(t) = 1 / (π γ (((t - c) / γ)² + 1)) with γ = exp(1.5 - 2 |tanh γ̂|), between 0.61 and 4.48 steps,
      divided by its sum over the sequence + 10⁻⁶. This is the authors' code in both papers, and their weights'.
    - "gaussian": f(t) = exp(-(t - c)² / 2σ²) with σ² = exp(γ̂), divided by its sum: the formula of the TGM paper.

    Centres start at N(0, 0.5²), widths at N(0, 10⁻⁸): γ near its maximum, σ near 1. They are computed in float32
    whatever the parameters' type or autocast: bfloat16 has no room for a centre at step 300.4.

    Args:
        count: N.
        kind: "cauchy" or "gaussian".
        scale: Factor on every width.

    Raises:
        ConfigError: Another kind.
    """

    def __init__(self, count: int, *, kind: str = "cauchy", scale: float = 1.0) -> None:
        super().__init__()
        if kind not in KERNELS:
            raise ConfigError(f"Unknown kernel '{kind}'.{nearest(kind, KERNELS)} Known: {', '.join(KERNELS)}.")
        self.kind, self.scale = kind, scale
        self.centre = nn.Parameter(torch.empty(count))
        self.width = nn.Parameter(torch.empty(count))
        nn.init.normal_(self.centre, std=0.5)
        nn.init.normal_(self.width, std=1e-4)

    def forward(self, steps: int, lengths: Tensor | None = None) -> Tensor:
        """Return (N, T) kernels over `steps` = T; with `lengths` (B,) every video's own (B, N, T), 0 beyond its end."""
        last = steps - 1 if lengths is None else lengths[:, None] - 1
        centre = last * (torch.tanh(self.centre.float()) + 1) / 2
        distance = torch.arange(steps, device=centre.device) - centre[..., None]
        outside = None if lengths is None else ~valid_steps(lengths, steps)[:, None]
        if self.kind == "gaussian":
            exponent = -0.5 * distance.square() / (self.scale**2 * torch.exp(self.width.float()))[:, None]
            return (exponent if outside is None else exponent.masked_fill(outside, -torch.inf)).softmax(dim=-1)
        width = self.scale * torch.exp(1.5 - 2 * torch.tanh(self.width.float()).abs())[:, None]
        density = 1 / (math.pi * width * ((distance / width).square() + 1))
        if outside is not None:
            density = density.masked_fill(outside, 0.0)
        return density / (density.sum(dim=-1, keepdim=True) + 1e-6)
