"""UCF101 (Soomro et al., arXiv 1212.0402): 101 actions, three official splits into training and test.

`ucfTrainTestlist/` holds classInd.txt (`1 ApplyEyeMakeup`, from 1), trainlist01.txt to 03 with lines
`Class/v_Class_g08_c01.avi 1`, and testlist01.txt to 03 without the number.
"""

import re
from pathlib import Path

from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.class_names import parse_classes
from ssdet_cli.data.lookup import check_split, read_text, required
from ssdet_cli.data.official_folds import Listed, fold_of, fold_set
from ssdet_cli.errors import DataError

_WANTED = "the folder ucfTrainTestlist, or trainlist02.txt in it for the second official split"


def load_ucf101(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read one of the official splits.

    Args:
        videos: Folder with `<class>/v_<class>_g01_c01.avi`, or folders of frames of that name, at any depth.
        annotations: `ucfTrainTestlist` for the first split, or one of its lists (`trainlist02.txt`) for the split of
            that number.
        split: "train", "val" or "test"; "val" is answered by "test", as there are two.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: A file is missing or wrong, or no clip is there.
    """
    check_split(split)
    path = required(annotations, "ucf101", _WANTED)
    fold, folder = (1, path) if path.is_dir() else (fold_of(path, r"(?:train|test)list(\d+)", _WANTED), path.parent)
    index = folder / "classInd.txt"
    if not index.is_file():
        raise DataError(f"{folder} holds no classInd.txt; 'ucf101' needs {_WANTED}.")
    classes = parse_classes(index, read_text(index)[0])
    lists = {part: folder / f"{part}list{fold:02d}.txt" for part in ("train", "test")}
    clips = {part: _listed(file) for part, file in lists.items()}
    return fold_set("ucf101", videos, folder, classes, clips, split, fold, told=path.is_dir())


def _listed(path: Path) -> list[Listed]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; 'ucf101' needs {_WANTED}.")
    clips = []
    for number, line in enumerate(read_text(path)[0].splitlines(), start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([^/\\]+)[/\\](\S+?)(?:\s+\d+)?", line.strip())
        if match is None:
            raise DataError(f"{path}, line {number}: `Class/v_Class_g01_c01.avi` is expected, found '{line.strip()}'.")
        clips.append(Listed(f"{path}, line {number}", match[2], match[1]))
    return clips
