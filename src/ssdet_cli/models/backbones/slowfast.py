"""SlowFast (Feichtenhofer et al., ICCV 2019), R50, with one feature vector per frame of the fast pathway.

The slow pathway sees every alpha-th frame with all channels, the fast one all frames with an eighth of them; after the
stem and after every stage but the last, a strided convolution brings the fast pathway to the slow one. A clip's
features are the mean over space of both; each slow step stands for the alpha frames it came from. Pooling and the
linear classifier are linear, so the time mean of the frames' logits is the logit of the clip network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ssdet_cli.errors import ConfigError
from ssdet_cli.models.backbones.info import INFO
from ssdet_cli.models.backbones.staged import StagedBackbone
from ssdet_cli.models.layers.time_axis import pad_frames

SlowSampling = Literal["aligned", "linspace"]
#: Width of the fast pathway, and channels of a lateral connection, as parts of the slow width and of its input.
BETA_INVERSE, LATERAL_RATIO = 8, 2
#: A block's outer channels over its inner ones (ResNet's bottleneck).
EXPANSION = 4


@dataclass(frozen=True)
class SlowFastSize:
    """What tells one member of the family from another (SlowFast, tables 1 and 5).

    Attributes:
        alpha: Fast frames per slow frame.
        lateral_kernel: Length in time of the lateral convolutions.
        width: Channels of the slow stem; the fast one has an eighth.
        depths: Blocks of the four stages.
    """

    alpha: int
    lateral_kernel: int
    width: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)


class ConvNorm(nn.Module):
    """3-D convolution without bias, padded to keep the size, and batch norm."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int, int] = (1, 1, 1),
        stride: tuple[int, int, int] = (1, 1, 1),
        *,
        momentum: float,
    ) -> None:
        super().__init__()
        padding = tuple(size // 2 for size in kernel)
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(outputs, momentum=momentum)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips: Tensor) -> Tensor:
        """Return (B, outputs, T', H', W') of (B, inputs, T, H, W)."""
        return self.norm(self.conv(clips))


class Bottleneck(nn.Module):
    """Convolutions over time, over space (with the stride) and over channels, beside a shortcut."""

    def __init__(
        self, inputs: int, inner: int, *, kernel_time: int, stride: int, project: bool, momentum: float, zero_last: bool
    ) -> None:
        super().__init__()
        space, outputs = (1, stride, stride), EXPANSION * inner
        self.a = ConvNorm(inputs, inner, (kernel_time, 1, 1), momentum=momentum)
        self.b = ConvNorm(inner, inner, (1, 3, 3), space, momentum=momentum)
        self.c = ConvNorm(inner, outputs, momentum=momentum)
        self.shortcut = ConvNorm(inputs, outputs, stride=space, momentum=momentum) if project else nn.Identity()
        if zero_last:
            nn.init.zeros_(self.c.norm.weight)

    def forward(self, clips: Tensor) -> Tensor:
        """Return (B, 4 · inner, T, ⌈H / stride⌉, ⌈W / stride⌉) of (B, inputs, T, H, W)."""
        hidden = self.c(self.b(self.a(clips).relu_()).relu_())
        return hidden.add_(self.shortcut(clips)).relu_()


class Pathway(nn.Module):
    """One of the two ResNets: stem and the stages res2 to res5.

    Args:
        width: Channels of the stem.
        depths: Blocks of the stages.
        stem_time: Length in time of the stem's convolution.
        kernels_time: Length in time of the blocks' first convolution, per stage.
        lateral: Channels that join the input of each stage, per channel of the stage before.
        momentum: Of the batch norms.
        zero_last: See `SlowFast`.
    """

    def __init__(
        self,
        width: int,
        depths: tuple[int, ...],
        *,
        stem_time: int,
        kernels_time: tuple[int, ...],
        lateral: float,
        momentum: float,
        zero_last: bool,
    ) -> None:
        super().__init__()
        self.stem = ConvNorm(3, width, (stem_time, 7, 7), (1, 2, 2), momentum=momentum)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        before = width
        for index, (depth, kernel_time) in enumerate(zip(depths, kernels_time, strict=True)):
            inner = width * 2**index
            blocks = [
                Bottleneck(
                    EXPANSION * inner if block else before + int(lateral * before),
                    inner,
                    kernel_time=kernel_time,
                    stride=2 if index and not block else 1,
                    project=not block,
                    momentum=momentum,
                    zero_last=zero_last,
                )
                for block in range(depth)
            ]
            setattr(self, f"res{index + 2}", nn.Sequential(*blocks))
            before = EXPANSION * inner

    def begin(self, clips: Tensor) -> Tensor:
        """Return what enters res2: (B, width, T, H / 4, W / 4) of (B, 3, T, H, W)."""
        return self.pool(self.stem(clips).relu_())


class SlowFast(StagedBackbone):
    """SlowFast up to its last stage, as a backbone (see `ssdet_cli.models.backbones`).

    A stage is what both pathways have after it, slow channels first, each slow step repeated alpha times, so that it
    has a step per input frame: (B, slow + fast, T, h, w). Its slow channels are those before the next lateral
    connection joins them.

    Args:
        size: Member of the family.
        default_clip: Frames of the fast pathway, raw frames from one to the next, crop in pixels.
        slow_sampling: Frames of the slow pathway. "aligned" takes every alpha-th, to which the lateral convolutions
            line up in a window of any length; "linspace" spreads them from the first frame to the last, as the public
            weights were trained and tested for classification.
        norm_momentum: Of every batch norm.
        zero_last: Start every block as its shortcut, by a zero scale in its last batch norm (Goyal et al., 2017).

    Raises:
        ConfigError: An option is out of range.
    """

    stage_names = ("res2", "res3", "res4", "res5")
    stage_strides = (1, 1, 1, 1)
    temporal_stride = 1
    head_hidden = None
    normalization = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))

    def __init__(
        self,
        size: SlowFastSize,
        default_clip: tuple[int, int, int],
        *,
        slow_sampling: SlowSampling = "aligned",
        norm_momentum: float = 0.1,
        zero_last: bool = True,
    ) -> None:
        super().__init__()
        if slow_sampling not in get_args(SlowSampling):
            raise ConfigError(f"slow_sampling must be one of {', '.join(get_args(SlowSampling))}, got {slow_sampling}.")
        if not 0.0 < norm_momentum <= 1.0:
            raise ConfigError(f"norm_momentum must be above 0 and at most 1, got {norm_momentum}.")
        self.default_clip = default_clip
        self.alpha = size.alpha
        self.slow_sampling = slow_sampling
        slow, fast = size.width, size.width // BETA_INVERSE
        norms = {"momentum": norm_momentum, "zero_last": zero_last}
        lateral = LATERAL_RATIO / BETA_INVERSE
        self.slow = Pathway(slow, size.depths, stem_time=1, kernels_time=(1, 1, 3, 3), lateral=lateral, **norms)
        self.fast = Pathway(fast, size.depths, stem_time=5, kernels_time=(3, 3, 3, 3), lateral=0, **norms)
        self.laterals = nn.ModuleList(
            ConvNorm(
                channels,
                LATERAL_RATIO * channels,
                (size.lateral_kernel, 1, 1),
                (size.alpha, 1, 1),
                momentum=norm_momentum,
            )
            for channels in (fast, *(EXPANSION * fast * 2**index for index in range(3)))
        )
        self.stage_channels = tuple(EXPANSION * (slow + fast) * 2**index for index in range(4))
        self.num_features = self.stage_channels[-1]

    @property
    def temporal_multiple(self) -> int:
        """Windows that begin at a slow frame have the slow frames of the whole video."""
        return self.alpha

    @property
    def temporal_reach(self) -> int | None:
        """Frames that a step sees to one side, by the longest way through both pathways."""
        if self.slow_sampling == "linspace":
            return None
        half = [conv.conv.weight.shape[2] // 2 for conv in self.laterals]
        fast = slow = self.fast.stem.conv.weight.shape[2] // 2
        for name, lateral in zip(self.stage_names, half, strict=True):
            slow = max(slow, fast + lateral) + self.alpha * _halves(getattr(self.slow, name))
            fast += _halves(getattr(self.fast, name))
        # A slow step stands for the frames after it, too.
        return max(slow + self.alpha - 1, fast)

    def slow_frames(self, clips: Tensor) -> Tensor:
        """Return the slow pathway's (B, 3, T / alpha, H, W) of (B, 3, T, H, W), T a multiple of alpha."""
        if self.slow_sampling == "aligned":
            return clips[:, :, :: self.alpha]
        last, number = clips.shape[2] - 1, clips.shape[2] // self.alpha
        # ⌊linspace(0, T - 1, T / alpha)⌋ in whole numbers
        return clips[:, :, torch.arange(number, device=clips.device) * last // max(number - 1, 1)]

    def _pathways(self, frames: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield (name, slow (B, C, T' / alpha, h, w), fast (B, C / 8, T', h, w)), T' being T padded to alpha."""
        frames = pad_frames(frames, self.alpha)
        slow, fast = self.slow.begin(self.slow_frames(frames)), self.fast.begin(frames)
        for name, lateral in zip(self.stage_names, self.laterals, strict=True):
            slow = getattr(self.slow, name)(torch.cat((slow, lateral(fast).relu_()), dim=1))
            fast = getattr(self.fast, name)(fast)
            yield name, slow, fast

    def _stages(self, frames: Tensor) -> Iterator[tuple[str, Tensor]]:
        for name, slow, fast in self._pathways(frames):
            yield name, self._join(slow, fast, frames.shape[2])

    def _join(self, slow: Tensor, fast: Tensor, num_frames: int) -> Tensor:
        """Put slow and fast (B, C, steps, …) together at every input frame; what was padded is cut."""
        return torch.cat((slow.repeat_interleave(self.alpha, dim=2), fast), dim=1)[:, :, :num_frames]

    def forward_features(self, frames: Tensor) -> Tensor:
        """Return features (B, C, T) of (B, 3, T, H, W) frames: both pathways' last stage, mean over space."""
        for _, slow, fast in self._pathways(frames):
            last = slow, fast
        slow, fast = (pathway.mean((3, 4)) for pathway in last)
        return self._join(slow, fast, frames.shape[2])


def _halves(stage: nn.Sequential) -> int:
    return sum(block.a.conv.weight.shape[2] // 2 for block in stage)


def slowfast_r50_4x16(
    *, slow_sampling: SlowSampling = "aligned", norm_momentum: float = 0.1, zero_last: bool = True
) -> SlowFast:
    """Build SlowFast R50 4×16: 32 fast and 4 slow frames."""
    options = {"slow_sampling": slow_sampling, "norm_momentum": norm_momentum, "zero_last": zero_last}
    return SlowFast(SlowFastSize(alpha=8, lateral_kernel=5), INFO["slowfast_r50_4x16"].clip, **options)


def slowfast_r50_8x8(
    *, slow_sampling: SlowSampling = "aligned", norm_momentum: float = 0.1, zero_last: bool = True
) -> SlowFast:
    """Build SlowFast R50 8×8: 32 fast and 8 slow frames."""
    options = {"slow_sampling": slow_sampling, "norm_momentum": norm_momentum, "zero_last": zero_last}
    return SlowFast(SlowFastSize(alpha=4, lateral_kernel=7), INFO["slowfast_r50_8x8"].clip, **options)
