"""The actions of the generated task: each is a motion, and nothing but a motion.

The state of an object is `(x, y, angle, zoom)`: the place in picture widths on a torus (what leaves on the right comes
in on the left), the angle in radians (clockwise as seen) and the zoom in [0, 1] from smallest to largest. An object
starts at a place, angle and zoom drawn uniformly, and a motion adds a displacement that keeps those laws: places and
angles stay uniform because the displacement does not depend on them, and the zoom follows a triangle wave whose phase
is uniform. So one frame has the same law under every action: only the change from frame to frame tells them apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

X, Y, ANGLE, ZOOM = range(4)
TURN = 2 * np.pi

#: (seconds (T,) since the motion began, zoom at its begin, generator) -> displacement (4, T), zero at second 0.
Path = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Motion:
    """One action.

    Attributes:
        name: Class name, also the folder name of the weak set.
        mirror: Name of the class that a left-right flip of the picture turns it into.
        path: Draws speed and phase and gives the displacement.
    """

    name: str
    mirror: str
    path: Path


@dataclass(frozen=True)
class Action:
    """One stretch of time in which an object follows a motion: name, begin and end in seconds."""

    name: str
    start: float
    end: float


def _still(seconds: np.ndarray) -> np.ndarray:
    return np.zeros((4, len(seconds)))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _drift(dx: float, dy: float, slowest: float = 0.2, fastest: float = 0.45) -> Path:
    """Straight motion along (dx, dy); speeds in picture widths per second."""
    direction = np.array([[dx], [dy]]) / np.hypot(dx, dy)

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        moved = _still(seconds)
        moved[:2] = direction * _log_uniform(rng, slowest, fastest) * seconds
        return moved

    return path


def _spin(sign: int) -> Path:
    """Turning on the spot, 0.3 to 0.6 turns per second."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        moved = _still(seconds)
        moved[ANGLE] = sign * TURN * _log_uniform(rng, 0.3, 0.6) * seconds
        return moved

    return path


def _swing() -> Path:
    """Turning back and forth by 30 to 50 degrees to either side."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        moved = _still(seconds)
        moved[ANGLE] = _sine(seconds, rng, period=(0.8, 1.3), size=(0.55, 0.9))
        return moved

    return path


def _sine(
    seconds: np.ndarray, rng: np.random.Generator, period: tuple[float, float], size: tuple[float, float]
) -> np.ndarray:
    phase = rng.uniform(0, TURN)
    angle = TURN * seconds / rng.uniform(*period) + phase
    return rng.uniform(*size) * (np.sin(angle) - np.sin(phase))


def _shake(axis: int) -> Path:
    """Quick to and fro along one axis."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        moved = _still(seconds)
        moved[axis] = _sine(seconds, rng, period=(0.5, 0.75), size=(0.035, 0.07))
        return moved

    return path


def _orbit(sign: int) -> Path:
    """Round a circle without turning; sign +1 is clockwise as seen (y points down)."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        phase = rng.uniform(0, TURN)
        angle = phase + sign * TURN * seconds / rng.uniform(1.1, 1.9)
        moved = _still(seconds)
        moved[:2] = rng.uniform(0.09, 0.15) * np.stack([np.cos(angle) - np.cos(phase), np.sin(angle) - np.sin(phase)])
        return moved

    return path


def _eight() -> Path:
    """A lying eight, run through in either sense."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        phase, size, sense = rng.uniform(0, TURN), rng.uniform(0.13, 0.19), rng.choice([-1.0, 1.0])
        angle = phase + TURN * seconds / rng.uniform(1.5, 2.2)
        moved = _still(seconds)
        moved[X] = size * (np.sin(angle) - np.sin(phase))
        moved[Y] = 0.6 * size * sense * (np.sin(2 * angle) - np.sin(2 * phase))
        return moved

    return path


def _bounce() -> Path:
    """Hopping on the spot: parabolas with a sharp turn at the floor."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        phase = rng.uniform(0, 1)
        part = (phase + seconds / rng.uniform(0.7, 1.05)) % 1
        moved = _still(seconds)
        moved[Y] = -4 * rng.uniform(0.11, 0.18) * (part * (1 - part) - phase * (1 - phase))
        return moved

    return path


def _zigzag() -> Path:
    """Steady to and fro along x with sharp turns, wider and slower than a shake."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        phase = rng.uniform(0, 1)
        wave = _triangle(phase + seconds / rng.uniform(0.7, 1.1), rise=0.5)
        moved = _still(seconds)
        moved[X] = rng.uniform(0.12, 0.18) * (wave - wave[0])
        return moved

    return path


def _triangle(phase: np.ndarray, rise: float) -> np.ndarray:
    """Wave from 0 up to 1 in the share `rise` of its period and back; uniform on [0, 1] where the phase is uniform."""
    part = phase % 1
    return np.where(part < rise, part / rise, (1 - part) / (1 - rise))


def _zoom(slow: tuple[float, float], rise: float) -> Path:
    """Zoom wave with a period drawn from `slow` seconds; `rise` 0.85 grows slowly and shrinks at once.

    The wave has to start at the zoom that the object has. The rising branch is taken with probability `rise`, which
    makes the phase uniform where the zoom was.
    """

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        phase = zoom * rise if rng.random() < rise else 1 - zoom * (1 - rise)
        moved = _still(seconds)
        moved[ZOOM] = _triangle(phase + seconds / rng.uniform(*slow), rise) - zoom
        return moved

    return path


def _both(first: Path, second: Path) -> Path:
    """Two motions at once; at most one of them may zoom."""

    def path(seconds: np.ndarray, zoom: float, rng: np.random.Generator) -> np.ndarray:
        return first(seconds, zoom, rng) + second(seconds, zoom, rng)

    return path


#: Every motion in the order in which `classes` takes them; the dense set's unseen classes come from behind those.
MOTIONS: dict[str, Motion] = {
    motion.name: motion
    for motion in (
        Motion("move-left", "move-right", _drift(-1, 0)),
        Motion("move-right", "move-left", _drift(1, 0)),
        Motion("move-up", "move-up", _drift(0, -1)),
        Motion("move-down", "move-down", _drift(0, 1)),
        Motion("rotate-cw", "rotate-ccw", _spin(1)),
        Motion("rotate-ccw", "rotate-cw", _spin(-1)),
        Motion("zoom-in", "zoom-in", _zoom((1.5, 2.4), rise=0.85)),
        Motion("zoom-out", "zoom-out", _zoom((1.5, 2.4), rise=0.15)),
        Motion("shake-x", "shake-x", _shake(X)),
        Motion("shake-y", "shake-y", _shake(Y)),
        Motion("orbit-cw", "orbit-ccw", _orbit(1)),
        Motion("orbit-ccw", "orbit-cw", _orbit(-1)),
        Motion("bounce", "bounce", _bounce()),
        Motion("swing", "swing", _swing()),
        Motion("pulse", "pulse", _zoom((0.7, 1.05), rise=0.5)),
        Motion("figure-eight", "figure-eight", _eight()),
        Motion("diagonal-up-right", "diagonal-up-left", _drift(1, -1)),
        Motion("roll-left", "roll-right", _both(_drift(-1, 0), _spin(-1))),
        Motion("zigzag-down", "zigzag-down", _both(_drift(0, 1), _zigzag())),
        Motion("hop-right", "hop-left", _both(_drift(1, 0, 0.14, 0.24), _bounce())),
        Motion("diagonal-down-left", "diagonal-down-right", _drift(-1, 1)),
        Motion("roll-right", "roll-left", _both(_drift(1, 0), _spin(1))),
        Motion("zigzag-up", "zigzag-up", _both(_drift(0, -1), _zigzag())),
        Motion("hop-left", "hop-right", _both(_drift(-1, 0, 0.14, 0.24), _bounce())),
        Motion("diagonal-up-left", "diagonal-up-right", _drift(-1, -1)),
        Motion("diagonal-down-right", "diagonal-down-left", _drift(1, 1)),
    )
}

#: Direction is the class: a left-right flip of the picture changes the label.
FLIP_SAFE = False
#: What a left-right flip turns each class into.
MIRROR: dict[str, str] = {motion.name: motion.mirror for motion in MOTIONS.values()}


def follow(actions: Sequence[Action], seconds: np.ndarray, start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where an object is while it goes through its actions and rests between them.

    Args:
        actions: In order of time, not overlapping.
        seconds: (T,) times of the frames.
        start: (4,) state before the first action.
        rng: Draws speed and phase of every action.

    Returns:
        (4, T) states, continuous in time; place and angle are not wrapped.
    """
    state = np.array(start, dtype=float)
    states = np.repeat(state[:, None], len(seconds), axis=1)
    for action in actions:
        inside = np.clip(np.append(seconds, action.end) - action.start, 0, action.end - action.start)
        moved = state[:, None] + MOTIONS[action.name].path(inside, float(state[ZOOM]), rng)
        begun = seconds > action.start
        states[:, begun] = moved[:, :-1][:, begun]
        state = moved[:, -1]
    return states
