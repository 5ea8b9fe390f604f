"""The official annotations of Kinetics: CSVs of YouTube ids, and the authors' JSON in ActivityNet's form."""

from pathlib import Path
from typing import Any, NamedTuple

from ssdet_cli.data.clip_tree import split_token
from ssdet_cli.data.file_kinds import text_kind
from ssdet_cli.data.flaws import refuse
from ssdet_cli.data.lookup import read_json, read_text
from ssdet_cli.data.tables import part_of, read_table, seconds_of
from ssdet_cli.data.weak_splits import split_files
from ssdet_cli.errors import DataError

WANTED = "the official CSV (label,youtube_id,time_start,time_end,split), the authors' JSON, or a list `path label`"


class AnnotatedClip(NamedTuple):
    """One annotated clip.

    Attributes:
        video_id: The name that Kinetics' own downloader gives the file, without suffix.
        youtube_id: Of the video that it is cut out of.
        label: Empty in the test set.
        start: Its part of that video, seconds; None where it is not told.
        end: The end of that part.
        split: "train", "val" or "test"; None where the line does not say.
        file: Where it is annotated, for messages.
        place: Where in the file.
    """

    video_id: str
    youtube_id: str
    label: str
    start: float | None
    end: float | None
    split: str | None
    file: Path
    place: str

    @property
    def other_names(self) -> tuple[str, ...]:
        """What else its file may be called."""
        if self.start is None or self.end is None:
            return ()
        return (f"{self.youtube_id}_{int(self.start)}_{int(self.end)}", self.youtube_id)


def _clip(
    youtube_id: str, label: str, start: float | None, end: float | None, split: str | None, file: Path, place: str
) -> AnnotatedClip:
    timed = start is not None and end is not None
    video_id = f"{youtube_id}_{int(start):06d}_{int(end):06d}" if timed else youtube_id
    return AnnotatedClip(video_id, youtube_id, label, start, end, split, file, place)


def _split(name: Any) -> str | None:
    """The split that is told, None where none is; ValueError where it is none that there is."""
    if name is None or name == "":
        return None
    if split_token(str(name)) is None:
        raise ValueError(f"has the split '{name}', which is none of train, val and test.")
    return split_token(str(name))


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
            start, end = part_of(seconds_of(fields, "start"), seconds_of(fields, "end"))
            own = _split(fields.get("split"))
            if not fields.get("path"):
                raise ValueError("there is no id of a video.")
            entries.append(_clip(fields["path"], fields.get("label", ""), start, end, own, path, f"line {line}"))
        except ValueError as error:
            refuse(f"{path}, line {line}: {error}", fields.get("path", ""), error)
    return entries


def _json_entries(path: Path) -> list[AnnotatedClip]:
    document, _ = read_json(path)
    document = document["database"] if isinstance(document.get("database"), dict) else document
    entries = []
    for youtube_id, clip in document.items():
        notes = clip.get("annotations") if isinstance(clip, dict) else None
        for note in notes if isinstance(notes, list) else [notes]:
            if note is None and isinstance(clip, dict) and split_token(str(clip.get("subset"))) == "test":
                note = {"label": "", "segment": (None, None)}
            try:
                entries.append(_json_entry(path, youtube_id, clip, note))
            except ValueError as error:
                refuse(f"{path}, '{youtube_id}' {error}", youtube_id, error)
    return entries


def _json_entry(path: Path, youtube_id: str, clip: Any, note: Any) -> AnnotatedClip:
    wrong = "must be an object with subset and annotations {segment: [start, end], label}."
    if not isinstance(note, dict) or not isinstance(note.get("label"), str):
        raise ValueError(wrong)
    segment = note.get("segment") or (None, None)
    try:
        start, end = (None if value is None else float(value) for value in segment)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(wrong) from error
    try:
        part_of(start, end)
    except ValueError as error:
        raise type(error)(f"has a wrong segment: {error}") from error
    own = _split(clip.get("subset"))
    return _clip(youtube_id, note["label"], start, end, own, path, f"'{youtube_id}'")
