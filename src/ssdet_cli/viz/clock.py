"""Times as people read them, and where an axis of time wants its ticks."""

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)
_DAY = 86400


def clock(seconds: float, step: float = 1.0) -> str:
    """Write a time as m:ss, from an hour on as h:mm:ss.

    Args:
        seconds: Negative ones are written as 0.
        step: Smallest difference that should be seen, seconds: below 1 there is a decimal, below 0.1 there are two.
    """
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    whole, fraction = divmod(round(max(0.0, seconds) * 10**digits), 10**digits)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
    return f"{text}.{fraction:0{digits}d}" if digits else text


def spoken(seconds: float) -> str:
    """Write a duration: "0.4 s", "12 s", "3:05", "1:02:03"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return clock(seconds)


def axis_ticks(begin: float, end: float, at_most: int) -> tuple[list[float], float]:
    """Return the round times in [begin, end], at most `at_most` + 1 of them, and how far apart they are, seconds."""
    rough = max((end - begin) / max(1, at_most), _STEPS[0] / 2)
    step = next((step for step in _STEPS if step >= rough), None) or _DAY / 2 * -(-rough // (_DAY / 2))
    first = -(-(begin - 1e-9) // step)
    count = int((end + 1e-9 - first * step) // step) + 1
    return [(first + index) * step for index in range(count)], step
