"""The splits of a set for a check: as their files are written, and as loading would give them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ssdet_cli.config.sections import DataConfig
from ssdet_cli.data import DATASETS
from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.findings import CODES, Finding, of_flaws
from ssdet_cli.data.flaws import tolerated
from ssdet_cli.data.lengths import decoded_lengths
from ssdet_cli.errors import DataError, NoSplitError
from ssdet_cli.video.inspection import FileFacts

#: Benchmarks of this field have no third split: their test split answers for validation, and is read first.
_ORDER = ("train", "test", "val")
#: Of several splits with one video, the first of these keeps it.
_KEPT_FIRST = ("test", "val", "train")


@dataclass(frozen=True)
class CheckedSplits:
    """What there is to check.

    Attributes:
        raw: Split -> records with all actions that could be read.
        loaded: Split -> records as a training would get them; lines that would have stopped it are left out.
        findings: Of loading.
    """

    raw: dict[str, VideoSet]
    loaded: dict[str, VideoSet]
    findings: list[Finding]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the first split; the others have the same ones or cannot be trained with it."""
        return next(iter(self.raw.values())).classes


def read_splits(data: DataConfig, split: str) -> CheckedSplits:
    """Load one split, or all that are there; one that another answers for is not counted again.

    Raises:
        ConfigError: Something that the dataset needs is not given.
        DataError: Nothing can be loaded.
    """
    load = DATASETS.get(data.dataset)
    found = CheckedSplits({}, {}, [])
    errors: list[tuple[str, DataError]] = []
    for name in _ORDER if split == "all" else (split,):
        try:
            with tolerated(raw=True) as flaws:
                raw = load(data.videos, data.annotations, name)
            # Without videos, what is listed will be read with them.
            with tolerated(raw=False), decoded_lengths(data.videos is None):
                loaded = load(data.videos, data.annotations, name)
        except DataError as error:
            errors.append((name, error))
            continue
        twin = next((other for other, videos in found.raw.items() if _same_videos(raw, videos)), None)
        if twin is None:
            found.raw[name], found.loaded[name] = raw, loaded
            # A line that cannot be read belongs to no split: every one meets it.
            told = {finding.detail for finding in found.findings}
            found.findings.extend(of_flaws(name, [flaw for flaw in dict.fromkeys(flaws) if flaw.message not in told]))
        elif is_weak(raw) and twin == "test":  # what pretraining holds out is for validation
            found.raw[name], found.loaded[name] = found.raw.pop(twin), found.loaded.pop(twin)
            found.findings[:] = [replace(one, split=name) if one.split == twin else one for one in found.findings]
    if not found.raw:
        raise errors[0][1]
    for name, error in errors:
        code = "no-split" if isinstance(error, NoSplitError) else "split-unreadable"
        found.findings.append(Finding(code, name, name, str(error)))
    return found


def is_weak(videos: VideoSet) -> bool:
    """Whether its clips have one class each."""
    return bool(videos.records) and all(record.label is not None for record in videos.records)


def _same_videos(one: VideoSet, other: VideoSet) -> bool:
    return len(one) == len(other) and {r.video_id for r in one.records} == {r.video_id for r in other.records}


def clean(
    splits: CheckedSplits, findings: list[Finding], leave_out: tuple[str, ...], facts: Mapping[str, FileFacts] | None
) -> dict[str, VideoSet]:
    """Take out the videos that cannot be read, and those with a code of `leave_out`.

    A frame-labelled video of several splits stays in one, for a list names it once: the test split must stay whole, and
    that of training loses it first. A weakly labelled clip without a path can be in no list.

    Args:
        splits: What there is.
        findings: All of them.
        leave_out: Codes of warnings and notes that count as well; of a video in several splits, one stays.
        facts: By absolute path; None where no video was looked at.
    """
    out = {
        (split, finding.subject)
        for finding in findings
        if finding.code in leave_out and finding.subject
        for split in _but_one(finding.split)
    }

    def stays(split: str, record: VideoRecord) -> bool:
        if (split, record.video_id) in out or (record.label is not None and record.path is None):
            return False
        return facts is None or _is_readable(record, facts)

    kept: dict[str, VideoSet] = {}
    taken: set[str] = set()
    for split in sorted(splits.loaded, key=_KEPT_FIRST.index):
        videos = splits.loaded[split]
        own = [record for record in videos.records if stays(split, record)]
        own = [record for record in own if record.label is not None or record.video_id not in taken]
        taken.update(record.video_id for record in own if record.label is None)
        kept[split] = replace(videos, records=tuple(own))
    return {split: kept[split] for split in splits.loaded}


def _but_one(split: str) -> list[str]:
    """The splits of a finding that lose their video; of several the first one keeps it."""
    parts = split.split("+")
    return parts[1:] or parts


def _is_readable(record: VideoRecord, facts: Mapping[str, FileFacts]) -> bool:
    """Whether a training can take clips of it."""
    file = facts.get(os.path.abspath(record.path)) if record.path is not None else None
    if file is None or (file.code and CODES[file.code][0] == "error"):
        return False
    if not file.frame_rate and not record.duration_seconds:  # a folder of frames at no times
        return False
    return not (file.seconds and record.start_seconds >= file.seconds)
