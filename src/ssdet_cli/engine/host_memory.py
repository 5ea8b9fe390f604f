"""Let the C library keep what a step frees, for the next step to take.

Tensors on a CPU come from malloc, and glibc returns large blocks to the system at once: every step then begins with
page faults, each of them a page that the kernel zeroes.
"""

import ctypes
import os
import platform
from contextlib import suppress
from pathlib import Path

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> bool:
    """Ask glibc not to return freed memory before the process ends, unless the user set malloc up himself.

    The process then holds the memory of its largest step, which it needs again anyway.

    Returns:
        Whether that is so now; False without glibc, or with MALLOC_* or GLIBC_TUNABLES in the environment.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))


def peak_memory() -> int | None:
    """Most bytes that this process has held; None where the system does not say (Windows)."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:
        return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def give_back_freed_memory() -> None:
    """Return to the system what was freed and kept for the next to take; nothing without glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def held_memory() -> int | None:
    """Bytes that this process holds now; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def begin_peak() -> None:
    """Let `peak_since` count from now on; where the system does not allow that, from the process's beginning."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_since() -> int | None:
    """Most bytes that this process has held since `begin_peak`; None where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def available_memory() -> int | None:
    """Bytes that can still be taken here, of the machine and of this container; None where nobody says."""
    free = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit != "max":
            free.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii")))
    except (OSError, ValueError):
        pass
    return min(free, default=None)
