"""Lengths of decoded videos, which count where none is annotated, or one that contradicts its actions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from ssdet_cli.data.annotations import VideoSet

_follow: ContextVar[bool] = ContextVar("decoded_lengths_follow", default=False)


@contextmanager
def decoded_lengths(follow: bool) -> Iterator[None]:
    """Inside, a loader leaves actions uncut whose annotated video is too short: its real length is known later.

    Args:
        follow: Whether that is so; else nothing changes.
    """
    token = _follow.set(follow)
    try:
        yield
    finally:
        _follow.reset(token)


def decoded_lengths_follow() -> bool:
    """Whether the lengths of the decoded videos are known later."""
    return _follow.get()


def with_decoded_lengths(videos: VideoSet, lengths: Mapping[str, float]) -> tuple[VideoSet, int]:
    """Fill in the lengths of decoded videos, seconds by id, where the annotations tell none; and count those."""
    silent = {record.video_id for record in videos.records if record.duration_seconds is None} & lengths.keys()
    if not silent:
        return videos, 0
    records = tuple(
        replace(record, duration_seconds=lengths[record.video_id]) if record.video_id in silent else record
        for record in videos.records
    )
    return replace(videos, records=records), len(silent)
