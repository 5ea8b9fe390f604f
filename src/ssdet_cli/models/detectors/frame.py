"""A backbone and a head: one vector of logits per frame."""

from torch import Tensor, nn


class FrameDetector(nn.Module):
    """Per-frame activity detector.

    Args:
        backbone: See `ssdet_cli.models.backbones` for what it must offer.
        head: See `ssdet_cli.models.heads`.
    """

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def classifier(self) -> str:
        """Name of the submodule whose rows are classes."""
        return f"head.{self.head.classifier}"

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K, T) of normalised frames (B, 3, T, H, W); lengths (B,) are the real frames of each clip.

        The backbone sees padding as frames like others; the head does not see it.
        """
        if lengths is not None:
            lengths = -(-lengths // self.backbone.temporal_stride)
        return self.head(self.backbone.forward_features(frames), lengths)
