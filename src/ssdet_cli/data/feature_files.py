"""What a folder of stored features is made of: names, headers, origin, and the index.

A `.safetensors` file is eight bytes for the length of a JSON header, the header, and the numbers. It is laid out here
and not by the safetensors library so that a long video can be written as it is computed; the library reads it.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from numpy.lib import format as npy

from ssdet_cli.errors import DataError
from ssdet_cli.files import write_atomically
from ssdet_cli.video.sampling import Spacing

INDEX = "index.json"
#: Raised when the meaning of a key changes.
FORMAT = 1
SUFFIX = {"safetensors": ".safetensors", "npy": ".npy"}
#: Name in the header of safetensors -> bytes of a number.
DTYPES = {"float16": ("F16", 2), "bfloat16": ("BF16", 2), "float32": ("F32", 4)}
_UNSAFE = set('/\\:*?"<>|%')
_LONGEST_NAME = 180
#: Bytes; what the safetensors library takes at most.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Origin:
    """What features are features of; two folders can be compared by it.

    Attributes:
        weights_sha256: Of the backbone's tensors (see `models.weights.fingerprint`), whatever file they came in.
        backbone: Name.
        options: Keywords of the backbone.
        checkpoint: Run or file that the weights are from, as it was given.
        command: Command that trained them; empty where the file does not say.
        stride: Raw frames from one input frame to the next.
        seconds_between_frames: Seconds from one to the next instead; None counts frames.
        size: Side of the centre crop, pixels.
        normalization: Mean and standard deviation per channel that frames were normalised with.
        pool: Side h = w of the stored maps.
        dtype: "float16", "bfloat16" or "float32".
        stages: Name -> channels.
        stage_strides: Name -> input frames per step.
        offset: Input frame at which the last stage's first step is centred.
        window: Input frames of a pass where a longer video's features depend on it; None where they do not.
        format: "safetensors" or "npy".
    """

    weights_sha256: str
    backbone: str
    checkpoint: str
    stride: int
    size: int
    normalization: list[list[float]]
    pool: int
    dtype: str
    stages: dict[str, int]
    stage_strides: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    offset: float = 0.0
    window: int | None = None
    format: str = "safetensors"
    seconds_between_frames: float | None = None

    @property
    def spacing(self) -> Spacing:
        """How far input frames lie apart."""
        return Spacing(self.stride, self.seconds_between_frames)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Origin":
        """Read what `asdict` wrote.

        Raises:
            DataError: A value is missing.
        """
        try:
            # Features that go by time are younger than the format.
            known = {"seconds_between_frames": None, **values}
            return cls(**{each.name: known[each.name] for each in fields(cls)})
        except (KeyError, TypeError) as error:
            raise DataError(f"the origin of the features lacks {error}.") from error

    def difference(self, other: "Origin") -> str | None:
        """Name the first thing that differs, as `size 224 there, 160 here`; None where features are the same.

        Where the weights were found does not matter, what they are does; nor does the stride of features by seconds.
        """
        for each in sorted(fields(self), key=lambda each: each.name != "format"):  # it decides on others
            if each.name in ("stride", "seconds_between_frames"):
                if each.name == "stride" and (apart := _other_spacing(self.spacing, other.spacing)):
                    return apart
                continue
            ours, theirs = getattr(self, each.name), getattr(other, each.name)
            if each.name == "weights_sha256" and ours != theirs:
                return f"weights of {other._weights} there, of {self._weights} here"
            if each.name not in ("checkpoint", "command") and ours != theirs:
                return f"{each.name} {_short(theirs)} there, {_short(ours)} here"
        return None

    @property
    def _weights(self) -> str:
        return f"{self.checkpoint} ({self.weights_sha256[:12]}...)"

    def steps(self, num_frames: int) -> dict[str, int]:
        """Stage -> steps of a video of `num_frames` input frames."""
        return {name: -(-num_frames // stride) for name, stride in self.stage_strides.items()}

    def num_bytes(self, num_frames: int) -> int:
        """Bytes of a video's numbers."""
        steps = self.steps(num_frames)
        if self.format == "npy":
            last = list(self.stages)[-1]
            return 4 * steps[last] * self.stages[last]
        each = DTYPES[self.dtype][1] * self.pool**2
        return each * sum(steps[name] * channels for name, channels in self.stages.items())


def _other_spacing(ours: Spacing, theirs: Spacing) -> str | None:
    """How two samplings differ, in frames where both count them."""
    if ours.seconds is None and theirs.seconds is None:
        return f"stride {theirs.stride} there, {ours.stride} here" if ours != theirs else None
    return f"{theirs} there, {ours} here" if ours.seconds != theirs.seconds else None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def file_name(video_id: str, kind: str) -> str:
    """Name of a video's file: its id where that can be a name, with `%2F` for a slash and the like where it cannot."""
    safe = "".join(
        f"%{ord(letter):02X}" if letter in _UNSAFE or ord(letter) < 32 or (letter == "." and not index) else letter
        for index, letter in enumerate(video_id)
    )
    if len(os.fsencode(safe)) > _LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(video_id)).hexdigest()[:16]
        safe = os.fsdecode(os.fsencode(safe)[:_LONGEST_NAME]).encode("utf-8", "ignore").decode() + f"%{digest}"
    return safe + SUFFIX[kind]


def safetensors_header(origin: Origin, video: Mapping[str, Any]) -> bytes:
    """Everything before the numbers of a video's file.

    Args:
        origin: Of the features.
        video: What is known of the video, `num_frames` among it.
    """
    name, size = DTYPES[origin.dtype]
    header: dict[str, Any] = {"__metadata__": {"origin": json.dumps(asdict(origin)), "video": json.dumps(dict(video))}}
    offset = 0
    for stage, steps in origin.steps(video["num_frames"]).items():
        shape = [origin.stages[stage], steps, origin.pool, origin.pool]
        end = offset + size * shape[0] * shape[1] * shape[2] * shape[3]
        header[stage] = {"dtype": name, "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


@dataclass(frozen=True)
class FeatureFile:
    """What a whole file of features says of itself.

    Attributes:
        video: What is known of the video; empty for npy.
        shapes: Stage -> (C, T, h, w); of npy, (T, C) under the empty name.
        origin: Of safetensors; None for npy.
        num_bytes: Length of the file.
    """

    video: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    origin: Origin | None
    num_bytes: int


def read_header(path: Path) -> FeatureFile:
    """Read a file's header and compare the file's length with what it promises; no feature is read.

    Raises:
        DataError: Missing, truncated, or not a file of features.
    """
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path}: empty; run `ssdet extract-features` again, which replaces it.")
        with open(path, "rb") as file:
            found = _npy(file, size) if path.suffix == ".npy" else _safetensors(file, size)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file of features; run `ssdet extract-features` again.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise DataError(
            f"{path}: not a file of features, or its beginning is damaged; run `ssdet extract-features` again."
        ) from error
    promised, found = found
    if promised != size:
        what = f"truncated, {size:,} of {promised:,} bytes are there" if size < promised else "longer than it should be"
        raise DataError(f"{path}: {what}; run `ssdet extract-features` again, which replaces it.")
    return found


def _safetensors(file: Any, size: int) -> tuple[int, FeatureFile]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST_HEADER:
        raise ValueError("These are not the first bytes of safetensors.")
    if length > size:
        return 8 + length, FeatureFile({}, {}, None, size)
    header = json.loads(file.read(length))
    meta = header.pop("__metadata__")
    promised = 8 + length + max(entry["data_offsets"][1] for entry in header.values())
    shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    origin = Origin.of(json.loads(meta["origin"]))
    # The header's own order is not kept by every writer; the origin's is first stage to last.
    shapes = {name: shapes[name] for name in origin.stages}
    return promised, FeatureFile(json.loads(meta["video"]), shapes, origin, size)


def _npy(file: Any, size: int) -> tuple[int, FeatureFile]:
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)
    promised = file.tell() + int(shape[0]) * int(shape[1]) * dtype.itemsize
    return promised, FeatureFile({}, {"": tuple(shape)}, None, size)


def write_index(folder: Path, origin: Origin, videos: Mapping[str, Any], *, complete: bool, failed: Mapping) -> None:
    """Write `index.json`.

    Args:
        folder: Of the features.
        origin: Of all of them.
        videos: Video id -> `file`, `frames`, `bytes`.
        complete: Whether every video that was asked for is there or in `failed`.
        failed: Video id -> why it could not be read.
    """
    content = {
        "format": FORMAT,
        "origin": asdict(origin),
        "complete": complete,
        "videos": {name: videos[name] for name in sorted(videos)},
        "failed": dict(failed),
    }
    write_atomically(folder / INDEX, json.dumps(content, indent=1) + "\n")


class DamagedIndex(DataError):
    """There is an `index.json` and it cannot be read."""


def read_index(folder: Path) -> dict[str, Any]:
    """Read `index.json`, its `origin` as an `Origin`.

    Raises:
        DamagedIndex: There is one that cannot be read.
        DataError: No such folder, no index in it, or one of another format.
    """
    path = folder / INDEX
    if not path.is_file():
        what = "holds no index.json" if folder.is_dir() else "is not a folder"
        raise DataError(f"{folder} {what}; features are made by `ssdet extract-features --output {folder}`.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = content["format"]
        content["videos"], content["complete"]
        origin = content["origin"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedIndex(f"{path} is not an index of features; run `ssdet extract-features` again.") from error
    if kind != FORMAT:
        raise DataError(f"{path} has format {kind} and this ssdet reads {FORMAT}; extract the features again.")
    try:
        return {**content, "origin": Origin.of(origin)}
    except DataError as error:
        raise DamagedIndex(f"{path}: {error} Run `ssdet extract-features` again.") from error
