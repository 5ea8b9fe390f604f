"""Whether stored features are those of a video that is about to be read, or has been."""

from ssdet_cli.data.feature_store import FeatureStore
from ssdet_cli.data.inputs import Source
from ssdet_cli.errors import DataError
from ssdet_cli.video.stream import Stream

#: A container that does not tell its frames may tell a length, of the longest of what it holds, sound among it: so
#: many seconds, and this part, may it be shorter or longer than the pictures.
_SECONDS, _SHORTER, _LONGER = 1.0, 0.02, 0.25
#: Two containers may tell the end of the same video so much apart, seconds: each rounds the times of its first and its
#: last frame, and how long that is shown, to ticks of up to a millisecond.
_ROUNDED = 0.003


def refuse_other_video(store: FeatureStore, source: Source, video: Stream) -> None:
    """Compare what is stored of a video with what the header of an open one says, before anything of it is read.

    What a header leaves open is found when the frames are counted at the end, see `refuse_other_count`.

    Raises:
        DataError: It is another video, or its features are damaged.
    """
    stored = store.video(source.video_id)
    frames, seconds, promised = stored["raw_frames"], stored["duration_seconds"], video.num_frames
    if promised is not None:
        # Too few may be promised (too many could not be read), and the length in seconds is right all the same.
        too_few = promised < frames and video.duration is not None
        if promised != frames and not (
            too_few and abs(video.duration - seconds) < abs(video.duration - promised / stored["frame_rate"])
        ):
            raise _other(store, source, f"{frames} frames", f"{promised}")
    elif video.duration is not None:
        longer = video.duration - seconds
        if not -_SECONDS - _SHORTER * seconds <= longer <= _SECONDS + _LONGER * seconds:
            raise _other(store, source, f"{seconds:.1f} s", f"{video.duration:.1f} s")


def refuse_other_count(store: FeatureStore, source: Source, seen: int, ended: float, *, to_the_end: bool) -> None:
    """Compare the number of stored input frames with those of the video that have gone by.

    Of features that go by seconds the last moment may lie in one container and behind the end in another: a Matroska
    copy tells that end in whole milliseconds.

    Args:
        store: Of the features.
        source: The video.
        seen: Input frames from its beginning to the last that was read.
        ended: When the last raw frame that was read ends, seconds.
        to_the_end: That was the last of all.

    Raises:
        DataError: It is another video.
    """
    held, more = store.num_frames(source.video_id), "" if to_the_end else " or more"
    if seen == held or (seen < held and not to_the_end):
        return
    if store.origin.seconds_between_frames is None:
        raise _other(store, source, f"{held} input frames", f"{seen}{more}")
    seconds = store.video(source.video_id)["duration_seconds"]
    if abs(seen - held) > 1 or abs(ended - seconds) > _ROUNDED:
        raise _other(store, source, f"{seconds:.3f} s", f"{ended:.3f} s{more}")


def _other(store: FeatureStore, source: Source, stored: str, found: str) -> DataError:
    return DataError(
        f"{store.folder} holds features of {stored} of '{source.video_id}', and {source.location} has {found}: "
        "it is another video."
    )
