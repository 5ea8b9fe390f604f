"""Volume augmentations against one clone() of the batch, and against a plain loop over clips.

    python benchmarks/augment.py --device cpu
    python benchmarks/augment.py --device cuda --batch 64 --dtype bfloat16

All variants take turns in every round, so that whatever else the machine does hits them alike; the medians are
compared. The loop is how one would write the augmentations first: it computes the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ssdet_cli.augment import (
    cutmix_alpha,
    draw_freeze,
    draw_partner,
    draw_windows,
    partner_weight,
    volume_cutmix,
    volume_freeze,
    volume_mixup,
)

Call = Callable[[], object]


def loop_freeze(clips: Tensor, labels: Tensor, start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    frames = clips.shape[2]
    clips_out, labels_out = clips.clone(), labels.clone()
    for b in range(len(clips)):
        s, n = int(start[b]), int(length[b])
        for t in range(s, frames):
            clips_out[b, :, t] = clips[b, :, max(s, t - n + 1)]
            labels_out[b, :, t] = labels[b, :, max(s, t - n + 1)]
        labels_out[b, :, s : s + n] = 0
        labels_out[b, 0, s : s + n] = 1
    return clips_out, labels_out


def rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    return values if dtype.is_floating_point else values.round()


def loop_mixup(clips: Tensor, labels: Tensor, start: Tensor, length: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    weight = partner_weight(start, length, clips.shape[2])
    clips_out, labels_out = torch.empty_like(clips), torch.empty_like(labels)
    for b in range(len(clips)):
        other = int(partner[b])
        for t in range(clips.shape[2]):
            a = float(weight[b, t])
            clips_out[b, :, t] = rounded((1 - a) * clips[b, :, t] + a * clips[other, :, t], clips.dtype)
            labels_out[b, :, t] = (1 - a) * labels[b, :, t] + a * labels[other, :, t]
    return clips_out, labels_out


def loop_cutmix(clips: Tensor, labels: Tensor, start: Tensor, length: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    alpha = cutmix_alpha(start, length, clips.shape[2], clips.shape[4])
    clips_out, labels_out = torch.empty_like(clips), torch.empty_like(labels)
    for b in range(len(clips)):
        other = int(partner[b])
        for t in range(clips.shape[2]):
            a = alpha[b, t]
            area = float(a.mean())
            clips_out[b, :, t] = rounded(a * clips[b, :, t] + (1 - a) * clips[other, :, t], clips.dtype)
            labels_out[b, :, t] = area * labels[b, :, t] + (1 - area) * labels[other, :, t]
    return clips_out, labels_out


def make_batch(options: argparse.Namespace) -> tuple[Tensor, Tensor]:
    shape = (options.batch, 3, options.frames, options.size, options.size)
    clips = torch.rand(shape, device=options.device)
    clips = (clips * 255).to(torch.uint8) if options.dtype == "uint8" else clips.to(getattr(torch, options.dtype))
    labels = torch.eye(options.batch + 1, device=options.device)[1:, :, None].repeat(1, 1, options.frames)
    return clips, labels


def make_calls(options: argparse.Namespace, clips: Tensor, labels: Tensor) -> dict[tuple[str, str], Call]:
    generator = torch.Generator().manual_seed(0)
    freeze = draw_freeze(options.batch, options.frames, generator, options.device)
    mix = (
        *draw_windows(options.batch, options.frames, generator, options.device),
        draw_partner(options.batch, generator, options.device),
    )
    pan = partial(volume_cutmix, style="pan")
    calls: dict[tuple[str, str], Call] = {("clone", "eager"): clips.clone}
    for name, function, loop, draw in (
        ("freeze", volume_freeze, loop_freeze, freeze),
        ("mixup", volume_mixup, loop_mixup, mix),
        ("cutmix sweep", volume_cutmix, loop_cutmix, mix),
        ("cutmix pan", pan, None, mix),
    ):
        calls[name, "eager"] = partial(function, clips, labels, *draw)
        if not options.no_compile:
            calls[name, "compiled"] = partial(torch.compile(function, fullgraph=True), clips, labels, *draw)
        if loop is not None:
            calls[name, "loop"] = partial(loop, clips, labels, *draw)
    return calls


def seconds(call: Call, device: str) -> float:
    if device != "cuda":
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    # One event pair around several calls, after a long fill that lets the host run ahead: no launch gap is counted.
    calls = 20
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda._sleep(50_000_000)
    begin.record()
    for _ in range(calls):
        call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000 / calls


def measure(calls: dict[tuple[str, str], Call], device: str, rounds: int) -> dict[tuple[str, str], float]:
    times: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for key, call in calls.items():
            times[key].append(seconds(call, device))
    return {key: statistics.median(values) for key, values in times.items()}


def show(medians: dict[tuple[str, str], float], options: argparse.Namespace) -> None:
    clone = medians["clone", "eager"]
    shape = f"{options.batch}×3×{options.frames}×{options.size}²"
    table = Table(title=f"{shape} {options.dtype} on {options.device}: times of one clone() ({1000 * clone:.3f} ms)")
    variants = [name for name in ("eager", "compiled", "loop") if any(key[1] == name for key in medians)]
    for heading in ("", *variants):
        table.add_column(heading, justify="right" if heading else "left")
    for name in dict.fromkeys(key[0] for key in medians):
        cells = [f"{medians[name, v] / clone:.2f}" if (name, v) in medians else "" for v in variants]
        table.add_row(name, *cells)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="clips")
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16", "uint8"), default="float32")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled variants out")
    parser.add_argument("--rounds", type=int, default=7, help="repeats, the median of which counts")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    calls = make_calls(options, *make_batch(options))
    show(measure(calls, options.device, options.rounds), options)


if __name__ == "__main__":
    main()
