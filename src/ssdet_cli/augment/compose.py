"""Freeze, MixUp and CutMix together, drawn per batch.

Which clip does a frame show? The labels know: give every clip its own class (column b + 1 of clip b is 1, column 0 is
background) and augment them like any labels. What comes out is, for every frame, the weight of every clip of the batch
and of background. `VolumeAugment.frame_weights` does just that, on rows of one pixel's height.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ssdet_cli.augment.frames import as_soft, check_clips
from ssdet_cli.augment.volume_cutmix import check_style, volume_cutmix
from ssdet_cli.augment.volume_freeze import draw_freeze, fixed_freeze_draw, volume_freeze
from ssdet_cli.augment.volume_mixup import volume_mixup
from ssdet_cli.augment.windows import draw_partner, draw_switches, draw_windows, fixed_mix_draw
from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError

METHODS = ("freeze", "mixup", "cutmix")


class FreezeDraw(NamedTuple):
    """What `volume_freeze` takes after clips and labels: start, length, each (B,) int64 in frames."""

    start: Tensor
    length: Tensor


class MixDraw(NamedTuple):
    """What the mixing augmentations take after clips and labels.

    Attributes:
        start: (2, B) int64 in frames, as drawn.
        length: (2, B) int64 in frames, as drawn.
        partner: (B,) int64.
    """

    start: Tensor
    length: Tensor
    partner: Tensor


@dataclass(frozen=True)
class VolumeDraws:
    """All that is random about one batch; None stands for a method that is switched off."""

    freeze: FreezeDraw | None = None
    mixup: MixDraw | None = None
    cutmix: MixDraw | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that are on, in the order in which they are applied."""
        return tuple(name for name in METHODS if getattr(self, name) is not None)


class VolumeAugment:
    """Volume augmentations in the order freeze, mixup, cutmix, each switched on for whole batches at random.

    Switches are known on the host before anything runs, so a method that is off costs nothing, and there are at most
    eight programs to compile, whatever is drawn.

    Source: "Weakly-guided Self-supervised Pretraining for Temporal Activity Detection" (AAAI 2023).

    Args:
        methods: Which of "freeze", "mixup", "cutmix" take part; their order here does not matter.
        probability: With which each method is on, or a mapping from method to probability (1/2 for those left out).
        background: False where no label channel stands for background ("background: none"): frozen frames get an
            all-zero column.
        cutmix_style: "sweep" or "pan", see `volume_cutmix`.
        compile: Run every method as one `torch.compile`d graph.
        dynamic: Of `torch.compile`; False makes a graph for every shape, none of them for several.
        normalize: Of the clips that come in, uint8 -> float, in the graph of the first method that is on (alone where
            none is): a compiled kernel then reads bytes and writes the network's input. None takes them as they are.

    Raises:
        ConfigError: An unknown method or style, or a probability outside [0, 1].
    """

    def __init__(
        self,
        methods: Iterable[str] = METHODS,
        probability: float | Mapping[str, float] = 0.5,
        background: bool = True,
        cutmix_style: str = "sweep",
        compile: bool = False,
        dynamic: bool | None = None,
        normalize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        chosen = _known([methods] if isinstance(methods, str) else methods)
        check_style(cutmix_style)
        self.methods = tuple(name for name in METHODS if name in chosen)
        self.probability = _probabilities(probability)
        self.background = background
        self.cutmix_style = cutmix_style
        wrap: Callable = partial(torch.compile, fullgraph=True, dynamic=dynamic) if compile else _unchanged
        self.normalize = normalize
        self._methods = {name: wrap(method) for name, method in _PLAIN.items()}
        # Each is a function of its own: graphs are kept by function, and no more of one than there are shapes.
        self._on_raw = {name: wrap(method) for name, method in _ON_RAW.items()}
        self._normalized = wrap(_normalized)

    def __call__(self, clips: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw and apply; the inputs are not changed, and come back themselves where nothing is to be done.

        Args:
            clips: (B, C, T, H, W), floating or uint8, on any device.
            labels: (B, K, T), channel 0 is background unless there is none.
            generator: On the CPU, where a seed draws the same for every device, or on the clips' device.

        Returns:
            clips of the same shape, and type but for `normalize`; labels (B, K, T) float32 or float64.

        Raises:
            ConfigError: A shape or type does not fit, or the generator is on a third device.
        """
        check_clips(clips, labels)
        return self.apply(clips, labels, self.draw(clips.shape[0], clips.shape[2], generator, clips.device))

    def draw(
        self, batch: int, frames: int, generator: torch.Generator, device: torch.device | str = "cpu"
    ) -> VolumeDraws:
        """Draw switches, segments, windows and partners for one batch.

        Everything is drawn whether used or not: the windows of CutMix, say, do not depend on whether MixUp takes part.

        Args:
            batch: Clips B.
            frames: Frames T, at least 2.
            generator: On the CPU or on `device`. The same seed draws otherwise on another kind of generator, and
                the same again on the same kind.
            device: Where the draws go; the host does not wait for them.

        Raises:
            ConfigError: T below 2, or the generator is neither on the CPU nor on `device`.
        """
        _check_generator(generator, torch.device(device))
        switch = dict(zip(METHODS, draw_switches(generator, len(METHODS)), strict=True))
        draws = {
            "freeze": FreezeDraw(*draw_freeze(batch, frames, generator, device)),
            "mixup": _draw_mix(batch, frames, generator, device),
            "cutmix": _draw_mix(batch, frames, generator, device),
        }
        return VolumeDraws(**{name: draws[name] for name in self.methods if switch[name] < self.probability[name]})

    def fixed_draw(self, batch: int, frames: int, device: torch.device | str = "cpu") -> VolumeDraws:
        """Give the draws of validation: every chosen method is on, and all are the same at every epoch.

        Raises:
            ConfigError: T below 2.
        """
        mix = MixDraw(*fixed_mix_draw(batch, frames, device))
        draws = {"freeze": FreezeDraw(*fixed_freeze_draw(batch, frames, device)), "mixup": mix, "cutmix": mix}
        return VolumeDraws(**{name: draws[name] for name in self.methods})

    def fixed(self, clips: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Apply every chosen method with the draws of validation; shapes and errors as in `__call__`."""
        check_clips(clips, labels)
        return self.apply(clips, labels, self.fixed_draw(clips.shape[0], clips.shape[2], clips.device))

    def apply(self, clips: Tensor, labels: Tensor, draws: VolumeDraws) -> tuple[Tensor, Tensor]:
        """Apply draws made before; `torch.compile(fullgraph=True)` takes this method too.

        Args:
            clips: (B, C, T, H, W), floating or uint8, on any device.
            labels: (B, K, T).
            draws: For this B and T.

        Returns:
            clips of the same shape, and type but for `normalize`; labels (B, K, T) float32 or float64.

        Raises:
            ConfigError: A shape or type does not fit.
        """
        return self._apply(clips, labels, draws, self.normalize)

    def _apply(
        self, clips: Tensor, labels: Tensor, draws: VolumeDraws, normalize: Callable[[Tensor], Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        check_clips(clips, labels)
        # One layout, whichever method comes first: a compiled method would otherwise be compiled once per layout.
        labels = as_soft(labels).contiguous()
        options = {"freeze": {"background": self.background}, "mixup": {}, "cutmix": {"style": self.cutmix_style}}
        for name in draws.methods:
            drawn = getattr(draws, name)
            if normalize is None:
                clips, labels = self._methods[name](clips, labels, *drawn, **options[name])
            else:
                clips, labels = self._on_raw[name](normalize, clips, labels, *drawn, **options[name])
                normalize = None
        return clips if normalize is None else self._normalized(normalize, clips), labels

    def frame_weights(self, draws: VolumeDraws, batch: int, frames: int, width: int) -> Tensor:
        """Tell what every frame of an augmented batch shows.

        Args:
            draws: For this batch and these frames.
            batch: Clips B.
            frames: Frames T.
            width: Pixels W of a row; the seam of CutMix depends on it.

        Returns:
            (B, B + 1, T) float32: [b, 0] is background and [b, i + 1] is clip i in output clip b. Columns sum to 1,
            but for frozen frames where there is no background.
        """
        clip_class = torch.eye(batch + 1)[1:, :, None].expand(-1, -1, frames)
        rows = torch.zeros(batch, 1, frames, 1, width)
        return self._apply(rows, clip_class, draws, None)[1]


def _normalized(normalize: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    return normalize(clips)


def _raw_freeze(
    normalize: Callable[[Tensor], Tensor],
    clips: Tensor,
    labels: Tensor,
    start: Tensor,
    length: Tensor,
    background: bool,
) -> tuple[Tensor, Tensor]:
    return volume_freeze(normalize(clips), labels, start, length, background=background)


def _raw_mixup(
    normalize: Callable[[Tensor], Tensor], clips: Tensor, labels: Tensor, start: Tensor, length: Tensor, partner: Tensor
) -> tuple[Tensor, Tensor]:
    return volume_mixup(normalize(clips), labels, start, length, partner)


def _raw_cutmix(
    normalize: Callable[[Tensor], Tensor],
    clips: Tensor,
    labels: Tensor,
    start: Tensor,
    length: Tensor,
    partner: Tensor,
    style: str,
) -> tuple[Tensor, Tensor]:
    return volume_cutmix(normalize(clips), labels, start, length, partner, style=style)


_PLAIN: dict[str, Callable] = {"freeze": volume_freeze, "mixup": volume_mixup, "cutmix": volume_cutmix}
#: The same on clips that are not normalised yet.
_ON_RAW: dict[str, Callable] = {"freeze": _raw_freeze, "mixup": _raw_mixup, "cutmix": _raw_cutmix}


def _check_generator(generator: torch.Generator, device: torch.device) -> None:
    own = generator.device
    if own.type != "cpu" and (own.type != device.type or device.index not in (None, own.index)):
        raise ConfigError(f"The generator must be on cpu or on {device} like the clips, got one on {own}.")


def _draw_mix(batch: int, frames: int, generator: torch.Generator, device: torch.device | str) -> MixDraw:
    windows = draw_windows(batch, frames, generator, device)
    return MixDraw(*windows, draw_partner(batch, generator, device))


def _known(names: Iterable[str]) -> set[str]:
    names = list(names)
    for name in names:
        if name not in METHODS:
            hint = nearest(str(name), METHODS)
            raise ConfigError(f"Unknown augmentation '{name}'.{hint} Known: {', '.join(METHODS)}.")
    return set(names)


def _probabilities(probability: float | Mapping[str, float]) -> dict[str, float]:
    if not isinstance(probability, Mapping):
        probability = dict.fromkeys(METHODS, probability)
    _known(probability)
    for name, value in probability.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"The probability of {name} must be between 0 and 1, got {value}.")
    return {name: float(probability.get(name, 0.5)) for name in METHODS}


def _unchanged(function: Callable) -> Callable:
    return function
