"""Splits of a set with frame labels: which videos answer for one, and which of several files holds them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType

from ssdet_cli.data.annotations import VideoRecord, VideoSet
from ssdet_cli.data.clip_tree import split_token
from ssdet_cli.data.flaws import refuse, tolerating
from ssdet_cli.data.lookup import some, stand_in, with_paths, without_reversed
from ssdet_cli.data.weak_splits import held_out
from ssdet_cli.errors import DataError, NoSplitError

_as_named: ContextVar[bool] = ContextVar("as_named", default=False)


@contextmanager
def read_as_named(named: bool) -> Iterator[None]:
    """Inside, a loader reads the file that it is given, also where its name is that of another split.

    Else the file of the asked split is read, which lies beside it: one file is given for training, and the other one
    found. A loader that knows nothing of this works as always.

    Args:
        named: Whether somebody named that very file for this; else nothing changes.
    """
    token = _as_named.set(named)
    try:
        yield
    finally:
        _as_named.reset(token)


def is_read_as_named() -> bool:
    """Whether the file that is given shall be read and none beside it."""
    return _as_named.get()


def told_of_file(given: Path, path: Path, split: str, answer: str) -> tuple[str, ...]:
    """Return a note where `path`, the `answer` split, is read for `split`, and something else would be expected."""
    if path != given and not given.is_dir():
        return (*stand_in(path, split, answer), f"{path} is read for the split '{split}' instead of {given.name}.")
    if is_read_as_named() and answer != split:
        return (f"{path} is the {answer} split; it is what was named, so it is read, and not the {split} split.",)
    return stand_in(path, split, answer)


def answers(split: str) -> tuple[str, ...]:
    """The splits that may answer for one: benchmarks of this field have no third, their test split validates."""
    return ("val", "test") if split == "val" else (split,)


def answering(path: Path, subsets: Mapping[str, str | None], split: str) -> tuple[list[str], tuple[str, ...]]:
    """Pick the videos of a split.

    Args:
        path: Of the annotations, for messages.
        subsets: Video -> what the file calls its split; None where it says nothing.
        split: "train", "val" or "test".

    Returns:
        The videos, and a note where others answer than those that were asked for.

    Raises:
        NoSplitError: None of the split.
        DataError: Only some videos have one.
    """
    nameless = [video_id for video_id, subset in subsets.items() if subset in (None, "")]
    if subsets and len(nameless) == len(subsets):
        own = split_token(path.stem)
        if own in (None, "train"):
            return _held_out(path, nameless, split)
        subsets = dict.fromkeys(subsets, own)  # the file is named after its split
        nameless = []
        if is_read_as_named() and own != split:
            return list(subsets), told_of_file(path, path, split, own)
    for video_id in nameless:
        refuse(f"{path}, video '{video_id}': it has no subset, and others have one.", video_id)
    unknown = [one for one, subset in subsets.items() if subset not in (None, "") and not split_token(str(subset))]
    for video_id in unknown if tolerating() else ():
        what = f"its subset '{subsets[video_id]}' is none of training, validation and testing"
        refuse(f"{path}, video '{video_id}': {what}.", video_id)
    left_out = (some("videos are left out, whose subset is none of training, validation and testing", unknown),)
    for answer in answers(split):
        kept = [video_id for video_id, subset in subsets.items() if split_token(str(subset)) == answer]
        if kept:
            return kept, (*stand_in(path, split, answer), *(left_out if unknown else ()))
    named = ", ".join(sorted({" ".join(str(subset).split()) for subset in subsets.values()})) or "none"
    raise NoSplitError(f"{path} holds no videos of the split '{split}'; its subsets: {named}.")


def _held_out(path: Path, videos: list[str], split: str) -> tuple[list[str], tuple[str, ...]]:
    if len(videos) < 2:
        if split == "train":
            return videos, ()
        raise NoSplitError(f"{path} holds one video and no subset: nothing is left for the split '{split}'.")
    apart = held_out(videos)
    told = f"{path} has no subsets: {len(apart)} of its {len(videos)} videos are held out, for validation and test."
    return [video_id for video_id in videos if (video_id in apart) == (split != "train")], (told,)


def finished(
    dataset: str,
    videos: Path | None,
    path: Path,
    split: str,
    classes: tuple[str, ...],
    records: Iterable[VideoRecord],
    sha256: str,
    *notes: str,
    places: Mapping[str, str] = MappingProxyType({}),
) -> VideoSet:
    """Make the set: actions that end before they start are left out, videos are found by id, or by their `places`.

    Raises:
        DataError: No records, or `videos` holds none of them.
    """
    kept, odd = without_reversed(records)
    if not kept:
        raise DataError(f"{path} holds no videos.")
    found, missing = with_paths(kept, videos, places)
    return VideoSet(f"{dataset} {split}", classes, found, path, sha256, (*notes, *odd, *missing))
