"""What the heads have in common."""

from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.errors import ConfigError


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a number below `least`.

    Raises:
        ConfigError: It is.
    """
    if value < least:
        raise ConfigError(f"{name} must be at least {least}, got {value}.")


class PerFrameHead(nn.Module):
    """Projection of every frame's features, and dropout.

    The projection is the layer between features and classifier that belongs to the backbone's family (X3D,
    Feichtenhofer 2020, table 1). Every head has it under one name, so that pretrained weights serve all of them.

    Args:
        in_features: C.
        hidden: Width of the projection (no bias, ReLU); None and 0 leave it out.
        dropout: Probability of dropping a number while training.

    Raises:
        ConfigError: `dropout` is outside [0, 1), or `hidden` below 0.
    """

    classifier: str
    #: Steps to either side that a step's logits depend on; None where that is the whole video or not known.
    temporal_reach: int | None = None

    def __init__(self, in_features: int, hidden: int | None, dropout: float) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ConfigError(f"dropout must be at least 0 and below 1, got {dropout}.")
        if hidden is not None:
            check_count("hidden", hidden, least=0)
        self.fc1 = nn.Linear(in_features, hidden, bias=False) if hidden else None
        self.dropout = nn.Dropout(dropout)
        self.width = hidden or in_features

    def reset_parameters(self) -> None:
        """Draw the projection from N(0, 2 / fan_out), as SlowFast's recipe has it."""
        if self.fc1 is not None:
            nn.init.kaiming_normal_(self.fc1.weight, mode="fan_out", nonlinearity="relu")

    def project(self, features: Tensor) -> Tensor:
        """Return (B, T, D) of features (B, C, T); D is `width`."""
        frames = features.transpose(1, 2)
        return frames if self.fc1 is None else F.relu(self.fc1(frames))


def usable_lengths(lengths: Tensor | None, features: Tensor) -> Tensor | None:
    """Return `lengths` on the device of features (B, C, T), at least 1 and at most T.

    Raises:
        ValueError: Not one number per video.
    """
    if lengths is None:
        return None
    if lengths.shape != features.shape[:1]:
        raise ValueError(f"lengths must be ({features.shape[0]},), got {tuple(lengths.shape)}.")
    return lengths.to(features.device).clamp(1, features.shape[2])
