"""`ssdet doctor`: what this machine has, what is amiss, and how to mend it."""

import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from ssdet_cli.cli.console import console
from ssdet_cli.cli.groups import new_app
from ssdet_cli.errors import SsdetError

app = new_app()

_FRAMES, _SIDE = 10, 64
#: Columns of the longest name that is looked at ("torch.distributed", "several processes"), and one blank.
_NAME_WIDTH = 18
#: Mean difference of decoded pixels from the ones encoded, of 255, that H.264 at crf 18 stays well under.
_TOLERANCE = 6.0


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        name: What was looked at.
        state: "ok", "note" (works, could be better) or "bad" (ssdet cannot be used).
        text: What was found.
        fix: What would mend it.
    """

    name: str
    state: str
    text: str
    fix: str = ""


@app.command()
def doctor() -> None:
    """Check this machine: packages, GPU, video readers, memory, disk; leaves with 1 if ssdet cannot be used."""
    checks: tuple[Callable[[], list[Finding]], ...] = (_python, _torch, _video, _shared_memory, _disk, _processes)
    findings = []
    drawn = console(results=True)
    marks = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "bad": "[red]bad [/]"}
    for check in checks:
        for finding in check():
            findings.append(finding)
            drawn.print(f"{marks[finding.state]}  [bold]{finding.name:{_NAME_WIDTH}}[/]", end="")
            drawn.print(finding.text, markup=False)
            if finding.fix:
                drawn.print(f"      {'':{_NAME_WIDTH}}-> {finding.fix}", markup=False)
    bad = sum(finding.state == "bad" for finding in findings)
    drawn.print("ssdet can be used on this machine." if not bad else f"ssdet cannot be used: {bad} thing(s) to mend.")
    raise typer.Exit(1 if bad else 0)


def installed(package: str) -> str | None:
    """Version of a package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _python() -> list[Finding]:
    found = [Finding("python", "ok", f"{sys.version.split()[0]} ({sys.executable})")]
    absent = [
        name for name in ("numpy", "pydantic", "pyyaml", "rich", "safetensors", "timm") if installed(name) is None
    ]
    if absent:
        found.append(Finding("packages", "bad", f"absent: {', '.join(absent)}", f"pip install {' '.join(absent)}"))
    return found


def _torch() -> list[Finding]:
    if installed("torch") is None:
        return [Finding("torch", "bad", "absent", "pip install torch torchvision")]
    import torch

    text = f"{torch.__version__}, {torch.get_num_threads()} CPU threads"
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
        return [Finding("torch", "ok", text), Finding("GPU", "ok", f"CUDA {torch.version.cuda}: {names}")]
    built = torch.version.cuda or torch.version.hip
    fix = "the driver does not answer: try nvidia-smi" if built and shutil.which("nvidia-smi") else ""
    return [Finding("torch", "ok", text), Finding("GPU", "note", "none; training runs on the CPU, slowly", fix)]


def _video() -> list[Finding]:
    if installed("av") is None:
        return [Finding("PyAV", "bad", "absent: no video can be read or written", "pip install av")]
    import av

    libraries = ", ".join(
        f"{name} {'.'.join(map(str, number))}" for name, number in sorted(av.library_versions.items())
    )
    found = [Finding("PyAV", "ok", f"{av.__version__} ({libraries})")]
    decord = installed("decord")
    if decord is None:
        found.append(Finding("decord", "note", "absent; PyAV reads everything, and data.backend=decord is refused"))
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        backends = ("pyav", "decord") if decord else ("pyav",)
        return found + [_round_trip(clip, backend, decord) for backend in backends]


def _round_trip(clip: Path, backend: str, decord: str | None) -> Finding:
    """Encode ten frames, decode them again and compare."""
    import numpy as np

    from ssdet_cli.video.decode import open_video
    from ssdet_cli.video.write import write_video

    ramp = np.arange(_SIDE, dtype=np.uint8) * 3
    frames = [
        np.repeat((ramp[None, :, None] + 4 * number) % 200, _SIDE, axis=0).repeat(3, axis=2)
        for number in range(_FRAMES)
    ]
    label = f"{backend} reads" if backend == "pyav" else f"decord {decord}"
    try:
        write_video(clip, frames, 10)
        with open_video(clip, backend=backend) as video:
            read = video.frames(range(_FRAMES))
    except SsdetError as error:
        state, package = ("bad", "av") if backend == "pyav" else ("note", "decord")
        return Finding(label, state, str(error), f"pip install --force-reinstall {package}")
    difference = float(np.abs(read.astype(float) - np.stack(frames)).mean())
    if difference > _TOLERANCE:
        return Finding(label, "bad", f"decoded pixels are off by {difference:.1f} of 255 on average")
    return Finding(label, "ok", f"H.264 written and read again: off by {difference:.1f} of 255 on average")


def _shared_memory() -> list[Finding]:
    place = Path("/dev/shm")
    if not place.is_dir():
        return []
    size = shutil.disk_usage(place).total / 2**30
    if size < 1:
        fix = "loader processes may fail: docker run --shm-size=8g, or data.workers=0"
        return [Finding("/dev/shm", "note", f"{size:.2f} GiB", fix)]
    return [Finding("/dev/shm", "ok", f"{size:.1f} GiB")]


def _disk() -> list[Finding]:
    free = shutil.disk_usage(".").free / 2**30
    if free < 1:
        return [Finding("disk", "note", f"{free:.2f} GiB free here", "runs and checkpoints need room")]
    return [Finding("disk", "ok", f"{free:.0f} GiB free here")]


def _processes() -> list[Finding]:
    """One process is a group of its own: sees whether sockets and gloo work at all."""
    if installed("torch") is None:
        return []
    import torch.distributed as dist

    if not dist.is_available():
        return [Finding("torch.distributed", "note", "not built in; one process only")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        return [Finding("several processes", "note", reason, "name the network card: GLOO_SOCKET_IFNAME=lo")]
    dist.destroy_process_group()
    return [Finding("several processes", "ok", "gloo starts")]
