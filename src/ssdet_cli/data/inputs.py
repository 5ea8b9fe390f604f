"""What somebody who names files, folders or addresses wants to be looked at."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ssdet_cli.data.lookup import IMAGE_SUFFIXES, VIDEO_SUFFIXES, some
from ssdet_cli.data.plain_videos import load_plain_videos
from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video.stream import goes_on, local_path


@dataclass(frozen=True)
class Source:
    """One video.

    Attributes:
        video_id: Unique name, also of a folder; of a video in a folder its path there, without suffix.
        location: File, folder of JPEG frames, device, pipe or address.
    """

    video_id: str
    location: str

    @property
    def file(self) -> Path | None:
        """The video file; None where it is anything else."""
        path = local_path(self.location)
        return path if path is not None and path.is_file() else None


def find_sources(
    places: Iterable[str], frame_rate: float | None = None, *, say: Callable[[str], None] = lambda _: None
) -> list[Source]:
    """Find the videos that are meant, in the order given, each once.

    Args:
        places: Files, folders of videos, folders of JPEG frames, devices, pipes, addresses.
        frame_rate: Frames per second of folders of frames.
        say: Told what is passed over in a folder.

    Raises:
        ConfigError: A folder of frames is named, and no frame rate.
        DataError: A folder holds no video, or something is not there.
    """
    found: dict[str, Source] = {}
    taken: set[str] = set()
    for place in places:
        for video_id, location in _inside(place, frame_rate, say):
            if location not in found:
                name, number = video_id, 2
                while name in taken:
                    name, number = f"{video_id}-{number}", number + 1
                taken.add(name)
                found[location] = Source(name, location)
    return list(found.values())


def _inside(place: str, frame_rate: float | None, say: Callable[[str], None]) -> list[tuple[str, str]]:
    path = local_path(place)
    if path is None or goes_on(place):
        return [(_name(place), place)]
    if not path.exists():
        raise DataError(f"{place}: there is no such file or folder.")
    if not path.is_dir():
        return [(path.stem, str(path))]
    suffixes = {child.suffix.lower() for child in path.iterdir()}
    if suffixes.isdisjoint(IMAGE_SUFFIXES) or not suffixes.isdisjoint(VIDEO_SUFFIXES):
        videos = load_plain_videos(path)
        for note in videos.notes:
            say(note)
        pictures = [one.video_id for one in videos.records if frame_rate is None and one.path.is_dir()]
        if len(pictures) < len(videos.records):
            if pictures:
                say(some(f"folders of pictures in {place} are passed over, --frame-rate X reads them", pictures))
            return [(one.video_id, str(one.path)) for one in videos.records if one.video_id not in pictures]
    if frame_rate is None:
        raise ConfigError(f"{place} is a folder of frames; say how many there are per second with --frame-rate X.")
    return [(path.resolve().name, str(path))]


def _name(address: str) -> str:
    """A name for a stream: the last part of its path, else the machine's."""
    parts = urlsplit(address)
    name = Path(parts.path).stem or parts.hostname or "stream"
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "stream"
