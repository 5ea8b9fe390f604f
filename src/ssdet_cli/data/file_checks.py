"""Looking at all files of a set: what the index knows is not looked at again, the rest goes to processes."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from ssdet_cli.data.index import PASSING, IndexWriter, VideoIndex
from ssdet_cli.data.isolated import Died, in_processes
from ssdet_cli.video.inspection import DEPTHS, Depth, FileFacts, Inspection, inspect, special_reader, stamp

#: (files done, files in all, file).
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class HowToLook:
    """How files are looked at.

    Attributes:
        depth: How far.
        backend: Reader that decodes.
        frame_rate: Of folders of frames.
        workers: Processes.
        timeout: Seconds for one file.
        memory_bytes: For one file.
    """

    depth: Depth
    backend: str
    frame_rate: float | None
    workers: int
    timeout: float
    memory_bytes: int


@dataclass(frozen=True)
class Looked:
    """What is known of the files of a set.

    Attributes:
        facts: By absolute path.
        known: How many of them the index knew already.
    """

    facts: dict[str, FileFacts]
    known: int


def look_at_all(
    paths: Iterable[Path], index_file: Path, root: Path, how: HowToLook, progress: Progress = lambda *_: None
) -> Looked:
    """Look at every file once; each result is in the index before the next one is waited for.

    Raises:
        DataError: `index_file` is something else.
        SsdetError: The disk is full.
    """
    wanted = list(dict.fromkeys(os.path.abspath(path) for path in paths))
    index = VideoIndex(index_file)
    facts = {path: one for path, one in index.all_known(wanted).items() if _is_enough(one, how)}
    known = len(facts)
    jobs = (Inspection(path, how.depth, how.backend, how.frame_rate) for path in wanted if path not in facts)
    timeout = how.timeout * (10 if how.depth == "all" else 1)
    progress(known, len(wanted), "")
    with IndexWriter(index, root) as writer:
        looked = in_processes(inspect, list(jobs), workers=how.workers, timeout=timeout, memory_bytes=how.memory_bytes)
        for job, answer in looked:
            facts[job.path] = _dead(job, answer) if isinstance(answer, Died) else answer
            writer.add(facts[job.path])
            progress(len(facts), len(wanted), job.path)
        if len(facts) > known:
            writer.rewrite()
    return Looked(facts, known)


def _is_enough(facts: FileFacts, how: HowToLook) -> bool:
    if facts.code in PASSING or DEPTHS.index(facts.depth) < DEPTHS.index(how.depth):
        return False
    same_reader = facts.reader == special_reader(how.backend, how.depth)
    if not same_reader and (facts.code or how.depth != "headers"):
        return False
    return bool(facts.content) or not how.frame_rate or bool(facts.code) or facts.frame_rate == how.frame_rate


def _dead(job: Inspection, how: Died) -> FileFacts:
    size, changed = stamp(job.path) or (0, 0)
    return FileFacts(job.path, size, changed, depth=job.depth, code=how.code, detail=how.detail)
