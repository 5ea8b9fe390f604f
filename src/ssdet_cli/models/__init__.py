"""Networks: `create_model`, `list_models`, `list_heads`, `load_weights`.

Importing this package, its catalogues and `models.backbones.info` brings in no torch; the first use of one of the
names below does.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssdet_cli.models.factory import create_model, list_heads, list_models
    from ssdet_cli.models.weights import LoadReport, load_weights

__all__ = ["LoadReport", "create_model", "list_heads", "list_models", "load_weights"]

_HOMES = {
    "LoadReport": "ssdet_cli.models.weights",
    "create_model": "ssdet_cli.models.factory",
    "list_heads": "ssdet_cli.models.factory",
    "list_models": "ssdet_cli.models.factory",
    "load_weights": "ssdet_cli.models.weights",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
