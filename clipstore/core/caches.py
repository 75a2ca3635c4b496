"""The folder of this user's caches, outside every workspace: row cache, downloads, hub files, training's resume states."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "CLIP_FEATURE_STORE_CACHE"


def root() -> Path:
    """Return the folder of this user's caches: the environment variable CLIP_FEATURE_STORE_CACHE, or the system's cache folder."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("clip-feature-store"))
