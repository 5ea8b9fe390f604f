"""Datasets: annotation files and folders -> `VideoSet`. Nothing here decodes but `clips`."""

from ssdet_cli.catalog import Catalog

#: name -> function (videos: Path | None, annotations: Path | None, split: str) -> VideoSet.
#: `split` is "train", "val" or "test"; a frame-labelled set without a "val" answers with its "test".
DATASETS = Catalog(
    "dataset",
    {
        "charades": "ssdet_cli.data.charades:load_charades",
        "csv": "ssdet_cli.data.segment_table:load_csv",
        "folder": "ssdet_cli.data.folder:load_weak_folder",
        "generated": "ssdet_cli.data.generated:load_generated",
        "hmdb51": "ssdet_cli.data.hmdb51:load_hmdb51",
        "json": "ssdet_cli.data.frame_json:load_json",
        "kinetics": "ssdet_cli.data.kinetics:load_kinetics",
        "kinetics400": "ssdet_cli.data.kinetics:load_kinetics400",
        "kinetics600": "ssdet_cli.data.kinetics:load_kinetics600",
        "kinetics700": "ssdet_cli.data.kinetics:load_kinetics700",
        "multithumos": "ssdet_cli.data.multithumos:load_multithumos",
        "tsu": "ssdet_cli.data.tsu:load_tsu",
        "ucf101": "ssdet_cli.data.ucf101:load_ucf101",
    },
    group="ssdet.datasets",
)
