"""Atomic writes, for files that other processes may read at any time."""

import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a temporary file, then rename it to ``path``: readers see either the complete file or none.

    Raises:
        OSError: the file cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # report the first error, not this one
            temporary.unlink()
        raise


def sync(folder: Path) -> None:
    """Make the names in ``folder`` survive a power failure, where its file system can do that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network folders cannot
            raise
    finally:
        os.close(descriptor)
