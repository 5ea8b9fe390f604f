"""Which videos there are, and how long they are by their headers."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from ssdet_cli.config.commands import ExtractData
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clips import ClipReader, frame_times, used_range
from ssdet_cli.data.index import find_index
from ssdet_cli.data.lookup import SPLITS
from ssdet_cli.data.plain_videos import load_plain_videos
from ssdet_cli.engine.distributed import Session
from ssdet_cli.errors import ConfigError, DataError, NoSplitError
from ssdet_cli.video.sampling import Spacing, whole_video

_THREADS = 8


@dataclass(frozen=True)
class Lengths:
    """Video id -> input frames, of the videos whose header can be read."""

    frames: dict[str, int]


def listed(data: ExtractData, split: str) -> VideoSet:
    """Videos of a dataset's split, or of all the splits that it has, or of a plain folder.

    Raises:
        ConfigError: No videos are named.
        DataError: They, or the annotations, cannot be read.
    """
    if data.dataset is None:
        if data.videos is None:
            raise ConfigError("extract-features needs --videos DIR (data.videos): a folder of videos.")
        return load_plain_videos(data.videos)
    load = DATASETS.get(data.dataset)
    if split != "all":
        return load(data.videos, data.annotations, split)
    parts, absent = [], []
    for each in SPLITS:
        try:
            parts.append(load(data.videos, data.annotations, each))
        except NoSplitError as error:
            absent.append(error)
    if not parts:
        raise absent[0]
    records = {record.video_id: record for part in parts for record in part.records}
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return replace(parts[0], name=f"{data.dataset}, all splits", records=tuple(records.values()), notes=notes)


def lengths_of(records: Sequence[VideoRecord], data: ExtractData, spacing: Spacing, here: Session) -> Lengths:
    """Read the headers, each on one rank; every rank gets all lengths. A file that cannot be read is left out here.

    What the index of `ssdet data check` knows of a whole file is taken from there, where frames are counted.
    """
    own = records[here.rank :: here.world_size]
    known = _by_index(own, data, spacing.stride) if spacing.seconds is None else {}
    as_given = ClipReader(data, 16)
    # Headers need no decoder, and decord would make an index of each file.
    by_header = ClipReader(data.model_copy(update={"backend": "pyav"}), 16)

    def length(record: VideoRecord) -> tuple[str, int] | None:
        is_file = record.path is not None and record.path.is_file()
        try:
            with (by_header if is_file else as_given).open(record) as video:
                first, count = used_range(record, video)
                if spacing.seconds is None:
                    return record.video_id, -(-count // spacing.stride)
                return record.video_id, len(whole_video(frame_times(video, first, count), spacing)[0])
        except DataError:
            return None

    with ThreadPoolExecutor(_THREADS) as threads:
        unknown = [record for record in own if record.video_id not in known]
        found = [*known.items(), *(pair for pair in threads.map(length, unknown) if pair is not None)]
    return Lengths({video_id: frames for part in here.gather(found) for video_id, frames in part})


def _by_index(records: Sequence[VideoRecord], data: ExtractData, stride: int) -> dict[str, int]:
    """Video id -> input frames, of whole files that the index knows as they are now."""
    index = find_index(data)
    if index is None:
        return {}
    whole = {
        record.video_id: os.path.abspath(record.path)
        for record in records
        if record.path is not None and not record.start_seconds and record.end_seconds is None
    }
    facts = index.all_known(whole.values())
    usable = ((video_id, facts.get(path)) for video_id, path in whole.items())
    return {video_id: -(-one.frames // stride) for video_id, one in usable if one is not None and not one.code}
