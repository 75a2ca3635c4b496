"""Tests on real photographs: they run if the environment variable REAL_DATA names their folder."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: no real photographs")
    return Path(folder)
