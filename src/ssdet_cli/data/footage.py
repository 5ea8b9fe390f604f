"""What an annotation tool or a table says of videos, before classes are numbered."""

from dataclasses import dataclass, field

from ssdet_cli.data.lookup import VIDEO_SUFFIXES


@dataclass
class Footage:
    """One video: its split and its length in seconds where they are told, and its actions as (class, start, end)."""

    subset: str | None = None
    duration: float | None = None
    actions: list[tuple[str, float, float]] = field(default_factory=list)


@dataclass
class Export:
    """Videos by id, in the order of the file.

    Attributes:
        videos: Id -> what is said of it.
        classes: In the order of the tool; empty where it has none.
        notes: One sentence for each thing that was left out or understood in some way.
    """

    videos: dict[str, Footage]
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def video_id(name: str) -> str:
    """The name of a video without folders before it and without its suffix."""
    name = name.strip().replace("\\", "/").rsplit("/", 1)[-1]
    stem, _, suffix = name.rpartition(".")
    return stem if f".{suffix.lower()}" in VIDEO_SUFFIXES else name
