"""`ssdet data generate`: the generated dataset in a folder."""

from pathlib import Path

from ssdet_cli.data.generated import GeneratedData, GenerateSettings, Progress, ensure_generated

#: Where the generated dataset is made unless told otherwise; `pretrain` and `finetune` look for it there.
DEFAULT = Path("ssdet-data/generated")


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
