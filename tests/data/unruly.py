"""Work that dies, hangs or fails as it is told; by itself, since every process that runs it imports this file."""

import os
import time

from ssdet_cli.errors import DataError, SsdetError


def unruly(item, alive):
    if item == "die":
        os.kill(os.getpid(), 9)
    if item == "hang":
        time.sleep(600)
    if item == "slow":
        for _ in range(4):
            time.sleep(0.5)
            alive()
    if item == "bad":
        raise DataError("bad.mp4: damaged.")
    if item == "full":
        raise SsdetError("The disk is full.")
    return item.upper()
