"""`ssdet data cache`."""

from pathlib import Path
from typing import Annotated

import typer

from ssdet_cli.cli import completion
from ssdet_cli.cli.console import console, say
from ssdet_cli.cli.interruption import interruptible
from ssdet_cli.errors import ConfigError


def cache(
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the copies; what is there already stays.")],
    videos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the videos."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The same as --videos, or a list of clips (of --dataset folder by default)."),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Kind of dataset, from ssdet data list; default: every video in --videos.",
            autocompletion=completion.datasets,
        ),
    ] = None,
    annotations: Annotated[Path | None, typer.Option(metavar="FILE", help="Annotation file of the dataset.")] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="train|val|test|all", help="Split of the dataset.", autocompletion=completion.splits_or_all
        ),
    ] = "all",
    short_side: Annotated[
        int,
        typer.Option(
            metavar="N", min=16, help="Shrink frames to so many pixels on the short side: clip.size / smallest scale."
        ),
    ] = 256,
    quality: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Of the JPEG pictures.")] = 90,
    frame_rate: Annotated[
        float | None,
        typer.Option(
            metavar="X", min=0.001, help="Frames per second of folders of JPEG frames; default: as annotated."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Processes; 0 is one per core.")] = 0,
    file_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Pass over a file that gives nothing for so long.")
    ] = 120.0,
) -> None:
    """Make resized copies of a dataset's videos; training reads them with data.cache=DIR (--cache DIR).

    From a copy a clip is read many times as fast as from a video, since no frame needs another one. Labels stay
    right: a copy has the frames of the video at their times. Started again, it makes only what is missing or changed.
    """
    from ssdet_cli.config.commands import ExtractData
    from ssdet_cli.data.copies import CopySettings
    from ssdet_cli.data.lookup import VIDEO_SUFFIXES
    from ssdet_cli.recipes import cache as recipe
    from ssdet_cli.recipes.video_lengths import listed

    if videos is not None and data is not None:
        raise ConfigError("--videos and --data are the same; give one of them.")
    videos = videos or data
    if dataset is None and data is not None and data.is_file() and data.suffix.lower() not in VIDEO_SUFFIXES:
        dataset = "folder"
    if dataset is None and videos is None:
        raise ConfigError("data cache needs --videos DIR (or --data), or --dataset NAME with what it reads.")
    if dataset is None and annotations is not None:
        raise ConfigError("--annotations needs --dataset NAME: what kind of annotations they are.")
    found = listed(ExtractData(dataset=dataset, videos=videos, annotations=annotations), split)
    for note in found.notes:
        say(note)
    sources = list(dict.fromkeys(record.path for record in found.records if record.path is not None))
    # As where it is read itself: the rate that is given, or that of the annotated duration.
    durations = {record.path: record.duration_seconds for record in found.records if record.duration_seconds}
    untold = (path for path in sources if path not in durations and path.is_dir())
    if frame_rate is None and (folder := next(untold, None)) is not None:
        raise ConfigError(f"{folder} is a folder of frames; say how many there are per second with --frame-rate X.")
    settings = CopySettings(output, short_side, quality, frame_rate)
    with interruptible(), _Progress() as progress:
        done = recipe.run(
            sources,
            settings,
            workers=workers,
            patience=file_timeout,
            durations=durations,
            say=say,
            progress=progress,
        )
    failed = f", {len(done.failures)} could not be read (see {output / recipe.FAILED})" if done.failures else ""
    typer.echo(f"{output}: {done.made} copies made ({done.size / 2**20:.1f} MiB), {done.kept} were there{failed}.")
    say(f"Read them with data.cache={output} (--cache {output}).")


class _Progress:
    """A rich progress bar as a plain function of (done, total)."""

    def __enter__(self) -> "_Progress":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        drawn = console()
        self.drawn = Progress(*columns, console=drawn, transient=True, disable=not drawn.is_terminal)
        self.task = self.drawn.add_task("Copying videos", total=None)
        self.drawn.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn.stop()

    def __call__(self, done: int, total: int) -> None:
        self.drawn.update(self.task, completed=done, total=total)
