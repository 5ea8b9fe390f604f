"""Pictures of the generated task: textured objects over a textured background, drawn with numpy alone.

Shape letters: T frames, S pixels along a side, N sprite texels along a side. Everything is measured in picture widths,
so the same plan looks the same at any size.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from ssdet_cli.data.generated_motion import ANGLE, TURN, ZOOM, X, Y

SHAPES = ("blob", "disc", "hexagon", "square", "triangle")

#: A sprite reaches this many object radii from its centre, so that the halo around the object fits.
_REACH = 1.5
#: Largest over smallest radius of one object.
_ZOOM_RANGE = 2.3
#: Waves of the background in turns per picture: whole numbers, so that it has no seam.
_DIRECTIONS = np.array([(x, y) for x in range(3) for y in range(-2, 3) if (x, y) > (0, 0)])


@dataclass(frozen=True)
class Sprite:
    """One object's looks.

    Attributes:
        texels: (N, N, 4) float32: red, green, blue in [0, 255] and the signed distance to the outline in radii,
            negative inside. The distance keeps edges sharp at every zoom.
        radius: Circumscribed radius in picture widths at zoom ½.
        rim: (3,) colour of the outline.
    """

    texels: np.ndarray
    radius: float
    rim: np.ndarray


def _colour(
    rng: np.random.Generator, hue: float, saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1, rng.uniform(*saturation), rng.uniform(*value)), dtype=np.float32)


def _waves(
    x: np.ndarray, y: np.ndarray, frequencies: np.ndarray, sharpness: float, rng: np.random.Generator
) -> np.ndarray:
    """Sum of plane waves with (n, 2) frequencies in turns per unit, squashed into (0, 1) with the median at one half.

    The median and spread are taken within a unit of the origin, so that both of a texture's colours always show.
    """
    phases = rng.uniform(0, TURN, len(frequencies))
    total = sum(np.cos(TURN * (fx * x + fy * y) + phase) for (fx, fy), phase in zip(frequencies, phases, strict=True))
    near = np.broadcast_to(np.hypot(x, y) < 1, total.shape)
    spread = max(float(total[near].std()), 1e-3)
    return 1 / (1 + np.exp(-sharpness * (total - np.median(total[near])) / spread))


def draw_background(size: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth two-tone texture, darker and paler than any object, that repeats without a seam.

    Returns:
        (S, S, 3) float32 in [0, 255].
    """
    grid = (np.arange(size) + 0.5) / size
    x, y = grid[None, :], grid[:, None]
    hue = rng.uniform()
    first = _colour(rng, hue, (0.35, 0.6), (0.2, 0.32))
    second = _colour(rng, hue + rng.uniform(-0.3, 0.3), (0.25, 0.55), (0.42, 0.58))
    frequencies = _DIRECTIONS[rng.choice(len(_DIRECTIONS), 4, replace=False)]
    mix = _waves(x, y, frequencies, 1.2, rng)[..., None]
    return (first + (second - first) * mix).astype(np.float32)


def draw_sprite(shape: str, radius: float, size: int, rng: np.random.Generator) -> Sprite:
    """Draw one object: an outline of the given kind, its own bold texture and a light or dark rim.

    Args:
        shape: One of SHAPES.
        radius: In picture widths at zoom ½.
        size: Pixels of the picture, which sets the number of texels.
        rng: Draws colours, texture and the outline's variation.
    """
    texels = max(64, size)
    grid = np.linspace(-_REACH, _REACH, texels)
    x, y = np.meshgrid(grid, grid)
    hue = rng.uniform()
    first = _colour(rng, hue, (0.8, 1.0), (0.9, 1.0))
    second = _colour(rng, hue + rng.uniform(0.33, 0.67), (0.65, 1.0), (0.75, 1.0))
    angles = rng.uniform(0, TURN, 3)
    frequencies = rng.uniform(0.3, 0.75, (3, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mix = _waves(x, y, frequencies, 2.5, rng)[..., None]
    distance = _distance(_outline(shape, rng), x, y)
    if shape in ("hexagon", "square", "triangle"):
        distance = distance - 0.12
    rim = np.float32(250 if rng.random() < 0.5 else 18)
    channels = np.concatenate([first + (second - first) * mix, distance[..., None]], axis=2)
    return Sprite(channels.astype(np.float32), radius, np.full(3, rim, dtype=np.float32))


def _outline(shape: str, rng: np.random.Generator) -> np.ndarray:
    """Corners (n, 2) of the outline within the unit circle; polygons leave room for their rounding."""
    corners = {"triangle": 3, "square": 4, "hexagon": 6}.get(shape, 48)
    angles = TURN * np.arange(corners) / corners
    radii = np.full(corners, 0.88 if corners < 48 else 0.92)
    if shape == "blob":
        lobes = sum(rng.uniform(0.05, 0.17) * np.cos(k * angles + rng.uniform(0, TURN)) for k in (2, 3, 4))
        radii = 0.95 * (1 + lobes) / (1 + lobes).max()
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _distance(corners: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance of every point to a polygon: nearest edge, negative where a ray crosses the outline oddly."""
    nearest = np.full(x.shape, np.inf)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        ex, ey = bx - ax, by - ay
        along = np.clip(((x - ax) * ex + (y - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (x - ax - along * ex) ** 2 + (y - ay - along * ey) ** 2)
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ex / ey)
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def camera_path(frames: int, fps: float, rng: np.random.Generator) -> np.ndarray:
    """Slow wander of a hand-held camera that keeps within about 2 % of the picture.

    Returns:
        (2, T) in picture widths: three slow waves per axis, each with its own phase.
    """
    seconds = np.arange(frames) / fps
    turns = rng.uniform(0.1, 0.5, (2, 3, 1)) * seconds + rng.uniform(0, 1, (2, 3, 1))
    return (rng.uniform(0.002, 0.008, (2, 3, 1)) * np.sin(TURN * turns)).sum(axis=1)


def shift_wrapped(picture: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Move a seamless picture by fractions of a pixel.

    Args:
        picture: (S, S, C).
        shifts: (2, T) in pixels, x then y; positive moves right and down.

    Returns:
        (T, S, S, C), bilinear.
    """
    size = len(picture)
    moved = []
    for dx, dy in shifts.T:
        left, top = int(np.floor(dx)), int(np.floor(dy))
        fx, fy = np.float32(dx - left), np.float32(dy - top)
        rolled = np.roll(picture, (top % size, left % size), axis=(0, 1))
        rolled = rolled + fx * (np.roll(rolled, 1, axis=1) - rolled)
        moved.append(rolled + fy * (np.roll(rolled, 1, axis=0) - rolled))
    return np.stack(moved)


def paint(frames: np.ndarray, sprite: Sprite, states: np.ndarray) -> None:
    """Draw one object into every frame, wrapped around the borders.

    Args:
        frames: (T, S, S, 3) float32, changed in place.
        sprite: The object.
        states: (4, T) place, angle and zoom.
    """
    size = frames.shape[1]
    radii = sprite.radius * size * _ZOOM_RANGE ** (states[ZOOM] - 0.5)
    centres = states[[X, Y]] * size - 0.5
    half = min(int(np.ceil(radii.max() * (_REACH - 0.1))) + 1, size // 2)
    window = np.arange(-half, half)
    corner = np.floor(centres).astype(int)
    columns = corner[0][:, None] + window + 1
    rows = corner[1][:, None] + window + 1
    sampled = _sample(sprite, columns - centres[0][:, None], rows - centres[1][:, None], states[ANGLE], radii)
    index = (np.arange(len(frames))[:, None, None], (rows % size)[:, :, None], (columns % size)[:, None, :])
    frames[index] = _blend(frames[index], sampled, radii.astype(np.float32)[:, None, None, None], sprite.rim)


def _sample(sprite: Sprite, dx: np.ndarray, dy: np.ndarray, angle: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Read the turned and scaled sprite at pixel offsets (T, W) from its centre: (T, W, W, 4), bilinear."""
    count = len(sprite.texels)
    per_radius = (count - 1) / (2 * _REACH)
    scale = (per_radius / radii)[:, None, None]
    cosine, sine = np.cos(angle)[:, None, None] * scale, np.sin(angle)[:, None, None] * scale
    dx, dy = dx[:, None, :], dy[:, :, None]
    centre, last = (count - 1) / 2, count - 1.001
    u = np.clip(cosine * dx + sine * dy + centre, 0, last).astype(np.float32)
    v = np.clip(cosine * dy - sine * dx + centre, 0, last).astype(np.float32)
    left, top = u.astype(np.int32), v.astype(np.int32)
    fu, fv = (u - left)[..., None], (v - top)[..., None]
    flat, at = sprite.texels.reshape(-1, 4), top * count + left
    upper = flat[at] + fu * (flat[at + 1] - flat[at])
    lower = flat[at + count] + fu * (flat[at + count + 1] - flat[at + count])
    return upper + fv * (lower - upper)


def _blend(under: np.ndarray, sampled: np.ndarray, radii: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """Lay sampled texels over the picture: a soft dark halo, the texture, a rim one and a half pixels wide."""
    distance = sampled[..., 3:] * radii
    cover = np.clip(0.5 - distance, 0, 1)
    halo = 0.5 * np.clip(1 - sampled[..., 3:] / 0.3, 0, 1) ** 2
    width = np.maximum(1.4, 0.1 * radii)
    edge = 0.85 * np.clip(distance + width + 0.5, 0, 1)
    colour = sampled[..., :3] + edge * (rim - sampled[..., :3])
    shaded = under * (1 - halo)
    return shaded + cover * (colour - shaded)


def finish(frames: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Add pixel noise of `noise` grey levels to (T, S, S, 3) pictures and round them to uint8."""
    grain = rng.standard_normal(frames.shape, dtype=np.float32)
    return np.clip(frames + noise * grain + 0.5, 0, 255).astype(np.uint8)
