"""Scores of frames that go to disk as they come: what a video of ten hours has need not fit into memory."""

import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

_CHUNK = 2**20


class ScoreRows:
    """Two files that grow in a folder: rows of scores, and their times.

    Args:
        folder: Where; the files are the caller's to remove.
        classes: K names.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._paths = folder / "scores.f32", folder / "times.f64"
        self._files: list[BinaryIO] = [open(path, "wb") for path in self._paths]
        self._count = 0

    def __enter__(self) -> "ScoreRows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def __len__(self) -> int:
        return self._count

    def append(self, seconds: np.ndarray, scores: np.ndarray) -> None:
        """Add (n,) times and (n, K) scores behind those that there are."""
        if scores.shape != (len(seconds), len(self.classes)):
            raise ValueError(f"scores must be ({len(seconds)}, {len(self.classes)}), got {scores.shape}.")
        self._files[0].write(np.ascontiguousarray(scores, np.float32))
        self._files[1].write(np.ascontiguousarray(seconds, np.float64))
        self._count += len(seconds)

    def mapped(self) -> tuple[np.ndarray, np.ndarray]:
        """(T, K) float32 scores and (T,) float64 times, mapped from the files: nothing is read yet."""
        shapes = (self._count, len(self.classes)), (self._count,)
        kinds = np.float32, np.float64
        if not self._count:
            return tuple(np.empty(shape, kind) for shape, kind in zip(shapes, kinds, strict=True))
        for file in self._files:
            file.flush()
        return tuple(
            np.memmap(path, kind, "r", shape=shape)
            for path, kind, shape in zip(self._paths, kinds, shapes, strict=True)
        )

    def write_npz(self, path: Path) -> None:
        """Write `scores` (T, K) float32, `times` (T,) float64 and `classes` (K,) as `numpy.load` reads them.

        The rows are copied from file to file and never held.
        """
        for file in self._files:
            file.flush()
        shapes = (self._count, len(self.classes)), (self._count,)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, source, kind, shape in zip(("scores", "times"), self._paths, ("<f4", "<f8"), shapes, strict=True):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry, open(source, "rb") as rows:
                    header = {"descr": kind, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(entry, header)
                    shutil.copyfileobj(rows, entry, _CHUNK)
            with archive.open("classes.npy", "w") as entry:
                np.lib.format.write_array(entry, np.array(self.classes, dtype=np.str_), allow_pickle=False)
