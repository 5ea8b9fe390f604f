"""The video classifiers of torchvision as per-frame backbones: their own modules, pooled over space only.

What torchvision builds stays under `video` with its own names, so that its weights fit by a prefix; only the
classifier and the pooling over time are left out. A network that strides over time has a step every `temporal_stride`
input frames, the first one centred at input frame `temporal_offset`.
"""

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
import torchvision.models
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.errors import ConfigError
from ssdet_cli.models.backbones.info import INFO
from ssdet_cli.models.backbones.staged import StagedBackbone
from ssdet_cli.models.layers.time_axis import pad_frames, steps
from ssdet_cli.models.weights.hub import Published, torchvision_weights

PREFIX = "torchvision/"
#: Three taps over time each: the stem, and four convolutions in each stage, the first of which strides.
_RESNET_REACH = 1 + 4 * 1 + (1 + 3 * 2) + (2 + 3 * 4) + (4 + 3 * 8)
#: Stem of seven taps; then at steps of 2 one convolution, two Inception blocks and a pooling, at 4 five blocks, a
#: pooling of the next step, and at 8 two blocks.
_S3D_REACH = 3 + 2 * (1 + 2 + 1) + 4 * (5 + 1) + 8 * 2


class VideoBackbone(StagedBackbone):
    """A network of torchvision without its classifier, as a backbone (see `ssdet_cli.models.backbones`).

    Args:
        name: As torchvision has it.
        stage_channels: Channels of the stages.
        stage_strides: Input frames from step to step, per stage; the last one is that of the features.
        offset: Input frame at which the first step of the features is centred.
        reach: Frames to one side that any step depends on; None where attention looks further or everywhere.
    """

    #: Submodule that torchvision classifies with.
    classifier: ClassVar[str]
    #: Smallest height and width that the network accepts, and the multiple its number of frames is padded to.
    smallest_crop: ClassVar[int] = 1
    frame_multiple: ClassVar[int] = 1
    head_hidden = None

    def __init__(
        self,
        name: str,
        stage_channels: tuple[int, ...],
        stage_strides: tuple[int, ...],
        offset: float = 0.0,
        reach: int | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.video = torchvision.models.get_model(name, weights=None)
        setattr(self.video, self.classifier.partition(".")[0], nn.Identity())
        self.stage_channels = stage_channels
        self.stage_strides = stage_strides
        self.temporal_stride = stage_strides[-1]
        self.temporal_offset = offset
        self.temporal_reach = reach
        self.num_features = stage_channels[-1]
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        self.normalization = (tuple(preset.mean), tuple(preset.std))
        self.default_clip = INFO[PREFIX + name].clip

    def published(self) -> Published:
        """Return torchvision's own weights, downloaded unless they are there.

        Raises:
            CheckpointError: They can be neither found nor fetched.
        """
        return torchvision_weights(self.name)

    def _stages(self, frames: Tensor) -> Iterator[tuple[str, Tensor]]:
        if min(frames.shape[3:]) < self.smallest_crop:
            height, width = frames.shape[3:]
            raise ConfigError(f"{PREFIX}{self.name} needs {self.smallest_crop}² pixels or more, got {height}x{width}.")
        outputs = self._run(pad_frames(frames, self.frame_multiple))
        for name, stride, output in zip(self.stage_names, self.stage_strides, outputs, strict=False):
            yield name, output[:, :, : steps(frames.shape[2], stride)]

    @abstractmethod
    def _run(self, frames: Tensor) -> Iterator[Tensor]:
        """Yield the output (B, C, steps, h, w) of one stage after the other."""


class ResNet(VideoBackbone):
    """R3D, MC3 and R(2+1)D (Tran et al., CVPR 2018). A step is centred where its strided convolutions are."""

    classifier = "fc"
    stage_names = ("layer1", "layer2", "layer3", "layer4")

    def _run(self, frames: Tensor) -> Iterator[Tensor]:
        frames = self.video.stem(frames)
        for name in self.stage_names:
            frames = getattr(self.video, name)(frames)
            yield frames


class S3D(VideoBackbone):
    """S3D (Xie et al., ECCV 2018). Stages end where the next pooling begins.

    The last pooling takes pairs of steps, four frames apart, without padding: it would drop an odd last one, so clips
    are padded, and its outputs lie in the middle of a pair.
    """

    classifier = "classifier.1"
    stage_names = ("stage1", "stage2", "stage3", "stage4")
    smallest_crop, frame_multiple = 17, 8
    ends = (4, 7, 13, 16)

    def _run(self, frames: Tensor) -> Iterator[Tensor]:
        start = 0
        for end in self.ends:
            for layer in self.video.features[start:end]:
                frames = layer(frames)
            yield frames
            start = end


class MViT(VideoBackbone):
    """Multiscale vision transformers (Fan et al., ICCV 2021; Li et al., CVPR 2022), for any length and crop.

    Stages are the blocks of one resolution, without the class token, which the blocks use as ever; the last stage is
    behind the network's final norm. Torchvision classifies the class token, not the patches, so its classifier means
    something else than ours.

    Positions are torchvision's own at 16 frames of 224² pixels. Elsewhere absolute ones (v1) are interpolated,
    linearly over time and bicubically over space; relative ones (v2) torchvision interpolates by itself. Attention
    goes over the whole clip and its memory grows with the square of the length: longer videos go through in windows of
    16 frames.
    """

    classifier = "head.1"
    longest_clip = 16
    stage_names = ("stage1", "stage2", "stage3", "stage4")

    def _run(self, frames: Tensor) -> Iterator[Tensor]:
        tokens = self.video.conv_proj(frames)
        size = tuple(tokens.shape[2:])
        tokens = self._with_positions(tokens.flatten(2).transpose(1, 2), size)
        for block, following in zip(self.video.blocks, [*self.video.blocks[1:], None], strict=True):
            tokens, size = block(tokens, size)
            if following is None:
                tokens = self.video.norm(tokens)
            if following is None or following.pool_skip is not None:  # the next one strides over space
                yield tokens[:, 1:].transpose(1, 2).unflatten(2, size)

    def _with_positions(self, tokens: Tensor, size: tuple[int, int, int]) -> Tensor:
        """Put the class token before (B, t · h · w, C) and add absolute positions where the network has them."""
        encoding = self.video.pos_encoding
        tokens = torch.cat((encoding.class_token.expand(tokens.shape[0], 1, -1), tokens), dim=1)
        if encoding.spatial_pos is None:
            return tokens
        time, space = encoding.temporal_pos, encoding.spatial_pos
        if size[0] != encoding.temporal_size:
            time = F.interpolate(time.T[None], size=size[0], mode="linear")[0].T
        if size[1:] != tuple(encoding.spatial_size):
            grid = space.T.unflatten(1, encoding.spatial_size)[None]
            space = F.interpolate(grid, size=size[1:], mode="bicubic")[0].flatten(1).T
        positions = (time[:, None] + space).flatten(0, 1)
        return tokens + torch.cat((encoding.class_pos[None], positions))


class Swin(VideoBackbone):
    """Video Swin transformers (Liu et al., CVPR 2022). A step is centred between the two frames of its patch.

    Stages are the blocks of one resolution; the last one is behind the network's final norm. Torchvision pads a last
    odd frame by zeros.
    """

    classifier = "head"
    stage_names = ("stage1", "stage2", "stage3", "stage4")

    def _run(self, frames: Tensor) -> Iterator[Tensor]:
        frames = self.video.pos_drop(self.video.patch_embed(frames))
        last = len(self.video.features) - 1
        for index, layer in enumerate(self.video.features):
            frames = layer(frames)  # stages, and between them what merges patches
            if index == last:
                frames = self.video.norm(frames)
            if index % 2 == 0:
                yield frames.permute(0, 4, 1, 2, 3)


def r3d_18() -> ResNet:
    """Build R3D-18: 3-D convolutions throughout."""
    return ResNet("r3d_18", (64, 128, 256, 512), (1, 2, 4, 8), reach=_RESNET_REACH)


def mc3_18() -> ResNet:
    """Build MC3-18: looks across time in its stem and first stage only, and keeps every frame."""
    return ResNet("mc3_18", (64, 128, 256, 512), (1, 1, 1, 1), reach=5)


def r2plus1d_18() -> ResNet:
    """Build R(2+1)D-18: convolutions over space and over time in turn."""
    return ResNet("r2plus1d_18", (64, 128, 256, 512), (1, 2, 4, 8), reach=_RESNET_REACH)


def s3d() -> S3D:
    """Build S3D: separable convolutions in Inception blocks."""
    return S3D("s3d", (192, 480, 832, 1024), (2, 2, 4, 8), offset=2.0, reach=_S3D_REACH)


def mvit_v1_b() -> MViT:
    """Build MViTv1-B 16×4."""
    return MViT("mvit_v1_b", (192, 384, 768, 768), (2, 2, 2, 2))


def mvit_v2_s() -> MViT:
    """Build MViTv2-S 16×4."""
    return MViT("mvit_v2_s", (96, 192, 384, 768), (2, 2, 2, 2))


def _swin(name: str, width: int) -> Swin:
    return Swin(name, tuple(width * 2**index for index in range(4)), (2, 2, 2, 2), offset=0.5)


def swin3d_t() -> Swin:
    """Build Video Swin-T."""
    return _swin("swin3d_t", 96)


def swin3d_s() -> Swin:
    """Build Video Swin-S."""
    return _swin("swin3d_s", 96)


def swin3d_b() -> Swin:
    """Build Video Swin-B; the published weights are those trained on Kinetics alone."""
    return _swin("swin3d_b", 128)
