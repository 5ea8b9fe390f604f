"""The classifier of X3D, applied to every frame by itself."""

from torch import Tensor, nn

from ssdet_cli.models.heads.base import PerFrameHead


class LinearHead(PerFrameHead):
    """Hidden layer without bias, ReLU, dropout, classifier (X3D, Feichtenhofer 2020, table 1).

    Initialised as SlowFast's recipe has it: hidden layer N(0, 2 / fan_out), classifier N(0, 0.01²) with bias 0.

    Args:
        in_features: C.
        num_classes: K.
        hidden: Width of the hidden layer; None leaves it and its ReLU out.
        dropout: Probability of dropping an input of the classifier while training.

    Raises:
        ConfigError: `dropout` is outside [0, 1), or `hidden` below 0.
    """

    classifier = "fc2"
    temporal_reach = 0

    def __init__(self, in_features: int, num_classes: int, *, hidden: int | None = None, dropout: float = 0.5) -> None:
        super().__init__(in_features, hidden, dropout)
        self.fc2 = nn.Linear(self.width, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        super().reset_parameters()
        nn.init.normal_(self.fc2.weight, std=0.01)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K, T) of features (B, C, T); no frame sees another, so lengths (B,) change nothing."""
        return self.fc2(self.dropout(self.project(features))).transpose(1, 2)
