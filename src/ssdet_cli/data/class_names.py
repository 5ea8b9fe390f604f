"""Class names in index order, out of the forms in which they are handed around."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from ssdet_cli.errors import DataError

#: No set has so many classes; what is above is a date, an id or a number of frames.
MOST_NUMBERED = 100_000


def normal_form(name: str) -> str:
    """Letters and digits in lower case: how a label and the folder that is named after it agree.

    Kinetics writes `petting animal (not cat)`, its folders `petting_animal_(not_cat)` or `petting_animal_not_cat`.
    """
    return "".join(letter for letter in name.lower() if letter.isalnum())


def parse_classes(path: Path, text: str) -> tuple[str, ...]:
    """Read a file of classes.

    One name a line, in order; `cNNN name` (Charades); `N name`, counted from 0 or from 1 (UCF101's classInd.txt, TSU's
    Action_list); a table with the columns id and name; JSON, as a list of names or an object of name and index.

    Raises:
        DataError: Nothing in it, a name stands twice, or the numbers do not count up.
    """
    names = _from_json(path, text) if text.lstrip()[:1] in ("{", "[") else _from_lines(path, text)
    if not names:
        raise DataError(f"{path} holds no class names; needed: one name on each line.")
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise DataError(f"{path} holds the class '{sorted(twice)[0]}' twice.")
    return tuple(names)


def _from_lines(path: Path, text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    charades = [re.fullmatch(r"c(\d+)\s+(.+)", line) for line in lines]
    if lines and all(charades):
        for index, match in enumerate(charades):
            if int(match[1]) != index:
                raise DataError(f"{path}, line {index + 1}: class c{match[1]} stands where c{index:03d} should.")
        return [match[2] for match in charades]
    if lines and re.fullmatch(r"(id|index|label)\s*[,;\t]\s*(name|class|label)", lines[0], re.IGNORECASE):
        lines = lines[1:]
    numbered = [re.fullmatch(r"(\d+)\s*[,;\s]\s*(.+)", line) for line in lines]
    if len(lines) > 1 and all(numbered):
        numbers = [int(match[1]) for match in numbered]
        if numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            return [match[2].strip().strip('"') for match in numbered]
    return lines


def _from_json(path: Path, text: str) -> list[str]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: no valid JSON ({error.msg}).") from error
    if isinstance(document, dict):
        # name -> index, or index -> name; PyTorchVideo's list puts the names in quotes of their own.
        pairs = [(key, value) if isinstance(value, int) else (value, key) for key, value in document.items()]
        if not all(isinstance(name, str) and str(index).isdecimal() for name, index in pairs):
            raise DataError(f"{path} must hold a list of class names, or an object of name and index.")
        pairs.sort(key=lambda pair: int(pair[1]))
        if [int(index) for _, index in pairs] != list(range(len(pairs))):
            raise DataError(f"{path}: the indices of its {len(pairs)} classes do not count from 0.")
        document = [name for name, _ in pairs]
    if not all(isinstance(name, str) for name in document):
        raise DataError(f"{path} must hold a list of class names, or an object of name and index.")
    return [name.strip().strip('"') for name in document]


def sorted_classes(labels: Iterable[str], path: Path) -> tuple[str, ...]:
    """Sorted labels; whole numbers stay what they are, indices from 0.

    Raises:
        DataError: As `numbered`; `path` is what they were read from.
    """
    labels = set(labels)
    if all(label.isdecimal() for label in labels):
        return tuple(str(index) for index in range(numbered(max(map(int, labels), default=-1), path)))
    return tuple(sorted(labels))


def numbered(highest: int, path: Path) -> int:
    """How many classes there are where the highest index is this one.

    Raises:
        DataError: So many that it is a number of something else.
    """
    if highest >= MOST_NUMBERED:
        raise DataError(
            f"{path}: {highest} stands where a class is expected, and numbers count classes from 0; give names, or the "
            f"number of a class under {MOST_NUMBERED:,}."
        )
    return highest + 1


def class_difference(ours: Iterable[str], theirs: Iterable[str]) -> str:
    """Say in one phrase where two class lists part; an empty string where they do not."""
    ours, theirs = tuple(ours), tuple(theirs)
    if ours == theirs:
        return ""
    if len(ours) != len(theirs):
        return f"{len(ours)} classes and {len(theirs)}"
    if set(ours) == set(theirs):
        return f"the same {len(ours)} classes in another order"
    at, ours_there, theirs_there = next(
        (index, one, other) for index, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other
    )
    return f"class {at} is '{ours_there}' and '{theirs_there}'"
