"""What an annotation tool or a table says of videos, before classes are numbered."""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass, field

from ssdet_cli.data.lookup import video_name


@dataclass
class Footage:
    """One video: its split and its length in seconds where they are told, and its actions as (class, start, end).

    `place` is its path with folders, where it is told.
    """

    subset: str | None = None
    duration: float | None = None
    actions: list[tuple[str, float, float]] = field(default_factory=list)
    place: str | None = None


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
    return video_name(name).rpartition("/")[2]


def video_ids(names: Iterable[str]) -> dict[str, str]:
    """Give every path its video's id: its name alone, or with folders where several folders hold that name."""
    whole = {name: posixpath.normpath(video_name(name)).lstrip("./") for name in names}
    sharing: dict[str, set[str]] = {}
    for place in whole.values():
        sharing.setdefault(video_id(place), set()).add(place)
    return {name: place if len(sharing[video_id(place)]) > 1 else video_id(place) for name, place in whole.items()}
