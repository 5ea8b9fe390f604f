"""X3D over a video of any length, exactly: block by block, and every block over chunks of time.

Squeeze-and-excitation scales by a mean over the whole video, so a window of it is another video to the network. Here
every block goes over all chunks before the next begins. A chunk is given the few frames of its neighbours that the
convolution over time sees; a block that squeezes first goes over all chunks for the mean alone and computes its first
half again afterwards. What lies between two blocks is held in host memory, in the type that the pass computes in.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssdet_cli.models.layers.frames import to_frames


def run_in_chunks(network: nn.Module, chunks: Iterable[Tensor]) -> Iterator[tuple[str, int, Tensor]]:
    """Yield (stage, number of the chunk, frames (t, C, h, w)), chunk by chunk of one stage after the other.

    Args:
        network: An `X3D`.
        chunks: Successive frames (1, 3, t, H, W) of one video.
    """
    device, held = torch.device("cpu"), []
    for chunk in chunks:
        device = chunk.device
        held.append(network.stem_space(to_frames(chunk), chunk.shape[2]).cpu())
    stem = network.stem_time
    for number, frames, inner in _with_neighbours(held, stem.weight.shape[2] // 2, device):
        held[number] = stem(frames, len(frames))[inner].relu_().cpu()
    *stages, last = network.stage_names
    for name in stages:
        for block in getattr(network, name):
            _run_block(block, held, device)
        for number, frames in enumerate(held):
            yield name, number, frames.to(device)
    for number, frames in enumerate(held):
        yield last, number, network.conv5(frames.to(device), len(frames)).relu_()


def _run_block(block: nn.Module, held: list[Tensor], device: torch.device) -> None:
    """Replace the input of a `Bottleneck` by its output, chunk by chunk."""
    halo = block.conv_b.weight.shape[2] // 2
    scale = None if block.squeeze is None else _scale(block, _with_neighbours(held, halo, device))
    for number, frames, inner in _with_neighbours(held, halo, device):
        hidden, frames = _before_squeeze(block, frames)[inner], frames[inner]
        if scale is not None:
            hidden = hidden * scale
        hidden = block.conv_c(F.silu(hidden), len(hidden))
        if block.shortcut is not None:
            frames = block.shortcut(frames, len(frames))
        held[number] = hidden.add_(frames).relu_().cpu()


def _before_squeeze(block: nn.Module, frames: Tensor) -> Tensor:
    """What is squeezed, of the block's input."""
    return block.conv_b(block.conv_a(frames, len(frames)).relu_(), len(frames))


def _scale(block: nn.Module, chunks: Iterable[tuple[int, Tensor, slice]]) -> Tensor:
    """Factors (C, 1, 1) by which a block scales its channels, from the mean over all chunks."""
    sums, count = [], 0
    for _, frames, inner in chunks:
        hidden = _before_squeeze(block, frames)[inner]
        sums.append(hidden.float().sum((0, 2, 3)))
        count += hidden.numel() // hidden.shape[1]
    means = (torch.stack(sums).sum(0) / count).to(hidden.dtype)
    squeeze = block.squeeze
    return torch.sigmoid(squeeze.expand(F.relu(squeeze.reduce(means))))[:, None, None]


def _with_neighbours(held: list[Tensor], halo: int, device: torch.device) -> Iterator[tuple[int, Tensor, slice]]:
    """Yield every chunk's number, its frames between up to `halo` frames of its neighbours, and which are its own.

    A chunk may be replaced in `held` once it was yielded. Where the video ends there are no neighbours, and the
    convolution's zeros are those of one pass.
    """
    before = held[0][:0]
    for number, own in enumerate(held):
        after = _first(held[number + 1 :], halo)
        frames = torch.cat((before, own, *after)).contiguous(memory_format=torch.channels_last).to(device)
        inner = slice(len(before), len(before) + len(own))
        before = torch.cat((before, own[-halo:]))[-halo:]
        yield number, frames, inner


def _first(stacks: list[Tensor], number: int) -> list[Tensor]:
    """The first frames of what follows, out of as many stacks as it takes."""
    found = []
    for stack in stacks:
        found.append(stack[:number])
        number -= len(found[-1])
        if number <= 0:
            break
    return found
