"""UCF101 (Soomro et al., arXiv 1212.0402): 101 actions, three official splits into training and test.

`ucfTrainTestlist/` holds classInd.txt (`1 ApplyEyeMakeup`, from 1), trainlist01.txt to 03 with lines
`Class/v_Class_g08_c01.avi 1`, and testlist01.txt to 03 without the number.
"""

from pathlib import Path

from ssdet_cli.data.annotations import VideoSet
from ssdet_cli.data.class_names import parse_classes
from ssdet_cli.data.lookup import read_text
from ssdet_cli.data.official_folds import Listed, fold_set, matched_lines, official_fold
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
    fold = official_fold("ucf101", annotations, split, r"(?:train|test)list(\d+)", _WANTED)
    index = fold.folder / "classInd.txt"
    if not index.is_file():
        raise DataError(f"{fold.folder} holds no classInd.txt; 'ucf101' needs {_WANTED}.")
    classes = parse_classes(index, read_text(index)[0])
    lists = {part: fold.folder / f"{part}list{fold.number:02d}.txt" for part in ("train", "test")}
    clips = {part: _listed(file) for part, file in lists.items()}
    return fold_set(fold, videos, classes, clips, split)


def _listed(path: Path) -> list[Listed]:
    if not path.is_file():
        raise DataError(f"{path} does not exist; 'ucf101' needs {_WANTED}.")
    found = matched_lines(path, r"([^/\\]+)[/\\](\S+?)(?:\s+\d+)?", "Class/v_Class_g01_c01.avi")
    return [Listed(where, match[2], match[1]) for where, match in found]
