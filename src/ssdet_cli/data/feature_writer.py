"""Writing stored features as they are computed: any length of video in little memory, whole files only."""

import contextlib
import errno
import io
import mmap
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from ssdet_cli.data.feature_files import (
    INDEX,
    SUFFIX,
    DamagedIndex,
    Origin,
    file_name,
    read_header,
    read_index,
    safetensors_header,
    write_index,
)
from ssdet_cli.errors import ConfigError, DataError, SsdetError

_PART = ".part"


class FeatureWriter:
    """A folder of features that is being written, by one process or many: no two write one file.

    Args:
        folder: Where; made by `prepare`.
        origin: Of everything in it.
    """

    def __init__(self, folder: Path, origin: Origin) -> None:
        self.folder, self.origin = folder, origin
        self._suffix = SUFFIX[origin.format]

    def prepare(self, video_ids: Iterable[str]) -> dict[str, Any]:
        """Make the folder, or continue it: what a killed run left unfinished is taken away (rank 0).

        Args:
            video_ids: Videos that are going to be there.

        Returns:
            Video id -> entry of the index, of the videos that are done.

        Raises:
            ConfigError: The folder holds features of another origin.
            DataError: Nothing tells what features it holds.
            SsdetError: It cannot be made.
        """
        self.make_folder()
        index = _index_of(self.folder)
        if index is not None:
            self._refuse(index["origin"])
        done = self.finished(video_ids)
        for left in self.folder.glob(f".*{_PART}"):
            left.unlink(missing_ok=True)
        return done

    def make_folder(self) -> None:
        """Make the folder, unless it is there.

        Raises:
            SsdetError: It cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SsdetError(f"Cannot make {self.folder}: {error.strerror}.") from error

    def finished(self, video_ids: Iterable[str] = ()) -> dict[str, Any]:
        """Make the index anew from the files: video id -> `file`, `frames`, `bytes`; damaged files are left out.

        `frames` are input frames; of a `.npy` file, which does not tell them, its rows.

        Args:
            video_ids: Videos that may be there, beside those of the present index; a `.npy` file has its name alone
                to tell whose it is.

        Raises:
            ConfigError: A file is of another origin.
        """
        found = {}
        names = {file_name(video_id, self.origin.format): video_id for video_id in (*self._indexed(), *video_ids)}
        for path in sorted(self.folder.glob(f"*{self._suffix}")):
            try:
                header = read_header(path)
            except DataError:
                continue
            if header.origin is not None:
                self._refuse(header.origin)
                video_id, frames = header.video["video_id"], header.video["num_frames"]
            else:
                video_id, frames = names.get(path.name), header.shapes[""][0]
            if video_id is not None and path.name == file_name(video_id, self.origin.format):
                found[video_id] = {"file": path.name, "frames": frames, "bytes": header.num_bytes}
        return found

    def _indexed(self) -> dict[str, Any]:
        index = _index_of(self.folder)
        return {} if index is None else index["videos"]

    def begin(self, video: Mapping[str, Any]) -> "FeatureFileWriter":
        """Open the file of a video.

        Args:
            video: What is known of it, `video_id` and `num_frames` among it.

        Raises:
            SsdetError: The disk is full, or the folder cannot be written.
        """
        kind = NpyWriter if self.origin.format == "npy" else SafetensorsWriter
        return kind(self.folder / file_name(video["video_id"], self.origin.format), self.origin, video)

    def write_index(
        self, videos: Mapping[str, Any], *, complete: bool, failed: Mapping[str, str] | None = None
    ) -> None:
        """Write `index.json` of the videos (rank 0)."""
        write_index(self.folder, self.origin, videos, complete=complete, failed=failed or {})

    def _refuse(self, theirs: Origin) -> None:
        difference = self.origin.difference(theirs)
        if difference is not None:
            raise ConfigError(f"{self.folder} holds other features: {difference}; give another --output.")


def window_of(folder: Path) -> int | None:
    """The window that the features in a folder depend on; None where they do not, or there are none.

    Raises:
        DataError: Nothing tells what features it holds.
    """
    index = _index_of(folder)
    if index is not None:
        return index["origin"].window
    for path in sorted(folder.glob(f"*{SUFFIX['safetensors']}")):
        with contextlib.suppress(DataError):
            return read_header(path).origin.window
    return None


def _index_of(folder: Path) -> dict[str, Any] | None:
    """The index of a folder; None where there is none, or a damaged one and files that tell as much.

    Raises:
        DataError: It is damaged, and the files are `.npy`, which do not tell what they are; or it has another format.
    """
    if not (folder / INDEX).is_file():
        return None
    try:
        return read_index(folder)
    except DamagedIndex as error:
        if next(folder.glob(f"*{SUFFIX['npy']}"), None) is None:
            return None
        raise DataError(
            f"{folder / INDEX} is damaged, and .npy files do not tell what they are features of; give another --output."
        ) from error


class FeatureFileWriter(ABC):
    """The file of one video under a temporary name, mapped into memory and filled in any order.

    Its whole length is reserved first: a mapped page that the disk has no room for would kill the process.

    Args:
        path: Its name once it is whole.
        origin: Of the features.
        video: What is known of the video.

    Raises:
        SsdetError: The disk is full, or the folder cannot be written.
    """

    def __init__(self, path: Path, origin: Origin, video: Mapping[str, Any]) -> None:
        self.path, self.origin, self.video = path, origin, video
        self._part = path.with_name(f".{path.name}{_PART}")
        header = self.header()
        size = len(header) + origin.num_bytes(video["num_frames"])
        try:
            self._file = open(self._part, "w+b")
            try:
                self._file.write(header)
                self._file.flush()
                _reserve(self._file.fileno(), size)
                self._map = mmap.mmap(self._file.fileno(), size)
            except BaseException:
                self._file.close()
                self._part.unlink(missing_ok=True)
                raise
        except OSError as error:
            reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
            raise SsdetError(f"Cannot write {path} ({size:,} bytes): {reason}.") from error
        self._values = self.tensors(self._map, len(header))

    @abstractmethod
    def header(self) -> bytes:
        """What stands before the numbers."""

    @abstractmethod
    def tensors(self, memory: mmap.mmap, offset: int) -> dict[str, Tensor]:
        """The numbers as tensors, time as their second dimension."""

    def add(self, stage: str, start: int, values: Tensor, weights: np.ndarray) -> None:
        """Add the steps of one window to what is there.

        Args:
            stage: Name.
            start: First step.
            values: (C, T, h, w).
            weights: (T,) what each counts for; the sum over all windows is 1.

        Raises:
            SsdetError: Values are NaN.
        """
        used = np.flatnonzero(weights)
        if not len(used):
            return
        first, end = int(used[0]), int(used[-1]) + 1
        target = self._values[stage][:, start + first : start + end]
        values = values[:, first:end].float().cpu()
        if bool(values.isnan().any()):
            raise SsdetError(
                f"The network gives features of '{self.video['video_id']}' that are no numbers (stage '{stage}'): its "
                "weights are broken, or its precision is too low (inference.precision)."
            )
        share = torch.from_numpy(weights[first:end])
        if bool((share != 1).any()):
            values = values * share.view(-1, *(1,) * (values.ndim - 2)) + target.float()
        if target.dtype == torch.float16:
            limit = torch.finfo(torch.float16).max
            values = values.clamp(-limit, limit)
        target.copy_(values)

    def commit(self) -> None:
        """Bring the file to disk and give it its name.

        Raises:
            SsdetError: It cannot be written.
        """
        try:
            self._map.flush()
            self._release()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self.path)
        except OSError as error:
            self.discard()
            raise SsdetError(f"Cannot write {self.path}: {error.strerror}.") from error

    def discard(self) -> None:
        """Take the unfinished file away."""
        self._release()
        self._file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _release(self) -> None:
        self._values = {}
        # A tensor that somebody still holds keeps the mapping; it ends with that tensor.
        with contextlib.suppress(BufferError):
            self._map.close()


class SafetensorsWriter(FeatureFileWriter):
    """All stages, (C, T, h, w) each."""

    def header(self) -> bytes:
        """Header of safetensors."""
        return safetensors_header(self.origin, self.video)

    def tensors(self, memory: mmap.mmap, offset: int) -> dict[str, Tensor]:
        """Views of the file, stage by stage."""
        dtype, found = getattr(torch, self.origin.dtype), {}
        for stage, steps in self.origin.steps(self.video["num_frames"]).items():
            shape = (self.origin.stages[stage], steps, self.origin.pool, self.origin.pool)
            count = int(np.prod(shape))
            found[stage] = torch.frombuffer(memory, dtype=dtype, count=count, offset=offset).view(shape)
            offset += count * dtype.itemsize
        return found


class NpyWriter(FeatureFileWriter):
    """The mean over space of the last stage, (T, C) float32, which readers of other projects take."""

    @property
    def _shape(self) -> tuple[int, int]:
        last = list(self.origin.stages)[-1]
        return self.origin.steps(self.video["num_frames"])[last], self.origin.stages[last]

    def header(self) -> bytes:
        """Header of npy."""
        buffer = io.BytesIO()
        npy.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": self._shape})
        return buffer.getvalue()

    def tensors(self, memory: mmap.mmap, offset: int) -> dict[str, Tensor]:
        """A view of the file, channels first."""
        steps, channels = self._shape
        values = torch.frombuffer(memory, dtype=torch.float32, count=steps * channels, offset=offset)
        return {list(self.origin.stages)[-1]: values.view(steps, channels, 1, 1).transpose(0, 1)}


def _reserve(descriptor: int, size: int) -> None:
    """Give a file its length, and the room for it where the system can say that there is some."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
