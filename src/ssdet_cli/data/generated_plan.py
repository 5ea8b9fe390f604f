"""What the generated task consists of: settings, and the plan of every video before a pixel is drawn.

Plans come from Python's own generator (its numbers are promised to stay the same between versions) in one process and
one order, so annotations are the same bytes for the same settings, however many workers draw the pictures.
"""

from dataclasses import dataclass
from random import Random

from ssdet_cli.data.generated_motion import MOTIONS, Action
from ssdet_cli.data.generated_render import SHAPES
from ssdet_cli.errors import ConfigError

#: Raised when the same settings give other annotations or another law of pictures.
GENERATOR_VERSION = 2
#: Of the draws alone, so that a new split leaves the videos of the others as they were.
_DRAWS = 1

#: Dense split -> first letter of its ids; its place is part of what seeds the looks.
DENSE_SPLITS = {"train": "A", "test": "T", "val": "V"}
#: Share of dense videos with 1, 2, 3 and 4 objects.
_OBJECTS = (0.4, 0.4, 0.15, 0.05)
#: Every so many dense videos, one has objects that never move (Charades has such videos, and they are scored).
_STILL_EVERY = 30
#: Weak training clips for which the dense test set, a quarter of them, still has ids of four digits.
_MOST_VIDEOS = 39_996
#: Hundredths of a second: an action's shortest and longest time, and the stillness after it.
_ACTION, _REST = (75, 250), (40, 180)


@dataclass(frozen=True)
class GenerateSettings:
    """Size and number of what is generated.

    Attributes:
        size: Pixels along a side.
        classes: Actions in the weak set; the dense set has these and `novel_classes` more.
        novel_classes: Actions that only the dense set has.
        weak_videos: Weak training clips, spread evenly over the classes.
        weak_val_videos: Weak validation clips.
        dense_train: Dense training videos.
        dense_test: Dense test videos.
        dense_val: Dense validation videos.
        seconds: Length of a weak clip; dense videos take two to three times as long.
        fps: Frames per second.
        seed: The same seed gives the same annotations, byte for byte.

    Raises:
        ConfigError: A value outside its range, named.
    """

    size: int = 64
    classes: int = 12
    novel_classes: int = 3
    weak_videos: int = 600
    weak_val_videos: int = 96
    dense_train: int = 48
    dense_test: int = 150
    dense_val: int = 20
    seconds: float = 2.0
    fps: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        most = len(MOTIONS) - self.novel_classes
        limits = {
            "size": (32, 1024),
            "classes": (2, most),
            "novel_classes": (0, len(MOTIONS) - 2),
            "weak_videos": (self.classes, 100_000),
            "weak_val_videos": (1, 100_000),
            "dense_train": (1, 9999),
            "dense_test": (1, 9999),
            "dense_val": (1, 9999),
            "seconds": (0.5, 60),
            "fps": (6, 60),
            "seed": (0, 2**63 - 1),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} ({value}) must be between {low} and {high}.")

    @classmethod
    def for_videos(cls, videos: int, **others: int | float) -> "GenerateSettings":
        """Return settings for `videos` weak training clips, with every other part in the default's proportion.

        600 gives 96 weak validation clips, 48 dense training, 150 dense test and 20 dense validation videos. Every
        class has a weak validation clip.

        Raises:
            ConfigError: A value outside its range, or fewer clips than classes.
        """
        classes = others.get("classes", cls.classes)
        if not classes <= videos <= _MOST_VIDEOS:
            raise ConfigError(f"videos ({videos}) must be between {classes}, one of each class, and {_MOST_VIDEOS}.")
        scaled = {
            "weak_val_videos": max(classes, round(videos * 0.16)),
            "dense_train": max(2, round(videos * 0.08)),
            "dense_test": max(2, round(videos * 0.25)),
            "dense_val": max(2, round(videos / 30)),
        }
        return cls(weak_videos=videos, **{**scaled, **others})

    @property
    def weak_classes(self) -> tuple[str, ...]:
        """Class names of the weak set in index order, which is the order of the folders' names."""
        return tuple(sorted(list(MOTIONS)[: self.classes]))

    @property
    def dense_classes(self) -> tuple[str, ...]:
        """Class names of the dense set: those of the weak set with the same indices, then the unseen ones."""
        return self.weak_classes + tuple(list(MOTIONS)[self.classes : self.classes + self.novel_classes])

    @property
    def weak_frames(self) -> int:
        """Frames of every weak clip."""
        return max(4, round(self.seconds * self.fps))

    @property
    def videos(self) -> int:
        """Number of all video files."""
        return self.weak_videos + self.weak_val_videos + self.dense_train + self.dense_test + self.dense_val


@dataclass(frozen=True)
class ObjectPlan:
    """One object: kind of outline, size and its actions in order of time."""

    shape: str
    radius: float
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class VideoPlan:
    """One video before it is drawn.

    Attributes:
        video_id: Unique name within its set.
        path: Relative to the folder, with forward slashes.
        frames: Number of frames.
        duration: Seconds, a multiple of 0.01.
        label: Class name of a weak clip; empty for a dense video.
        objects: First is drawn first.
        entropy: Seeds the looks.
    """

    video_id: str
    path: str
    frames: int
    duration: float
    label: str
    objects: tuple[ObjectPlan, ...]
    entropy: tuple[int, ...]

    @property
    def actions(self) -> list[Action]:
        """Actions of all objects, ordered by begin and then name."""
        every = [action for planned in self.objects for action in planned.actions]
        return sorted(every, key=lambda action: (action.start, action.name))


class _Deck:
    """Deals class names so that all come up equally often."""

    def __init__(self, names: tuple[str, ...], rng: Random) -> None:
        self.names, self.rng, self.cards = names, rng, []

    def deal(self, avoid: set[str]) -> str:
        """Take the next name that is not in `avoid`; where all are, take any."""
        if len(self.cards) <= len(avoid):
            self.cards += self.rng.sample(self.names, len(self.names))
        wanted = next((i for i, name in enumerate(self.cards) if name not in avoid), 0)
        return self.cards.pop(wanted)


def plan_weak(settings: GenerateSettings, split: str) -> list[VideoPlan]:
    """Plan the short clips: one object that follows one motion from the first frame to the last.

    Args:
        settings: Of the whole task.
        split: "train" or "val".
    """
    rng = _random(settings, f"weak/{split}")
    names = settings.weak_classes
    frames = settings.weak_frames
    plans = []
    for index in range(settings.weak_videos if split == "train" else settings.weak_val_videos):
        name = names[index % len(names)]
        video_id = f"{name}-{split}-{index // len(names):04d}"
        actor = ObjectPlan(
            rng.choice(SHAPES), rng.uniform(0.17, 0.22), (Action(name, 0.0, frames / settings.fps + 1.0),)
        )
        duration = round(frames / settings.fps, 2)
        path = f"weak/{split}/{name}/{video_id}.mp4"
        entropy = (settings.seed, ("train", "val").index(split), index)
        plans.append(VideoPlan(video_id, path, frames, duration, name, (actor,), entropy))
    return plans


def plan_dense(settings: GenerateSettings, split: str) -> list[VideoPlan]:
    """Plan the longer videos: one to four objects, each with its own actions and rests.

    Args:
        settings: Of the whole task.
        split: "train", "val" or "test".
    """
    rng = _random(settings, f"dense/{split}")
    deck = _Deck(settings.dense_classes, rng)
    plans = []
    for index in range(getattr(settings, f"dense_{split}")):
        frames = max(8, round(rng.uniform(2, 3) * settings.seconds * settings.fps))
        duration = round(frames / settings.fps, 2)
        still = index % _STILL_EVERY == _STILL_EVERY - 1
        objects = _plan_objects(0 if still else round(duration * 100), deck, rng)
        video_id = f"{DENSE_SPLITS[split]}{index:04d}"
        entropy = (settings.seed, 2 + list(DENSE_SPLITS).index(split), index)
        plans.append(VideoPlan(video_id, f"dense/videos/{video_id}.mp4", frames, duration, "", objects, entropy))
    return plans


def _plan_objects(length: int, deck: _Deck, rng: Random) -> tuple[ObjectPlan, ...]:
    """Plan the objects of one dense video whose actions fill `length` hundredths of a second."""
    objects: list[ObjectPlan] = []
    for _ in range(rng.choices(range(1, 5), _OBJECTS)[0]):
        others = [action for planned in objects for action in planned.actions]
        actions = _schedule(length, deck, others, rng)
        objects.append(ObjectPlan(rng.choice(SHAPES), rng.uniform(0.15, 0.2), actions))
    return tuple(objects)


def _schedule(length: int, deck: _Deck, others: list[Action], rng: Random) -> tuple[Action, ...]:
    """Alternate actions and rests; no class twice in a row, nor at the same time as on another object."""
    actions: list[Action] = []
    begin = rng.randint(0, _REST[1]) if rng.random() < 0.6 else 0
    while length - begin >= _ACTION[0]:
        end = min(length, begin + rng.randint(*_ACTION))
        start_seconds, end_seconds = begin / 100, end / 100
        avoid = {other.name for other in others if other.start <= end_seconds and start_seconds <= other.end}
        avoid |= {action.name for action in actions[-1:]}
        actions.append(Action(deck.deal(avoid), start_seconds, end_seconds))
        begin = end + (rng.randint(*_REST) if rng.random() < 0.8 else 0)
    return tuple(actions)


def _random(settings: GenerateSettings, part: str) -> Random:
    return Random(f"ssdet generated {_DRAWS} {settings.seed} {part}")
