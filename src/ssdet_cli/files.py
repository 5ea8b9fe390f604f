"""Writing files whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ssdet_cli.errors import ConfigError, SsdetError


def refuse_unwritable(folder: Path, name: str) -> None:
    """See that files can be written into a folder that may not exist yet; leaves no trace.

    Args:
        folder: Where.
        name: The key or option that says so.

    Raises:
        ConfigError: It or one of its parents is a file, or may not be written to.
    """
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not existing.is_dir():
        which = "is a file" if existing == folder.absolute() else f"is below the file {existing}"
        raise ConfigError(f"{name}={folder} {which}; give a folder.")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(f"{name}={folder} cannot be written ({error.strerror}: {existing}); give another.") from error


def write_atomically(path: Path, content: bytes | memoryview | str) -> None:
    """Write a file under a temporary name, sync it to disk and rename it: a reader sees the old file or the new one.

    Raises:
        SsdetError: The disk is full or the folder cannot be written; what was there before is still whole.
    """
    with written_atomically(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to, as `write_atomically` does at once; without a whole one when something goes wrong.

    Raises:
        SsdetError: As `write_atomically`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise SsdetError(f"Cannot write {path}: {error.strerror}; what was there before is whole.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; a file system that cannot sync folders is left alone."""
    with contextlib.suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def drop_unfinished(folder: Path) -> None:
    """Delete what `write_atomically` had begun in a folder when its process was killed."""
    for file in folder.glob(".*.tmp"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def staged(output: Path, what: str) -> Iterator[Path]:
    """Give a temporary folder inside `output` whose files move there when all went well; none is left when not.

    Args:
        output: Made where it is missing, as are the folders above it; what is empty of those in the end is deleted.
        what: Names the files in the error.

    Raises:
        SsdetError: The disk is full or the folder cannot be written.
    """
    new = [place for place in (output, *output.parents) if not place.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=output) as folder:
            try:
                yield Path(folder)
            except SsdetError as error:
                # The reader never saw the temporary folder; what is meant is the place where the file would have gone.
                raise type(error)(str(error).replace(folder, str(output))) from error
            for file in sorted(Path(folder).iterdir()):
                os.replace(file, output / file.name)
    except OSError as error:
        raise SsdetError(f"{output}: {what} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):  # the first that holds something, and all above it, stay
            for place in new:
                place.rmdir()
