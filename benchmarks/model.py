"""Forward and training passes of X3D-M: ours, pytorchvideo's, and a plain construction; time, memory, numerics.

    python benchmarks/model.py --threads 1 --clock cpu --compiled none
    python benchmarks/model.py --device cuda --batch 64 --dtype bfloat16

All variants take turns in every round, so that whatever else the machine does hits them alike; ratios are of medians.
`--clock cpu` counts processor time instead of the clock on the wall: on a busy machine it is the steadier one.
pytorchvideo comes from benchmarks/requirements.txt; without it the others are compared.
"""

import argparse
import statistics
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from plain_x3d import PlainX3D, copy_to_pytorchvideo, pytorchvideo_features
from ssdet_cli.models import create_model

CLASSES = 157
VARIANTS = ("ours", "ours, checkpointing", "plain", "pytorchvideo")
MODES = ("forward", "forward + backward")
Times = dict[tuple[str, str], list[float]]


def create_pytorchvideo(options: argparse.Namespace) -> nn.Module:
    """Build pytorchvideo's X3D-M; torchvision has dropped a module that it may import."""
    if "torchvision.transforms.functional_tensor" not in sys.modules:
        from torchvision.transforms import functional

        shim = types.ModuleType("torchvision.transforms.functional_tensor")
        shim.__dict__.update(vars(functional))
        sys.modules[shim.__name__] = shim
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        from pytorchvideo.models.x3d import create_x3d
    return create_x3d(
        input_clip_length=options.frames, input_crop_size=options.size, model_num_class=CLASSES, head_activation=None
    )


def build(variant: str, options: argparse.Namespace) -> nn.Module:
    torch.manual_seed(0)
    if variant == "plain":
        model = PlainX3D(CLASSES)
    elif variant == "pytorchvideo":
        model = create_pytorchvideo(options)
    else:
        model = create_model("x3d_m", CLASSES, zero_last=False, checkpoint_activations=variant != "ours")
    return model.to(options.device)


def make_clips(options: argparse.Namespace) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(options.batch, 3, options.frames, options.size, options.size, generator=generator).to(
        options.device
    )


def passes(model: nn.Module, mode: str, clips: Tensor, options: argparse.Namespace) -> Callable[[], object]:
    """Return what is timed: a prediction in evaluation, or a forward and a backward pass in training."""
    dtype = getattr(torch, options.dtype)
    mixed = torch.autocast(options.device, dtype, enabled=dtype != torch.float32)

    def forward() -> Tensor:
        with torch.no_grad(), mixed:
            return model.eval()(clips)

    def train() -> None:
        model.train().zero_grad(set_to_none=True)
        with mixed:
            output = model(clips)
        output.float().square().mean().backward()

    return forward if mode == "forward" else train


def seconds(call: Callable[[], object], options: argparse.Namespace) -> float:
    if options.device == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    begin = clock()
    call()
    return clock() - begin


def measure(calls: dict[tuple[str, str], Callable[[], object]], options: argparse.Namespace, console: Console) -> Times:
    times: Times = {}
    for key, call in calls.items():  # warm up; what cannot be compiled shows here
        try:
            call()
        except RuntimeError as error:
            if "compiled" not in key[0]:
                raise
            console.print(f"[bold red]{', '.join(key)} FAILED:[/] {str(error).strip().splitlines()[0]}")
        else:
            times[key] = []
    for _ in range(options.rounds):
        for key in times:
            times[key].append(seconds(calls[key], options))
    return times


def peak_bytes(variant: str, mode: str, options: argparse.Namespace) -> int:
    """Return the peak of two passes above what was there before: of the device, or of this fresh process."""
    model, clips = build(variant, options), make_clips(options)
    call = passes(model, mode, clips, options)
    if options.device == "cuda":
        call()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() - before
    before = resident_bytes("VmRSS")
    call()
    call()
    return resident_bytes("VmHWM") - before


def resident_bytes(field: str) -> int:
    """Return this process's memory, now (VmRSS) or at its highest (VmHWM)."""
    # getrusage would do on more systems, but its peak is inherited from the parent process.
    status = Path("/proc/self/status")
    if not status.exists():
        raise SystemExit("Peak memory on a CPU is read from /proc, which this system lacks; add --no-memory.")
    line = next(line for line in status.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def peak_in_child(variant: str, mode: str) -> int:
    command = [sys.executable, __file__, *sys.argv[1:], "--child", variant, mode]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def show_numerics(models: dict[str, nn.Module], clips: Tensor, console: Console) -> None:
    """Print how far the features are from ours, given the same weights."""
    ours = models["ours"].backbone.eval()
    with torch.no_grad():
        for norm in (module for module in ours.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
        if "pytorchvideo" in models:
            copy_to_pytorchvideo(ours, models["pytorchvideo"])
        if "plain" in models:
            missing = models["plain"].load_state_dict(ours.state_dict(), strict=False).missing_keys
            if any(not name.startswith("fc") for name in missing):
                raise SystemExit(f"The plain network has weights that ours lacks: {missing}.")
        expected = ours.forward_features(clips)
        found = {}
        if "plain" in models:
            found["plain"] = models["plain"].eval().features(clips)
        if "pytorchvideo" in models:
            found["pytorchvideo"] = pytorchvideo_features(models["pytorchvideo"].eval(), clips)
    for name, features in found.items():
        distance = ((features - expected).abs().max() / expected.abs().max()).item()
        console.print(f"features of {name} with our weights: largest difference {distance:.1e} of the largest value")


def show_times(times: Times, reference: str, options: argparse.Namespace, console: Console) -> None:
    what = f"{options.batch}×3×{options.frames}×{options.size}² {options.dtype} on {options.device}"
    unit = "CUDA events" if options.device == "cuda" else f"{options.clock} time, {options.threads} thread(s)"
    table = Table(title=f"{what}, {unit}: seconds, and how many times as fast as {reference}")
    table.add_column("")
    for mode in MODES:
        for heading in (mode, "fastest", "ratio"):
            table.add_column(heading, justify="right")
    for variant in dict.fromkeys(name for name, _ in times):
        cells = []
        for mode in MODES:
            if (variant, mode) not in times:
                cells += ["", "", ""]
                continue
            median, base = (statistics.median(times[name, mode]) for name in (variant, reference))
            cells += [f"{median:.3f}", f"{min(times[variant, mode]):.3f}", f"{base / median:.2f}"]
        table.add_row(variant, *cells)
    console.print(table)


def show_memory(variants: list[str], options: argparse.Namespace, console: Console) -> None:
    table = Table(title="Peak memory of two passes, MiB above the process with its weights and clips")
    table.add_column("")
    for mode in MODES:
        table.add_column(mode, justify="right")
    for variant in variants:
        peaks = [
            peak_bytes(variant, mode, options) if options.device == "cuda" else peak_in_child(variant, mode)
            for mode in MODES
        ]
        table.add_row(variant, *(f"{peak / 2**20:.0f}" for peak in peaks))
    console.print(table)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip")
    parser.add_argument("--size", type=int, default=224, help="height and width in pixels")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="bfloat16 is autocast")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="what is counted on a CPU")
    parser.add_argument("--rounds", type=int, default=5, help="repeats, the median of which counts")
    parser.add_argument(
        "--compiled", choices=("all", "ours", "none"), default="all", help="variants to compile as well"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--child", nargs=2, metavar=("VARIANT", "MODE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    torch.set_num_threads(options.threads)
    if options.child:
        print(peak_bytes(*options.child, options))
        return
    console = Console(width=140)
    models = {}
    for variant in VARIANTS:
        try:
            models[variant] = build(variant, options)
        except ImportError as error:
            console.print(f"[bold red]{variant} is left out:[/] {error}; see benchmarks/requirements.txt")
    clips = make_clips(options)
    show_numerics(models, clips, console)
    networks: dict[str, nn.Module] = dict(models)
    for variant in {"all": [*models], "ours": ["ours"], "none": []}[options.compiled]:
        networks[f"{variant}, compiled"] = torch.compile(models[variant])
    calls = {
        (name, mode): passes(network, mode, clips, options) for name, network in networks.items() for mode in MODES
    }
    reference = "pytorchvideo" if "pytorchvideo" in models else "plain"
    show_times(measure(calls, options, console), reference, options, console)
    if not options.no_memory:
        variants = list(models)
        del calls, networks, models
        show_memory(variants, options, console)


if __name__ == "__main__":
    main()
