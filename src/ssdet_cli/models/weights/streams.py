"""Coarse-Fine networks hold two streams; files hold both, or one of them, or a network that either can start from."""

from collections.abc import Collection, Mapping

from torch import Tensor

from ssdet_cli.errors import CheckpointError
from ssdet_cli.models.weights.coarse_fine import REFUSAL

FINE, COARSE = "fine.", "coarse."
#: A tensor that only the coarse stream has.
_POOL = "pool.conv1.weight"


def place(state: Mapping[str, Tensor], wanted: Collection[str]) -> tuple[dict[str, Tensor], list[str]]:
    """Put tensors under our names where they belong in a network of one stream or of two.

    Both streams, to be filled from one network, each take all of it; a coarse stream goes to the coarse one alone. One
    stream, to be filled from a file of two, takes its own.

    Args:
        state: Tensors by our names.
        wanted: Names of the network to be filled.

    Returns:
        The tensors under the names of the network, and a phrase about what was done.

    Raises:
        CheckpointError: A coarse stream for a per-frame detector.
    """
    theirs, ours = (any(name.startswith((FINE, COARSE)) for name in names) for names in (state, wanted))
    if theirs and not ours:
        stream = COARSE if _POOL in wanted else FINE
        kept = {name.removeprefix(stream): tensor for name, tensor in state.items() if name.startswith(stream)}
        return kept, [f"the {stream[:-1]} stream taken of both in the file"]
    if ours and not theirs:
        streams = (COARSE,) if _POOL in state else (FINE, COARSE)
        where = "the coarse stream" if _POOL in state else "both streams"
        return {stream + name: tensor for stream in streams for name, tensor in state.items()}, [f"put into {where}"]
    if _POOL in state and _POOL not in wanted:
        raise CheckpointError(REFUSAL)
    return dict(state), []
