"""A file is there whole or not at all."""

from pathlib import Path

import pytest

from clipstore.core.atomic import write as write_atomically


def test_file_is_written_below_a_new_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a/b/c.txt", lambda path: path.write_text("whole"))
    assert (tmp_path / "a/b/c.txt").read_text() == "whole"
    assert [path.name for path in (tmp_path / "a/b").iterdir()] == ["c.txt"]


def test_the_name_is_the_old_files_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "c.txt"
    target.write_text("old")
    seen = []

    def write(path: Path) -> None:
        path.write_text("ne")
        seen.append(target.read_text())
        path.write_text("new")

    write_atomically(target, write)
    assert (seen, target.read_text()) == (["old"], "new")


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "c.txt"
    target.write_text("old")

    def write(path: Path) -> None:
        path.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(target, write)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
