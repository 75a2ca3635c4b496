"""The user's cache folder, outside every workspace: row cache, downloads, hub files, and the states that training resumes from."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "CLIP_FEATURE_STORE_CACHE"


def root() -> Path:
    """Return the user's cache folder: the environment variable CLIP_FEATURE_STORE_CACHE, or a folder in the system's cache folder."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("clip-feature-store"))
