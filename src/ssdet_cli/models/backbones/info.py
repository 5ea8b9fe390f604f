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
            call these GFLOPs. Attention's products are counted too.
        weights: Whose published weights it can start from.
    """

    parameters: int
    frames: int
    stride: int
    crop: int
    gmacs: float
    weights: str

    @property
    def clip(self) -> tuple[int, int, int]:
        """Frames, stride and crop, a backbone's `default_clip`."""
        return self.frames, self.stride, self.crop


_ZOOS = "SlowFast, pytorchvideo"
_TORCHVISION = "torchvision (--init hub)"

INFO = {
    "x3d_tiny": BackboneInfo(318_990, 16, 1, 48, 0.035, "none published"),
    "x3d_xs": BackboneInfo(3_794_322, 4, 12, 160, 0.610, _ZOOS),
    "x3d_s": BackboneInfo(3_794_322, 13, 6, 160, 1.983, _ZOOS),
    "x3d_m": BackboneInfo(3_794_322, 16, 5, 224, 4.758, f"authors, {_ZOOS}"),
    "x3d_l": BackboneInfo(6_153_432, 16, 5, 312, 18.393, _ZOOS),
    "x3d_xl": BackboneInfo(11_095_904, 16, 5, 312, 35.869, "none published"),
    "slowfast_r50_4x16": BackboneInfo(34_480_216, 32, 2, 224, 27.667, _ZOOS),
    "slowfast_r50_8x8": BackboneInfo(34_566_488, 32, 2, 224, 50.337, _ZOOS),
    "torchvision/r3d_18": BackboneInfo(33_371_472, 16, 2, 112, 40.697, _TORCHVISION),
    "torchvision/mc3_18": BackboneInfo(11_695_440, 16, 2, 112, 43.346, _TORCHVISION),
    "torchvision/r2plus1d_18": BackboneInfo(31_505_325, 16, 2, 112, 40.519, _TORCHVISION),
    "torchvision/s3d": BackboneInfo(8_320_048, 128, 2, 224, 143.833, _TORCHVISION),
    "torchvision/mvit_v1_b": BackboneInfo(36_610_672, 16, 4, 224, 70.602, _TORCHVISION),
    "torchvision/mvit_v2_s": BackboneInfo(34_537_744, 16, 4, 224, 64.226, _TORCHVISION),
    "torchvision/swin3d_t": BackboneInfo(28_158_070, 32, 2, 224, 87.769, _TORCHVISION),
    "torchvision/swin3d_s": BackboneInfo(49_816_678, 32, 2, 224, 165.687, _TORCHVISION),
    "torchvision/swin3d_b": BackboneInfo(88_048_984, 32, 2, 224, 281.339, _TORCHVISION),
}
