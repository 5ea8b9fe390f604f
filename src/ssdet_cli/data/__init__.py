"""Datasets: annotation files and folders -> `VideoSet`. Nothing here decodes but `clips`."""

from ssdet_cli.catalog import Catalog

#: name -> function (videos: Path | None, annotations: Path | None, split: str) -> VideoSet.
#: `split` is "train", "val" or "test"; a frame-labelled set without a "val" answers with its "test".
DATASETS = Catalog(
    "dataset",
    {
        "charades": "ssdet_cli.data.charades:load_charades",
        "folder": "ssdet_cli.data.folder:load_weak_folder",
        "generated": "ssdet_cli.data.generated:load_generated",
        "json": "ssdet_cli.data.frame_json:load_json",
        "multithumos": "ssdet_cli.data.multithumos:load_multithumos",
    },
    group="ssdet.datasets",
)
