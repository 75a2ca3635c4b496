"""Fixtures for the tests of folders, manifests and the index."""

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The empty folder data/raw/toy in a new working directory."""
    monkeypatch.chdir(tmp_path)
    path = Path("data/raw/toy")
    path.mkdir(parents=True)
    return path
