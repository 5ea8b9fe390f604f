"""Let the C library keep what a step frees, for the next step to take.

Tensors on a CPU come from malloc, and glibc returns large blocks to the system at once: every step then begins with
page faults, each of them a page that the kernel zeroes.
"""

import ctypes
import os
import platform

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
