"""Files that other processes may read while they are written."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` fill a temporary file, then rename it to ``path``: readers find the whole file or none.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # the first error is the one to report
            temporary.unlink()
        raise
