"""Super-events and TGM layers together (Piergiovanni & Ryoo, ICML 2019, section 4; the authors' `Hierarchy`)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.models.heads.base import PerFrameHead, check_count, usable_lengths
from ssdet_cli.models.heads.super_event import EventClasses, SuperEvents
from ssdet_cli.models.heads.tgm import TGMStack


class JointEventClasses(EventClasses):
    """`EventClasses` whose scores go through the hidden layer; row k of every parameter is class k.

    Attributes:
        joint: What the class's super-event score adds to the hidden layer, (K, units): the columns of the hidden
            layer's weight that belong to classes.
    """

    def __init__(self, num_classes: int, units: int, event_features: int) -> None:
        super().__init__(num_classes, units, event_features)
        self.joint = nn.Parameter(torch.empty(num_classes, units))


class TGMSuperEventHead(PerFrameHead):
    """`TGMHead` whose hidden layer sees, on every frame, the video's super-event scores of all classes as well.

    In a video that is predicted in windows, each window is a video of its own.

    Args:
        in_features: C.
        num_classes: K.
        hidden: See `PerFrameHead`.
        dropout: On the frames' features, the TGM layers' and the super-events.
        layers: See `TGMStack`.
        channels: See `TGMStack`.
        gaussians: See `TGMLayer`.
        length: See `TGMLayer`.
        filters: See `SuperEvents`.
        kernel: See `TemporalKernels`; of layers and super-events.
        feature_rate: See `SuperEvents`.
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
        filters: int = 3,
        kernel: str = "cauchy",
        feature_rate: float | None = None,
        units: int = 512,
    ) -> None:
        super().__init__(in_features, hidden, dropout)
        check_count("units", units)
        self.stack = TGMStack(layers, channels, gaussians=gaussians, length=length, kernel=kernel)
        self.super_events = SuperEvents(filters, kernel=kernel, feature_rate=feature_rate)
        self.joint = nn.Linear(2 * self.width, units)
        self.classes = JointEventClasses(num_classes, units, self.width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights as the authors' code does: ±1/√4D for the scores, ±1/√fan_in for the layers."""
        super().reset_parameters()
        classes, units = self.classes, self.joint.out_features
        fan_in = 2 * self.width + len(classes.bias)
        for fan, parameters in (
            (4 * self.width, (classes.events,)),
            (fan_in, (self.joint.weight, self.joint.bias, classes.joint)),
            (units, (classes.weight, classes.bias)),
        ):
            for parameter in parameters:
                nn.init.uniform_(parameter, -(fan**-0.5), fan**-0.5)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K, T) of features (B, C, T); lengths (B,) are valid steps, None where all are."""
        lengths = usable_lengths(lengths, features)
        frames = self.project(features)
        scores = self.classes.event_scores(self.dropout(self.super_events(frames, lengths)))
        both = torch.cat((self.dropout(frames), self.dropout(self.stack(frames, lengths))), dim=2)
        of_events = F.relu(scores) @ self.classes.joint
        return self.classes(F.relu(self.joint(F.relu(both)) + of_events[:, None])).transpose(1, 2)
