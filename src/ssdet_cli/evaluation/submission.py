"""Prediction files: one line per video and time.

`id frame s0 s1 ...` is the official Charades localisation format (frame 1 to 25); `id seconds s0 s1 ...` is the same
with free times, and `id s0 s1 ...` the official classification format, a line per video. Fields are separated by spaces
or tabs. Ids are text: `00607` and `150E6` are videos.
"""

import re
from array import array
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import numpy as np
from pydantic_core import from_json, to_json

from ssdet_cli.catalog import nearest
from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import Submission

#: Letters of a field that a message shows.
_SHOWN = 40


def read_localization(path: Path, video_ids: Sequence[str], num_classes: int, points: int = 25) -> Submission:
    """Read an official localisation file.

    Lines may come in any order. Where the smallest frame number is 0, all are taken as counted from 0. Of several
    lines for one row the last counts. Videos that are not annotated are ignored, as the official script does, and
    counted in the notes; a file in which no video is known is refused.

    Args:
        path: The file.
        video_ids: Annotated videos.
        num_classes: K, scores per line.
        points: Times per video.

    Returns:
        Predictions (points, K) float64 of the videos that the file names, -inf in rows it does not hold.

    Raises:
        DataError: Unreadable file, wrong number of fields, a bad number, a frame out of range, NaN, no known video.
    """
    slots = {_field(video_id).encode(): slot for slot, video_id in enumerate(video_ids)}
    scores = np.full((len(slots), points + 1, num_classes), -np.inf)
    lines = np.zeros((len(slots), points + 1), dtype=np.int64)
    unknown: dict[bytes, int] = {}
    repeated, smallest = 0, points
    for number, video_id, frame, values in _rows(path, num_classes, _frame(points)):
        smallest = min(smallest, frame)
        slot = slots.get(video_id)
        if slot is None:
            unknown[video_id] = unknown.get(video_id, 0) + 1
            continue
        repeated += lines[slot, frame] > 0
        scores[slot, frame], lines[slot, frame] = values, number
    _refuse_nan(path, scores, lines)
    if smallest == 0 and lines[:, points].any():
        number = lines[:, points].max()
        raise DataError(f"{path}, line {number}: frame {points} in a file that counts from 0 to {points - 1}.")
    first = 0 if smallest == 0 else 1
    present = np.flatnonzero(lines.any(axis=1))
    _refuse_foreign(path, len(present), unknown, video_ids)
    predictions = {video_ids[slot]: scores[slot, first : first + points] for slot in present}
    shifted = (f"{path.name} counts frames from 0: taken as 1 to {points}.",) if smallest == 0 else ()
    return Submission(predictions, notes=(*_notes(path, unknown, int(repeated)), *shifted))


def read_timed(path: Path, video_ids: Sequence[str], num_classes: int) -> Submission:
    """Read a file of `id seconds s0 s1 ...`; rows of a video are put in the order of their times.

    Raises:
        DataError: As `read_localization`.
    """
    known = {_field(video_id).encode(): video_id for video_id in video_ids}
    rows: dict[str, dict[float, np.ndarray]] = {}
    unknown: dict[bytes, int] = {}
    repeated = 0
    for video_id, second, scores in _known_rows(path, num_classes, _second, known, unknown):
        video = rows.setdefault(video_id, {})
        repeated += second in video
        video[second] = scores
    _refuse_foreign(path, len(rows), unknown, video_ids)
    seconds = {video_id: np.array(sorted(video)) for video_id, video in rows.items()}
    predictions = {
        video_id: np.stack([video[second] for second in seconds[video_id].tolist()]) for video_id, video in rows.items()
    }
    return Submission(predictions, seconds, _notes(path, unknown, repeated))


def read_classification(path: Path, video_ids: Sequence[str], num_classes: int) -> Submission:
    """Read an official classification file, `id s0 s1 ...`, a line per video.

    Of several lines for one video the last counts; videos that are not annotated are ignored and counted in the notes.

    Returns:
        Predictions (1, K) float64 of the videos that the file names.

    Raises:
        DataError: Unreadable file, wrong number of fields, a bad number, NaN, no known video.
    """
    known = {_field(video_id).encode(): video_id for video_id in video_ids}
    predictions: dict[str, np.ndarray] = {}
    unknown: dict[bytes, int] = {}
    repeated = 0
    for video_id, _, scores in _known_rows(path, num_classes, None, known, unknown):
        repeated += video_id in predictions
        predictions[video_id] = scores[None]
    _refuse_foreign(path, len(predictions), unknown, video_ids)
    return Submission(predictions, notes=_notes(path, unknown, repeated))


def localization_text(predictions: Mapping[str, np.ndarray]) -> bytes:
    """Return the official format for (L, K) predictions: frames count from 1, rows that are all -inf are left out.

    float32 scores get nine significant digits and float64 ones as many as they need: what is read back is equal.
    """
    lines = []
    for video_id, scores in predictions.items():
        lines += _lines(video_id, range(1, len(scores) + 1), "d", scores)
    return "".join(lines).encode()


def timed_text(predictions: Mapping[str, np.ndarray], seconds: Mapping[str, np.ndarray]) -> bytes:
    """Return `id seconds s0 s1 ...` for (L, K) predictions at (L,) seconds."""
    lines = []
    for video_id, scores in predictions.items():
        lines += _lines(video_id, seconds[video_id].tolist(), "r", scores)
    return "".join(lines).encode()


def classification_text(predictions: Mapping[str, np.ndarray]) -> bytes:
    """Return the official format, `id s0 s1 ...`, for the (K,) scores of videos."""
    lines = []
    for video_id, scores in predictions.items():
        digits = "%r" if scores.dtype == np.float64 else "%.9g"
        lines.append(" ".join([_field(video_id), *(digits % score for score in scores.tolist())]) + "\n")
    return "".join(lines).encode()


def _lines(video_id: str, places: Sequence[float], form: str, scores: np.ndarray) -> list[str]:
    """Lines of the rows that are held. A JSON writer finds the shortest digits of a double six times as fast as `repr`
    does; it has none for infinite ones.
    """
    double = scores.dtype == np.float64
    digits = " ".join(["%r" if double else "%.9g"] * scores.shape[1])
    head = f"{_field(video_id).replace('%', '%%')} %{form} "
    held = ~np.isneginf(scores).all(axis=1)
    quick = np.isfinite(scores).all(axis=1) & double
    return [
        head % place + (to_json(row)[1:-1].replace(b",", b" ").decode() if plain else digits % tuple(row)) + "\n"
        for place, row, keep, plain in zip(places, scores.tolist(), held.tolist(), quick.tolist(), strict=True)
        if keep
    ]


def _field(video_id: str) -> str:
    """Return an id as one field: blanks, which separate fields, become %20."""
    return re.sub(r"\s", lambda blank: quote(blank.group()), video_id)


def _known_rows(
    path: Path,
    num_classes: int,
    place: Callable[[bytes], float] | None,
    known: Mapping[bytes, str],
    unknown: dict[bytes, int],
) -> Iterator[tuple[str, float, np.ndarray]]:
    """Yield (id, place, scores) of annotated videos, see `_rows`; lines of others are counted in `unknown`."""
    for number, key, where, values in _rows(path, num_classes, place):
        if key not in known:
            unknown[key] = unknown.get(key, 0) + 1
            continue
        scores = np.array(values, dtype=np.float64)
        if np.isnan(scores).any():
            raise DataError(f"{path}, line {number}: a score is NaN, which cannot be ranked.")
        yield known[key], where, scores


def _rows(
    path: Path, num_classes: int, place: Callable[[bytes], float] | None
) -> Iterator[tuple[int, bytes, float, array]]:
    """Yield (line number, id, place, scores) of every line that is not empty; without `place` there is none, 0."""
    fields = 2 if place is None else 3
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if number == 1:
                    line = line.removeprefix(BOM_UTF8)
                    if b"\0" in line:
                        raise DataError(f"{path} is no text: predictions are lines of UTF-8, in no packed file.")
                head = line.split(None, fields - 1)
                if not head:
                    continue
                try:
                    values = _numbers(head[-1]) if len(head) == fields else array("d")
                    where = place(head[1]) if place is not None and len(head) > 1 else 0
                except ValueError as error:
                    raise DataError(f"{path}, line {number}: {error}.") from error
                if len(values) != num_classes:
                    wanted = f"id{'' if place is None else ', time'} and {num_classes} scores"
                    more = place is None and len(values) == num_classes + 1
                    frame = " A frame before the scores is the form of --protocol charades-localize." if more else ""
                    raise DataError(f"{path}, line {number}: {wanted} are needed, got {len(values)} scores.{frame}")
                yield number, head[0], where, values
    except OSError as error:
        raise DataError(f"Cannot read the predictions {path}: {error.strerror}.") from error


def _numbers(text: bytes) -> array:
    """Split a line of numbers.

    A JSON parser reads plain decimals three times as fast as `float` does, to the same value. What JSON does not know
    (`.5`, `-inf`, two blanks in a row) and what only JSON knows (commas, true, false, null) goes through `float`.
    """
    if b"," not in text and b"u" not in text and b"l" not in text:
        with suppress(ValueError, TypeError, OverflowError):
            listed = b"[" + text.strip().replace(b" ", b",").replace(b"\t", b",") + b"]"
            return array("d", from_json(listed, allow_inf_nan=False, cache_strings="none"))
    return array("d", [_number(field) for field in text.split()])


def _number(field: bytes) -> float:
    try:
        return float(field)
    except ValueError:
        raise ValueError(f"'{_shown(field)}' is not a number") from None


def _shown(field: bytes) -> str:
    """A field for a message: that of a file that is no text may be long, and its letters may steer a terminal."""
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in field.decode(errors="replace"))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _frame(points: int) -> Callable[[bytes], int]:
    frames = {str(frame).encode(): frame for frame in range(points + 1)}

    def frame(field: bytes) -> int:
        if field not in frames:
            raise ValueError(f"frame '{_shown(field)}' is not a whole number from 1 to {points} (or 0 to {points - 1})")
        return frames[field]

    return frame


def _second(field: bytes) -> float:
    value = _number(field)
    if not np.isfinite(value):
        raise ValueError(f"time '{_shown(field)}' is not finite")
    if value < 0:
        raise ValueError(f"time '{_shown(field)}' is before the video begins, at 0")
    return value


def _refuse_nan(path: Path, scores: np.ndarray, lines: np.ndarray) -> None:
    bad = np.isnan(scores).any(axis=2)
    if bad.any():
        raise DataError(f"{path}, line {lines[bad].min()}: a score is NaN, which cannot be ranked.")


def _refuse_foreign(path: Path, present: int, unknown: Mapping[bytes, int], video_ids: Sequence[str]) -> None:
    if present:
        return
    if not unknown:
        raise DataError(f"{path} holds no predictions.")
    first = _shown(next(iter(unknown)))
    hint = nearest(first, video_ids)
    raise DataError(f"{path} names none of the {len(video_ids)} annotated videos; its first is '{first}'.{hint}")


def _notes(path: Path, unknown: Mapping[bytes, int], repeated: int) -> tuple[str, ...]:
    notes = []
    if unknown:
        first = _shown(next(iter(unknown)))
        notes.append(
            f"{path.name}: {sum(unknown.values())} lines of {len(unknown)} videos without annotation ('{first}', ...) "
            "were ignored, as the official script does."
        )
    if repeated:
        notes.append(f"{path.name}: {repeated} lines repeat a video and time; the last one counts.")
    return tuple(notes)
