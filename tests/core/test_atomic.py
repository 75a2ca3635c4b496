"""Atomic writes: a file is complete or absent."""

from pathlib import Path

import pytest

from clipstore.core.atomic import write as write_atomically


def test_missing_folders_are_created(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a/b/c.txt", lambda path: path.write_text("whole"))
    assert (tmp_path / "a/b/c.txt").read_text() == "whole"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.txt"]


def test_the_old_file_remains_until_the_new_one_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "c.txt"
    target.write_text("old")
    during = []

    def write(path: Path) -> None:
        path.write_text("ne")
        during.append(target.read_text())
        path.write_text("new")

    write_atomically(target, write)
    assert (during, target.read_text()) == (["old"], "new")


def test_a_failed_write_leaves_only_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "c.txt"
    target.write_text("old")

    def write(path: Path) -> None:
        path.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, write)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
