"""`ssdet data cache`: resized copies of a dataset's videos."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from ssdet_cli.data.apart import Alive, each_apart
from ssdet_cli.data.copies import CopySettings, copy_path, expected_bytes, is_copied, make_copy
from ssdet_cli.errors import SsdetError
from ssdet_cli.files import drop_unfinished, refuse_unwritable, write_atomically

#: Names what could not be copied, one file and its reason on each line.
FAILED = "failed.txt"
#: Videos whose size is measured before anything is written.
_SAMPLE = 12
#: Bytes that are left free on the disk.
_SPARE = 64 * 2**20


@dataclass(frozen=True)
class Copied:
    """What a call did.

    Attributes:
        made: Copies that it made.
        kept: Those that were there.
        size: Bytes of those that it made.
        failures: Why a video has no copy, by its path.
    """

    made: int
    kept: int
    size: int
    failures: dict[Path, str]


@dataclass(frozen=True)
class _Job:
    source: Path
    settings: CopySettings
    duration: float | None = None


def run(
    sources: list[Path],
    settings: CopySettings,
    *,
    workers: int = 0,
    patience: float | None = None,
    durations: Mapping[Path, float] = MappingProxyType({}),
    say: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Copied:
    """Make the copies that are not there; what cannot be read is named and passed over.

    Args:
        sources: Videos.
        settings: Where to and how.
        workers: Processes; 0 is one per core.
        patience: Seconds without any progress after which a file is passed over.
        durations: Seconds that folders of frames show, which tell their rate where the settings do not.
        say: Told what is to be done, and what fails.
        progress: Told (done, in all).

    Raises:
        ConfigError: The folder cannot be written.
        SsdetError: The disk has too little room, or not one of the videos can be read.
    """
    refuse_unwritable(settings.folder, "output")
    settings.folder.mkdir(parents=True, exist_ok=True)
    drop_unfinished(settings.folder)
    jobs = [_Job(source, settings, durations.get(source)) for source in sources]
    left = [job for job in jobs if not is_copied(settings, job.source, job.duration)]
    kept = len(sources) - len(left)
    say(f"{kept} of {len(sources)} videos have their copy, {len(left)} are to be copied.")
    made, size, failures = 0, 0, {}
    if left:
        _check_space(left, settings, patience, say)
        for outcome in each_apart(_copy, left, workers=workers or _cores(), patience=patience):
            if outcome.failure:
                failures[outcome.item.source] = outcome.failure
                say(f"Passed over: {outcome.failure}")
            else:
                made, size = made + 1, size + outcome.result
            progress(made + len(failures), len(left))
    _write_failures(settings.folder, failures)
    if failures and not made + kept:
        raise SsdetError(f"None of the {len(sources)} videos can be copied, the first: {next(iter(failures.values()))}")
    return Copied(made, kept, size, failures)


def _copy(job: _Job, alive: Alive) -> int:
    return make_copy(job.source, job.settings, alive, job.duration)


def _measure(job: _Job, alive: Alive) -> int:
    return expected_bytes(job.source, job.settings, job.duration)


def _check_space(left: list[_Job], settings: CopySettings, patience: float | None, say: Callable[[str], None]) -> None:
    """See that the copies find room, by the size of some of them.

    Raises:
        SsdetError: They do not.
    """
    jobs = left[:: max(1, len(left) // _SAMPLE)][:_SAMPLE]
    outcomes = each_apart(_measure, jobs, workers=1, patience=patience)
    sizes = [outcome.result for outcome in outcomes if not outcome.failure]
    need = round(sum(sizes) / max(1, len(sizes)) * len(left))
    old = sum(_size(copy_path(settings.folder, job.source)) for job in left)  # of another state or other settings
    free = shutil.disk_usage(settings.folder).free + old
    say(f"About {_sized(need)} will be written to {settings.folder}, {_sized(free)} are free.")
    if need + _SPARE > free:
        raise SsdetError(
            f"The copies need about {_sized(need)} and {settings.folder} has {_sized(free)} free; make room, give "
            "another --output, or make them smaller (--short-side, --quality)."
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _sized(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_failures(folder: Path, failures: dict[Path, str]) -> None:
    if failures:
        write_atomically(folder / FAILED, "".join(f"{path}\t{reason}\n" for path, reason in failures.items()))
    else:
        (folder / FAILED).unlink(missing_ok=True)
