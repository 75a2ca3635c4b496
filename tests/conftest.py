"""Fixtures of several test files."""

from pathlib import Path

import pytest

from stages.lib import cache


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the project's root and working folder, with a row cache of its own beside it."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "cache"))
    return root
