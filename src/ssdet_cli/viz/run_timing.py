"""Where a run's time went, from its `timing.json`. No torch."""

import json
from pathlib import Path

TIMING = "timing.json"


def read_timing(folder: Path) -> list[tuple[str, float, float]]:
    """(phase, seconds, part of all), the slowest first; empty where the run folder has none that can be read."""
    try:
        seconds = json.loads((folder / TIMING).read_bytes())["seconds"]
        parts = {str(name): float(value) for name, value in seconds.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    total = sum(parts.values())
    if not total > 0:
        return []
    slowest_first = sorted(parts.items(), key=lambda part: -part[1])
    return [(name, value, value / total) for name, value in slowest_first if value > 0]
