"""Splits of a weakly labelled set: which files and records answer for one, and what is held out where there is none."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from ssdet_cli.data.clip_tree import split_token
from ssdet_cli.data.lookup import SPLIT_WORDS, stand_in
from ssdet_cli.errors import DataError, NoSplitError

#: Part of a set without a validation split that is held out.
HELD_OUT = 0.1


def held_out(names: Iterable[str]) -> set[str]:
    """Return the tenth of the names that a hash picks; at least one."""
    places = {name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64 for name in names}
    return {name for name, place in places.items() if place < HELD_OUT} or {min(places, key=places.__getitem__)}


class _Named(Protocol):
    @property
    def video_id(self) -> str: ...


One = TypeVar("One", bound=_Named)


def choose_split(parts: dict[str, list[One]], split: str, source: Path) -> tuple[list[One], tuple[str, ...]]:
    """Pick the clips of a split out of what there is, holding some out where there is no validation split.

    Returns:
        The clips, and a note where another split answers.

    Raises:
        DataError: There is none to answer, or too little to hold anything out.
    """
    parts = {name: records for name, records in parts.items() if records}
    for answer in {"train": ("train",), "val": ("val", "test"), "test": ("test", "val")}[split]:
        if answer in parts and (answer != "train" or len(parts) > 1):
            return parts[answer], stand_in(source, split, answer)
    if "train" not in parts:
        raise NoSplitError(f"{source} holds no clips of the split '{split}'; it has: {', '.join(parts) or 'none'}.")
    records = parts["train"]
    if len(records) < 2:
        raise DataError(f"{source} holds {len(records)} clip(s) for training; at least 2 are needed to hold one out.")
    apart = held_out(record.video_id for record in records)
    return [record for record in records if (record.video_id in apart) == (split != "train")], ()


def split_files(path: Path) -> dict[str, Path]:
    """Return the files of a set: `path`, and those beside it that differ from it in the word for the split.

    `kinetics_train.csv` has `kinetics_val.csv` or `kinetics_validate.csv` beside it; `weak.csv` has `weak_val.csv`.
    """
    own = split_token(path.stem)
    files = {own or "train": path}
    for split, words in SPLIT_WORDS.items():
        for word in words:
            for name in _named(path.stem, own, split, word):
                if split not in files and path.with_stem(name).is_file():
                    files[split] = path.with_stem(name)
    return {split: files[split] for split in SPLIT_WORDS if split in files}


def _named(stem: str, own: str | None, split: str, word: str) -> list[str]:
    if own is None:
        return [f"{stem}_{word}"]
    known = "|".join(SPLIT_WORDS[own])
    swapped = re.sub(rf"(?<![a-z])({known})(?![a-z])", word, stem, flags=re.IGNORECASE)
    bare = re.sub(rf"[_-]({known})$", "", stem, flags=re.IGNORECASE)
    return [swapped, *([bare] if split == "train" and bare != stem else [])]
