"""Which classes are about the same object, or the same verb.

Charades says so in `Charades_v1_mapping.txt` (a line `cNNN oNNN vNNN` for each class; o000 is no object). Elsewhere
words of the names stand in for it: the first word for the verb, the others for objects.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: Words that say nothing about what an action is done to.
_EMPTY = frozenset(
    "a an the some his her their its this that of to at in on into onto from with by for off out up down over under "
    "and or someone something somewhere somebody person".split()
)


@dataclass(frozen=True)
class Relations:
    """What pairs of different classes share.

    Attributes:
        same_object: (K, K) bool, symmetric, False on the diagonal.
        same_verb: (K, K) bool, the same.
        source: "mapping", "words", or "" where no two classes share anything.
        file: Name of the mapping.
    """

    same_object: np.ndarray
    same_verb: np.ndarray
    source: str
    file: str = ""


def read_mapping(path: Path, classes: int) -> Relations | None:
    """Read `cNNN oNNN vNNN` lines; None where the file is not such a list of that many classes."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        return None
    if len(lines) != classes or any(
        len(line) != 3 or not re.fullmatch(r"o\d+", line[1]) or line[0] != f"c{index:03d}"
        for index, line in enumerate(lines)
    ):
        return None
    objects = [set() if int(line[1][1:]) == 0 else {line[1]} for line in lines]
    return Relations(_shared(objects), _shared([{line[2]} for line in lines]), "mapping", path.name)


def relations_of_names(names: Sequence[str]) -> Relations:
    """Compare words of names, in lower case and without a plural's s; `BasketballDunk` has two words."""
    words = [[_stem(word) for word in re.findall(r"[^\W\d_]+", _apart(name))] for name in names]
    objects = _shared([set(own[1:]) - _EMPTY for own in words])
    verbs = _shared([set(own[:1]) for own in words])
    return Relations(objects, verbs, "words" if (objects | verbs).any() else "")


def _apart(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _stem(word: str) -> str:
    word = word.lower()
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _shared(owns: Sequence[set[str]]) -> np.ndarray:
    every = {word: number for number, word in enumerate(sorted(set().union(*owns)))}
    table = np.zeros((len(owns), len(every)), np.float32)
    for row, own in enumerate(owns):
        table[row, [every[word] for word in own]] = 1
    shared = table @ table.T > 0
    np.fill_diagonal(shared, False)
    return shared
