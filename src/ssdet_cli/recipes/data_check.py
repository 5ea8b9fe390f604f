"""`ssdet data check`: what is wrong with a dataset, an index of its files, and the list of what can be used."""

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssdet_cli.config.data_check import DataCheckConfig
from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.check_splits import CheckedSplits, clean, is_weak, read_splits
from ssdet_cli.data.clean_list import refuse_foreign, write_clean_list
from ssdet_cli.data.clip_tree import CLEAN_FOLDER
from ssdet_cli.data.file_checks import HowToLook, Looked, Progress, look_at_all
from ssdet_cli.data.findings import (
    CODES,
    SEVERITIES,
    Finding,
    Limits,
    duplicates,
    of_annotations,
    of_files,
    of_weak_labels,
    with_file_lengths,
)
from ssdet_cli.data.index import INDEX_NAME
from ssdet_cli.data.statistics import split_statistics, weak_statistics
from ssdet_cli.errors import ConfigError
from ssdet_cli.files import refuse_unwritable, write_atomically
from ssdet_cli.viz.check_report import check_report_html


@dataclass(frozen=True)
class Checked:
    """The outcome.

    Attributes:
        report: What `report.json` holds.
        findings: The worst codes first.
        written: Name -> file.
    """

    report: dict[str, Any]
    findings: list[Finding]
    written: dict[str, Path]

    @property
    def has_faults(self) -> bool:
        """Whether there is an error or a warning."""
        return any(finding.severity != "note" for finding in self.findings)


def run(cfg: DataCheckConfig, progress: Progress = lambda *_: None) -> Checked:
    """Check annotations and files; nothing of the dataset is changed.

    Raises:
        ConfigError: A code or a flag is wrong.
        DataError: No split can be loaded.
        SsdetError: The output cannot be written.
    """
    began = time.monotonic()
    output = cfg.output or default_output(cfg)
    refuse_unwritable(output, "--output")
    refuse_foreign(output / CLEAN_FOLDER)
    _check_codes(cfg.leave_out)
    splits = read_splits(cfg.data, cfg.split)
    looked = None if cfg.annotations_only else _look(cfg, splits, output, progress)
    findings = _findings(cfg, splits, looked)
    kept = clean(splits, findings, cfg.leave_out, looked.facts if looked else None)
    report = _report(cfg, splits, looked, findings, kept, time.monotonic() - began)
    written = {"report.json": output / "report.json", "report.html": output / "report.html"}
    facts = looked.facts if looked else {}
    listed = write_clean_list(output / CLEAN_FOLDER, kept, splits.classes, facts, cfg.data.videos)
    if listed is not None:
        written["clean list"] = listed
    if looked is not None:
        written["index"] = output / INDEX_NAME
    write_atomically(written["report.json"], json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_atomically(written["report.html"], check_report_html(report))
    return Checked(report, findings, written)


def default_output(cfg: DataCheckConfig) -> Path:
    """The same folder for the same dataset, so that a second check finds what the first one knew."""
    place = cfg.data.videos or cfg.data.annotations or Path()
    return Path("ssdet-data") / f"check-{cfg.data.dataset.rpartition(':')[2]}-{place.stem or 'data'}"


def _check_codes(codes: tuple[str, ...]) -> None:
    for code in codes:
        if code not in CODES:
            raise ConfigError(f"--leave-out {code}: there is no such code; there are {', '.join(CODES)}.")


def _look(cfg: DataCheckConfig, splits: CheckedSplits, output: Path, progress: Progress) -> Looked:
    paths = [record.path for videos in splits.raw.values() for record in videos.records if record.path is not None]
    how = HowToLook(
        cfg.decode,
        cfg.data.backend,
        cfg.data.frame_rate,
        cfg.workers or _cores(),
        cfg.timeout,
        int(cfg.memory * 2**30),
    )
    videos = cfg.data.videos
    root = videos if videos is not None and videos.is_dir() else splits_root(splits)
    return look_at_all(paths, output / INDEX_NAME, root, how, progress)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def splits_root(splits: CheckedSplits) -> Path:
    """The folder of the list that names the videos."""
    source = next(iter(splits.raw.values())).source
    return source if source.is_dir() else source.parent


def _findings(cfg: DataCheckConfig, splits: CheckedSplits, looked: Looked | None) -> list[Finding]:
    found = list(splits.findings)
    limits = Limits(cfg.fewest_frames, cfg.min_seconds)
    facts = looked.facts if looked else {}
    for split, videos in splits.raw.items():
        if is_weak(videos):
            found += of_weak_labels(split, videos)
        else:
            found += of_annotations(split, with_file_lengths(videos, facts), videos)
        if looked is not None:
            found += of_files(split, videos.records, looked.facts, limits, cfg.data.frame_rate)
    found += duplicates(splits.raw, facts)
    order = {code: number for number, code in enumerate(CODES)}
    return sorted(found, key=lambda finding: order[finding.code])


def _report(
    cfg: DataCheckConfig,
    splits: CheckedSplits,
    looked: Looked | None,
    findings: Sequence[Finding],
    kept: dict[str, VideoSet],
    seconds: float,
) -> dict[str, Any]:
    return {
        "ssdet_check": 1,
        "dataset": cfg.data.dataset,
        "videos": str(cfg.data.videos) if cfg.data.videos else None,
        "annotations": str(cfg.data.annotations) if cfg.data.annotations else None,
        "decode": None if looked is None else cfg.decode,
        "seconds": round(seconds, 2),
        "files": None if looked is None else _files(looked),
        "classes": list(splits.classes),
        "codes": _codes(findings),
        "splits": {
            split: {
                "annotated": len(videos),
                "usable": len(kept[split]),
                "labels": "weak" if is_weak(videos) else "frame",
                "sha256": videos.sha256,
                "notes": list(splits.loaded[split].notes),
                "statistics": _statistics(cfg, videos, looked),
            }
            for split, videos in splits.raw.items()
        },
        "score": [*(_score(split, splits, kept, looked) for split in splits.raw), *_not_checked(cfg)],
        "findings": [finding.to_plain() for finding in findings],
    }


def _files(looked: Looked) -> dict[str, Any]:
    facts = looked.facts.values()
    return {
        "all": len(looked.facts),
        "known_before": looked.known,
        "unusable": sum(bool(one.code) for one in facts),
        "bytes": sum(one.size for one in facts),
        "hours": sum(one.seconds for one in facts) / 3600,
        "frames": sum(one.frames for one in facts),
    }


def _codes(findings: Sequence[Finding]) -> dict[str, Any]:
    """Code -> severity, meaning, findings, subjects; the worst first."""
    counts: Counter[str] = Counter()
    subjects: dict[str, set[tuple[str, str, str]]] = {}
    for finding in findings:
        counts[finding.code] += finding.count
        # A line without a video is a subject of its own.
        unnamed = "" if finding.subject else finding.detail
        subjects.setdefault(finding.code, set()).add((finding.split, finding.subject, unnamed))
    ordered = sorted(counts, key=lambda code: SEVERITIES.index(CODES[code][0]))
    return {
        code: {
            "severity": CODES[code][0],
            "meaning": CODES[code][1],
            "count": counts[code],
            "subjects": len(subjects[code]),
        }
        for code in ordered
    }


def _statistics(cfg: DataCheckConfig, videos: VideoSet, looked: Looked | None) -> dict[str, Any]:
    if not is_weak(videos):
        videos = with_file_lengths(videos, looked.facts if looked else {})
        return split_statistics(videos.records, len(videos.classes), cfg.statistics_rate)
    seconds = []
    for record in videos.records:
        file = looked.facts.get(os.path.abspath(record.path)) if looked and record.path is not None else None
        end = record.end_seconds if record.end_seconds is not None else (file.seconds if file is not None else 0)
        seconds += [end - record.start_seconds] if end else []
    return weak_statistics(videos.records, len(videos.classes), seconds)


def _not_checked(cfg: DataCheckConfig) -> list[str]:
    """The folder of a generated set is one of two sets."""
    dense = cfg.data.videos / "dense" if cfg.data.videos is not None else None
    if cfg.data.dataset != "generated" or dense is None or not dense.is_dir():
        return []
    return [f"This is the weak half of the generated set; its dense half is checked with --data {dense}."]


def _score(split: str, splits: CheckedSplits, kept: dict[str, VideoSet], looked: Looked | None) -> str:
    """On how many videos a number will rest."""
    videos = splits.raw[split]
    annotated, usable = len(videos), len(kept[split])
    doubled = _kept_elsewhere(split, splits, kept)
    twice = f" In another split as well, and kept there alone: {doubled:,}." if doubled else ""
    if looked is None:
        return f"{split}: {annotated:,} annotated videos; whether their files can be read was not looked at.{twice}"
    lost = annotated - usable
    if not lost:
        return f"{split}: all {annotated:,} annotated videos can be used."
    if split == "train" or is_weak(videos):
        return f"{split}: {usable:,} of {annotated:,} annotated videos can be used, {lost:,} cannot.{twice}"
    return (
        f"{split}: a score is computed on {usable:,} of {annotated:,} annotated videos, with --allow-missing; without "
        f"it, `ssdet evaluate` refuses for the other {lost:,}.{twice}"
    )


def _kept_elsewhere(split: str, splits: CheckedSplits, kept: dict[str, VideoSet]) -> int:
    """Frame-labelled videos that the clean list has in another split."""
    own = {record.video_id for record in kept[split].records}
    others = {one.video_id for other, videos in kept.items() if other != split for one in videos.records}
    return sum(
        record.label is None and record.video_id not in own and record.video_id in others
        for record in splits.loaded[split].records
    )
