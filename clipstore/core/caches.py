"""The user's cache folder, outside every workspace: row cache, downloads, hub files, and the states that training resumes from."""

import os
from pathlib import Path

VARIABLE = "CLIP_FEATURE_STORE_CACHE"


def root() -> Path:
    """Return the user's cache folder: the environment variable CLIP_FEATURE_STORE_CACHE, or a folder in the system's cache folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    import platformdirs  # a machine that only runs benchmarks may lack it

    return Path(platformdirs.user_cache_dir("clip-feature-store"))
