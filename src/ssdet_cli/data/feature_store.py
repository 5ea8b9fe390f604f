"""Stored features of whole videos: one file per video and an index.

    store = FeatureStore("features/charades")
    store.check(ids, stride=10)                                   # every fault, before training starts
    fine = store.read("AB12C", ("layer1", "conv5"), start=0, stop=64)    # {"layer1": (24, 64, 7, 7), "conv5": ...}

Start and stop are input frames, `stride` raw frames apart from the video's first. Only the frames that are asked for
are read, from a mapped file that is opened for the read and closed after it: a store may be copied into any process.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ssdet_cli.data.feature_files import Origin, read_header, read_index
from ssdet_cli.errors import DataError
from ssdet_cli.video.sampling import Spacing

#: Headers read at a time; many file systems answer several requests as fast as one.
_THREADS = 8


class FeatureStore:
    """A folder that `ssdet extract-features` wrote, for reading.

    Attributes:
        folder: Where it is.
        origin: What the features are features of.
        complete: Whether the extraction came to its end.

    Raises:
        DataError: No index there, or the features are `.npy` files for other programs.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.origin: Origin = index["origin"]
        self.complete: bool = index["complete"]
        self._videos: dict[str, dict[str, Any]] = index["videos"]
        if self.origin.format != "safetensors":
            raise DataError(f"{folder} holds {self.origin.format} files; extract with --format safetensors.")

    def __len__(self) -> int:
        return len(self._videos)

    def __contains__(self, video_id: str) -> bool:
        return video_id in self._videos

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Every video that there is, sorted."""
        return tuple(self._videos)

    def num_frames(self, video_id: str) -> int:
        """Input frames of a video: feature frames, where the backbone keeps every frame.

        Raises:
            DataError: No such video.
        """
        return self._entry(video_id)["frames"]

    def video(self, video_id: str) -> dict[str, Any]:
        """What the file says of a video: `stride`, `seconds_between_frames`, `frame_rate`, `first_frame`,
        `num_frames`, `raw_frames`, `duration_seconds`, `video_id`, and `seconds`, when each input frame is shown.

        Raises:
            DataError: No such video, or its file is damaged.
        """
        return read_header(self.path(video_id)).video

    def path(self, video_id: str) -> Path:
        """The file of a video.

        Raises:
            DataError: No such video.
        """
        return self.folder / self._entry(video_id)["file"]

    def read(
        self, video_id: str, stages: Sequence[str] | None = None, start: int = 0, stop: int | None = None
    ) -> dict[str, Tensor]:
        """Read features of input frames [start, stop).

        Args:
            video_id: Which video.
            stages: Which stages; None is all.
            start: First input frame, at least 0.
            stop: Behind the last one; None, and what lies beyond the video's end, is that end.

        Returns:
            Stage -> (C, T, h, w) as stored. Of a stage that strides over time, the steps that begin in the range.

        Raises:
            DataError: No such video or stage, or the file cannot be read.
        """
        frames = self.num_frames(video_id)
        stop = frames if stop is None else min(stop, frames)
        if start < 0:
            raise DataError(f"Features of {video_id} from frame {start} were asked for; frames count from 0.")
        strides = self.origin.stage_strides
        names = tuple(self.origin.stages) if stages is None else tuple(stages)
        self._check_stages(names)
        path = self.path(video_id)
        try:
            with safe_open(path, framework="pt") as file:
                return {
                    name: file.get_slice(name)[:, -(-start // strides[name]) : -(-stop // strides[name])]
                    for name in names
                }
        except (SafetensorError, OSError) as error:
            read_header(path)  # says it better: absent, truncated
            raise DataError(f"{path}: cannot be read ({error}).") from error

    def check(
        self,
        video_ids: Iterable[str],
        *,
        stride: int | None = None,
        spacing: Spacing | None = None,
        size: int | None = None,
        weights_sha256: str | None = None,
        stages: Sequence[str] | None = None,
        pool: int | None = None,
        training: bool = False,
    ) -> None:
        """Find every fault of the store before anything is trained on it. Headers are read, features are not.

        Args:
            video_ids: Videos that must be there, whole.
            stride: Raw frames between input frames that the features must have; None does not ask.
            spacing: How far apart input frames must be, in frames or in seconds, in place of `stride`.
            size: Side of the crop, likewise.
            weights_sha256: Of the backbone, likewise.
            stages: Names that must be there.
            pool: Side of the maps, likewise.
            training: The sampling asked for is that of training clips, which may follow the features; else it is that
                of a trained network.

        Raises:
            DataError: One line on the first kind of fault.
        """
        if stride is not None:
            spacing = Spacing(stride)
        if spacing is not None:
            self._check_spacing(spacing, training=training)
        wanted = {"size": size, "weights_sha256": weights_sha256, "pool": pool}
        for name, value in wanted.items():
            if value is not None and getattr(self.origin, name) != value:
                raise DataError(f"{self.folder}: {self._otherwise(name, value, training=training)}")
        if stages is not None:
            self._check_stages(stages)
        video_ids = list(dict.fromkeys(video_ids))
        missing = [video_id for video_id in video_ids if video_id not in self._videos]
        if missing:
            how = f". `ssdet extract-features --output {self.folder}` on them adds what is missing."
            if not self.complete:
                how = "; the extraction is not finished, run it again to continue it."
            raise DataError(
                f"{self.folder} lacks features of {len(missing)} of {len(video_ids)} videos, "
                f"the first is {missing[0]}{how}"
            )
        with ThreadPoolExecutor(_THREADS) as pool_of_threads:
            for fault in pool_of_threads.map(self._fault, video_ids):
                if fault is not None:
                    raise DataError(fault)

    def _fault(self, video_id: str) -> str | None:
        path = self.path(video_id)
        try:
            header = read_header(path)
        except DataError as error:
            return str(error)
        other = self.origin.difference(header.origin)
        if other is not None:
            return f"{path} is not of the same origin as the index: {other}; extract the features again."
        if header.video["num_frames"] != self.num_frames(video_id):
            return f"{path} holds {header.video['num_frames']} frames, the index says {self.num_frames(video_id)}."
        return None

    def _otherwise(self, name: str, wanted: Any, *, training: bool) -> str:
        held = getattr(self.origin, name)
        if name == "weights_sha256":
            return (
                f"features are of other weights ({self.origin.checkpoint}, {held[:12]}...) "
                f"than those asked for ({str(wanted)[:12]}...); extract them again."
            )
        if name == "pool":
            return f"maps of {held}x{held}, {wanted}x{wanted} are needed (--pool); extract them again."
        ways = _ways("size", held, "size", wanted, training=training)
        return f"features of {held} pixels, {wanted} are needed; {ways}."

    def _check_spacing(self, wanted: Spacing, *, training: bool) -> None:
        """Compare samplings, each told in its own unit; of one by seconds the stride says nothing."""
        held = self.origin.spacing
        if held == wanted or (wanted.seconds is not None and held.seconds == wanted.seconds):
            return
        ways = _ways(*_key_of(held), *_key_of(wanted), training=training)
        have, need = (str(one).replace("frame in", "raw frame in") for one in (held, wanted))
        if (held.seconds is None) == (wanted.seconds is None):
            need = need.replace("raw frame ", "").replace("frame ", "")
        raise DataError(f"{self.folder}: features of {have}, {need} is needed; {ways}.")

    def _check_stages(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.origin.stages:
                raise DataError(
                    f"{self.folder} holds no stage '{name}'; it holds {', '.join(self.origin.stages)} (--stages)."
                )

    def _entry(self, video_id: str) -> dict[str, Any]:
        if video_id not in self._videos:
            raise DataError(f"{self.folder} holds no features of {video_id}.")
        return self._videos[video_id]


def _key_of(spacing: Spacing) -> tuple[str, float]:
    by_time = spacing.seconds is not None
    return ("seconds_between_frames", spacing.seconds) if by_time else ("stride", spacing.stride)


def _ways(held_key: str, held: float, wanted_key: str, wanted: float, *, training: bool) -> str:
    """What to do about features of another size or sampling; a trained network has its own for good."""
    if training:
        return f"give clip.{held_key}={held}, or extract with inference.{wanted_key}={wanted}"
    return f"extract them with inference.{wanted_key}={wanted}"
