"""Reading a folder of extracted frames, JPEG or PNG, with Pillow."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ssdet_cli.errors import ConfigError, DataError
from ssdet_cli.video._pyav import MOST_PIXELS
from ssdet_cli.video.patience import check_time

_SUFFIXES = {".jpg", ".jpeg", ".png"}
_NUMBER = re.compile(r"(\d+)$")


class FolderSource:
    """A folder of numbered frames; the lowest number is frame 0. Its times are exact, `tick_seconds` is 0.

    Args:
        path: The folder (`AB12C-000001.jpg`, `frame_00001.jpg`, `1.jpg`, ...).
        frame_rate: Frames per second at which they were extracted.
        duration: Seconds that they show; gives the rate where `frame_rate` is None (the authors of Charades' baselines
            divide likewise, https://github.com/piergiaj/super-events-cvpr18).
        scale: (height, width) of the stored frames -> (height, width) to return, None for the stored size.

    Raises:
        ConfigError: `frame_rate` is not above 0, or neither it nor `duration` is known.
        DataError: No numbered JPEG or PNG files, a number missing or there twice, or the first picture is unreadable.
    """

    tick_seconds = 0.0

    def __init__(
        self,
        path: Path,
        frame_rate: float | None,
        scale: Callable[[int, int], tuple[int, int] | None],
        duration: float | None = None,
    ) -> None:
        if (frame_rate is None and not duration) or (frame_rate is not None and not frame_rate > 0):
            raise ConfigError(f"{path}: a folder of frames needs frame_rate, in frames per second, got {frame_rate}.")
        self.path = path
        self.files = _numbered_files(path)
        self.num_frames = len(self.files)
        self.frame_rate = self.num_frames / duration if frame_rate is None else float(frame_rate)
        with _opened(self.files[0]) as picture:
            self.width, self.height = picture.size
        if self.width * self.height > MOST_PIXELS:
            size = f"{self.width} x {self.height}"
            raise DataError(f"{self.files[0]}: a picture of {size}; {MOST_PIXELS:,} pixels are the limit.")
        self.size = scale(self.height, self.width)

    def read(self, wanted: np.ndarray) -> np.ndarray:
        """Read frames: (N,) numbers -> (N, H, W, 3) uint8 RGB.

        Raises:
            DataError: A picture is damaged or has another size than the first.
        """
        height, width = self.size or (self.height, self.width)
        frames = np.empty((len(wanted), height, width, 3), np.uint8)
        for row, number in enumerate(wanted.tolist()):
            check_time(self.path)
            frames[row] = self._picture(self.files[number], (width, height))
        return frames

    def seconds(self) -> np.ndarray:
        """(N,) float64: when each frame appears, the first at 0."""
        return np.arange(self.num_frames) / self.frame_rate

    @property
    def end_seconds(self) -> float:
        """When the last frame ends."""
        return self.num_frames / self.frame_rate

    def close(self) -> None:
        """Nothing stays open."""

    def _picture(self, file: Path, size: tuple[int, int]) -> np.ndarray:
        with _opened(file) as picture:
            if picture.size != (self.width, self.height):
                raise DataError(f"{file}: {picture.size} pixels, the first frame has {(self.width, self.height)}.")
            try:
                # The JPEG decoder can leave out detail that a smaller picture will not show.
                picture.draft("RGB", size)
                rgb = picture.convert("RGB")
            except (OSError, SyntaxError) as error:
                raise DataError(f"{file}: damaged picture ({error}).") from error
        if rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(rgb)


def _opened(file: Path) -> Image.Image:
    try:
        return Image.open(file)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: not a readable picture ({error}).") from error


def _numbered_files(path: Path) -> list[Path]:
    """List the frames by number.

    Raises:
        DataError: As `FolderSource`.
    """
    numbered: dict[int, Path] = {}
    for file in sorted(path.iterdir()):
        match = _NUMBER.search(file.stem)
        if match is None or file.suffix.lower() not in _SUFFIXES or file.name.startswith("."):  # as of macOS
            continue
        number = int(match.group(1))
        if number in numbered:
            raise DataError(f"{path}: frame {number} is there twice, {numbered[number].name} and {file.name}.")
        numbered[number] = file
    if not numbered:
        raise DataError(f"{path}: no numbered JPEG frames (such as frame_00001.jpg), and no PNG, in this folder.")
    first, last = min(numbered), max(numbered)
    if last - first + 1 != len(numbered):
        missing = next(number for number in range(first, last) if number not in numbered)
        raise DataError(f"{path}: frame {missing} is missing between {numbered[first].name} and {numbered[last].name}.")
    return [numbered[number] for number in range(first, last + 1)]
