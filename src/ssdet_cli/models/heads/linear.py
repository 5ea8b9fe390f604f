"""The classifier of X3D, applied to every frame by itself."""

from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.errors import ConfigError


class LinearHead(nn.Module):
    """Hidden layer without bias, ReLU, dropout, classifier (X3D, Feichtenhofer 2020, table 1).

    Initialised as SlowFast's recipe has it: hidden layer N(0, 2 / fan_out), classifier N(0, 0.01²) with bias 0.

    Args:
        in_features: C.
        num_classes: K.
        hidden: Width of the hidden layer; None leaves it and its ReLU out.
        dropout: Probability of dropping an input of the classifier while training.

    Raises:
        ConfigError: `dropout` is outside [0, 1).
    """

    classifier = "fc2"

    def __init__(self, in_features: int, num_classes: int, *, hidden: int | None = None, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {dropout}.")
        self.fc1 = nn.Linear(in_features, hidden, bias=False) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden or in_features, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        if self.fc1 is not None:
            nn.init.kaiming_normal_(self.fc1.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc2.weight, std=0.01)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (B, K, T) of features (B, C, T)."""
        hidden = features.transpose(1, 2)
        if self.fc1 is not None:
            hidden = F.relu(self.fc1(hidden))
        return self.fc2(self.dropout(hidden)).transpose(1, 2)
