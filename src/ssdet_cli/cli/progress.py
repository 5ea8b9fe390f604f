"""How far a long command is, on stderr where that is a terminal."""

from ssdet_cli.cli.console import console


class ProgressBar:
    """A rich progress bar as a plain function of (done, total, what)."""

    def __init__(self, title: str) -> None:
        self.title = title

    def __enter__(self) -> "ProgressBar":
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        drawn = console()
        self.drawn = Progress(*columns, console=drawn, transient=True, disable=not drawn.is_terminal)
        self.task = self.drawn.add_task(self.title, total=None)
        self.drawn.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn.stop()

    def __call__(self, done: int, total: int, what: str) -> None:
        """Show how far it is."""
        self.drawn.update(self.task, completed=done, total=total, description=what)
