"""How long a command waits for its list of videos, with and without the index of `ssdet data check`.

    python benchmarks/start_up.py [--videos 240000] [--headers 4000]

Makes a folder per class whose files are hard links to a few small real clips, so that a quarter of a million headers
can be read from little disk. Without an index, reading headers is measured on `--headers` of them and multiplied.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssdet_cli.config.commands import ExtractData
from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.folder import load_weak_folder
from ssdet_cli.data.index import IndexWriter, VideoIndex, without_unusable
from ssdet_cli.engine.distributed import session
from ssdet_cli.recipes.video_lengths import lengths_of
from ssdet_cli.video.inspection import FileFacts, stamp
from ssdet_cli.video.sampling import Spacing
from ssdet_cli.video.write import write_video

CLASSES = 400
#: File systems allow some 65,000 links to one file.
LINKS = 4000


def make_tree(root: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    sources = []
    for number in range(-(-count // LINKS)):
        sources.append(root.parent / f"source{number}.mp4")
        write_video(sources[-1], rng.integers(0, 255, (30, 32, 32, 3), dtype=np.uint8), 30)
    for kind in range(CLASSES):
        (root / f"class{kind:03d}").mkdir(parents=True)
    for number in range(count):
        os.link(sources[number // LINKS], root / f"class{number % CLASSES:03d}" / f"clip{number:06d}.mp4")


def make_index(file: Path, root: Path, videos: VideoSet) -> None:
    index = VideoIndex(file)
    for record in videos.records:
        path = os.path.abspath(record.path)
        index.facts[path] = FileFacts(path, *stamp(path), frames=30, frame_rate=30.0, seconds=1.0, content="0" * 24)
    with IndexWriter(index, root) as writer:
        writer.rewrite()


def timed(what: str, action: Callable, factor: float = 1.0) -> object:
    began, cpu = time.perf_counter(), time.process_time()
    result = action()
    seconds, cpu = (time.perf_counter() - began) * factor, (time.process_time() - cpu) * factor
    print(f"{what:<74} {seconds:9.1f} s {cpu:9.1f} s of CPU", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=240_000)
    parser.add_argument("--headers", type=int, default=4_000)
    parser.add_argument("--folder", type=Path, help="where the tree is made and removed; default the system's")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as place, session("cpu") as here:
        root = Path(place) / "clips"
        timed(f"making a tree of {options.videos:,} files", lambda: make_tree(root, options.videos))
        videos = timed("the list of a folder per class (train)", lambda: load_weak_folder(root, None, "train"))
        count = len(videos)
        plain = ExtractData(videos=root)
        part = videos.records[:: max(1, count // options.headers)]
        timed(
            f"lengths of {count:,} videos by their headers ({len(part):,} measured)",
            lambda: lengths_of(part, plain, Spacing(1), here),
            count / len(part),
        )
        file = Path(place) / "index.jsonl"
        timed("writing the index", lambda: make_index(file, root, videos))
        print(f"the index has {file.stat().st_size / 2**20:.1f} MB")
        indexed = plain.model_copy(update={"index": file})
        found = timed(
            f"lengths of {count:,} videos by the index", lambda: lengths_of(videos.records, indexed, Spacing(1), here)
        )
        assert len(found.frames) == count
        training = DataConfig(videos=root, index=file)
        timed("leaving out what the index calls bad (training)", lambda: without_unusable(videos, training))


if __name__ == "__main__":
    main()
