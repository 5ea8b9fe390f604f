"""Temporal Gaussian mixture layers: long temporal convolutions of few parameters, the same for every feature.

Source: Piergiovanni & Ryoo, "Temporal Gaussian Mixture Layer for Videos" (ICML 2019). The names are the paper's; the
authors' code, and so the default here, mixes Cauchy densities. Left out is their third parameter per kernel, which has
no effect. Attention weights start small; the authors' code leaves them uninitialised.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.models.heads.base import PerFrameHead, check_count, usable_lengths
from ssdet_cli.models.layers.temporal_kernels import TemporalKernels, valid_steps

ATTENTION_STD = 0.01


class TGMLayer(nn.Module):
    """Convolution over time whose kernels are soft mixtures of a few learned densities.

    Output channel o convolves input channel i with its own mixture; where there are several input channels, a weighted
    sum over them, bias and ReLU follow. Features do not mix. The weighted sum of convolutions is computed as one
    convolution with weighted kernels, which is the same.

    Args:
        inputs: Channels in; 1 leaves out weighted sum, bias and ReLU.
        outputs: Channels out.
        gaussians: Densities M that are mixed.
        length: Steps L of a kernel.
        kernel: See `TemporalKernels`.

    Raises:
        ConfigError: A value out of range.
    """

    def __init__(
        self, inputs: int, outputs: int, *, gaussians: int = 16, length: int = 5, kernel: str = "cauchy"
    ) -> None:
        super().__init__()
        for name, value in (("gaussians", gaussians), ("length", length), ("channels", outputs)):
            check_count(name, value)
        self.length = length
        self.kernels = TemporalKernels(gaussians, kind=kernel)
        self.attention = nn.Parameter(torch.empty(outputs, inputs, gaussians))
        nn.init.normal_(self.attention, std=ATTENTION_STD)
        mixes = inputs > 1
        self.mix = nn.Parameter(torch.empty(outputs, inputs)) if mixes else None
        self.bias = nn.Parameter(torch.empty(outputs)) if mixes else None
        if mixes:
            for parameter in (self.mix, self.bias):
                nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5)

    def weight(self) -> Tensor:
        """Return the kernels (outputs, inputs, L), each but for `mix` summing to 1."""
        shares = self.attention.float().softmax(dim=-1)
        # Not a matrix product: autocast would round it.
        mixed = (shares[..., None] * self.kernels(self.length)).sum(dim=-2)
        return mixed if self.mix is None else mixed * self.mix[..., None]

    def forward(self, channels: Tensor) -> Tensor:
        """Return (B, outputs, D, T) of (B, inputs, D, T); zeros stand before and after, one more after for even L."""
        weight = self.weight()[:, :, None].to(channels.dtype)
        output = F.conv2d(channels, weight, self.bias, padding=(0, self.length // 2))[..., 1 - self.length % 2 :]
        return output if self.mix is None else F.relu(output)


class TGMStack(nn.Module):
    """TGM layers one after the other, from one channel to `channels`, then the largest of these.

    Args:
        layers: Number of layers.
        channels: Between and after them.
        **options: See `TGMLayer`.

    Raises:
        ConfigError: A value out of range.
    """

    def __init__(self, layers: int = 3, channels: int = 8, **options: int | str) -> None:
        super().__init__()
        check_count("layers", layers)
        self.layers = nn.ModuleList(TGMLayer(channels if i else 1, channels, **options) for i in range(layers))

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, T, D) of frames (B, T, D); what lies beyond lengths (B,) is zero to every layer."""
        channels = frames.transpose(1, 2)[:, None]
        outside = None if lengths is None else ~valid_steps(lengths, frames.shape[1])[:, None, None]
        for layer in self.layers:
            channels = layer(channels if outside is None else channels.masked_fill(outside, 0.0))
        return channels.amax(dim=1).transpose(1, 2)


class TGMHead(PerFrameHead):
    """A classifier with one hidden layer on every frame's features and what the TGM layers make of them.

    Args:
        in_features: C.
        num_classes: K.
        hidden: See `PerFrameHead`.
        dropout: On both halves of the classifier's input.
        layers: See `TGMStack`.
        channels: See `TGMStack`.
        gaussians: See `TGMLayer`.
        length: See `TGMLayer`.
        kernel: See `TemporalKernels`.
        units: Width of the classifier's hidden layer.

    Raises:
        ConfigError: A value out of range.
    """

    classifier = "classes"

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        hidden: int | None = None,
        dropout: float = 0.5,
        layers: int = 3,
        channels: int = 8,
        gaussians: int = 16,
        length: int = 5,
        kernel: str = "cauchy",
        units: int = 512,
    ) -> None:
        super().__init__(in_features, hidden, dropout)
        check_count("units", units)
        self.stack = TGMStack(layers, channels, gaussians=gaussians, length=length, kernel=kernel)
        self.joint = nn.Linear(2 * self.width, units)
        self.classes = nn.Linear(units, num_classes)
        self.reset_parameters()

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K, T) of features (B, C, T); lengths (B,) are valid steps, None where all are."""
        lengths = usable_lengths(lengths, features)
        frames = self.project(features)
        both = torch.cat((self.dropout(frames), self.dropout(self.stack(frames, lengths))), dim=2)
        return self.classes(F.relu(self.joint(F.relu(both)))).transpose(1, 2)
