"""Whether stored features are those of a video that is about to be read, or has been."""

from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.inputs import Source
from ssdet_cli.errors import DataError
from ssdet_cli.video.stream import Stream

#: Lengths in seconds count as equal up to so much, and up to this part: a container counts its sound in.
_SECONDS, _PART = 1.0, 0.05


def refuse_other_video(store: FeatureStore, source: Source, video: Stream) -> None:
    """Compare what is stored of a video with what the header of an open one says, before anything of it is read.

    A header may promise too few frames, never too many (reading would fail): where it promises fewer than are stored
    and is as long in seconds, and where it tells nothing, the frames are counted at the end, see `refuse_other_count`.

    Raises:
        DataError: It is another video, or its features are damaged.
    """
    stored = store.video(source.video_id)
    frames, seconds = stored["raw_frames"], stored["duration_seconds"]
    alike = video.duration is not None and abs(video.duration - seconds) <= _SECONDS + _PART * seconds
    if video.num_frames is not None and video.num_frames != frames:
        if not (alike and video.num_frames < frames):
            raise _other(store, source, f"{frames} frames", f"{video.num_frames}")
    elif video.num_frames is None and video.duration is not None and not alike:
        raise _other(store, source, f"{seconds:.1f} s", f"{video.duration:.1f} s")


def refuse_other_count(store: FeatureStore, source: Source, seen: int, *, to_the_end: bool) -> None:
    """Compare the number of stored input frames with those of the video that have gone by.

    Args:
        store: Of the features.
        source: The video.
        seen: Input frames from its beginning to the last that was read.
        to_the_end: That was the last of all.

    Raises:
        DataError: It is another video.
    """
    held = store.num_frames(source.video_id)
    if seen > held or (to_the_end and seen < held):
        more = "" if to_the_end else " or more"
        raise _other(store, source, f"{held} input frames", f"{seen}{more}")


def _other(store: FeatureStore, source: Source, stored: str, found: str) -> DataError:
    return DataError(
        f"{store.folder} holds features of {stored} of '{source.video_id}', and {source.location} has {found}: "
        "it is another video."
    )
