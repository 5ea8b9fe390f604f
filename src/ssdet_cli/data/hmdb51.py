"""HMDB51 (Kuehne et al., ICCV 2011): 51 actions, three official splits.

The folder of splits (`testTrainMulti_7030_splits`) holds `<class>_test_split<1|2|3>.txt` for each class, with lines
`<clip>.avi <flag>`; flag 1 is training, 2 is test, 0 is neither.
"""

from pathlib import Path

from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.official_folds import Listed, fold_set, matched_lines, official_fold
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
    fold = official_fold("hmdb51", annotations, split, r".*_test_split(\d)", _WANTED)
    files = sorted(fold.folder.glob(f"*_test_split{fold.number}.txt"))
    if not files:
        raise DataError(f"{fold.folder} holds no <class>_test_split{fold.number}.txt; 'hmdb51' needs {_WANTED}.")
    clips: dict[str, list[Listed]] = {"train": [], "test": []}
    classes = tuple(file.stem.removesuffix(f"_test_split{fold.number}") for file in files)
    for name, file in zip(classes, files, strict=True):
        for where, match in matched_lines(file, r"(.+?)\s+([012])", "<clip>.avi <0, 1 or 2>"):
            part = _PARTS[match[2]]
            if part is not None:
                clips[part].append(Listed(where, match[1], name))
    return fold_set(fold, videos, classes, clips, split)
