"""Coarse-Fine networks hold two streams; files hold both, or one of them, or a network that either can start from."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from torch import Tensor

from ssdet_cli.errors import CheckpointError

FINE, COARSE = "fine.", "coarse."
#: Parts that only the coarse stream has.
_OF_COARSE = ("pool.", "fusion.")
REFUSAL = (
    "This is a Coarse-Fine coarse network (grid pooling and fusion layers beside its X3D), which no per-frame detector "
    "can hold; give the fine stream's weights."
)


@dataclass(frozen=True)
class Placed:
    """Tensors where they belong.

    Attributes:
        state: By the names of the network to be filled.
        adapted: What was done, one phrase or none.
        free: Prefixes of what the file does not hold and need not: the other stream.
    """

    state: dict[str, Tensor]
    adapted: tuple[str, ...] = ()
    free: tuple[str, ...] = ()


def is_coarse(names: Collection[str]) -> bool:
    """Whether names of ours are those of a coarse stream alone."""
    return any(name.startswith(_OF_COARSE) for name in names)


def is_both(names: Collection[str]) -> bool:
    """Whether names of ours are those of a network of two streams."""
    return any(name.startswith((FINE, COARSE)) for name in names)


def one_of(state: Mapping[str, Tensor], stream: str) -> dict[str, Tensor]:
    """Return the tensors of one stream, `FINE` or `COARSE`, of a network of two, under the names of that alone."""
    return {name.removeprefix(stream): tensor for name, tensor in state.items() if name.startswith(stream)}


def place(state: Mapping[str, Tensor], wanted: Collection[str]) -> Placed:
    """Put tensors under our names where they belong in a network of one stream or of two.

    Both streams, to be filled from one network, each take all of it; a coarse stream goes to the coarse one alone, and
    the fine one stays. One stream, to be filled from a file of two, takes its own.

    Args:
        state: Tensors by our names.
        wanted: Names of the network to be filled.

    Raises:
        CheckpointError: A coarse stream for a per-frame detector.
    """
    if is_both(state) and not is_both(wanted):
        stream = COARSE if is_coarse(wanted) else FINE
        return Placed(one_of(state, stream), (f"the {stream[:-1]} stream taken of both in the file",))
    if is_both(wanted) and not is_both(state):
        if is_coarse(state):
            phrase = "put into the coarse stream, the fine one kept as it was (none in the file)"
            return Placed({COARSE + name: tensor for name, tensor in state.items()}, (phrase,), (FINE,))
        both = {stream + name: tensor for stream in (FINE, COARSE) for name, tensor in state.items()}
        return Placed(both, ("put into both streams",))
    if is_coarse(state) and not is_coarse(wanted) and not is_both(wanted):
        raise CheckpointError(REFUSAL)
    return Placed(dict(state))
