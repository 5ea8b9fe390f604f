"""What backbones have in common: named stages, features from the last of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from ssdet_cli.errors import ConfigError


def known_stages(names: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the wanted names, each once.

    Raises:
        ConfigError: One is not known.
    """
    wanted = tuple(dict.fromkeys(names))
    if unknown := sorted(set(wanted).difference(known)):
        raise ConfigError(f"Unknown stage '{unknown[0]}'. Known: {', '.join(known)}.")
    return wanted


class StagedBackbone(nn.Module, ABC):
    """A backbone that runs stage by stage; a family writes `_stages` (see `ssdet_cli.models.backbones`)."""

    stage_names: tuple[str, ...]

    @abstractmethod
    def _stages(self, frames: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and the output (B, C, steps, h, w) of one stage after the other."""

    def forward_stages(self, frames: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the named stages of (B, 3, T, H, W) frames; what comes after the last of them is not computed.

        Raises:
            ConfigError: A name is not a stage.
        """
        wanted = known_stages(names, self.stage_names)
        outputs = {}
        for name, output in self._stages(frames):
            if name in wanted:
                outputs[name] = output
            if len(outputs) == len(wanted):
                break
        return outputs

    def forward_features(self, frames: Tensor) -> Tensor:
        """Return features (B, C, steps) of (B, 3, T, H, W) frames: the last stage, mean over space."""
        last = self.stage_names[-1]
        return self.forward_stages(frames, (last,))[last].mean((3, 4))

    def forward(self, frames: Tensor) -> Tensor:
        """Return `forward_features(frames)`."""
        return self.forward_features(frames)
