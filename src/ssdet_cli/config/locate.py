"""Where shipped configurations are, in a wheel and in a checkout."""

from pathlib import Path

import ssdet_cli
from ssdet_cli.catalog import nearest
from ssdet_cli.errors import ConfigError


def shipped_root() -> Path:
    """Folder of the shipped `<command>/<name>.yaml` files."""
    package = Path(ssdet_cli.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parents[1] / "configs"


def shipped() -> dict[str, Path]:
    """All shipped configurations: `command/name` -> file, sorted."""
    root = shipped_root()
    return {path.relative_to(root).with_suffix("").as_posix(): path for path in sorted(root.rglob("*.yaml"))}


def locate(name: str, command: str) -> Path:
    """Find a configuration by file path, by `command/name`, or by the bare name of one of `command`'s.

    Raises:
        ConfigError: Neither a file nor a shipped name.
    """
    path = Path(name)
    if path.is_file():
        return path
    known = shipped()
    for candidate in (name, f"{command}/{name}"):
        if candidate in known:
            return known[candidate]
    own = [key.split("/", 1)[1] for key in known if key.startswith(f"{command}/")]
    raise ConfigError(
        f"No configuration '{name}': not a file, and not shipped for {command}.{nearest(name, own)} "
        f"Shipped: {', '.join(own) or 'none'}."
    )
