"""How fast clips are read: our loader against bare decoders and folders of JPEG frames, all in one run.

    python benchmarks/loader.py                    # a generated film: 30 s, 320 x 240, H.264, 30 frames/s
    python benchmarks/loader.py --video FILE --rounds 20
    python benchmarks/loader.py --memory 2000      # memory of a process over so many clips, reader by reader

A clip is 16 frames, 10 apart, at a random place: a crop of 7/8 of the short side, resized to 224, ready for the device.
All variants take turns in every round, so that whatever else the machine does hits them alike. By default the clock is
the processor time of the process, which other work on the machine does not spoil; loaders with workers are timed by the
wall clock and compared with a reader without workers by the same clock.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from ssdet_cli.config.sections import ClipConfig, DataConfig
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clips import WeakClips, collate
from ssdet_cli.data.copies import CopySettings, make_copy
from ssdet_cli.data.loader import TrainingBatches, build_loader
from ssdet_cli.video._decord import import_decord
from ssdet_cli.video.decode import open_video
from ssdet_cli.video.transforms import crop_resize, random_crop_box
from ssdet_cli.video.write import write_video

FRAMES, STRIDE, SIZE, SCALE = 16, 10, 224, 0.875
#: Quality of the JPEG frames as the authors of Charades made theirs (FFmpeg's -q:v 3), as Pillow counts.
JPEG_QUALITY = 92

Read = Callable[[np.random.Generator], object]
console = Console()


def film(path: Path, seconds: int = 30, rate: int = 30) -> Path:
    """A camera that pans over a picture while something moves in it, with a little noise."""
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    scene = np.asarray(blobs.resize((640, 480), Image.Resampling.BICUBIC)).astype(np.int16)

    def frames() -> Iterator[np.ndarray]:
        for i in range(seconds * rate):
            left, top = int(160 + 150 * np.sin(i / 40)), int(120 + 100 * np.cos(i / 55))
            frame = scene[top : top + 240, left : left + 320].copy()
            at = int(100 + 80 * np.sin(i / 15))
            frame[60:140, at : at + 60] = 255 - frame[60:140, at : at + 60]
            yield (frame + rng.integers(-2, 3, frame.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8)

    write_video(path, frames(), rate, crf=23)
    return path


def as_jpegs(video: Path, folder: Path) -> Path:
    """The film as numbered JPEG files."""
    folder.mkdir()
    with open_video(video, backend="pyav") as reader:
        for first in range(0, len(reader), 100):
            numbers = np.arange(first, min(first + 100, len(reader)))
            for number, frame in zip(numbers, reader.frames(numbers), strict=True):
                Image.fromarray(frame).save(folder / f"{number + 1:06d}.jpg", quality=JPEG_QUALITY)
    return folder


def start_of(count: int, rng: np.random.Generator) -> int:
    return int(rng.integers(count - (FRAMES - 1) * STRIDE))


def cropped(frames: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    return crop_resize(frames, random_crop_box(*frames.shape[1:3], (SCALE,), rng), SIZE)


def bare_pyav(video: Path, count: int, rate: float) -> Read:
    """Seek, decode, take: what a script does, right for this film alone."""

    def read(rng: np.random.Generator) -> object:
        start = start_of(count, rng)
        wanted, frames = {start + STRIDE * k for k in range(FRAMES)}, []
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_type = "NONE"
            container.seek(int(start / rate / stream.time_base), stream=stream, backward=True)
            for frame in container.decode(stream):
                if round(float(frame.pts * stream.time_base) * rate) in wanted:
                    frames.append(frame.to_ndarray(format="rgb24"))
                    if len(frames) == FRAMES:
                        break
        return cropped(np.stack(frames), rng)

    return read


def bare_decord(video: Path, count: int) -> Read | None:
    decord = import_decord()
    if decord is None:
        return None

    def read(rng: np.random.Generator) -> object:
        start = start_of(count, rng)
        reader = decord.VideoReader(str(video), num_threads=1)
        return cropped(reader.get_batch([start + STRIDE * k for k in range(FRAMES)]).asnumpy(), rng)

    return read


def bare_torchcodec(video: Path, count: int) -> Read | str:
    """The reader, or why there is none."""
    try:
        from torchcodec.decoders import VideoDecoder

        VideoDecoder(str(video))
    except (ImportError, OSError, RuntimeError) as error:  # it is there, and its FFmpeg is not
        return str(error).strip().splitlines()[0]

    def read(rng: np.random.Generator) -> object:
        start = start_of(count, rng)
        decoder = VideoDecoder(str(video), num_ffmpeg_threads=1, dimension_order="NHWC")
        frames = decoder.get_frames_at([start + STRIDE * k for k in range(FRAMES)]).data
        return cropped(frames.numpy(), rng)

    return read


def pillow(folder: Path, count: int) -> Read:
    """Every frame opened, cropped and resized by Pillow, as the authors' loaders do."""

    def read(rng: np.random.Generator) -> object:
        start, frames = start_of(count, rng), []
        box = None
        for k in range(FRAMES):
            picture = Image.open(folder / f"{start + STRIDE * k + 1:06d}.jpg").convert("RGB")
            box = box or random_crop_box(picture.height, picture.width, (SCALE,), rng)
            area = (box.left, box.top, box.left + box.side, box.top + box.side)
            frames.append(np.array(picture.crop(area).resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
        return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2).contiguous()

    return read


def clips(path: Path, data: DataConfig) -> WeakClips:
    record = VideoRecord("film", path, label=0)
    clip = ClipConfig(frames=FRAMES, stride=STRIDE, size=SIZE, scales=(SCALE,))
    return WeakClips(VideoSet("film", ("a",), (record,), path), data, clip, seed=0, training=True)


def ours(path: Path, data: DataConfig) -> Read:
    dataset = clips(path, data)
    return lambda rng: dataset[(int(rng.integers(1 << 30)), 0)]


def timed(variants: dict[str, Read], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Median seconds of a clip."""
    rng, took = np.random.default_rng(0), {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, read in variants.items():
            began = clock()
            read(rng)
            if turn:  # the first loads libraries
                took[name].append(clock() - began)
    return {name: statistics.median(seconds) for name, seconds in took.items()}


def with_workers(path: Path, data: DataConfig, total: int) -> float:
    """Clips per second of a loader by the wall clock, once its workers are up."""
    batches = TrainingBatches(1, 1, total=total + 2 * max(1, data.workers))
    loader = build_loader(clips(path, data), batches, collate, data, device=torch.device("cpu"))
    stream = iter(loader)
    for _ in range(2 * max(1, data.workers)):
        next(stream)
    began = time.perf_counter()
    for _ in range(total):
        next(stream)
    return total / (time.perf_counter() - began)


def resident() -> float:
    """MiB of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory(video: Path, cache: Path, total: int, seconds: float) -> None:
    """Resident memory while clips are read, each reader in a process of its own."""
    table = Table("reader", "clips", "first 50, MiB", "middle", "end", box=None)
    for name in ("pyav", "decord", "copy"):
        data = DataConfig(cache=cache) if name == "copy" else DataConfig(backend=name)
        if name == "decord" and import_decord() is None:
            continue
        ours_, theirs = os.pipe()
        if not os.fork():
            torch.set_num_threads(1)
            dataset, seen, began = clips(video, data), [], time.monotonic()
            for number in range(total):
                dataset[(number, 0)]
                seen.append(resident())
                if time.monotonic() - began > seconds:
                    break
            at = [seen[min(49, len(seen) - 1)], seen[len(seen) // 2], seen[-1]]
            os.write(theirs, " ".join([str(len(seen)), *(f"{value:.0f}" for value in at)]).encode())
            os._exit(0)
        os.close(theirs)
        os.wait()
        table.add_row(name, *os.read(ours_, 1000).decode().split())
    console.print(table)


def size_of(place: Path) -> float:
    """MiB."""
    return sum(file.stat().st_size for file in (place.iterdir() if place.is_dir() else [place])) / 2**20


def compare(video: Path, frames: Path, cache: Path, rounds: int, workers: list[int], total: int, clock: str) -> None:
    with open_video(video, backend="pyav") as reader:
        count, rate = len(reader), reader.frame_rate
    variants: dict[str, Read | None] = {
        "bare PyAV": bare_pyav(video, count, rate),
        "bare decord": bare_decord(video, count),
        "JPEG folder, Pillow": pillow(frames, count),
        "ours, PyAV": ours(video, DataConfig(backend="pyav")),
        "ours, decord": ours(video, DataConfig(backend="decord")) if import_decord() else None,
        "ours, JPEG folder": ours(frames, DataConfig(frame_rate=rate)),
        "ours, from ssdet data cache": ours(video, DataConfig(cache=cache)),
    }
    codec = bare_torchcodec(video, count)
    if isinstance(codec, str):
        console.print(f"torchcodec is not compared: {codec}")
    else:
        variants["bare torchcodec"] = codec
    found = timed({name: read for name, read in variants.items() if read}, rounds, getattr(time, clock))
    bare = min(seconds for name, seconds in found.items() if name.startswith("bare"))
    table = Table("", "clips/s", "of the fastest bare decoder", "of JPEG folders, Pillow", box=None)
    for name, seconds in sorted(found.items(), key=lambda item: item[1]):
        row = (f"{1 / seconds:.1f}", f"{bare / seconds:.2f}", f"{found['JPEG folder, Pillow'] / seconds:.2f}")
        table.add_row(name, *row)
    console.print(table)
    console.print(f"MiB: video {size_of(video):.1f}, JPEG folder {size_of(frames):.1f}, copy {size_of(cache):.1f}")
    for number in workers:
        rates = [with_workers(video, DataConfig(workers=number, cache=place), total) for place in (None, cache)]
        console.print(f"loader, {number} workers: {rates[0]:.1f} clips/s, from the copy {rates[1]:.1f} (wall clock)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, help="film to read; default: one that is made")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=30, help="that a loader reads")
    parser.add_argument("--clock", choices=("process_time", "perf_counter"), default="process_time")
    parser.add_argument("--memory", type=int, metavar="CLIPS", help="measure memory over so many clips instead")
    parser.add_argument("--seconds", type=float, default=600.0, help="that one reader may take for its memory")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    av.logging.set_level(av.logging.PANIC)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        video = asked.video or film(folder / "film.mp4")
        cache = folder / "cache"
        cache.mkdir()
        make_copy(video, CopySettings(cache))
        if asked.memory is not None:
            memory(video, cache, asked.memory, asked.seconds)
        else:
            frames = as_jpegs(video, folder / "frames")
            compare(video, frames, cache, asked.rounds, asked.workers, asked.clips, asked.clock)


if __name__ == "__main__":
    main()
