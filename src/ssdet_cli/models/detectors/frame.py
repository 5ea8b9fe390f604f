"""A backbone and a head: one vector of logits per frame."""

from torch import Tensor, nn

from ssdet_cli.models.layers.time_axis import hold_last, to_input_frames


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

    @property
    def longest_clip(self) -> int | None:
        """Input frames that should go in one pass at most, where the backbone knows; see `engine.predict`."""
        return getattr(self.backbone, "longest_clip", None)

    def forward(self, frames: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (B, K, T) of normalised frames (B, 3, T, H, W), of which `lengths` (B,) are real in each clip.

        Where the backbone strides over time, logits between its steps are linear, and constant beyond the ends. The
        head never sees the steps beyond a clip's length; the backbone does, as frames like any other.
        """
        features, stride = self.backbone.forward_features(frames), self.backbone.temporal_stride
        if lengths is None:
            logits = self.head(features)
        else:
            lengths = -(-lengths.to(features.device) // stride)
            logits = hold_last(self.head(features, lengths), lengths)
        offset = getattr(self.backbone, "temporal_offset", 0.0)
        return to_input_frames(logits, frames.shape[2], stride, offset)
