"""ssdet: temporal activity detection in video, pretrained from weak labels."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssdet_cli.recipes.detector import Detector

__all__ = ["Detector", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import torch only when the library is used, and not for the version."""
    if name == "Detector":
        from ssdet_cli.recipes.detector import Detector

        return Detector
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
