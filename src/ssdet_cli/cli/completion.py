"""What the shell offers behind an option; each list is made when it is asked for."""

from pathlib import Path
from typing import Any


def backbones() -> list[str]:
    """Names of `--backbone`."""
    from ssdet_cli.models.backbones import BACKBONES

    return [*BACKBONES.names(), *BACKBONES.aliases]


def heads() -> list[str]:
    """Names of `--head`."""
    from ssdet_cli.models.heads import HEADS

    return HEADS.names()


def datasets() -> list[str]:
    """Names of `--dataset`."""
    from ssdet_cli.data import DATASETS

    return DATASETS.names()


def protocols() -> list[str]:
    """Names of `--protocol`."""
    from ssdet_cli.evaluation import PROTOCOLS

    return PROTOCOLS.names()


def configs(ctx: Any) -> list[str]:
    """Shipped configurations: bare names for their own command, full names elsewhere."""
    from ssdet_cli.config.locate import shipped

    own = f"{ctx.info_name}/"
    return [name.removeprefix(own) for name in shipped() if name.startswith(own)] or list(shipped())


def runs() -> list[str]:
    """Names under runs/."""
    return sorted(path.name for path in Path("runs").glob("*") if path.is_dir())


def augmentations() -> list[str]:
    """Usual values of `--augment`."""
    return ["freeze", "mixup", "cutmix", "freeze,mixup,cutmix", "none"]


def methods() -> list[str]:
    """Values of `--method`."""
    return ["freeze", "mixup", "cutmix", "all"]


def devices() -> list[str]:
    """Usual values of `--device`."""
    return ["auto", "cpu", "cuda"]


def splits() -> list[str]:
    """Values of `--split`."""
    return ["train", "val", "test"]


def splits_or_all() -> list[str]:
    """Values of `--split` where all of them may be meant."""
    return [*splits(), "all"]


def formats() -> list[str]:
    """Values of `--format`."""
    return ["safetensors", "npy"]


def dtypes() -> list[str]:
    """Values of `--dtype`."""
    return ["float16", "bfloat16", "float32"]


def keys(ctx: Any) -> list[str]:
    """Keys of the command's configuration, each with its `=`."""
    from ssdet_cli.config.commands import COMMANDS
    from ssdet_cli.config.load import all_keys

    config = COMMANDS.get(ctx.info_name)
    return [f"{key}=" for key in all_keys(config)] if config else []
