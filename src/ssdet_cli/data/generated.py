"""The generated task: real video files from a seed, and their annotations.

    OUT/weak/train/<class>/<id>.mp4     short clips, one action each; weak/val/ likewise
    OUT/weak.csv, OUT/weak_val.csv      path,label of both
    OUT/dense/videos/<id>.mp4           longer videos, 0 to 4 actions at a time
    OUT/dense/charades.json             {id: {subset, duration, actions: [[class, start, end], ...]}}
    OUT/dense/train.csv, val.csv, test.csv      the same in the eleven columns of Charades
    OUT/dense/classes.txt               cNNN name
    OUT/settings.json                   what it was made from; written last, so it marks a complete set

`unfinished.json` stands in the place of `settings.json` while videos are being written.
"""

import csv
import io
import json
import os
import signal
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.frame_json import load_json
from ssdet_cli.data.generated_motion import FLIP_SAFE, MIRROR, MOTIONS, TURN, Action, follow
from ssdet_cli.data.generated_plan import (
    DENSE_SPLITS,
    GENERATOR_VERSION,
    GenerateSettings,
    ObjectPlan,
    VideoPlan,
    plan_dense,
    plan_weak,
)
from ssdet_cli.data.generated_render import camera_path, draw_background, draw_sprite, finish, paint, shift_wrapped
from ssdet_cli.data.lookup import check_split, some
from ssdet_cli.errors import ConfigError, DataError, SsdetError
from ssdet_cli.files import write_atomically
from ssdet_cli.interrupts import end_with_the_parent, held_interrupts
from ssdet_cli.video.write import write_video

__all__ = [
    "FLIP_SAFE",
    "GENERATOR_VERSION",
    "MIRROR",
    "MOTIONS",
    "Action",
    "GenerateSettings",
    "GeneratedData",
    "ObjectPlan",
    "VideoPlan",
    "draw_video",
    "ensure_generated",
    "is_generated",
    "generate",
    "load_generated",
    "plan_dense",
    "plan_weak",
]

#: (videos done, videos in all, what is being done).
Progress = Callable[[int, int, str], None]

_FINISHED, _UNFINISHED = "settings.json", "unfinished.json"
#: From this many videos on, starting worker processes pays.
_WORTH_A_POOL = 200
#: Videos that a worker takes at a time; Ctrl-C waits for this many.
_CHUNK = 8
_CSV_COLUMNS = (
    "id",
    "subject",
    "scene",
    "quality",
    "relevance",
    "verified",
    "script",
    "objects",
    "descriptions",
    "actions",
    "length",
)


@dataclass(frozen=True)
class GeneratedData:
    """Where a complete generated set lies.

    Attributes:
        folder: OUT.
        settings: What it was made from.
        written: Video files that this call wrote; 0 where the set was there already.
    """

    folder: Path
    settings: GenerateSettings
    written: int = 0

    @property
    def weak(self) -> Path:
        """Folder of the weakly labelled clips."""
        return self.folder / "weak"

    @property
    def dense(self) -> Path:
        """Folder of the frame-labelled videos and their annotations."""
        return self.folder / "dense"

    @property
    def annotations(self) -> Path:
        """The frame labels of all splits in the form of `charades.json`."""
        return self.dense / "charades.json"


def is_generated(folder: Path) -> bool:
    """Whether a complete generated set, made with any settings, is in `folder`."""
    return (folder / _FINISHED).is_file()


def ensure_generated(
    folder: Path, settings: GenerateSettings, progress: Progress | None = None, *, workers: int = 0
) -> GeneratedData:
    """Return the set in `folder`, generating it unless a complete one with these settings is there.

    Raises:
        ConfigError: The folder holds a set made with other settings.
        DataError: The folder holds something else.
    """
    if is_generated(folder):
        _claim(folder, settings)
        return GeneratedData(folder, settings)
    return generate(folder, settings, progress=progress, workers=workers)


def generate(
    folder: Path, settings: GenerateSettings, *, progress: Progress | None = None, workers: int = 0
) -> GeneratedData:
    """Write the videos that are not there yet and all annotations.

    An interrupted call leaves whole files only; the next call with the same settings goes on from them.

    Args:
        folder: New, empty, or begun earlier with the same settings.
        settings: What to make.
        progress: Told after every few videos.
        workers: Processes that draw; 0 is one per core where there is enough to do. Pictures and annotations do not
            depend on it.

    Raises:
        ConfigError: The folder holds a set made with other settings.
        DataError: The folder holds something else.
        SsdetError: The disk is full, or a worker died.
    """
    _claim(folder, settings)
    plans = [plan for split in ("train", "val") for plan in plan_weak(settings, split)]
    dense = {split: plan_dense(settings, split) for split in DENSE_SPLITS}
    plans += [plan for split in dense.values() for plan in split]
    _write_annotations(folder, settings, dense)
    missing = [plan for plan in plans if not (folder / plan.path).is_file()]
    done = len(plans) - len(missing)
    with closing(_write_all(folder, settings, missing, workers)) as steps:
        for count in steps:
            done += count
            if progress is not None:
                progress(done, len(plans), "Generating videos")
    write_atomically(folder / _FINISHED, _document(settings))
    (folder / _UNFINISHED).unlink(missing_ok=True)
    return GeneratedData(folder, settings, written=len(missing))


def _document(settings: GenerateSettings) -> str:
    content = {"made_by": "ssdet", "version": GENERATOR_VERSION, "settings": asdict(settings)}
    return json.dumps(content, indent=2) + "\n"


def _read_document(path: Path) -> dict:
    """Read either marker.

    Raises:
        DataError: Not written by this module.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not readable as the settings of a generated set; choose another folder.") from error
    if not isinstance(document, dict) or document.get("made_by") != "ssdet":
        raise DataError(f"{path} was not written by `ssdet data generate`; choose another folder.")
    return document


def _claim(folder: Path, settings: GenerateSettings) -> None:
    """Make sure that everything in the folder is ours and made with these settings; mark a new one as unfinished."""
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose a folder for the generated set.")
    wanted = json.loads(_document(settings))
    for marker in (_FINISHED, _UNFINISHED):
        if (folder / marker).is_file():
            stored = _read_document(folder / marker)
            if stored != wanted:
                raise ConfigError(_difference(folder, stored, wanted))
            return
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(f"{folder} holds files that `ssdet data generate` did not make; choose a new or empty folder.")
    write_atomically(folder / _UNFINISHED, _document(settings))


def _difference(folder: Path, stored: dict, wanted: dict) -> str:
    then = {"version": stored.get("version"), **stored.get("settings", {})}
    now = {"version": wanted["version"], **wanted["settings"]}
    changed = [f"{key} {then.get(key)} instead of {now[key]}" for key in now if then.get(key) != now[key]]
    return f"{folder} holds a set generated with {', '.join(changed)}; choose another folder."


# Drawing and writing videos


def draw_video(plan: VideoPlan, settings: GenerateSettings) -> np.ndarray:
    """Draw one video: background, camera, objects in order, noise.

    Returns:
        (T, S, S, 3) uint8 RGB with T `plan.frames` and S `settings.size`.
    """
    rng = np.random.default_rng(plan.entropy)
    size, seconds = settings.size, np.arange(plan.frames) / settings.fps
    camera = camera_path(plan.frames, settings.fps, rng)
    frames = shift_wrapped(draw_background(size, rng), camera * size)
    places: list[np.ndarray] = []
    for planned in plan.objects:
        sprite = draw_sprite(planned.shape, planned.radius, size, rng)
        start = np.append(_free_place(places, rng), rng.uniform(0, [TURN, 1]))
        states = follow(planned.actions, seconds, start, rng)
        states[:2] += camera
        paint(frames, sprite, states)
        places.append(start[:2])
    return finish(frames, rng.uniform(1.5, 4.5), rng)


def _free_place(taken: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Draw a place that is rather far from those taken; distances on the torus leave every place equally likely."""
    candidates = rng.uniform(0, 1, (4, 2))
    if not taken:
        return candidates[0]
    apart = np.abs((candidates[:, None] - np.stack(taken) + 0.5) % 1 - 0.5)
    return candidates[np.hypot(apart[..., 0], apart[..., 1]).min(axis=1).argmax()]


def _write_chunk(folder: Path, settings: GenerateSettings, plans: list[VideoPlan]) -> int:
    for plan in plans:
        path = folder / plan.path
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, draw_video(plan, settings), settings.fps, deterministic=True)
    return len(plans)


def _write_all(
    folder: Path, settings: GenerateSettings, plans: list[VideoPlan], workers: int
) -> Generator[int, None, None]:
    """Write the videos and yield how many each step made."""
    chunks = [plans[first : first + _CHUNK] for first in range(0, len(plans), _CHUNK)]
    if workers == 0:
        workers = (os.cpu_count() or 1) if len(plans) > _WORTH_A_POOL else 1
    if workers == 1 or len(chunks) < 2:
        for chunk in chunks:
            yield _write_chunk(folder, settings, chunk)
        return
    # Spawned, because a process that has opened a video reader must not be forked.
    pool = ProcessPoolExecutor(min(workers, len(chunks)), get_context("spawn"), _obey_the_parent)
    try:
        with held_interrupts():  # a worker that is still importing cannot ignore them yet
            futures = [pool.submit(_write_chunk, folder, settings, chunk) for chunk in chunks]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise SsdetError(f"A process that wrote videos to {folder} died; run again to go on.") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _obey_the_parent() -> None:
    """Let Ctrl-C reach the parent alone: a worker finishes the files that it has begun, while the parent lives."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_the_parent()


# Annotations


def _write_annotations(folder: Path, settings: GenerateSettings, dense: dict[str, list[VideoPlan]]) -> None:
    index = {name: number for number, name in enumerate(settings.dense_classes)}
    for name, split in (("weak.csv", "train"), ("weak_val.csv", "val")):
        rows = [(plan.path, plan.label) for plan in plan_weak(settings, split)]
        write_atomically(folder / name, _csv([("path", "label"), *rows], "\n"))
    entries = {}
    for split, plans in dense.items():
        subset = {"train": "training", "test": "testing", "val": "validation"}[split]
        for plan in plans:
            actions = [[index[action.name], action.start, action.end] for action in plan.actions]
            entries[plan.video_id] = {"subset": subset, "duration": plan.duration, "actions": actions}
        rows = [_charades_row(plan, index) for plan in plans]
        write_atomically(folder / "dense" / f"{split}.csv", _csv([_CSV_COLUMNS, *rows], "\r\n"))
    write_atomically(folder / "dense" / "charades.json", json.dumps(entries) + "\n")
    lines = [f"c{number:03d} {name}\n" for name, number in index.items()]
    write_atomically(folder / "dense" / "classes.txt", "".join(lines))


def _csv(rows: list[tuple[str, ...]], line_end: str) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerows(rows)
    return text.getvalue()


def _charades_row(plan: VideoPlan, index: dict[str, int]) -> tuple[str, ...]:
    """Describe one video in the eleven columns of Charades; times have two decimals."""
    shapes = [planned.shape for planned in plan.objects]
    actions = plan.actions
    told = [f"{action.name} from {action.start:.2f} to {action.end:.2f} s." for action in actions]
    triples = [f"c{index[action.name]:03d} {action.start:.2f} {action.end:.2f}" for action in actions]
    script = f"A picture with {', '.join(shapes)}." if actions else f"A picture with {', '.join(shapes)}, all still."
    return (
        plan.video_id,
        "S000",
        "Generated",
        "7",
        "" if not actions else "7",
        "Yes",
        script,
        ";".join(shapes),
        ";".join(told),
        ";".join(triples),
        f"{plan.duration:.2f}",
    )


# Reading


def load_generated(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read a generated set.

    Args:
        videos: OUT or OUT/weak for the weak set (one label per clip), OUT/dense for the frame-labelled one.
        annotations: For the dense set, a file in the place of its own `charades.json`; its own where None. Without
            `videos` it is a file in OUT/dense.
        split: "train", "val" or "test"; the weak set answers "test" with "val", as it has no other.

    Raises:
        ConfigError: No folder given, or no such split.
        DataError: No complete generated set there.
    """
    if videos is None and annotations is not None:
        place = annotations.absolute().parent
        videos = place if place.name == "dense" and (place.parent / _FINISHED).is_file() else None
    if videos is None:
        raise ConfigError("data.videos must name the folder of a generated set (or its weak or dense folder).")
    check_split(split)
    folder = videos if (videos / _FINISHED).is_file() else videos.absolute().parent
    if not (folder / _FINISHED).is_file():
        state = "unfinished" if any((place / _UNFINISHED).is_file() for place in (videos, folder)) else "absent"
        raise DataError(f"{videos}: the generated set is {state}; make it with `ssdet data generate`.")
    settings = _read_settings(folder / _FINISHED)
    if folder != videos and videos.name == "dense":
        loaded = load_json(videos / "videos", annotations or videos / "charades.json", split)
        return replace(loaded, name=f"generated dense {split}")
    return _load_weak(folder / "weak", settings, "train" if split == "train" else "val")


def _read_settings(path: Path) -> GenerateSettings:
    document = _read_document(path)
    try:
        return GenerateSettings(**document["settings"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} was written by another version of ssdet; generate the set anew.") from error


def _load_weak(folder: Path, settings: GenerateSettings, split: str) -> VideoSet:
    classes, duration = settings.weak_classes, settings.weak_frames / settings.fps
    empty = [name for name in classes if not any((folder / split / name).glob("*.mp4"))]
    notes = (some(f"classes of '{split}' have no clips", empty),) if empty else ()
    records = tuple(
        VideoRecord(path.stem, path, duration_seconds=duration, label=label)
        for label, name in enumerate(classes)
        for path in sorted((folder / split / name).glob("*.mp4"))
    )
    return VideoSet(f"generated weak {split}", classes, records, folder, notes=notes)
