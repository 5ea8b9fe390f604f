"""Any image model of timm on every frame, and convolutions over time behind it, so that motion can be seen.

What timm builds stays under `image` with its own names, so that its weights fit by a prefix. The convolutions over time
begin as the identity: pretrained features of frames pass through them unharmed.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import CheckpointError, ConfigError
from ssdet_cli.models.backbones.staged import known_stages
from ssdet_cli.models.layers.checkpoint import CountOnce
from ssdet_cli.models.layers.frames import to_clips, to_frames
from ssdet_cli.models.weights.hub import Published, unreachable

PREFIX = "timm/"
#: Frames that go through the image model together in evaluation, unless `frames_per_chunk` says otherwise.
CHUNK = 64
#: Frames of a clip and raw frames between them that X3D-M uses; timm's models know one frame only.
FRAMES, STRIDE = 16, 5
#: What makes models of a fixed size accept others; each family of timm knows one of them or none.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class TimeBlock(nn.Module):
    """Residual convolution over time, every channel by itself, and a linear layer across channels.

    The linear layer begins at zero, the block as the identity. Layer norm sees one frame at a time: nothing depends on
    the rest of the batch.

    Args:
        channels: C.
        kernel: Frames that the convolution sees, odd.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.time = nn.Conv1d(channels, channels, kernel, padding=kernel // 2, groups=channels)
        self.mix = nn.Linear(channels, channels)
        nn.init.zeros_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, C, T) of (B, C, T)."""
        hidden = self.time(self.norm(features.transpose(1, 2)).transpose(1, 2))
        return features + self.mix(F.gelu(hidden).transpose(1, 2)).transpose(1, 2)


class TimmFrames(nn.Module):
    """An image model on every frame and a stack of `TimeBlock`, as a backbone (see `ssdet_cli.models.backbones`).

    Stages are those that timm offers for the image model, `stage1` onwards, frame by frame and before any convolution
    over time; the last one, `time`, is the features themselves, (B, C, T, 1, 1).

    Args:
        name: As timm has it, with or without the tag of its weights ("resnet18.a1_in1k").
        frames_per_chunk: Frames that go through the image model together. It bounds the memory and changes no result
            in evaluation; while training, batch norm takes its statistics over a chunk. By default all frames at once
            while training, and in an exported program, and 64 in evaluation.
        time_depth: Blocks over time; 0 leaves every frame by itself.
        time_kernel: Frames that a block sees, odd.
        drop_path: Stochastic depth of the image model; None leaves it as timm has it.

    Raises:
        ConfigError: Unknown name, or an option that is out of range or that this model of timm does not have.
    """

    temporal_stride = 1
    head_hidden = None
    own_parts = ("time.",)

    def __init__(
        self,
        name: str,
        *,
        frames_per_chunk: int | None = None,
        time_depth: int = 2,
        time_kernel: int = 5,
        drop_path: float | None = None,
    ) -> None:
        super().__init__()
        if frames_per_chunk is not None and frames_per_chunk < 1:
            raise ConfigError(f"frames_per_chunk must be at least 1, got {frames_per_chunk}.")
        if time_depth < 0 or time_kernel < 1 or time_kernel % 2 == 0:
            raise ConfigError(f"time_depth must be at least 0 and time_kernel odd, got {time_depth} and {time_kernel}.")
        self.name = name
        self.frames_per_chunk = frames_per_chunk
        self.options = {} if drop_path is None else {"drop_path_rate": drop_path}
        self.image, self.only_size = _build(name, self.options)
        config = self.image.pretrained_cfg
        self.normalization = (tuple(config["mean"]), tuple(config["std"]))
        self.default_clip = (FRAMES, STRIDE, config["input_size"][-1])
        self.num_features = getattr(self.image, "head_hidden_size", self.image.num_features)
        self._checkpointed: CountOnce | None = None
        self.time = nn.Sequential(*(TimeBlock(self.num_features, time_kernel) for _ in range(time_depth)))
        channels = _stage_channels(self.image)
        self.stage_names = (*(f"stage{index + 1}" for index in range(len(channels))), "time")
        self.stage_channels = (*channels, self.num_features)
        self.stage_strides = (1,) * len(self.stage_names)

    def set_checkpointing(self, enabled: bool) -> None:
        """Run the image model's blocks again in the backward pass instead of keeping what it needs.

        Raises:
            ConfigError: This model of timm cannot.
        """
        try:
            self.image.set_grad_checkpointing(enabled)
        except (AssertionError, AttributeError) as error:
            raise ConfigError(
                f"timm's '{self.name}' cannot recompute its activations; leave checkpoint_activations at false."
            ) from error
        if self._checkpointed is None:
            self._checkpointed = CountOnce(self.image)

    @property
    def temporal_reach(self) -> int:
        """Frames to one side that the convolutions over time see."""
        return sum(block.time.kernel_size[0] // 2 for block in self.time)

    def published(self) -> Published:
        """Return timm's own weights, downloaded unless they are there.

        Raises:
            CheckpointError: There are none, or they can be neither found nor fetched.
        """
        config = self.image.pretrained_cfg
        where = f"https://huggingface.co/{config['hf_hub_id']}" if config.get("hf_hub_id") else config.get("url")
        if not where:
            raise CheckpointError(f"timm publishes no weights for '{self.name}'; give a file (--init FILE).")
        try:
            image, _ = _build(self.name, self.options, pretrained=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise unreachable(where, "give its model.safetensors by --init FILE", error) from error
        return Published(where, "timm", {f"image.{key}": value for key, value in image.state_dict().items()}, {}, None)

    def _chunked(self, run: Callable[[Tensor], Any], frames: Tensor) -> list[Any]:
        """Run the image model on frames (N, 3, H, W), so many at once.

        Raises:
            ConfigError: The model takes one size only, and it is another.
        """
        if self.only_size is not None and tuple(frames.shape[2:]) != self.only_size:
            height, width = self.only_size
            got = f"{frames.shape[2]}x{frames.shape[3]}"
            raise ConfigError(f"{PREFIX}{self.name} takes {height}x{width} pixels only, got {got} (clip.size).")
        # An exported program has no loop of unknown length: it takes any number of frames at once.
        at_once = self.training or torch.compiler.is_exporting()
        size = self.frames_per_chunk or (None if at_once else CHUNK)
        plain = self._checkpointed is None or torch.compiler.is_compiling()
        with nullcontext() if plain else self._checkpointed.running():
            if size is None or frames.shape[0] <= size:  # not len(): it would fix the number in an exported network
                return [run(frames)]
            return [run(chunk) for chunk in frames.split(size)]

    def forward(self, frames: Tensor) -> Tensor:
        """Return `forward_features(frames)`."""
        return self.forward_features(frames)

    def forward_features(self, frames: Tensor) -> Tensor:
        """Return features (B, C, T) of (B, 3, T, H, W) frames."""
        pooled = torch.cat(self._chunked(self.image, to_frames(frames)))
        return self.time(pooled.unflatten(0, (-1, frames.shape[2])).transpose(1, 2))

    def forward_stages(self, frames: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the named stages of (B, 3, T, H, W) frames, each (B, C, T, h, w).

        Raises:
            ConfigError: A name is not a stage.
        """
        wanted = known_stages(names, self.stage_names)
        indices = [self.stage_names.index(name) for name in wanted if name != "time"]
        outputs = dict(self._intermediates(frames, indices)) if indices else {}
        if "time" in wanted:
            outputs["time"] = self.forward_features(frames)[..., None, None]
        return outputs

    def _intermediates(self, frames: Tensor, indices: list[int]) -> Iterator[tuple[str, Tensor]]:
        def run(chunk: Tensor) -> list[Tensor]:
            return self.image.forward_intermediates(
                chunk, indices=indices, output_fmt="NCHW", intermediates_only=True, stop_early=True
            )

        chunks = self._chunked(run, to_frames(frames))
        for index, parts in zip(sorted(indices), zip(*chunks, strict=True), strict=True):
            yield self.stage_names[index], to_clips(torch.cat(parts), frames.shape[2])


def _build(name: str, options: dict[str, Any], *, pretrained: bool = False) -> tuple[nn.Module, tuple[int, int] | None]:
    """Build timm's model without classifier, for any size of picture where it can; else its size is returned too."""
    tagged = "." in name
    known = timm.list_models(include_tags=tagged)
    if name not in known and (tagged or not timm.is_model(name)):  # timm knows more names than it lists: old ones
        raise ConfigError(f"timm has no image model '{name}'.{nearest(name, known)}")
    config = timm.get_pretrained_cfg(name)
    fixed = config is not None and config.fixed_input_size
    choices = _ANY_SIZE if fixed else _ANY_SIZE[-1:]
    for any_size in choices:
        try:
            image = timm.create_model(name, pretrained=pretrained, num_classes=0, **options, **any_size)
            return image, None if any_size or not fixed else tuple(config.input_size[1:])
        except TypeError as error:  # a keyword that this family of timm does not have
            if any_size == choices[-1]:
                raise ConfigError(f"timm's '{name}' cannot be built: {error}.") from error
    raise AssertionError("the last choice returns or raises")


def _stage_channels(image: nn.Module) -> tuple[int, ...]:
    """Channels of what `forward_intermediates` can give; none where a model does not have it."""
    if not hasattr(image, "forward_intermediates"):
        return ()
    return tuple(stage["num_chs"] for stage in getattr(image, "feature_info", ()))
