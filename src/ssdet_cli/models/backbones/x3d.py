"""X3D: mobile-style 3-D residual networks (Feichtenhofer, "X3D: Expanding Architectures for Efficient Video
Recognition", CVPR 2020), with time kept at full length so that every frame has its own feature.

Inside the network a batch of clips is a stack of channels-last frames (B·T, C, H, W), see `layers.frames`; only the
depthwise convolutions, the stem's temporal convolution and squeeze-and-excitation look across time. Weights keep the
shapes of 3-D convolutions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.errors import ConfigError
from ssdet_cli.models.backbones.info import INFO
from ssdet_cli.models.backbones.staged import StagedBackbone, known_stages
from ssdet_cli.models.backbones.x3d_chunks import run_in_chunks
from ssdet_cli.models.layers.checkpoint import recompute
from ssdet_cli.models.layers.depthwise import depthwise_conv3d
from ssdet_cli.models.layers.frames import to_clips, to_frames
from ssdet_cli.models.layers.squeeze_silu import squeeze_silu
from ssdet_cli.models.layers.sub_batchnorm import SubBatchNorm, drop_split_entries, set_norm_splits

INNER_RATIO = 2.25
NORMALIZATION = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))


@dataclass(frozen=True)
class X3DSize:
    """What tells one member of the family from another (X3D, table 1, and width 2.9 rounded to eights for XL).

    Attributes:
        depths: Blocks of the four stages.
        widths: Channels between the blocks of the four stages; the stem has the first.
        conv5: Channels of the last convolution, those of the features.
        hidden: Width of the layer between features and classifier.
    """

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    conv5: int
    hidden: int = 2048


def squeeze_width(channels: int) -> int:
    """Return the inner width of squeeze-and-excitation: a sixteenth, in eights, not below nine tenths of the exact."""
    exact = channels / 16
    width = max(8, int(exact + 4) // 8 * 8)
    return width + 8 if width < 0.9 * exact else width


class Conv(nn.Module):
    """Convolution without bias on frames, and the batch norm after it.

    Where nothing is learned (no gradients, running statistics), norm and convolution are one: the scale goes into the
    weight, the offset becomes a bias.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        kernel: Over time, height, width; over time 1 unless depthwise.
        stride: In space.
        depthwise: Every channel by itself.
        momentum: Of the batch norm; None leaves it out.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        *,
        stride: int = 1,
        depthwise: bool = False,
        momentum: float | None,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, 1 if depthwise else inputs, *kernel))
        self.stride = stride
        self.depthwise = depthwise
        self.norm = None if momentum is None else nn.BatchNorm2d(outputs, momentum=momentum)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor, num_frames: int, *, relu: bool = False) -> Tensor:
        """Return (B·T, outputs, ⌈H / stride⌉, ⌈W / stride⌉) of (B·T, inputs, H, W), clips of `num_frames`.

        With `relu`, which depthwise ones offer, the frames are overwritten by their ReLU first.
        """
        if self.norm is None:
            return self._convolve(frames, num_frames, self.weight, relu=relu)
        if self.norm.training or torch.is_grad_enabled():
            output = self._convolve(frames, num_frames, self.weight, relu=relu)
            return self.norm(output, num_frames) if isinstance(self.norm, SubBatchNorm) else self.norm(output)
        scale = self.norm.weight * torch.rsqrt(self.norm.running_var + self.norm.eps)
        offset = self.norm.bias - self.norm.running_mean * scale
        return self._convolve(frames, num_frames, self.weight * scale[:, None, None, None, None], offset, relu=relu)

    def _convolve(
        self, frames: Tensor, num_frames: int, weight: Tensor, bias: Tensor | None = None, *, relu: bool
    ) -> Tensor:
        if self.depthwise:
            return depthwise_conv3d(frames, weight, num_frames, self.stride, bias, relu=relu)
        return F.conv2d(frames, weight[:, :, 0], bias, self.stride, weight.shape[-1] // 2)


class SqueezeExcite(nn.Module):
    """Scale every channel by what the whole clip, all frames of it, says of all channels (Hu et al., 2018); swish."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = squeeze_width(channels)
        self.reduce = nn.Linear(channels, width)
        self.expand = nn.Linear(width, channels)
        for layer in (self.reduce, self.expand):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, frames: Tensor, num_frames: int) -> Tensor:
        """Return (B·T, C, H, W) frames, scaled, behind the swish."""
        reduce, expand = self.reduce, self.expand
        return squeeze_silu(frames, num_frames, reduce.weight, reduce.bias, expand.weight, expand.bias)


class Bottleneck(nn.Module):
    """1×1×1, depthwise 3×3×3, squeeze-and-excitation, swish, 1×1×1, and the shortcut (X3D, section 3 and figure 2)."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, project: bool, squeeze: bool, momentum: float, zero_last: bool
    ) -> None:
        super().__init__()
        inner = int(INNER_RATIO * outputs)
        self.conv_a = Conv(inputs, inner, momentum=momentum)
        self.conv_b = Conv(inner, inner, (3, 3, 3), stride=stride, depthwise=True, momentum=momentum)
        self.squeeze = SqueezeExcite(inner) if squeeze else None
        self.conv_c = Conv(inner, outputs, momentum=momentum)
        self.shortcut = Conv(inputs, outputs, stride=stride, momentum=momentum) if project else None
        if zero_last:
            nn.init.zeros_(self.conv_c.norm.weight)

    def forward(self, frames: Tensor, num_frames: int) -> Tensor:
        """Return (B·T, outputs, ⌈H / stride⌉, ⌈W / stride⌉) of (B·T, inputs, H, W)."""
        # In place wherever a fresh tensor is overwritten: on a CPU new memory costs more than the arithmetic.
        hidden = self.conv_b(self.conv_a(frames, num_frames), num_frames, relu=True)
        if self.squeeze is not None:
            hidden = self.squeeze(hidden, num_frames)
        else:
            hidden = F.silu(hidden, inplace=not torch.is_grad_enabled())
        hidden = self.conv_c(hidden, num_frames)
        if self.shortcut is not None:
            frames = self.shortcut(frames, num_frames)
        return hidden.add_(frames).relu_()


class Stage(nn.ModuleList):
    """Blocks of one resolution; the first halves height and width and projects its shortcut, also where the channels
    stay, and every second one, from the first on, squeezes.
    """

    #: Whether blocks are run again in the backward pass instead of keeping what it needs.
    checkpointing = False

    def __init__(self, inputs: int, outputs: int, depth: int, **options: float | bool) -> None:
        super().__init__(
            Bottleneck(
                outputs if index else inputs,
                outputs,
                stride=1 if index else 2,
                project=index == 0,
                squeeze=index % 2 == 0,
                **options,
            )
            for index in range(depth)
        )

    def forward(self, frames: Tensor, num_frames: int) -> Tensor:
        """Run all blocks."""
        for block in self:
            frames = recompute(block, frames, num_frames) if self.checkpointing else block(frames, num_frames)
        return frames


class X3D(StagedBackbone):
    """X3D up to and with its last convolution, as a backbone (see `ssdet_cli.models.backbones`).

    Args:
        size: Member of the family.
        default_clip: Frames, raw frames from one to the next, crop in pixels.
        norm_momentum: Of every batch norm.
        norm_splits: Parts of a training batch that every batch norm takes statistics of by itself, see
            `layers.sub_batchnorm`; 1 is ordinary batch norm.
        zero_last: Start every block as its shortcut, by a zero scale in its last batch norm (Goyal et al., 2017).

    Raises:
        ConfigError: `norm_momentum` is outside (0, 1], or `norm_splits` below 1.
    """

    stage_names = ("layer1", "layer2", "layer3", "layer4", "conv5")
    temporal_stride = 1
    normalization = NORMALIZATION

    def __init__(
        self,
        size: X3DSize,
        default_clip: tuple[int, int, int],
        *,
        norm_momentum: float = 0.1,
        norm_splits: int = 1,
        zero_last: bool = True,
    ) -> None:
        super().__init__()
        if not 0.0 < norm_momentum <= 1.0:
            raise ConfigError(f"norm_momentum must be above 0 and at most 1, got {norm_momentum}.")
        self.default_clip = default_clip
        self.num_features = size.conv5
        self.head_hidden = size.hidden
        self.stage_channels = (*size.widths, size.conv5)
        stem = size.widths[0]
        self.stem_space = Conv(3, stem, (1, 3, 3), stride=2, momentum=None)
        self.stem_time = Conv(stem, stem, (5, 1, 1), depthwise=True, momentum=norm_momentum)
        inputs = (stem, *size.widths[:-1])
        for name, wide_in, wide_out, depth in zip(self.stage_names[:-1], inputs, size.widths, size.depths, strict=True):
            setattr(self, name, Stage(wide_in, wide_out, depth, momentum=norm_momentum, zero_last=zero_last))
        self.conv5 = Conv(size.widths[-1], size.conv5, momentum=norm_momentum)
        set_norm_splits(self, norm_splits)
        self.register_load_state_dict_pre_hook(drop_split_entries)

    def stem(self, clips: Tensor) -> Tensor:
        """Return frames (B·T, C, ⌈H / 2⌉, ⌈W / 2⌉), what the first stage takes, of clips (B, 3, T, H, W)."""
        num_frames = clips.shape[2]
        return self.stem_time(self.stem_space(to_frames(clips), num_frames), num_frames).relu_()

    def stage(self, name: str, frames: Tensor, num_frames: int) -> Tensor:
        """Return frames (B·T, C, h, w), the output of one stage, of the output of the one before it."""
        output = getattr(self, name)(frames, num_frames)
        return output.relu_() if name == self.stage_names[-1] else output

    def set_norm_splits(self, splits: int) -> None:
        """Change the parts of a batch that norms see by themselves; new ones start from the aggregated statistics."""
        set_norm_splits(self, splits)

    def set_checkpointing(self, enabled: bool) -> None:
        """Keep the blocks' inputs only, and run every block again in the backward pass (less memory, more time)."""
        for name in self.stage_names[:-1]:
            getattr(self, name).checkpointing = enabled

    def _stages(self, frames: Tensor) -> Iterator[tuple[str, Tensor]]:
        num_frames = frames.shape[2]
        hidden = self.stem(frames)
        for name in self.stage_names:
            hidden = self.stage(name, hidden, num_frames)
            yield name, to_clips(hidden, num_frames)

    def forward_stages_in_chunks(
        self, chunks: Iterable[Tensor], names: Iterable[str]
    ) -> Iterator[tuple[str, int, Tensor]]:
        """Run one video of any length, block by block over chunks of time; exactly `forward_stages` of all of it.

        One block's output of the whole video is held in host memory, the stem's being the largest; what squeezes
        computes its first half twice. See `x3d_chunks`.

        Args:
            chunks: Successive frames (1, 3, t, H, W).
            names: Stages.

        Yields:
            Stage, number of the chunk from 0, and (1, C, t, h, w) on the chunks' device.

        Raises:
            ConfigError: A name is not a stage.
        """
        wanted = known_stages(names, self.stage_names)
        last = max(map(self.stage_names.index, wanted), default=-1)
        for name, number, output in run_in_chunks(self, chunks):
            if self.stage_names.index(name) > last:
                return
            if name in wanted:
                yield name, number, to_clips(output, len(output))


_BASE = X3DSize((3, 5, 11, 7), (24, 48, 96, 192), 432)


def x3d_tiny(*, norm_momentum: float = 0.1, norm_splits: int = 1, zero_last: bool = False) -> X3D:
    """Build an X3D for tests and the demo: real blocks, few of them, quick on two CPU cores.

    Its blocks start at full strength (`zero_last` off, as in the authors' code): runs of a few hundred steps learn
    sooner that way.
    """
    size = X3DSize((1, 2, 2, 2), (16, 24, 48, 96), 216, hidden=256)
    return X3D(size, INFO["x3d_tiny"].clip, norm_momentum=norm_momentum, norm_splits=norm_splits, zero_last=zero_last)


def x3d_xs(*, norm_momentum: float = 0.1, norm_splits: int = 1, zero_last: bool = True) -> X3D:
    """Build X3D-XS: the weights' shapes of M, for 4 frames at 160²."""
    return X3D(_BASE, INFO["x3d_xs"].clip, norm_momentum=norm_momentum, norm_splits=norm_splits, zero_last=zero_last)


def x3d_s(*, norm_momentum: float = 0.1, norm_splits: int = 1, zero_last: bool = True) -> X3D:
    """Build X3D-S: the weights' shapes of M, for 13 frames at 160²."""
    return X3D(_BASE, INFO["x3d_s"].clip, norm_momentum=norm_momentum, norm_splits=norm_splits, zero_last=zero_last)


def x3d_m(*, norm_momentum: float = 0.1, norm_splits: int = 1, zero_last: bool = True) -> X3D:
    """Build X3D-M, for 16 frames at 224²."""
    return X3D(_BASE, INFO["x3d_m"].clip, norm_momentum=norm_momentum, norm_splits=norm_splits, zero_last=zero_last)


def x3d_l(*, norm_momentum: float = 0.1, norm_splits: int = 1, zero_last: bool = True) -> X3D:
    """Build X3D-L: about twice the blocks of M, for 16 frames at 312²."""
    size = X3DSize((5, 10, 25, 15), (24, 48, 96, 192), 432)
    return X3D(size, INFO["x3d_l"].clip, norm_momentum=norm_momentum, norm_splits=norm_splits, zero_last=zero_last)


def x3d_xl(*, norm_momentum: float = 0.1, norm_splits: int = 1, zero_last: bool = True) -> X3D:
    """Build X3D-XL: L, 2.9 instead of 2 times as wide as the base, for 16 frames at 312²."""
    size = X3DSize((5, 10, 25, 15), (32, 72, 136, 280), 630)
    return X3D(size, INFO["x3d_xl"].clip, norm_momentum=norm_momentum, norm_splits=norm_splits, zero_last=zero_last)
