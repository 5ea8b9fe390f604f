"""Memory that stays with the process."""

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")

#: Page faults of ten rounds of taking and freeing 64 MB. Thirty come first: where the heap begins differs from process
#: to process, and until a hole has room for the aligned block it grows (up to the seventh round, in thirty processes).
SCRIPT = """
import resource
import torch
from ssdet_cli.engine.host_memory import keep_freed_memory
print(int(keep_freed_memory()))
for round in range(40):
    if round == 30:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16, 1024, 1024).add_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**environment: str) -> list[int]:
    lines = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return [int(line) for line in lines.stdout.split()]


def test_freed_memory_is_taken_again_without_page_faults() -> None:
    kept, faults = _run()
    assert kept == 1
    assert faults < 100  # 64 MB in pages of 2 MB are 32, in pages of 4 kB 16,384, every round


def test_what_the_user_set_up_stays() -> None:
    kept, faults = _run(MALLOC_ARENA_MAX="2")
    assert kept == 0
    assert faults >= 320  # so the bound above tells one from the other
