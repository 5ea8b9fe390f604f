"""A backbone and a head: one vector of logits per frame."""

import math

from torch import Tensor, nn

from ssdet_cli.models.layers.time_axis import hold_last, to_input_frames


def stage_strides(backbone: nn.Module) -> tuple[int, ...]:
    """Input frames per step, of every stage of a backbone."""
    return getattr(backbone, "stage_strides", (backbone.temporal_stride,) * len(backbone.stage_names))


def temporal_multiple(backbone: nn.Module) -> int:
    """Where windows may begin so that a backbone's steps are those of the whole video: at multiples of this."""
    strides = getattr(backbone, "stage_strides", (getattr(backbone, "temporal_stride", 1),))
    return math.lcm(getattr(backbone, "temporal_multiple", 1), *strides)


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
    def temporal_reach(self) -> int | None:
        """Input frames to either side that a frame's logits depend on; None where that is not known or unlimited."""
        of_backbone = getattr(self.backbone, "temporal_reach", None)
        of_head = getattr(self.head, "temporal_reach", None)
        if of_backbone is None or of_head is None:
            return None
        stride = self.backbone.temporal_stride
        between = 0 if stride == 1 else 2 * stride  # logits are interpolated, and constant beyond the last step
        return of_backbone + stride * of_head + between

    @property
    def longest_clip(self) -> int | None:
        """Input frames that should go in one pass at most, where the backbone knows; see `engine.exact`."""
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
        return self.at_input_frames(logits, frames.shape[2])

    def at_input_frames(self, logits: Tensor, num_frames: int) -> Tensor:
        """Return logits (B, K, T) at input frames of logits (B, K, steps) at the backbone's steps."""
        offset = getattr(self.backbone, "temporal_offset", 0.0)
        return to_input_frames(logits, num_frames, self.backbone.temporal_stride, offset)
