"""Atomic writes, for files that other processes may read at any time."""

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
