"""The user's cache folder, outside every workspace: row cache, downloads, hub files, and the states that training resumes from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipstore.core.errors import InputError

VARIABLE = "CLIP_FEATURE_STORE_CACHE"


def root() -> Path:
    """Return the user's cache folder: the environment variable CLIP_FEATURE_STORE_CACHE, or a folder in the system's cache folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    import platformdirs  # a machine that only runs benchmarks may lack it

    return Path(platformdirs.user_cache_dir("clip-feature-store"))


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Say in one line what to do if the block cannot write to ``folder``, a part of the cache folder.

    Raises:
        InputError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(
            f"cache folder {folder}: {reason}; set {VARIABLE} to a writable folder with free space; what is cached is kept"
        ) from None
