"""HMDB51 (Kuehne et al., ICCV 2011): 51 actions, three official splits.

The folder of splits (`testTrainMulti_7030_splits`) holds `<class>_test_split<1|2|3>.txt` for each class, with lines
`<clip>.avi <flag>`; flag 1 is training, 2 is test, 0 is neither.
"""

import re
from pathlib import Path

from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.lookup import check_split, read_text, required
from ssdet_cli.data.official_folds import Listed, fold_of, fold_set
from ssdet_cli.errors import DataError

_WANTED = "the folder of <class>_test_split1.txt, or a file <class>_test_split2.txt in it for the second official split"
_PARTS = {"0": None, "1": "train", "2": "test"}


def load_hmdb51(videos: Path | None, annotations: Path | None, split: str) -> VideoSet:
    """Read one of the official splits.

    Args:
        videos: Folder with `<class>/<clip>.avi`, or folders of frames of that name, at any depth.
        annotations: The folder of splits for the first one, or one of its files (`wave_test_split2.txt`) for the split
            of that number.
        split: "train", "val" or "test"; "val" is answered by "test", as there are two.

    Raises:
        ConfigError: No annotations given, or no such split.
        DataError: A file is missing or wrong, or no clip is there.
    """
    check_split(split)
    path = required(annotations, "hmdb51", _WANTED)
    fold, folder = (1, path) if path.is_dir() else (fold_of(path, r".*_test_split(\d)", _WANTED), path.parent)
    files = sorted(folder.glob(f"*_test_split{fold}.txt"))
    if not files:
        raise DataError(f"{folder} holds no <class>_test_split{fold}.txt; 'hmdb51' needs {_WANTED}.")
    clips: dict[str, list[Listed]] = {"train": [], "test": []}
    classes = tuple(file.stem.removesuffix(f"_test_split{fold}") for file in files)
    for name, file in zip(classes, files, strict=True):
        for number, line in enumerate(read_text(file)[0].splitlines(), start=1):
            if not line.strip():
                continue
            match = re.fullmatch(r"(.+?)\s+([012])", line.strip())
            if match is None:
                raise DataError(f"{file}, line {number}: `<clip>.avi <0, 1 or 2>` is expected, found '{line.strip()}'.")
            part = _PARTS[match[2]]
            if part is not None:
                clips[part].append(Listed(f"{file}, line {number}", match[1], name))
    return fold_set("hmdb51", videos, folder, classes, clips, split, fold, told=path.is_dir())
