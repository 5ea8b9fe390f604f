"""What each dataset is and takes, for `ssdet data list` and for what a command refuses before it begins."""

from dataclasses import dataclass
from typing import Literal

_CLIPS = "clips or folders of frames, by class, by split, by both or in one folder; or a folder per class alone"
_BY_ID = "folder of <id>.mp4 (mkv, avi, webm, mov), or of folders <id>/ of JPEG frames"
_KINETICS = "official CSV or the authors' JSON, SlowFast's list, a list of class names, or the folder of these"


@dataclass(frozen=True)
class DatasetInfo:
    """A row of the list.

    Attributes:
        labels: One class for each clip ("weak"), labels in seconds ("frame"), or either.
        sentence: What it is.
        videos: What `--data` or `--videos` takes.
        annotations: What `--annotations` takes; empty where nothing.
        needs_annotations: Whether there is no set without them.
    """

    labels: Literal["weak", "frame", "either"]
    sentence: str
    videos: str
    annotations: str = ""
    needs_annotations: bool = False


#: Dataset -> row; a dataset of somebody else's package has none.
INFO = {
    "charades": DatasetInfo(
        "frame",
        "Charades, or another set in its CSV form.",
        f"{_BY_ID}, as Charades_v1_rgb at 24 frames per second",
        "Charades_v1_train.csv, the folder of both CSVs, charades.json, or SlowFast's train.csv of labelled frames",
        needs_annotations=True,
    ),
    "csv": DatasetInfo(
        "frame",
        "Your own footage, a line for each action.",
        _BY_ID,
        "table video,label,start,end[,subset][,duration]; seconds or h:mm:ss",
        needs_annotations=True,
    ),
    "folder": DatasetInfo(
        "weak",
        "Any clips that have one label each.",
        "a folder per class, also below train/ and val/; or a list",
        "table path,label[,start,end][,split][,duration], or lines `path label`, where the list is not in --data",
    ),
    "generated": DatasetInfo(
        "either",
        "What `ssdet data generate` makes.",
        "its folder, or the weak or dense folder in it",
        "its own",
    ),
    "hmdb51": DatasetInfo(
        "weak",
        "HMDB51, one of its three official splits.",
        "folder of <class>/<clip>.avi, or of frames",
        "folder of <class>_test_split1.txt; a file <class>_test_split2.txt in it for the second split",
        needs_annotations=True,
    ),
    "json": DatasetInfo(
        "frame",
        "Your own footage in one JSON, or a set in ActivityNet's form.",
        _BY_ID,
        "JSON {id: {subset, duration, actions: [[class, start, end], ...]}}, seconds",
        needs_annotations=True,
    ),
    "kinetics": DatasetInfo("weak", "Kinetics, or a part of it, in whatever layout.", _CLIPS, _KINETICS),
    "kinetics400": DatasetInfo("weak", "The same, and told where it has not 400 classes.", _CLIPS, _KINETICS),
    "kinetics600": DatasetInfo("weak", "The same, and told where it has not 600 classes.", _CLIPS, _KINETICS),
    "kinetics700": DatasetInfo("weak", "The same, and told where it has not 700 classes.", _CLIPS, _KINETICS),
    "multithumos": DatasetInfo(
        "frame",
        "MultiTHUMOS, on the videos of THUMOS'14.",
        f"{_BY_ID}, also in a folder for each of its parts",
        "multithumos.json, or the release's folder of <Class>.txt",
        needs_annotations=True,
    ),
    "tsu": DatasetInfo(
        "frame",
        "Toyota Smarthome Untrimmed; its annotations count frames.",
        _BY_ID,
        "smarthome_CS_51.json, smarthome_CV_51.json, or the folder of P02T01C06.csv, ...",
        needs_annotations=True,
    ),
    "ucf101": DatasetInfo(
        "weak",
        "UCF101, one of its three official splits.",
        "folder of <class>/v_<class>_g01_c01.avi, or of frames",
        "folder ucfTrainTestlist; trainlist02.txt in it for the second split",
        needs_annotations=True,
    ),
}


def named_with(labels: str, *, needing_annotations: bool = False) -> tuple[str, ...]:
    """Names of the datasets with labels of one kind alone; those that cannot do without annotations where asked."""
    return tuple(
        name
        for name, row in INFO.items()
        if row.labels == labels and (row.needs_annotations or not needing_annotations)
    )
