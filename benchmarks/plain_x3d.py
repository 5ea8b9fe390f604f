"""X3D-M as one would write it first, and our weights in it and in pytorchvideo's: what benchmarks/model.py compares."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.models.backbones.x3d import squeeze_width

DEPTHS, WIDTHS, FEATURES, HIDDEN = (3, 5, 11, 7), (24, 48, 96, 192), 432, 2048


class Conv(nn.Conv3d):
    """nn.Conv3d and nn.BatchNorm3d, named as in our network."""

    def __init__(self, inputs, outputs, kernel=(1, 1, 1), stride=1, groups=1, norm=True):
        padding = tuple(size // 2 for size in kernel)
        super().__init__(inputs, outputs, kernel, (1, stride, stride), padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm3d(outputs) if norm else nn.Identity()

    def forward(self, clips: Tensor) -> Tensor:
        """Convolve, then normalise."""
        return self.norm(super().forward(clips))


class SqueezeExcite(nn.Module):
    """Scale the channels by what the clip says."""

    def __init__(self, channels):
        super().__init__()
        self.reduce = nn.Linear(channels, squeeze_width(channels))
        self.expand = nn.Linear(squeeze_width(channels), channels)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the clips, scaled."""
        scale = torch.sigmoid(self.expand(F.relu(self.reduce(clips.mean((2, 3, 4))))))
        return clips * scale[:, :, None, None, None]


class Block(nn.Module):
    """Bottleneck and shortcut."""

    def __init__(self, inputs, outputs, index):
        super().__init__()
        inner, stride = int(2.25 * outputs), 1 if index else 2
        self.conv_a = Conv(inputs, inner)
        self.conv_b = Conv(inner, inner, (3, 3, 3), stride, groups=inner)
        self.squeeze = nn.Identity() if index % 2 else SqueezeExcite(inner)
        self.conv_c = Conv(inner, outputs)
        self.shortcut = nn.Identity() if index else Conv(inputs, outputs, stride=stride)

    def forward(self, clips: Tensor) -> Tensor:
        """Return the block's output."""
        hidden = F.silu(self.squeeze(self.conv_b(F.relu(self.conv_a(clips)))))
        return F.relu(self.conv_c(hidden) + self.shortcut(clips))


class PlainX3D(nn.Module):
    """Per-frame X3D-M on (B, 3, T, H, W)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem_space = Conv(3, WIDTHS[0], (1, 3, 3), 2, norm=False)
        self.stem_time = Conv(WIDTHS[0], WIDTHS[0], (5, 1, 1), groups=WIDTHS[0])
        for stage, (depth, inputs, outputs) in enumerate(zip(DEPTHS, (WIDTHS[0], *WIDTHS), WIDTHS, strict=False), 1):
            blocks = [Block(outputs if index else inputs, outputs, index) for index in range(depth)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.conv5 = Conv(WIDTHS[-1], FEATURES)
        self.fc1 = nn.Linear(FEATURES, HIDDEN, bias=False)
        self.fc2 = nn.Linear(HIDDEN, classes)

    def features(self, clips: Tensor) -> Tensor:
        """Return (B, C, T) of (B, 3, T, H, W)."""
        clips = F.relu(self.stem_time(self.stem_space(clips)))
        for stage in range(1, 5):
            clips = getattr(self, f"layer{stage}")(clips)
        return F.relu(self.conv5(clips)).mean((3, 4))

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, K, T)."""
        hidden = F.dropout(F.relu(self.fc1(self.features(clips).transpose(1, 2))), 0.5, self.training)
        return self.fc2(hidden).transpose(1, 2)


def copy_to_pytorchvideo(ours: nn.Module, theirs: nn.Module) -> None:
    """Give pytorchvideo's network the weights of our backbone.

    It has no norm at the first stage's shortcut, so that ours is first made an identity.
    """
    norm = ours.layer1[0].shortcut.norm
    norm.reset_parameters()
    norm.running_var.fill_(1 - norm.eps)

    def copy(source: nn.Module, conv: nn.Module, norm: nn.Module | None) -> None:
        conv.weight.data.copy_(source.weight)
        if norm is not None:
            norm.load_state_dict(source.norm.state_dict())

    stem, *stages, head = theirs.blocks
    copy(ours.stem_space, stem.conv.conv_t, None)  # named the other way round there
    copy(ours.stem_time, stem.conv.conv_xy, stem.norm)
    for number, stage in enumerate(stages, start=1):
        for source, target in zip(getattr(ours, f"layer{number}"), stage.res_blocks, strict=True):
            branch = target.branch2
            copy(source.conv_a, branch.conv_a, branch.norm_a)
            copy(source.conv_b, branch.conv_b, branch.norm_b[0])
            copy(source.conv_c, branch.conv_c, branch.norm_c)
            if source.shortcut is not None:
                copy(source.shortcut, target.branch1_conv, target.branch1_norm)
            if source.squeeze is not None:
                for layer, index in ((source.squeeze.reduce, 0), (source.squeeze.expand, 2)):
                    branch.norm_b[1].block[index].weight.data.copy_(layer.weight[:, :, None, None, None])
                    branch.norm_b[1].block[index].bias.data.copy_(layer.bias)
    copy(ours.conv5, head.pool.pre_conv, head.pool.pre_norm)


def pytorchvideo_features(theirs: nn.Module, clips: Tensor) -> Tensor:
    *body, head = theirs.blocks
    for block in body:
        clips = block(clips)
    return head.pool.pre_act(head.pool.pre_norm(head.pool.pre_conv(clips))).mean((3, 4))
