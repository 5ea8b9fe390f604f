"""What is wrong with annotations: an error or a silent repair while loading, a finding of `ssdet data check`.

    with tolerated(raw=True) as flaws:
        videos = load_charades(None, annotations, "train")

Inside, an action that cannot be read is left out and noted instead of ending the loading; with `raw`, loaders keep the
actions that they otherwise drop or cut. A loader that knows nothing of this works as always.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from ssdet_cli.errors import DataError


@dataclass(frozen=True)
class Flaw:
    """An action, line or video of an annotation file that cannot be used.

    Attributes:
        code: "unknown-class", "segment-end-before-start", "duplicate-within-split" or "bad-annotation".
        message: Names the file and what is wrong.
        video_id: Whose it is; empty where that is unknown.
    """

    code: str
    message: str
    video_id: str = ""


@dataclass
class _Tolerance:
    raw: bool
    flaws: list[Flaw] = field(default_factory=list)


_tolerance: ContextVar[_Tolerance | None] = ContextVar("tolerance", default=None)


class UnknownClassError(ValueError):
    """A class that is none of the set's."""


class ReversedError(ValueError):
    """A clip that ends before it starts."""


@contextmanager
def tolerated(*, raw: bool) -> Iterator[list[Flaw]]:
    """Collect flaws instead of raising at the first one; `raw` also keeps what loaders drop or cut."""
    tolerance = _Tolerance(raw)
    token = _tolerance.set(tolerance)
    try:
        yield tolerance.flaws
    finally:
        _tolerance.reset(token)


def tolerating() -> bool:
    """Whether flaws are collected."""
    return _tolerance.get() is not None


def kept_raw() -> bool:
    """Whether loaders are to keep actions as the file has them."""
    tolerance = _tolerance.get()
    return tolerance is not None and tolerance.raw


def note_two_labels(where: str, video_id: str, label: str, other: str) -> None:
    """Note that a clip with one label has another as well, where flaws are collected; a loader tells it anyhow."""
    tolerance = _tolerance.get()
    if tolerance is not None:
        message = f"{where}: the clip has the label '{label}' here and '{other}' elsewhere"
        tolerance.flaws.append(Flaw("duplicate-within-split", message, video_id))


def refuse(message: str, video_id: str = "", error: ValueError | None = None) -> None:
    """Raise DataError, or note the flaw where flaws are collected; the caller then leaves out what is wrong.

    Raises:
        DataError: With `message`.
    """
    tolerance = _tolerance.get()
    if tolerance is None:
        raise DataError(message) from error
    code = "bad-annotation"
    if isinstance(error, UnknownClassError):
        code = "unknown-class"
    elif isinstance(error, ReversedError):
        code = "segment-end-before-start"
    tolerance.flaws.append(Flaw(code, message, video_id))
