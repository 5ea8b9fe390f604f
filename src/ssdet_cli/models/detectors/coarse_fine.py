"""Coarse-Fine Networks: two streams, one that sees every frame and one that chooses where to look (Kahatapitiya and
Ryoo, "Coarse-Fine Networks for Temporal Activity Detection in Videos", CVPR 2021).

Shapes: B clips, T frames, F fine frames, K classes, S = ⌈⌈T/2⌉/2⌉ + 1 coarse steps, D channels of a fine stage.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.models.backbones.x3d import X3D
from ssdet_cli.models.detectors.frame import FrameDetector
from ssdet_cli.models.heads.linear import LinearHead
from ssdet_cli.models.layers.frames import to_clips
from ssdet_cli.models.layers.fusion import FusionInit, LogitFusion, Reweighting, StageMixing
from ssdet_cli.models.layers.grid_pool import GridPool, grid_unpool, regions, spread
from ssdet_cli.models.layers.temporal_alignment import temporal_alignment

#: Mean and standard deviation of the three channels.
Normalization = tuple[tuple[float, ...], tuple[float, ...]]
#: Height and width that fine features are pooled to.
FINE_POINTS = 7


def pooled_stages(backbone: nn.Module, clips: Tensor, points: int = FINE_POINTS) -> dict[str, Tensor]:
    """Return all stages of a backbone, each pooled to (B, D, T, points, points) by adaptive means, time kept."""
    stages = backbone.forward_stages(clips, backbone.stage_names)
    return {
        name: to_clips(F.adaptive_avg_pool2d(stage.transpose(1, 2).flatten(0, 1), points), stage.shape[2])
        for name, stage in stages.items()
    }


def renormalised(clips: Tensor, before: Normalization, after: Normalization) -> Tensor:
    """Return clips (B, 3, T, H, W), normalised by `before`, as `after` would have normalised them."""
    if before == after:
        return clips
    (mean, std), (new_mean, new_std) = (clips.new_tensor(values)[:, :, None, None, None] for values in (before, after))
    return (clips * std + (mean - new_mean)) / new_std


class Fusion(nn.Module):
    """All layers that carry the fine stream into the coarse one.

    Args:
        fine_channels: Name -> channels of the fine stages, first to last; the last one changes the logits.
        coarse_channels: Name -> channels of the coarse stages whose maps are changed.
        num_classes: K.
        dropout: In the fusion of the logits.
        init: See `layers.fusion.FusionInit`.
    """

    def __init__(
        self,
        fine_channels: Mapping[str, int],
        coarse_channels: Mapping[str, int],
        num_classes: int,
        *,
        dropout: float,
        init: FusionInit,
    ) -> None:
        super().__init__()
        *mixed, self.last = fine_channels
        total = sum(fine_channels[name] for name in mixed)
        self.reweight = nn.ModuleDict({name: Reweighting(fine_channels[name]) for name in mixed})
        self.mix = nn.ModuleDict(
            {name: StageMixing(total, channels, init=init) for name, channels in coarse_channels.items()}
        )
        self.logits = LogitFusion(fine_channels[self.last], num_classes, dropout=dropout, init=init)

    def modulation(self, features: Mapping[str, Tensor], alignment: Tensor) -> tuple[Tensor, Tensor]:
        """Return raw scales and shifts of all stages but the last, (B, S, h, w, ΣD), of (B, D, F, h, w) each."""
        pairs = [layer(features[name], alignment) for name, layer in self.reweight.items()]
        scales, shifts = zip(*pairs, strict=True)
        return torch.cat(scales, -1), torch.cat(shifts, -1)


class CoarseStream(nn.Module):
    """X3D that goes on at few, well chosen times after its first stage, changed by fine features at every stage.

    Args:
        backbone: The X3D.
        num_classes: K.
        fine_channels: Name -> channels of the stages of the fine stream, first to last.
        dropout: Of the head and of the fusion of the logits.
        fusion_init: See `layers.fusion.FusionInit`.
        sigma_divisor: See `layers.temporal_alignment`.

    Raises:
        ConfigError: `backbone` is no X3D, or a value is out of range.
    """

    #: Parts that no weights of an X3D hold.
    own_parts = ("pool.", "fusion.")

    def __init__(
        self,
        backbone: X3D,
        num_classes: int,
        fine_channels: Mapping[str, int],
        *,
        dropout: float = 0.5,
        fusion_init: FusionInit = "reference",
        sigma_divisor: float = 8.0,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, X3D):
            raise ConfigError(f"The coarse stream needs an X3D, got a {type(backbone).__name__}.")
        if fusion_init not in ("reference", "identity"):
            raise ConfigError(f"fusion_init must be 'reference' or 'identity', got '{fusion_init}'.")
        if not sigma_divisor > 0:
            raise ConfigError(f"sigma_divisor must be above 0, got {sigma_divisor}.")
        self.sigma_divisor = sigma_divisor
        self.fine_channels = dict(fine_channels)
        self.backbone = backbone
        channels = dict(zip(backbone.stage_names, backbone.stage_channels, strict=True))
        del channels[backbone.stage_names[-1]]
        self.pool = GridPool(backbone.stage_channels[0], norm_momentum=backbone.stem_time.norm.momentum)
        self.fusion = Fusion(fine_channels, channels, num_classes, dropout=dropout, init=fusion_init)
        self.head = LinearHead(backbone.num_features, num_classes, hidden=backbone.head_hidden, dropout=dropout)

    @property
    def classifier(self) -> tuple[str, ...]:
        """Names of the submodules whose rows are classes."""
        return (f"head.{self.head.classifier}", "fusion.logits.scale.fc2", "fusion.logits.shift.fc2")

    def forward(
        self,
        clips: Tensor,
        fine_features: Mapping[str, Tensor],
        fine_mask: Tensor | None = None,
        fine_start: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Return logits (B, K, T); arguments as of `CoarseFine`."""
        num_frames, steps_of_each = clips.shape[2], None
        if lengths is not None:
            lengths = lengths.to(clips.device).clamp(1, num_frames)
            steps_of_each = regions(lengths) + 1
        self._check(fine_features, clips.shape[0])
        if fine_mask is None:
            fine_mask = clips.new_ones((clips.shape[0], fine_features[self.fusion.last].shape[2]), dtype=torch.bool)
        else:
            fine_mask = fine_mask.bool()  # other code has masks of 0 and 1
            # What stands in padding must not count, whatever it is: zero times infinity would.
            padding = ~fine_mask[:, None, :, None, None]
            fine_features = {name: fine_features[name].masked_fill(padding, 0) for name in self.fine_channels}

        first, *rest, last = self.backbone.stage_names
        frames = self.backbone.stage(first, self.backbone.stem(clips), num_frames)
        frames, positions = self.pool(frames, num_frames, lengths)
        steps = positions.shape[1]
        alignment = temporal_alignment(
            positions, num_frames, fine_mask, fine_start, sigma_divisor=self.sigma_divisor, lengths=lengths
        )
        scales, shifts = self.fusion.modulation(fine_features, alignment)
        frames = self.fusion.mix[first](frames, scales, shifts)
        for name in rest:
            frames = self.fusion.mix[name](self.backbone.stage(name, frames, steps), scales, shifts)
        features = to_clips(self.backbone.stage(last, frames, steps), steps).mean((3, 4))
        logits = self.fusion.logits(self.head(features), fine_features[self.fusion.last], alignment)
        logits = grid_unpool(logits, positions, steps, steps_of_each)
        if lengths is not None:
            return spread(logits, num_frames, steps_of_each, lengths)
        return F.interpolate(logits, num_frames, mode="linear", align_corners=True)

    def _check(self, features: Mapping[str, Tensor], clips: int) -> None:
        """See that the features are those of the fine stream.

        Raises:
            DataError: A stage is missing or has another shape.
        """
        for name, channels in self.fine_channels.items():
            if name not in features:
                raise DataError(f"Fine features lack '{name}'; they have {', '.join(features) or 'nothing'}.")
            batch, found, *_ = shape = tuple(features[name].shape)
            if len(shape) != 5 or (batch, found) != (clips, channels):
                raise DataError(f"Fine features '{name}' must be ({clips}, {channels}, F, h, w), got {shape}.")


class CoarseFine(nn.Module):
    """Both streams; the fine one runs on the clip, or did so before and its features are given.

    Args:
        fine: Per-frame detector, a checkpoint of which is the fine stream's; only its backbone runs here.
        coarse: The coarse stream.

    Raises:
        ConfigError: The fine stream has no feature for every frame.
    """

    #: Parts that no weights of an X3D hold.
    own_parts = tuple(f"coarse.{part}" for part in CoarseStream.own_parts)

    def __init__(self, fine: FrameDetector, coarse: CoarseStream) -> None:
        super().__init__()
        if fine.backbone.temporal_stride != 1:
            raise ConfigError(
                f"The fine stream needs a feature for every frame; this backbone has one for every "
                f"{fine.backbone.temporal_stride}."
            )
        self.fine = fine
        self.coarse = coarse

    @property
    def backbone(self) -> X3D:
        """Backbone of the coarse stream: says what the clips should be like, normalisation included."""
        return self.coarse.backbone

    @property
    def classifier(self) -> tuple[str, ...]:
        """Names of the submodules whose rows are classes."""
        return (f"fine.{self.fine.classifier}", *(f"coarse.{name}" for name in self.coarse.classifier))

    def train(self, mode: bool = True) -> "CoarseFine":
        """Set the mode; a frozen fine stream stays in evaluation, so that its statistics do not move either."""
        super().train(mode)
        if not self._fine_learns():
            self.fine.eval()
        return self

    def _fine_learns(self) -> bool:
        return any(parameter.requires_grad for parameter in self.fine.backbone.parameters())

    def get_extra_state(self) -> Tensor:
        """Mean and standard deviation of the fine stream's input, (2, 3): the streams may come from different files."""
        return torch.tensor(self.fine.backbone.normalization, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take them back."""
        self.fine.backbone.normalization = tuple(tuple(row) for row in state.tolist())

    def fine_features(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the fine stream's features: stage name -> (B, D, T, 7, 7).

        Args:
            clips: (B, 3, T, H, W), normalised for the coarse stream.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self._fine_learns() or clips.requires_grad)):
            clips = renormalised(clips, self.backbone.normalization, self.fine.backbone.normalization)
            return pooled_stages(self.fine.backbone, clips)

    def forward(
        self,
        clips: Tensor,
        fine_features: Mapping[str, Tensor] | None = None,
        fine_mask: Tensor | None = None,
        fine_start: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Return logits at the frames of the clips.

        Args:
            clips: (B, 3, T, H, W), normalised; any T, any size.
            fine_features: Stage name -> (B, D, F, h, w), at the same sampling rate as the clips, of the whole video;
                None runs the fine stream on the clips.
            fine_mask: (B, F) bool or numbers, False or 0 at padding; None where all F are real.
            fine_start: (B,) first frame of every clip, in fine frames; None is 0.
            lengths: (B,) frames of each clip that are real, where shorter clips were padded; None is all. Grid Pool
                samples none of the others, and the logits beyond repeat the last; squeeze-and-excitation of the stages
                before it sees all frames.

        Returns:
            (B, K, T), at least single precision.

        Raises:
            DataError: Features of another fine stream.
            ConfigError: A mask or starts without features.
        """
        if fine_features is None:
            if fine_mask is not None or fine_start is not None:
                raise ConfigError("fine_mask and fine_start describe fine_features, which were not given.")
            fine_features = self.fine_features(clips)
            if lengths is not None:
                fine_mask = torch.arange(clips.shape[2], device=clips.device) < lengths.to(clips.device)[:, None]
        return self.coarse(clips, fine_features, fine_mask, fine_start, lengths)


def build_coarse_fine(
    fine: X3D,
    coarse: X3D,
    num_classes: int,
    *,
    dropout: float = 0.5,
    fusion_init: FusionInit = "reference",
    sigma_divisor: float = 8.0,
) -> CoarseFine:
    """Put two backbones together.

    Args:
        fine: Of the fine stream.
        coarse: Of the coarse stream.
        num_classes: K, of both classifiers.
        dropout: Of both heads and of the fusion of the logits.
        fusion_init: See `layers.fusion.FusionInit`.
        sigma_divisor: See `layers.temporal_alignment`.
    """
    head = LinearHead(fine.num_features, num_classes, hidden=fine.head_hidden, dropout=dropout)
    stream = CoarseStream(
        coarse,
        num_classes,
        dict(zip(fine.stage_names, fine.stage_channels, strict=True)),
        dropout=dropout,
        fusion_init=fusion_init,
        sigma_divisor=sigma_divisor,
    )
    return CoarseFine(FrameDetector(fine, head), stream)
