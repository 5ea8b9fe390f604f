"""What `ssdet backbones` prints, without building a network or importing torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BackboneInfo:
    """One row of the table of backbones.

    Attributes:
        parameters: With the linear head for 400 classes.
        frames: Frames of a clip.
        stride: Raw frames from one frame of the clip to the next.
        crop: Height and width in pixels while training.
        gmacs: Billion multiply-adds of convolutions and linear layers for one clip with the per-frame head; papers
            call these GFLOPs.
    """

    parameters: int
    frames: int
    stride: int
    crop: int
    gmacs: float


INFO = {
    "x3d_tiny": BackboneInfo(318_990, 16, 1, 48, 0.035),
    "x3d_xs": BackboneInfo(3_794_322, 4, 12, 160, 0.610),
    "x3d_s": BackboneInfo(3_794_322, 13, 6, 160, 1.983),
    "x3d_m": BackboneInfo(3_794_322, 16, 5, 224, 4.758),
    "x3d_l": BackboneInfo(6_153_432, 16, 5, 312, 18.393),
    "x3d_xl": BackboneInfo(11_095_904, 16, 5, 312, 35.869),
}
