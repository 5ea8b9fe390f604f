"""`ssdet data generate`, and the generated dataset of a run that has no other."""

from collections.abc import Callable
from pathlib import Path

from ssdet_cli.data.generated import GeneratedData, GenerateSettings, Progress, ensure_generated

#: Where the generated dataset is made unless told otherwise: beside the runs.
DEFAULT = Path("runs/generated")


def run(
    folder: Path,
    settings: GenerateSettings | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> GeneratedData:
    """Make the generated dataset in `folder`, or find it there complete.

    Args:
        folder: New, empty, or begun earlier with the same settings.
        settings: What to make; None is the default task.
        workers: Processes that draw; 0 is one per core where there is enough to do.
        progress: Told (videos done, videos in all, what is being done).

    Raises:
        ConfigError: The folder holds a set made with other settings.
        DataError: The folder holds something else.
    """
    return ensure_generated(folder, settings or GenerateSettings(), progress, workers=workers)


def default_generated(say: Callable[[str], None]) -> Path:
    """The default generated dataset's folder, made now where it is not there yet; tells `say` what happens."""
    say(f"Using the generated dataset in {DEFAULT} (made once, in under a minute).")
    tenths = set()

    def progress(done: int, total: int, what: str) -> None:
        tenth = 10 * done // total
        if tenth not in tenths:
            tenths.add(tenth)
            say(f"{what}: {done}/{total}")

    return run(DEFAULT, progress=progress).folder
