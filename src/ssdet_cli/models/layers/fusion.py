"""What the fine stream tells the coarse one: a scale and a shift at every stage and at the logits (Coarse-Fine
Networks, section 3.3).

All of it is linear maps on channels, point by point in space, so it is done at the few points that the fine features
are stored at, and only scale and shift are enlarged to the coarse maps: the numbers are the same and the largest
tensor is B × K × 7 × 7 × channels. Channels come last in here.

Shapes: B clips, F fine frames, K coarse steps, D channels of a fine stage, h × w points.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: "reference": as linear layers are drawn, so a scale begins near one half; "identity": scales near 1, shifts 0.
FusionInit = Literal["reference", "identity"]
EPSILON = 1e-6
#: Its sigmoid is 0.98: near 1, and steep enough to be learned.
IDENTITY_LOGIT = 4.0


def full_precision(values: Tensor) -> AbstractContextManager:
    """Keep autocast off for what runs inside."""
    kind = values.device.type
    return nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False)  # meta tensors have none


def start_at_identity(scale: nn.Linear, shift: nn.Linear) -> None:
    """Set the layers whose outputs are a scale (before its sigmoid) and a shift so that they change next to nothing."""
    for layer, bias in ((scale, IDENTITY_LOGIT), (shift, 0.0)):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, bias)


class AlignedMean(nn.Module):
    """Mean over the fine frames, weighted by alignment and by a self-attention filter at every point.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, channels)
        self.score = nn.Linear(channels, 1)

    def forward(self, features: Tensor, alignment: Tensor) -> Tensor:
        """Return (B, K, h, w, D) of features (B, D, F, h, w) and alignment (B, F, K)."""
        height, width = features.shape[3:]
        points = features.permute(0, 2, 3, 4, 1).to(self.hidden.weight.dtype)
        attention = torch.sigmoid(self.score(F.relu(self.hidden(points))))
        with full_precision(points):
            # The sum over fine frames is one matrix product of K × F and F × (h·w·D).
            attention = attention.to(alignment.dtype)
            weights = alignment.transpose(1, 2)
            total = torch.bmm(weights, (attention * points).flatten(2)).unflatten(2, (height, width, -1))
            weight = torch.bmm(weights, attention.flatten(2)).unflatten(2, (height, width, 1))
            return (total / (weight + EPSILON)).to(points.dtype)


class TwoLayers(nn.Module):
    """Linear, ReLU, dropout, linear."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, inputs)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(inputs, outputs)

    def forward(self, values: Tensor) -> Tensor:
        """Return (..., outputs) of (..., inputs)."""
        return self.fc2(self.dropout(F.relu(self.fc1(values))))


class Reweighting(nn.Module):
    """What one fine stage says: a raw scale and a shift at every step and point.

    Args:
        channels: D.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = AlignedMean(channels)
        self.scale = TwoLayers(channels, channels)
        self.shift = TwoLayers(channels, channels)

    def forward(self, features: Tensor, alignment: Tensor) -> tuple[Tensor, Tensor]:
        """Return scale and shift, each (B, K, h, w, D), of features (B, D, F, h, w) and alignment (B, F, K)."""
        mean = self.mean(features, alignment)
        return self.scale(mean), self.shift(mean)


class StageMixing(nn.Module):
    """Scale and shift the map of one coarse stage by what all fine stages say.

    Args:
        fine_channels: Sum of the channels of the fine stages.
        channels: Of the coarse stage.
        init: See `FusionInit`.
    """

    def __init__(self, fine_channels: int, channels: int, *, init: FusionInit = "reference") -> None:
        super().__init__()
        self.scale = nn.Linear(fine_channels, channels)
        self.shift = nn.Linear(fine_channels, channels)
        if init == "identity":
            start_at_identity(self.scale, self.shift)

    def forward(self, frames: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """Return coarse frames (B·K, C, H, W), changed.

        Args:
            frames: (B·K, C, H, W), channels-last.
            scale: Raw scales of all fine stages, (B, K, h, w, fine_channels).
            shift: Shifts of all fine stages, the same shape.
        """
        factor, offset = (
            resize(values.flatten(0, 1).permute(0, 3, 1, 2), frames.shape[2:])
            for values in (torch.sigmoid(self.scale(scale)), self.shift(shift))
        )
        return frames * factor + offset


class LogitFusion(nn.Module):
    """Scale and shift the logits by what the last fine stage says, mean over space.

    Args:
        channels: D.
        num_classes: Of the logits.
        dropout: Between the two layers of each branch.
        init: See `FusionInit`.
    """

    def __init__(
        self, channels: int, num_classes: int, *, dropout: float = 0.5, init: FusionInit = "reference"
    ) -> None:
        super().__init__()
        self.mean = AlignedMean(channels)
        self.scale = TwoLayers(channels, num_classes, dropout=dropout)
        self.shift = TwoLayers(channels, num_classes, dropout=dropout)
        if init == "identity":
            start_at_identity(self.scale.fc2, self.shift.fc2)

    def forward(self, logits: Tensor, features: Tensor, alignment: Tensor) -> Tensor:
        """Return logits (B, classes, K), changed, of features (B, D, F, h, w) and alignment (B, F, K)."""
        mean = self.mean(features, alignment).mean((2, 3))
        scale, shift = torch.sigmoid(self.scale(mean)), self.shift(mean)
        return logits * scale.transpose(1, 2) + shift.transpose(1, 2)


def resize(maps: Tensor, size: torch.Size) -> Tensor:
    """Enlarge (N, C, h, w) by repeating the nearest point; where a side shrinks, take means."""
    if maps.shape[2:] == size:
        return maps
    enlarges = all(new >= old for new, old in zip(size, maps.shape[2:], strict=True))
    return F.interpolate(maps, tuple(size), mode="nearest-exact" if enlarges else "area")
