"""The user's cache folder, outside every workspace: row cache, downloads, hub files, and the states that training resumes from."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from clipstore.core.errors import InputError

VARIABLE = "CLIP_FEATURE_STORE_CACHE"


def root() -> Path:
    """Return the user's cache folder: the environment variable CLIP_FEATURE_STORE_CACHE, or a folder in the system's cache folder."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("clip-feature-store"))


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
