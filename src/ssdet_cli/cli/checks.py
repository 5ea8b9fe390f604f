"""What can be known to be wrong before anything is made: names, paths and devices, all but GPUs without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from ssdet_cli.catalog import nearest
from ssdet_cli.config.rundir import checkpoint_file
from ssdet_cli.config.sections import HUB
from ssdet_cli.errors import CheckpointError, ConfigError, DataError, SsdetError

if TYPE_CHECKING:
    from ssdet_cli.config.sections import DataConfig, FineSource, Section

METHODS = ("freeze", "mixup", "cutmix")


def check_names(cfg: "Section") -> None:
    """Look every short name up.

    Raises:
        ConfigError: An unknown backbone, head, dataset, protocol or augmentation, with the nearest known one; or a
            dataset with labels of the kind that the command cannot use.
    """
    from ssdet_cli.data import DATASETS

    if hasattr(cfg, "model"):
        from ssdet_cli.models.backbones import BACKBONES
        from ssdet_cli.models.heads import HEADS

        BACKBONES.canonical(cfg.model.backbone)
        HEADS.canonical(cfg.model.head)
    if getattr(cfg.data, "dataset", None) is not None:
        DATASETS.canonical(cfg.data.dataset)
        _check_labels(cfg.command, cfg.data.dataset)
    if hasattr(cfg, "protocol"):
        from ssdet_cli.evaluation import PROTOCOLS

        PROTOCOLS.canonical(cfg.protocol)
    if hasattr(cfg, "augment"):
        check_methods(cfg.augment.methods)


def _check_labels(command: str, dataset: str) -> None:
    """Refuse what the name of the dataset already shows; what only its files show, the recipe refuses."""
    from ssdet_cli.data.annotations import unfit_labels
    from ssdet_cli.data.info import named_with

    wanted, other = ("weak", "frame") if command == "pretrain" else ("frame", "weak")
    if dataset in named_with(other):
        raise ConfigError(unfit_labels(f"The dataset '{dataset}'", wanted, command))


def check_methods(names: tuple[str, ...], known: tuple[str, ...] = METHODS) -> None:
    """Look names of augmentations up.

    Raises:
        ConfigError: An unknown one.
    """
    for name in names:
        if name not in known:
            raise ConfigError(f"Unknown augmentation '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")


def check_paths(cfg: "Section", *, resume: bool = False) -> None:
    """See that every path exists, and that a folder of weights is that of a run.

    A run that is resumed has its weights in its own folder; those that it started from need not be there any more.

    Raises:
        DataError: Videos or annotations are absent, or no annotations are given where the dataset needs them.
        CheckpointError: Weights or a checkpoint are absent.
        ConfigError: Predictions or a compared folder are absent, or a Coarse-Fine network has nothing to be steered by.
    """
    if cfg.command == "predict":
        _check_places(cfg.data.videos)
    elif cfg.data is not None:
        from ssdet_cli.data.info import INFO

        _check_data(cfg.data)
        row = INFO.get(cfg.data.dataset)
        if hasattr(cfg, "model") and cfg.data.annotations is None and row is not None and row.needs_annotations:
            raise DataError(
                f"The dataset '{cfg.data.dataset}' needs --annotations FILE (data.annotations): {row.annotations}."
            )
    if hasattr(cfg, "model") and cfg.model.init is not None and str(cfg.model.init) != HUB and not resume:
        must_exist(cfg.model.init, "--init (model.init)", CheckpointError)
        checkpoint_file(cfg.model.init)
    if hasattr(cfg, "fine"):
        _check_fine(cfg.fine, resume=resume)
    one = getattr(cfg, "checkpoint", None)
    key = "checkpoints" if one is None else "checkpoint"
    for path in (one,) if one is not None else getattr(cfg, "checkpoints", ()):
        must_exist(path, f"--checkpoint ({key})", CheckpointError)
        checkpoint_file(path)
    for path in getattr(cfg, "predictions", ()):
        must_exist(path, "--predictions (predictions)", ConfigError)
    for path in getattr(cfg, "compare", ()):
        must_exist(path, "--compare (compare)", ConfigError)


def _check_places(places: tuple[str, ...]) -> None:
    from ssdet_cli.video.stream import local_path

    for place in places:
        path = local_path(place)
        if path is not None and not path.exists():
            raise DataError(f"{place}: there is no such file or folder.")


def _check_data(data: "DataConfig") -> None:
    if data.videos is not None:
        must_exist(data.videos, "data.videos", DataError)
    if data.annotations is not None:
        must_exist(data.annotations, "--annotations (data.annotations)", DataError)


def _check_fine(fine: "FineSource", *, resume: bool) -> None:
    if hasattr(fine, "refuse_nothing"):
        fine.refuse_nothing()
    if fine.features is not None:
        must_exist(fine.features, "--features (fine.features)", DataError)
    if fine.weights is not None and not resume:
        must_exist(fine.weights, "--fine (fine.weights)", CheckpointError)


def check_gpus(cfg: "Section") -> None:
    """See that the GPUs that are asked for can be used; imports torch where some are.

    Raises:
        ConfigError: There is none, or fewer.
    """
    no_network = getattr(cfg, "compare", ()) or (getattr(cfg, "predictions", ()) and not cfg.checkpoints)
    if cfg.run.device.startswith("cuda") and not no_network:
        from ssdet_cli.engine.distributed import pick_device

        pick_device(cfg.run.device, cfg.run.nproc - 1)


def must_exist(path: Path, name: str, error: type[SsdetError]) -> None:
    """Raise `error` naming the option unless `path` is there."""
    if not path.exists():
        raise error(f"{name}: there is no {path}.")
