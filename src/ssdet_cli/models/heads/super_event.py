"""Super-events: what the whole video says about every class, added to what the frame says.

Source: Piergiovanni & Ryoo, "Learning Latent Super-Events to Detect Multiple Activities in Videos" (CVPR 2018). Left
out is the filters' third parameter, a stride that the authors' code multiplies by zero.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.errors import ConfigError
from ssdet_cli.models.heads.base import PerFrameHead, check_count, usable_lengths
from ssdet_cli.models.layers.temporal_kernels import TemporalKernels, valid_steps

SETS = 2
#: Features per second that the authors' widths, in features, were made for (I3D, 24 fps / 8).
REFERENCE_RATE = 3.0


class SuperEvents(nn.Module):
    """Two temporal structure filters: each sums the video's features under N kernels and keeps the largest sums.

    Args:
        filters: N.
        kernel: See `TemporalKernels`.
        feature_rate: Features per second; widths, at most 4.5 features in the authors' code, then keep the length in
            seconds that they have there. None keeps them in features.

    Raises:
        ConfigError: A value out of range.
    """

    def __init__(self, filters: int = 3, *, kernel: str = "cauchy", feature_rate: float | None = None) -> None:
        super().__init__()
        check_count("filters", filters)
        if feature_rate is not None and feature_rate <= 0:
            raise ConfigError(f"feature_rate must be above 0, got {feature_rate}.")
        scale = 1.0 if feature_rate is None else feature_rate / REFERENCE_RATE
        self.kernels = TemporalKernels(SETS * filters, kind=kernel, scale=scale)

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return (B, 2, D) of frames (B, T, D) with valid lengths (B,)."""
        steps = frames.shape[1]
        if lengths is not None:
            frames = frames.masked_fill(~valid_steps(lengths, steps)[..., None], 0.0)
        sums = self.kernels(steps, lengths).to(frames.dtype) @ frames
        return sums.unflatten(1, (SETS, -1)).amax(dim=2)


class EventClasses(nn.Module):
    """Everything that belongs to a class; row k of every parameter is class k.

    Args:
        num_classes: K.
        frame_features: Width of what a frame gives.
        event_features: D of the super-events.

    Attributes:
        weight, bias: Of the classifier on frames, (K, frame_features) and (K,).
        events: Of the class's score of a super-event, (K, D).
        choice: (K,), σ of it is the part of the first of the two super-events; starts at 0, one half.
    """

    def __init__(self, num_classes: int, frame_features: int, event_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, frame_features))
        self.bias = nn.Parameter(torch.empty(num_classes))
        self.events = nn.Parameter(torch.empty(num_classes, event_features))
        self.choice = nn.Parameter(torch.zeros(num_classes))

    def event_scores(self, super_events: Tensor) -> Tensor:
        """Return one number per class (B, K) of super-events (B, 2, D): weights times their soft choice."""
        first, second = F.linear(super_events, self.events).unbind(dim=1)
        part = torch.sigmoid(self.choice)
        return part * first + (1 - part) * second

    def forward(self, frames: Tensor) -> Tensor:
        """Return the classifier's logits (B, T, K) of frames (B, T, frame_features)."""
        return F.linear(frames, self.weight, self.bias)


class SuperEventHead(PerFrameHead):
    """A linear classifier on every frame, and one number per class and video added to all its frames.

    In a video that is predicted in windows, each window is a video of its own.

    Args:
        in_features: C.
        num_classes: K.
        hidden: See `PerFrameHead`.
        dropout: On the frames' features, before everything, and on the super-events.
        filters: See `SuperEvents`.
        kernel: See `TemporalKernels`.
        feature_rate: See `SuperEvents`.

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
        dropout: float = 0.7,
        filters: int = 3,
        kernel: str = "cauchy",
        feature_rate: float | None = None,
    ) -> None:
        super().__init__(in_features, hidden, dropout)
        self.super_events = SuperEvents(filters, kernel=kernel, feature_rate=feature_rate)
        self.classes = EventClasses(num_classes, self.width, self.width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as the authors' code does: U(±1/√2D)."""
        super().reset_parameters()
        for parameter in (self.classes.weight, self.classes.bias, self.classes.events):
            nn.init.uniform_(parameter, -((2 * self.width) ** -0.5), (2 * self.width) ** -0.5)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K, T) of features (B, C, T); lengths (B,) are valid steps, None where all are."""
        lengths = usable_lengths(lengths, features)
        frames = self.dropout(self.project(features))
        scores = self.classes.event_scores(self.dropout(self.super_events(frames, lengths)))
        return (self.classes(frames) + scores[:, None]).transpose(1, 2)
