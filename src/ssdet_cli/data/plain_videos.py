"""A folder of videos that nobody annotated."""

from pathlib import Path

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.lookup import IMAGE_SUFFIXES, VIDEO_SUFFIXES, refuse_undecodable, some
from ssdet_cli.errors import DataError


def load_plain_videos(place: Path) -> VideoSet:
    """Find every video in a folder and its subfolders; an id is the path in the folder, without suffix.

    A folder that holds pictures is a video of frames. Of files that differ in their suffix only one is taken, in the
    order of `VIDEO_SUFFIXES`. What begins with a dot is passed over, and so are the pictures of a prediction.

    Args:
        place: The folder, or a video file.

    Raises:
        DataError: It does not exist, holds no video, or one whose name is no text.
    """
    if place.is_file():
        return VideoSet(place.name, (), (VideoRecord(place.stem, place),), place)
    if not place.is_dir():
        raise DataError(f"The video folder {place} does not exist.")
    found: dict[str, Path] = {}
    doubled = []
    for path in sorted(place.rglob("*"), key=_rank):
        parts = path.relative_to(place).parts
        if any(part.startswith(".") for part in parts) or _was_drawn(path):
            continue
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            video_id = path.relative_to(place).with_suffix("").as_posix()
        elif path.suffix.lower() in IMAGE_SUFFIXES and path.parent != place:
            path = path.parent
            video_id = path.relative_to(place).as_posix()
        else:
            continue
        refuse_undecodable(place, video_id)
        if found.setdefault(video_id, path) != path:
            doubled.append(video_id)
    if not found:
        wanted = ", ".join(VIDEO_SUFFIXES)
        raise DataError(f"{place} holds no videos ({wanted}, or folders of JPEG frames).")
    notes = (some("videos are there twice, and one file of each is taken", doubled),) if doubled else ()
    records = tuple(VideoRecord(video_id, found[video_id]) for video_id in sorted(found))
    return VideoSet(place.name or str(place), (), records, place, notes=notes)


def _was_drawn(path: Path) -> bool:
    """Whether `ssdet predict` made this picture or video."""
    if not path.name.lower().endswith((".png", ".overlay.mp4")):
        return False
    return all((path.parent / name).is_file() for name in ("segments.json", "scores.npz"))


def _rank(path: Path) -> tuple[int, Path]:
    suffix = path.suffix.lower()
    return VIDEO_SUFFIXES.index(suffix) if suffix in VIDEO_SUFFIXES else len(VIDEO_SUFFIXES), path
