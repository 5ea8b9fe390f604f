"""The official annotations of Kinetics: CSVs of YouTube ids, and the authors' JSON in ActivityNet's form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssdet_cli.data.clip_tree import split_token
from ssdet_cli.data.file_kinds import text_kind
from ssdet_cli.data.lookup import read_json, read_text
from ssdet_cli.data.tables import read_table, seconds_of
from ssdet_cli.data.weak_splits import split_files
from ssdet_cli.errors import DataError

WANTED = "the official CSV (label,youtube_id,time_start,time_end,split), the authors' JSON, or a list `path label`"


@dataclass(frozen=True)
class AnnotatedClip:
    """One annotated clip: YouTube id, label (empty in the test set), its part of the video in seconds, split."""

    where: str
    youtube_id: str
    label: str
    start: float | None
    end: float | None
    split: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """What its file may be called, without suffix."""
        if self.start is None or self.end is None:
            return (self.youtube_id,)
        start, end = int(self.start), int(self.end)
        return (f"{self.youtube_id}_{start:06d}_{end:06d}", f"{self.youtube_id}_{start}_{end}", self.youtube_id)


def official_clips(path: Path) -> dict[str, list[AnnotatedClip]] | None:
    """Read the annotated clips of every split that is there; None where the file is no CSV or JSON of Kinetics.

    Raises:
        DataError: A line or an entry is wrong; the message names it.
    """
    parts: dict[str, list[AnnotatedClip]] = {}
    for split, file in split_files(path).items():
        read = _json_entries(file) if file.suffix.lower() == ".json" else _csv_entries(file)
        if read is None:
            return None
        for entry in read:
            parts.setdefault(entry.split or split, []).append(entry)
    return parts


def _csv_entries(path: Path) -> list[AnnotatedClip] | None:
    text, _ = read_text(path)
    if text.lstrip()[:1] in ("{", "[", "<"):
        raise DataError(f"{path} is {text_kind(text)}; needed: {WANTED}.")
    table = read_table(path, text, ("path",))
    if table is None or "youtube" not in table.columns["path"].lower():
        return None
    entries = []
    for line, fields in table.rows:
        try:
            entries.append(
                AnnotatedClip(
                    f"{path}, line {line}",
                    fields.get("path", ""),
                    fields.get("label", ""),
                    seconds_of(fields, "start"),
                    seconds_of(fields, "end"),
                    split_token(fields.get("split", "")),
                )
            )
        except ValueError as error:
            raise DataError(f"{path}, line {line}: {error}") from error
    return entries


def _json_entries(path: Path) -> list[AnnotatedClip]:
    document, _ = read_json(path)
    document = document["database"] if isinstance(document.get("database"), dict) else document
    entries = []
    for youtube_id, clip in document.items():
        where = f"{path}, '{youtube_id}'"
        notes = clip.get("annotations") if isinstance(clip, dict) else None
        for note in notes if isinstance(notes, list) else [notes]:
            if note is None and isinstance(clip, dict) and split_token(str(clip.get("subset"))) == "test":
                note = {"label": "", "segment": (None, None)}
            entries.append(_json_entry(where, youtube_id, clip, note))
    return entries


def _json_entry(where: str, youtube_id: str, clip: Any, note: Any) -> AnnotatedClip:
    wanted = "must be an object with subset and annotations {segment: [start, end], label}."
    if not isinstance(note, dict) or not isinstance(note.get("label"), str):
        raise DataError(f"{where} {wanted}")
    segment = note.get("segment") or (None, None)
    try:
        start, end = (None if value is None else float(value) for value in segment)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} {wanted}") from error
    return AnnotatedClip(where, youtube_id, note["label"], start, end, split_token(str(clip.get("subset"))))
