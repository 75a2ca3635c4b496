"""Where this user's caches lie, outside every workspace: the row cache, downloads, files of the hub, resume states of training."""

import os
from pathlib import Path

import platformdirs

VARIABLE = "CLIP_FEATURE_STORE_CACHE"


def root() -> Path:
    """Return the folder of this user's caches: the environment's CLIP_FEATURE_STORE_CACHE, or the system's place for caches."""
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("clip-feature-store"))
