"""Writing files whole or not at all."""

import contextlib
import os
from pathlib import Path

from ssdet_cli.errors import SsdetError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file under a temporary name, sync it to disk and rename it: a reader sees the old file or the new one.

    Raises:
        SsdetError: The disk is full or the folder cannot be written; what was there before is still whole.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise SsdetError(f"Cannot write {path}: {error.strerror}; what was there before is whole.") from error
