"""Videos whose pictures say their own number, so that a wrong frame is seen whatever compression did to it."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

WIDTH, HEIGHT = 64, 48


def numbered_picture(number: int) -> np.ndarray:
    """Eight bars, bright where the bit of `number` is set, over a ramp that makes the picture unsymmetric."""
    bits = np.repeat([number >> bit & 1 for bit in range(8)], WIDTH // 8)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    picture[:] = np.where(bits, 220, 30)[None, :, None]
    picture[-8:] = np.linspace(0, 120, WIDTH, dtype=np.uint8)[None, :, None]
    return picture


def read_number(picture: np.ndarray) -> int:
    """Read the bars back, in a picture of any size."""
    height, width = picture.shape[:2]
    centres = (np.arange(8) + 0.5) * width / 8
    return sum(int(picture[height // 3, int(x)].mean() > 125) << bit for bit, x in enumerate(centres))


def write_numbered(
    path: Path,
    count: int = 60,
    *,
    codec: str = "libx264",
    rate: Fraction | int = 25,
    options: dict[str, str] | None = None,
    milliseconds: Sequence[int] | None = None,
) -> Path:
    """Write frames 0, 1, ...: H.264 with B-frames and a keyframe every 12, unless told otherwise."""
    default = {"x264-params": "keyint=12:min-keyint=12:bframes=3:b-adapt=0:scenecut=0"} if codec == "libx264" else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=default if options is None else options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if milliseconds is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_picture(number), format="rgb24")
            if milliseconds is not None:
                frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def numbered_video() -> Callable[..., Path]:
    return write_numbered


@pytest.fixture(scope="session")
def numbers() -> Callable[[np.ndarray], list[int]]:
    """Frames (N, H, W, 3) -> the numbers they show."""
    return lambda frames: [read_number(frame) for frame in frames]


@pytest.fixture(scope="session")
def pictured() -> Callable[[int], np.ndarray]:
    return numbered_picture
