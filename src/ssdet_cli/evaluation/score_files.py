"""What networks said of whole videos, in one file: passed through once, scored under any protocol.

The file is a zip archive of arrays as `numpy.load` reads it, without pickle. `about` is JSON: format, version, the
annotations that the videos were of, and for each network its checkpoint, hash and sampling. `classes` are the names.
Network n has `logits_n` (all rows, K) float32 and `seconds_n` (all rows,) float64, video after video; `videos_n` with
the numbers of rows in `rows_n`; and of every video `duration_n`, `frame_rate_n`, `num_frames_n`, `backend_n`, and
`raw_seconds_n`, the times of all its frames one after another, where `raw_n` says that they are known.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssdet_cli.errors import DataError
from ssdet_cli.evaluation.interface import VideoScores
from ssdet_cli.files import written_atomically

FORMAT = "ssdet scores"
VERSION = 1
_MAGIC = b"PK\x03\x04"
#: What numpy and zipfile raise of a file that is damaged or no archive of arrays.
_DAMAGE = (
    *(OSError, ValueError, KeyError, IndexError, TypeError, EOFError, RuntimeError, OverflowError, MemoryError),
    *(AttributeError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class NetworkScores:
    """What one network said.

    Attributes:
        checkpoint: Its file.
        sha256: Of that file.
        sampling: How it saw the videos: stride, size, window, crops, shifts, ...
        scores: A video each.
    """

    checkpoint: str
    sha256: str
    sampling: Mapping[str, Any]
    scores: tuple[VideoScores, ...]


@dataclass(frozen=True)
class ScoreFile:
    """What is in a file.

    Attributes:
        classes: K names.
        networks: One, or the members of an ensemble.
        origin: What the videos were of: annotations, annotations_sha256, split.
    """

    classes: tuple[str, ...]
    networks: tuple[NetworkScores, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)


def is_score_file(path: Path) -> bool:
    """Whether a file is meant to be one of these; else it is a text of lines."""
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or path.suffix == ".npz"
    except OSError:
        return False


def is_saved_scores(path: Path) -> bool:
    """Whether a file is one that `write_scores` wrote, of whatever version."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return json.loads(str(arrays["about"][()]))["format"] == FORMAT
    except _DAMAGE:
        return False


def write_scores(path: Path, content: ScoreFile) -> None:
    """Write the file, whole or not at all; logits go from the videos to the disk one after another.

    Raises:
        DataError: A score is NaN or infinite.
        SsdetError: It cannot be written.
    """
    for network in content.networks:
        _refuse_infinite(network.checkpoint, network.scores)
    about = {
        "format": FORMAT,
        "version": VERSION,
        "origin": dict(content.origin),
        "networks": [
            {"checkpoint": network.checkpoint, "sha256": network.sha256, "sampling": dict(network.sampling)}
            for network in content.networks
        ],
    }
    with written_atomically(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _write(archive, "about", np.array(json.dumps(about, ensure_ascii=False)))
        _write(archive, "classes", np.array(content.classes, dtype=np.str_))
        for number, network in enumerate(content.networks):
            for name, values in _columns(network.scores).items():
                _write(archive, f"{name}_{number}", values)
            parts = (np.ascontiguousarray(score.logits, "<f4") for score in network.scores)
            _write_rows(archive, f"logits_{number}", _rows(network.scores), len(content.classes), parts)


def read_scores(path: Path) -> ScoreFile:
    """Read a file.

    Raises:
        DataError: It cannot be read, is damaged, of another kind or version, or holds NaN.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "about" not in arrays:
                raise DataError(f"{path} holds no scores of `ssdet evaluate --save-predictions`.")
            about = json.loads(str(arrays["about"][()]))
            _refuse_other(path, about)
            classes = tuple(arrays["classes"].tolist())
            networks = tuple(
                NetworkScores(
                    told["checkpoint"], told["sha256"], told["sampling"], _network(path, arrays, number, len(classes))
                )
                for number, told in enumerate(about["networks"])
            )
            return ScoreFile(classes, networks, about["origin"])
    except FileNotFoundError as error:
        raise DataError(f"Cannot read the predictions {path}: {error.strerror}.") from error
    except _DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{path} is damaged, or no file of --save-predictions ({reason.rstrip('.')}).") from error


def _refuse_other(path: Path, about: Any) -> None:
    if about["format"] != FORMAT:
        raise DataError(f"{path} holds no scores of `ssdet evaluate --save-predictions`.")
    if about["version"] != VERSION:
        raise DataError(f"{path} has the format version {about['version']}, and this ssdet reads version {VERSION}.")


def _rows(scores: Sequence[VideoScores]) -> int:
    return sum(len(score.seconds) for score in scores)


def _columns(scores: Sequence[VideoScores]) -> dict[str, np.ndarray]:
    """All but the logits."""
    raw = [score.raw_seconds for score in scores]
    return {
        "videos": np.array([score.video_id for score in scores], dtype=np.str_),
        "rows": np.array([len(score.seconds) for score in scores], dtype=np.int64),
        "seconds": _joined(score.seconds for score in scores),
        "duration": np.array([score.duration_seconds for score in scores], dtype=np.float64),
        "frame_rate": np.array([score.frame_rate for score in scores], dtype=np.float64),
        "num_frames": np.array([score.num_frames for score in scores], dtype=np.int64),
        "backend": np.array([score.backend for score in scores], dtype=np.str_),
        "raw": np.array([seconds is not None for seconds in raw], dtype=np.bool_),
        "raw_seconds": _joined(seconds for seconds in raw if seconds is not None),
    }


def _joined(parts: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0), *parts]).astype(np.float64)


def _network(path: Path, arrays: Mapping[str, np.ndarray], number: int, classes: int) -> tuple[VideoScores, ...]:
    names = ("videos", "rows", "seconds", "duration", "frame_rate", "num_frames", "backend", "raw", "raw_seconds")
    held = {name: arrays[f"{name}_{number}"] for name in names}
    logits, seconds, rows = arrays[f"logits_{number}"], held["seconds"], held["rows"]
    # Every video has all its raw frames there, or none of them.
    raw_rows = np.where(held["raw"], held["num_frames"], 0)
    count = len(held["videos"])
    sound = (
        logits.shape == (len(seconds), classes)
        and logits.dtype == np.float32
        and all(len(held[name]) == count for name in names if not name.endswith("seconds"))
        and (rows > 0).all()
        and (raw_rows >= 0).all()
        and rows.sum() == len(seconds)
        and raw_rows.sum() == len(held["raw_seconds"])
        and len(set(held["videos"].tolist())) == count
    )
    if not sound:
        raise ValueError("its arrays do not fit each other")
    last, raw_last = np.cumsum(rows), np.cumsum(raw_rows)
    scores = tuple(
        VideoScores(
            video_id=str(held["videos"][video]),
            seconds=seconds[last[video] - rows[video] : last[video]],
            logits=logits[last[video] - rows[video] : last[video]],
            duration_seconds=float(held["duration"][video]),
            frame_rate=float(held["frame_rate"][video]),
            num_frames=int(held["num_frames"][video]),
            backend=str(held["backend"][video]),
            raw_seconds=held["raw_seconds"][raw_last[video] - raw_rows[video] : raw_last[video]]
            if held["raw"][video]
            else None,
        )
        for video in range(count)
    )
    _refuse_infinite(path, scores)
    return scores


def _refuse_infinite(where: Path | str, scores: Sequence[VideoScores]) -> None:
    for score in scores:
        if not np.isfinite(score.logits).all():
            raise DataError(f"{where}: a score of '{score.video_id}' is NaN or infinite, which cannot be ranked.")


def _write(archive: zipfile.ZipFile, name: str, values: np.ndarray) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        np.lib.format.write_array(entry, values, allow_pickle=False)


def _write_rows(archive: zipfile.ZipFile, name: str, rows: int, classes: int, parts: Iterable[np.ndarray]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, classes)}
        np.lib.format.write_array_header_1_0(entry, header)
        for part in parts:
            entry.write(part.data)
